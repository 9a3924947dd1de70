//! A look at every process: those that ran before, and whatever was missed.

use std::time::Instant;

use tracing::{debug, warn};

use super::Follower;
use crate::clock::boot_time;
use crate::model::target::Process;
use crate::target::follow::readers::{self, Asked};
use crate::target::follow::record::Mapped;
use crate::target::maps::{Executable, Mapping};
use crate::target::process;

impl Follower {
    /// Looks at every process.
    pub(super) fn sweep(&mut self) {
        let started = Instant::now();
        // A mount that did not answer may do so by now.
        if self.planners.forgive() {
            for id in self.registry.take_unread() {
                self.watch.forget(id);
            }
        }
        if let Err(error) = self.watch.add_cpus() {
            warn!(%error, "a CPU cannot be watched");
        }
        self.first.sweep_begins(started);
        let began = boot_time();
        let pids = match process::all_pids() {
            Ok(pids) => pids,
            Err(error) => {
                // Not that nobody runs.
                warn!(%error, "/proc cannot be read");
                self.sweeps.plan(started, self.watch.is_live());
                return;
            }
        };
        let (mut parents, mut asked) = (Vec::new(), Vec::new());
        for (number, pid) in pids.into_iter().enumerate() {
            // What happens meanwhile must not fill the rings.
            if number % 64 == 63 {
                let (news, _) = self.watch.take();
                self.take_news(news);
            }
            let began = boot_time();
            let process = match process::read(pid) {
                Ok(process) => process,
                Err(error) => {
                    // One that cannot be read for another reason has not ended.
                    if !process::is_gone(&error) {
                        parents.push((pid, 0));
                    }
                    continue;
                }
            };
            parents.push((pid, process.parent));
            self.watch.seen(&process, process::threads(pid).unwrap_or(1), began);
            if pid != std::process::id() {
                let Process { start_ticks, exe, .. } = process;
                asked.push(Asked { pid, start_ticks, exe });
            }
        }
        self.watch.all_seen(&parents, began);
        self.is_incomplete = false;
        self.first.take_children(&parents);
        // A file is looked at by the first who has it.
        asked.sort_by_key(|asked| !self.first.is_for(asked.pid));
        self.first.are_asked(asked.iter().map(|asked| asked.pid));
        self.sweeps.begin(started);
        self.readers.submit(asked);
        self.take_mappings();
    }

    /// What processes have mapped that ran before.
    pub(super) fn take_mappings(&mut self) {
        for (asked, answer) in self.readers.take() {
            let Asked { pid, exe, .. } = &asked;
            self.first.is_read(*pid);
            let readers::Answer::Read(Executable { mappings, is_whole }, began) = answer else {
                warn!(pid, ?exe, "its mappings cannot be read: the kernel waits for its memory");
                continue;
            };
            if !is_whole {
                warn!(pid, ?exe, "it has too many mappings: not all were read");
            }
            let maps: Vec<Mapped> = mappings.iter().map(Mapping::as_mapped).collect();
            for look in self.watch.has_mapped(&asked, &maps, began) {
                self.look_at(look);
            }
        }
        if let Some(started) = self.sweeps.end_if(self.readers.is_idle()) {
            debug!("all processes were looked at in {:?}", started.elapsed());
            self.first.are_all_read();
            self.has_changed = true;
            self.sweeps.plan(started, self.watch.is_live());
        }
    }
}
