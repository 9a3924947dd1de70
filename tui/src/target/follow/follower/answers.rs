//! What was found in a file, and what becomes of it.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tracing::{debug, warn};

use super::{Follower, GONE, OPEN, nothing};
use crate::clock::boot_time;
use crate::target::follow::looking::{Found, PATIENCE, Seen};
use crate::target::follow::news::Look;
use crate::target::follow::planners::{Answer, Job, Stage};
use crate::target::follow::table::Class;

impl Follower {
    pub(super) fn take_answers(&mut self) {
        let mut has_ended = self.planning.is_empty() || self.later_since.elapsed() > PATIENCE;
        for (job, answer) in self.planners.take() {
            if matches!(answer, Answer::Found(Seen::Later)) {
                if self.later.is_empty() {
                    self.later_since = Instant::now();
                }
                self.later.push(Job { stage: Stage::First, ..job });
                continue;
            }
            has_ended |= matches!(job.stage, Stage::Plan);
            let path = job.look.mapped.path.clone();
            let class = match answer {
                Answer::Found(Seen::New(file)) => {
                    let held = self.planners.waiting() + self.later.len();
                    let file = job.file.or((held < OPEN).then_some(file));
                    self.submit(Job { file, stage: Stage::Plan, ..job });
                    continue;
                }
                Answer::Found(Seen::Image(found)) => self.found(&job.look, found),
                Answer::Found(Seen::Copy(found, copy)) => {
                    let file = Some(Arc::clone(&found.file));
                    let class = self.found(&job.look, found);
                    self.checks.push(Job { file, stage: Stage::Check(copy), ..job.clone() });
                    class
                }
                Answer::Found(Seen::Same | Seen::Later) => continue,
                Answer::Found(Seen::Other) => {
                    debug!(%path, "it is not what it looked like");
                    if let Some(id) = self.watch.image(job.look.mapped.file) {
                        self.look_again(id, "its contents are other ones than they seemed");
                    }
                    continue;
                }
                // It is captured all the same.
                Answer::Stuck | Answer::Slow if job.is_check() => {
                    continue;
                }
                Answer::Slow => {
                    warn!(%path, "planning it takes too long: it is not captured for now");
                    Some(nothing(None))
                }
                Answer::Found(Seen::Nothing(stamp)) => Some(nothing(stamp)),
                Answer::Found(Seen::Unreachable) => {
                    self.unreachable(&job.look);
                    None
                }
                Answer::Stuck => self.unread(&job.look, "its file system does not answer"),
                Answer::Found(Seen::Refused(why)) => self.unread(&job.look, why),
            };
            for file in job.aliases.iter().chain([&job.look.mapped.file]) {
                self.has_changed |= self.watch.settle(*file, class);
            }
        }
        // Also when the one that they waited for had ended before they said so.
        if has_ended || self.planning.is_empty() {
            for job in std::mem::take(&mut self.later) {
                self.submit(job);
            }
        }
        self.bury();
    }

    /// A file of which nothing is known but why.
    fn unread(&mut self, look: &Look, why: &'static str) -> Option<Class> {
        let (id, is_new) = self.registry.unread(&look.mapped.path, look.mapped.file, why);
        self.is_urgent |= is_new;
        id.map(Class::Image)
    }

    /// A file went with its process before it was opened.
    fn unreachable(&mut self, look: &Look) {
        let Look { pid, mapped, since, .. } = look;
        // What was there before us is looked at by another process that has it, if there is one.
        if self.watch.is_used_by_another(mapped.file, *pid) {
            self.sweeps.soon();
            self.first.look_again();
            return;
        }
        let gone = self.gone.iter().find(|gone| gone.process.pid == *pid);
        let process = gone.map(|gone| Arc::clone(&gone.process));
        if since.is_some() && self.unread.len() < GONE {
            debug!(path = %mapped.path, pid, "it went before it was opened");
            self.unread.extend(process.or_else(|| self.watch.process(*pid)));
            self.has_changed = true;
        }
    }

    fn found(&mut self, look: &Look, found: Found) -> Option<Class> {
        let path = Path::new(look.mapped.path.raw());
        let planned = found.identity;
        let Some((id, is_new)) = self.registry.found(path, found) else {
            return Some(nothing(None));
        };
        debug!(image = ?id, path = %look.mapped.path, key = ?look.mapped.file, identity = ?planned, "found");
        if is_new {
            self.is_urgent = true;
            if self.was_written_to(id, &planned) {
                self.watch.settle(look.mapped.file, Some(Class::Image(id)));
                self.look_again(id, "it was written to while it was planned");
                return None;
            }
            self.found.extend(self.registry.image(id));
            if let Some(since) = look.since {
                self.registry.files().set_first_mapping(id, since);
                let took = Duration::from_nanos(boot_time().saturating_sub(since));
                debug!(path = %look.mapped.path, image = id.0, "planned {took:?} after its first mapping");
            }
        }
        Some(Class::Image(id))
    }
}
