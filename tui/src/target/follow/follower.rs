//! The thread's work: what the kernel reports becomes a picture of the machine, which is told when it changes.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io;
use std::os::fd::{AsFd as _, BorrowedFd};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::time::{ClockId, clock_gettime};
use tracing::{debug, warn};

use super::first::First;
use super::looking::{Found, PATIENCE, Planning, Seen};
use super::planners::{Answer, Job, Planners, Stage};
use super::prompt::Prompt;
use super::readers::{self, Asked, Readers};
use super::record::{FileKey, Mapped};
use super::rings::Wake;
use super::stamp::Stamp;
use super::table::{Class, Nothing};
use super::watch::{self, Gone, Look, Watch, boot_time};
use super::written::Written;
use crate::bell::Bell;
use crate::model::Time;
use crate::model::target::{Ended, Image, ImageId, Process, Scan, Target};
use crate::priority;
use crate::target::cache::FileIdentity;
use crate::target::maps::{self, Executable, Mapping};
use crate::target::process;
use crate::target::registry::{COMMANDS, Registry};
use crate::text::Foreign;

/// While more comes than [`Prompt`] allows, we look this often, and do not ask to be woken: each wake-up costs more than
/// what it tells.
const COALESCE: Duration = Duration::from_millis(1);
/// The same while all files are known that are mapped. A program that was never seen waits so much longer, the first of
/// them only.
const COALESCE_KNOWN: Duration = Duration::from_millis(16);
/// Where one file is new, others may follow: so long they are expected.
const NEW: Duration = Duration::from_millis(100);
/// So long after the last record, we are woken by mappings alone: programs that come and go would wake us three times
/// each. Who ended meanwhile is seen then.
const CALM: Duration = Duration::from_millis(10);
/// After so long with more than [`Prompt`] allows, nobody waits for a single event, and others may go before us. To change
/// the priority costs as much as what it is changed for: not for each program that comes and goes.
const STORM: Duration = Duration::from_millis(10);
/// Changes are told this often at the most, unless an image is new.
const PACE: Duration = Duration::from_millis(400);
/// After an image was told, those who attach it get the CPUs first.
const YIELD: Duration = Duration::from_millis(2);
/// Everything is looked at this often, in case that something was missed.
const SWEEP: Duration = Duration::from_secs(60);
/// The same where the kernel reports nothing.
const SWEEP_BLIND: Duration = Duration::from_secs(2);
/// [`Follower::patience`], unless all is waited for.
const FIRST: Duration = Duration::from_secs(30);
/// After records were lost, no sooner than this.
const SWEEP_AGAIN: Duration = Duration::from_secs(1);
/// Sweeps that the first report waits for, because a file could not be opened before its process ended. It may be one that
/// nobody can open.
const LOOKS_AGAIN: u32 = 3;
/// A file that was written to is looked at when nothing was written for so long.
const SETTLED: Duration = Duration::from_millis(200);
/// How long command lines are waited for, after the first report.
const COMMANDS_LATER: Duration = Duration::from_millis(1);
/// Ended processes that wait for somebody who looks at one of their files.
const GONE: usize = 4096;
/// Files that wait for their plan, and are open meanwhile: that of a process that runs once is soon deleted.
const OPEN: usize = 128;

/// What the loop asks for.
#[derive(Debug)]
struct Wishes {
    sweep: AtomicBool,
    report: AtomicBool,
    wake: Bell,
}

/// What the thread tells.
#[derive(Debug)]
pub enum News {
    /// An image that was not known.
    Found(Image),
    /// What is known.
    Picture(Scan),
}

/// Asks the thread for something.
#[derive(Clone, Debug)]
pub struct Requests(Arc<Wishes>);

impl Requests {
    /// A look at the whole machine.
    pub fn sweep(&self) {
        self.0.sweep.store(true, Ordering::Release);
        self.wake();
    }

    /// A report of what is known.
    pub fn report(&self) {
        self.0.report.store(true, Ordering::Release);
        self.wake();
    }

    fn wake(&self) {
        self.0.wake.ring();
    }
}

/// A file that was written to.
struct Rewritten {
    path: Foreign,
    file: Arc<File>,
    keys: Vec<FileKey>,
    at: Instant,
}

