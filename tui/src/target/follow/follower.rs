//! The thread's work: what the kernel reports becomes a picture of the machine, which is told when it changes.

mod answers;
mod report;
mod rewritten;
mod sweep;

use std::io;
use std::os::fd::{AsFd as _, BorrowedFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use tracing::warn;

use super::first::First;
use super::first_report::FirstReport;
use super::looking::{PATIENCE, Planning, Seen};
use super::news::{self, Gone, Look};
use super::pace::{COALESCE, Pace};
use super::planners::{Job, Planners};
use super::readers::Readers;
pub use super::requests::Requests;
use super::stamp::Stamp;
use super::sweeps::Sweeps;
use super::table::{Class, Nothing};
use super::watch::Watch;
use super::written::Written;
use crate::clock::{boot_time, time_of_day};
use crate::model::Time;
use crate::model::target::{Ended, Image, Process, Scan};
use crate::priority;
use crate::target::maps::{self, Executable};
use crate::target::registry::Registry;
use rewritten::Rewritten;

/// After an image was told, those who attach it get the CPUs first.
const YIELD: Duration = Duration::from_millis(2);
/// Ended processes that wait for somebody who looks at one of their files.
const GONE: usize = 4096;
/// Files that wait for their plan, and are open meanwhile: that of a process that runs once is soon deleted.
const OPEN: usize = 128;

/// What the thread tells.
#[derive(Debug)]
pub enum News {
    /// An image that was not known.
    Found(Image),
    /// What is known.
    Picture(Scan),
}

/// Follows what the processes of this machine do.
pub struct Follower {
    registry: Registry,
    watch: Watch,
    planners: Planners<Seen>,
    readers: Readers<Executable>,
    sweeps: Sweeps,
    written: Option<Written>,
    rewritten: Vec<Rewritten>,
    asked: Requests,
    gone: Vec<Gone>,
    ended: Vec<Ended>,
    /// Who had a file mapped that nobody could open any more.
    unread: Vec<Arc<Process>>,
    /// New images that were not told yet.
    found: Vec<Image>,
    /// Files of which only the outside is known: they are read whole when that is told.
    checks: Vec<Job>,
    pace: Pace,
    planning: Planning,
    /// Files that look like one that is being planned.
    later: Vec<Job>,
    later_since: Instant,
    not_before: Instant,
    first: FirstReport,
    is_urgent: bool,
    has_changed: bool,
    next_report: Instant,
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
        let now = Instant::now();
        Ok(Self {
            registry,
            watch,
            planners,
            readers,
            sweeps: Sweeps::new(now),
            written: Written::new().inspect_err(|error| warn!(%error, "inotify")).ok(),
            rewritten: Vec::new(),
            asked: Requests::begin()?,
            gone: Vec::new(),
            ended: Vec::new(),
            unread: Vec::new(),
            found: Vec::new(),
            checks: Vec::new(),
            pace: Pace::new(now),
            planning,
            later: Vec::new(),
            later_since: now,
            not_before: now,
            first: FirstReport::default(),
            is_urgent: false,
            has_changed: false,
            next_report: now,
            is_incomplete: false,
            told: (0, 0),
        })
    }

    /// What these processes have mapped is looked at first.
    pub fn look_first_at(&mut self, first: First) {
        self.first.set_first(first);
    }

    /// To ask it for something.
    pub fn requests(&self) -> Requests {
        self.asked.clone()
    }

    /// Looks at everything once, however long that takes.
    pub fn look(mut self) -> Scan {
        self.first.wait_for_all();
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
            if !self.pace.is_storm(is_active) {
                priority::immediate();
            }
            let is_written = self.wait(is_active, is_waiting);
            let news;
            (news, is_waiting) = self.watch.take();
            is_active = is_waiting || news.events > 0;
            if news.events > 0 {
                self.pace.has_event();
            }
            self.take_news(news);
            self.take_mappings();
            self.take_answers();
            // First of all: a process of a new image may shake hands in the next millisecond.
            for image in std::mem::take(&mut self.found) {
                if self.first.is_told() && !tell(News::Found(image)) {
                    return;
                }
                self.not_before = Instant::now() + YIELD;
            }
            for job in std::mem::take(&mut self.checks) {
                self.submit(job);
            }
            self.take_written(is_written);
            self.take_requests();
            let is_due = self.sweeps.is_due();
            // To look at everything takes long.
            if is_due || self.pace.is_storm(is_active) {
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

    fn wants_report(&self) -> bool {
        let now = Instant::now();
        let is_due =
            self.is_urgent && now >= self.not_before || self.has_changed && now >= self.next_report;
        is_due && !self.is_report_held(now)
    }

    fn is_report_held(&self, now: Instant) -> bool {
        if !self.first.waits(now) {
            return false;
        }
        let is_ours = |job: &Job| job.look.is_named || !self.first.is_for_them_alone();
        self.first.lacks_mappings(self.sweeps.is_on())
            || self.planners.are_at(is_ours)
            || self.later.iter().any(is_ours)
    }

    /// Waits for what there is to do. Whether a file may have been written to.
    fn wait(&mut self, is_active: bool, is_waiting: bool) -> bool {
        let now = Instant::now();
        let mut until = self.sweeps.next(now);
        until = self.first.until().map_or(until, |first| until.min(first));
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
        until = self.rewritten.iter().map(Rewritten::settled).fold(until, Instant::min);
        if !self.later.is_empty() {
            until = until.min(self.later_since + PATIENCE);
        }
        for patience in [self.planners.patience(), self.readers.patience()].into_iter().flatten() {
            until = until.min(now + patience);
        }
        let (wake, until) = self.pace.next(now, until, is_active);
        let rings = self.watch.descriptors(wake);
        let bells = [self.asked.bell(), self.planners.answers(), self.readers.answers()];
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
        if self.asked.take_sweep() {
            self.sweeps.at_once();
        }
        self.has_changed |= self.asked.take_report();
    }

    fn take_news(&mut self, news: news::News) {
        self.has_changed |= news.changed;
        self.is_incomplete |= news.incomplete;
        if news.incomplete {
            self.sweeps.soon();
        }
        for look in news.looks {
            // One that was known is none that others follow.
            if look.stamp.is_none() {
                self.pace.has_new_file();
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
        job.look.is_named = self.first.is_for(job.look.pid);
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
        let (realtime, boot) = (time_of_day(), boot_time());
        let (watch, registry, ended) = (&self.watch, &self.registry, &mut self.ended);
        self.gone.retain(|gone| {
            let Some(images) = watch.images(&gone.files) else { return true };
            let has_tls = !images.is_empty() && !registry.are_tokens(&images);
            if has_tls && ended.len() < GONE {
                let at = Time(realtime.0.saturating_sub(boot.saturating_sub(gone.at)));
                ended.push(Ended { process: Arc::clone(&gone.process), images, at });
            }
            false
        });
        self.has_changed |= !self.ended.is_empty();
    }
}

/// Nothing is in a file, looked at now.
fn nothing(stamp: Option<Stamp>) -> Class {
    Class::Nothing(Nothing { looked: boot_time(), stamp })
}