/// Follows what the processes of this machine do.
pub struct Follower {
    registry: Registry,
    watch: Watch,
    planners: Planners<Seen>,
    readers: Readers<Executable>,
    /// When the sweep began whose processes are still being read.
    sweeping: Option<Instant>,
    written: Option<Written>,
    rewritten: Vec<Rewritten>,
    asked: Arc<Wishes>,
    gone: Vec<Gone>,
    ended: Vec<Ended>,
    /// Who had a file mapped that nobody could open any more.
    unread: Vec<Arc<Process>>,
    /// New images that were not told yet.
    found: Vec<Image>,
    /// Files of which only the outside is known: they are read whole when that is told.
    checks: Vec<Job>,
    prompt: Prompt,
    /// When something was last reported.
    last_event: Instant,
    /// When a file was last mapped that was not known.
    last_new: Instant,
    /// Since when more comes than [`Prompt`] allows.
    storm: Option<Instant>,
    planning: Planning,
    /// Files that look like one that is being planned.
    later: Vec<Job>,
    later_since: Instant,
    not_before: Instant,
    /// How long after the first look at all processes the first report waits for what is still being planned.
    patience: Duration,
    is_first: bool,
    is_urgent: bool,
    has_changed: bool,
    next_report: Instant,
    next_sweep: Instant,
    last_sweep: Instant,
    /// When the next sweep may be, if there is a reason for one.
    again: Instant,
    first: First,
    /// Those of them whose mappings are still to be read.
    first_unread: BTreeSet<u32>,
    /// Until then the first report waits for what is being planned; `None` before the first sweep, and for ever.
    first_until: Option<Instant>,
    /// A file could not be opened by the process that was asked for it, and another one has it mapped: the first report
    /// waits for another sweep.
    looks_again: bool,
    /// How often that was so.
    looked_again: u32,
    /// Records were lost since the last sweep.
    is_incomplete: bool,
    /// Of what was told: untracked, lost.
    told: (u64, u64),
}

impl Follower {
    /// Begins; nothing is looked at yet. A registry without a watch follows by looking at everything now and then.
    ///
    /// # Errors
    ///
    /// When threads cannot be started.
    pub fn new(registry: Registry, watch: Watch) -> io::Result<Self> {
        let looker = registry.looker(&watch);
        let planning = looker.planning.clone();
        let planners = Planners::start(move |job, progress| looker.look_at(job, progress))?;
        let readers = Readers::new(|pid, progress| maps::executable(pid, || progress.more()))?;
        let wake = Bell::new()?;
        let asked = Wishes { sweep: AtomicBool::new(true), report: AtomicBool::new(true), wake };
        let now = Instant::now();
        Ok(Self {
            registry,
            watch,
            planners,
            readers,
            sweeping: None,
            written: Written::new().inspect_err(|error| warn!(%error, "inotify")).ok(),
            rewritten: Vec::new(),
            asked: Arc::new(asked),
            gone: Vec::new(),
            ended: Vec::new(),
            unread: Vec::new(),
            found: Vec::new(),
            checks: Vec::new(),
            prompt: Prompt::full(now),
            last_event: now,
            last_new: now,
            storm: None,
            planning,
            later: Vec::new(),
            later_since: now,
            not_before: now,
            patience: FIRST,
            is_first: true,
            is_urgent: false,
            has_changed: false,
            next_report: now,
            next_sweep: now,
            last_sweep: now,
            again: now,
            first: First::default(),
            first_unread: BTreeSet::new(),
            first_until: None,
            looks_again: false,
            looked_again: 0,
            is_incomplete: false,
            told: (0, 0),
        })
    }

    /// What these processes have mapped is looked at first.
    pub fn look_first_at(&mut self, first: First) {
        self.first = first;
    }

    /// To ask it for something.
    pub fn requests(&self) -> Requests {
        Requests(Arc::clone(&self.asked))
    }

    /// Looks at everything once, however long that takes.
    pub fn look(mut self) -> Scan {
        self.patience = Duration::MAX;
        let mut picture = Scan::default();
        self.run(|news| {
            let News::Picture(scan) = news else { return true };
            picture = scan;
            false
        });
        picture
    }

    /// Follows until `tell`, which gets the pictures, says that nobody listens.
    pub fn run(mut self, mut tell: impl FnMut(News) -> bool) {
        let (mut is_active, mut is_waiting) = (false, false);
        loop {
            if !self.is_storm(is_active) {
                priority::immediate();
            }
            let is_written = self.wait(is_active, is_waiting);
            let news;
            (news, is_waiting) = self.watch.take();
            is_active = is_waiting || news.events > 0;
            if news.events > 0 {
                self.last_event = Instant::now();
            }
            self.take_news(news);
            self.take_mappings();
            self.take_answers();
            // First of all: a process of a new image may shake hands in the next millisecond.
            for image in std::mem::take(&mut self.found) {
                if !self.is_first && !tell(News::Found(image)) {
                    return;
                }
                self.not_before = Instant::now() + YIELD;
            }
            for job in std::mem::take(&mut self.checks) {
                self.submit(job);
            }
            self.take_written(is_written);
            self.take_requests();
            let is_due = self.sweeping.is_none() && Instant::now() >= self.next_sweep;
            // To look at everything takes long.
            if is_due || self.is_storm(is_active) {
                priority::raise();
            }
            if is_due {
                self.sweep();
            }
            if self.wants_report() && !tell(News::Picture(self.report())) {
                return;
            }
        }
    }

    fn is_storm(&mut self, is_active: bool) -> bool {
        if !(is_active && self.prompt.is_spent()) {
            self.storm = None;
            return false;
        }
        self.storm.get_or_insert_with(Instant::now).elapsed() >= STORM
    }

    fn wants_report(&self) -> bool {
        let now = Instant::now();
        let is_due =
            self.is_urgent && now >= self.not_before || self.has_changed && now >= self.next_report;
        is_due && !self.is_report_held(now)
    }

    /// Before everything was looked at, a report would say too little; but a machine may never be idle.
    fn is_report_held(&self, now: Instant) -> bool {
        if !self.is_first || self.first_until.is_some_and(|until| now >= until) {
            return false;
        }
        let is_ours = |job: &Job| job.look.is_named || !self.first.alone;
        let are_read = match self.first.alone {
            true => self.first_unread.is_empty(),
            false => self.sweeping.is_none(),
        };
        let are_known = !self.planners.are_at(is_ours) && !self.later.iter().any(is_ours);
        self.looks_again || !are_read || !are_known
    }

    /// Waits for what there is to do. Whether a file may have been written to.
    fn wait(&mut self, is_active: bool, is_waiting: bool) -> bool {
        let now = Instant::now();
        // The next one begins when all of the present one are read.
        let mut until = if self.sweeping.is_some() { now + SWEEP } else { self.next_sweep };
        if self.is_first {
            until = self.first_until.map_or(until, |first| until.min(first));
        }
        if is_waiting {
            until = until.min(now + COALESCE);
        }
        // What holds a report ends with an answer, which wakes by itself.
        let is_held = self.is_report_held(now);
        if self.is_urgent && !is_held {
            until = until.min(self.not_before);
        }
        if self.has_changed && !is_held {
            until = until.min(self.next_report.max(now + COALESCE));
        }
        until = self.rewritten.iter().map(|file| file.at + SETTLED).fold(until, Instant::min);
        if !self.later.is_empty() {
            until = until.min(self.later_since + PATIENCE);
        }
        for patience in [self.planners.patience(), self.readers.patience()].into_iter().flatten() {
            until = until.min(now + patience);
        }
        let calm = self.last_event + CALM;
        let wake = match self.prompt.take(now) {
            false if is_active => {
                let is_known = now >= self.last_new + NEW;
                until = until.min(now + if is_known { COALESCE_KNOWN } else { COALESCE });
                Wake::Nothing
            }
            _ if now < calm => {
                until = until.min(calm);
                Wake::Mappings
            }
            // The first one is free, and counts all the same.
            _ => Wake::Everything,
        };
        let rings = self.watch.descriptors(wake);
        let bells = [&self.asked.wake, self.planners.answers(), self.readers.answers()];
        let mut files = Vec::with_capacity(bells.len() + 1 + rings.len());
        files.extend(bells.map(|bell| PollFd::from_borrowed_fd(bell.as_fd(), PollFlags::IN)));
        let written = self.written.iter().map(|written| written.as_fd());
        files.extend(written.map(|fd| PollFd::from_borrowed_fd(fd, PollFlags::IN)));
        // SAFETY: the rings are closed when the last handle of the watch goes, and `self` has one.
        let rings = rings.into_iter().map(|fd| unsafe { BorrowedFd::borrow_raw(fd) });
        files.extend(rings.map(|fd| PollFd::from_borrowed_fd(fd, PollFlags::IN)));
        let timeout = Timespec::try_from(until.saturating_duration_since(now)).ok();
        // An interruption is as good as an event.
        let _ = poll(&mut files, timeout.as_ref());
        let is_ready = |file: &PollFd<'_>| !file.revents().is_empty();
        for (bell, _) in bells.iter().zip(&files).filter(|(_, file)| is_ready(file)) {
            bell.hush();
        }
        self.written.is_some() && is_ready(&files[bells.len()])
    }

    fn take_requests(&mut self) {
        if self.asked.sweep.swap(false, Ordering::Acquire) {
            self.next_sweep = Instant::now();
        }
        self.has_changed |= self.asked.report.swap(false, Ordering::Acquire);
    }

    fn take_news(&mut self, news: watch::News) {
        self.has_changed |= news.changed;
        self.is_incomplete |= news.incomplete;
        if news.incomplete {
            self.next_sweep = self.next_sweep.min(self.again);
        }
        for look in news.looks {
            // One that was known is none that others follow.
            if look.stamp.is_none() {
                self.last_new = Instant::now();
            }
            self.look_at(look);
        }
        self.gone.extend(news.gone);
        if self.gone.len() > GONE {
            let excess = self.gone.len() - GONE;
            self.gone.drain(..excess);
        }
        self.bury();
    }

    /// A file in which nothing was is not read again while it looks the same.
    fn look_at(&mut self, look: Look) {
        match look.stamp.filter(|stamp| stamp.is_still_of(look.pid, &look.mapped)) {
            None => self.submit(Job::new(look)),
            stamp => {
                self.watch.settle(look.mapped.file, Some(nothing(stamp)));
            }
        }
    }

    fn submit(&mut self, mut job: Job) {
        job.look.is_named = self.first.has(job.look.pid);
        let (file, is_check) = (job.look.mapped.file, job.is_check());
        if !self.planners.submit(job) && !is_check {
            self.watch.settle(file, None);
        }
    }

    /// Says of processes that ended which images they had, as soon as that is known.
    fn bury(&mut self) {
        if self.gone.is_empty() {
            return;
        }
        let realtime = now(ClockId::Realtime);
        let boot = boot_time();
        let (watch, registry, ended) = (&self.watch, &self.registry, &mut self.ended);
        self.gone.retain(|gone| {
            let Some(images) = watch.images(&gone.files) else { return true };
            let has_tls = !images.is_empty() && !registry.are_tokens(&images);
            if has_tls && ended.len() < GONE {
                let at = Time(realtime.saturating_sub(boot.saturating_sub(gone.at)));
                ended.push(Ended { process: Arc::clone(&gone.process), images, at });
            }
            false
        });
        self.has_changed |= !self.ended.is_empty();
    }

    fn take_answers(&mut self) {
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
            self.next_sweep = self.next_sweep.min(self.again);
            self.looks_again = self.looked_again < LOOKS_AGAIN;
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

    /// Begins to watch an image for writes, before anything is attached to it. Whether there was one before that, since
    /// the file was looked at: its other times are those of a chmod or unlink too.
    fn was_written_to(&mut self, id: ImageId, planned: &FileIdentity) -> bool {
        let Some((file, _)) = self.registry.files().get(id) else { return false };
        if let Some(Err(error)) = self.written.as_mut().map(|written| written.add(id, &file)) {
            debug!(?id, %error, "cannot be watched for writes");
        }
        file.metadata().is_ok_and(|now| FileIdentity::of(&now).has_other_contents(planned))
    }

    /// Forgets what was known of an image, and looks at it again soon.
    fn look_again(&mut self, id: ImageId, why: &'static str) {
        let keys = self.watch.forget(id);
        let Some((path, file)) = self.registry.written_to(id) else { return };
        warn!(%path, why, "its probes are removed");
        for key in &keys {
            self.watch.settle(*key, Some(Class::Looking));
        }
        self.rewritten.push(Rewritten { path, file, keys, at: Instant::now() });
        self.is_urgent = true;
    }

    fn take_written(&mut self, is_written: bool) {
        let written = self.written.as_mut().filter(|_| is_written);
        for id in written.map(Written::take).unwrap_or_default() {
            self.look_again(id, "it is being written to");
        }
        let settled = |file: &Rewritten| file.at.elapsed() >= SETTLED;
        let ready: Vec<Rewritten> = self.rewritten.extract_if(.., |file| settled(file)).collect();
        for Rewritten { path, file, keys, .. } in ready {
            let mut keys = keys.into_iter();
            let key = keys.next().unwrap_or(FileKey { device: (0, 0), inode: 0, generation: None });
            let mapped = Mapped { file: key, start: 0, length: 0, path };
            let look = Look {
                pid: 0,
                mapped,
                is_program: true,
                is_named: false,
                since: None,
                stamp: None,
            };
            self.submit(Job { aliases: keys.collect(), file: Some(file), ..Job::new(look) });
        }
    }

    /// Looks at every process.
    fn sweep(&mut self) {
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
        self.first_until = self.first_until.or(started.checked_add(self.patience));
        let began = boot_time();
        self.looked_again += u32::from(std::mem::take(&mut self.looks_again));
        let pids = match process::all_pids() {
            Ok(pids) => pids,
            Err(error) => {
                // Not that nobody runs.
                warn!(%error, "/proc cannot be read");
                self.plan_sweep(started);
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
        if self.is_first {
            self.first.take_children(&parents);
        }
        // A file is looked at by the first who has it.
        asked.sort_by_key(|asked| !self.first.has(asked.pid));
        let first = asked.iter().map(|asked| asked.pid).filter(|pid| self.first.has(*pid));
        self.first_unread = first.collect();
        self.sweeping = Some(started);
        self.readers.submit(asked);
        self.take_mappings();
    }

    /// What processes have mapped that ran before.
    fn take_mappings(&mut self) {
        for (asked, answer) in self.readers.take() {
            let Asked { pid, exe, .. } = &asked;
            self.first_unread.remove(pid);
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
        if let Some(started) = self.sweeping.take_if(|_| self.readers.is_idle()) {
            debug!("all processes were looked at in {:?}", started.elapsed());
            self.first_unread.clear();
            self.has_changed = true;
            self.plan_sweep(started);
        }
    }

    /// When the next sweep is due, after one that began then. Looking must not become all that is done.
    fn plan_sweep(&mut self, started: Instant) {
        self.last_sweep = Instant::now();
        let rest = 10 * started.elapsed();
        self.again = self.last_sweep + SWEEP_AGAIN.max(rest);
        let pause = if self.watch.is_live() { SWEEP } else { SWEEP_BLIND };
        self.next_sweep = self.last_sweep + pause.max(rest);
    }

    fn report(&mut self) -> Scan {
        let started = Instant::now();
        // Before the picture is taken: who starts from now on is not in it.
        let began = process::ticks_since_boot();
        let targets = self.targets();
        let patience = match (self.is_first, self.is_urgent) {
            (true, _) => COMMANDS,
            (false, true) => Duration::ZERO,
            (false, false) => COMMANDS_LATER,
        };
        let ancestors = self.ancestors(&targets);
        let (mut scan, is_waiting) = self.registry.report(targets, patience);
        scan.ancestors = ancestors;
        scan.began = began;
        // Of records that were lost, one may say that a process which seems to have ended lives.
        scan.pids = (!self.is_incomplete).then(|| self.watch.pids());
        scan.births = self.watch.births();
        scan.ended = std::mem::take(&mut self.ended);
        scan.unread = std::mem::take(&mut self.unread);
        self.tell_losses(&mut scan.warnings);
        if let Some(written) = &mut self.written {
            for (id, error) in written.watch(&self.registry.probed()) {
                debug!(?id, %error, "cannot be watched for writes");
            }
        }
        (self.is_first, self.is_urgent, self.has_changed) = (false, false, is_waiting);
        let took = started.elapsed();
        debug!("report took {took:?}");
        self.next_report = Instant::now() + PACE.max(10 * took);
        scan
    }

    fn targets(&self) -> Vec<Target> {
        let targets = self.watch.targets().into_iter();
        let targets = targets.filter(|(_, images)| !self.registry.are_tokens(images));
        let target = |(pid, images)| {
            Some(Target { process: self.watch.process(pid)?, images, command: None })
        };
        targets.filter_map(target).collect()
    }

    /// The parents of those processes that are between the targets.
    fn ancestors(&self, targets: &[Target]) -> BTreeMap<u32, u32> {
        let known: BTreeSet<u32> = targets.iter().map(|target| target.process.pid).collect();
        let mut parents = BTreeMap::new();
        for target in targets {
            let mut pid = target.process.parent;
            while pid != 0 && !known.contains(&pid) && !parents.contains_key(&pid) {
                let Some(parent) = self.watch.living_parent(pid) else { break };
                parents.insert(pid, parent);
                pid = parent;
            }
        }
        parents
    }

    fn tell_losses(&mut self, warnings: &mut Vec<String>) {
        let (untracked, lost) = self.watch.untracked_and_lost();
        if untracked > 0 && self.told.0 == 0 {
            warnings.push("there are more processes than can be followed".to_owned());
        }
        if lost > self.told.1 {
            let more = lost - self.told.1;
            warnings.push(format!(
                "the kernel lost {more} records of what processes do; all of them are looked at instead"
            ));
        }
        self.told = (untracked, lost);
    }
}

/// Nothing is in a file, looked at now.
fn nothing(stamp: Option<Stamp>) -> Class {
    Class::Nothing(Nothing { looked: boot_time(), stamp })
}

/// Nanoseconds of a clock.
fn now(clock: ClockId) -> u64 {
    let time = clock_gettime(clock);
    let of = |number: i64| u64::try_from(number).unwrap_or(0);
    of(time.tv_sec) * 1_000_000_000 + of(time.tv_nsec)
}
