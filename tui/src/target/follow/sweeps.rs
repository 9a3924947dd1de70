//! When all processes are looked at: now and then, in case that something was missed, and when something was.

use std::time::{Duration, Instant};

/// Everything is looked at this often.
const SWEEP: Duration = Duration::from_secs(60);
/// The same where the kernel reports nothing.
const SWEEP_BLIND: Duration = Duration::from_secs(2);
/// After records were lost, no sooner than this.
const SWEEP_AGAIN: Duration = Duration::from_secs(1);

/// The looks at all processes.
#[derive(Debug)]
pub struct Sweeps {
    /// When the one began whose processes are still being read.
    began: Option<Instant>,
    next: Instant,
    /// When the next one may be, if there is a reason for one.
    again: Instant,
}

impl Sweeps {
    /// The first one is due.
    pub fn new(now: Instant) -> Self {
        Self { began: None, next: now, again: now }
    }

    /// Whether one has begun, and has not ended.
    pub fn is_on(&self) -> bool {
        self.began.is_some()
    }

    /// Whether one has to begin.
    pub fn is_due(&self) -> bool {
        !self.is_on() && Instant::now() >= self.next
    }

    /// When there is something to do: the next one begins when all processes of the present one are read, which wakes by
    /// itself.
    pub fn next(&self, now: Instant) -> Instant {
        if self.is_on() { now + SWEEP } else { self.next }
    }

    /// It was asked for.
    pub fn at_once(&mut self) {
        self.next = Instant::now();
    }

    /// Something was missed.
    pub fn soon(&mut self) {
        self.next = self.next.min(self.again);
    }

    /// The processes of the one that began then are being read.
    pub fn begin(&mut self, started: Instant) {
        self.began = Some(started);
    }

    /// When the present one began, if it ends now.
    pub fn end_if(&mut self, is_read: bool) -> Option<Instant> {
        self.began.take_if(|_| is_read)
    }

    /// Plans the next one, after one that began then. Looking must not become all that is done.
    pub fn plan(&mut self, started: Instant, is_live: bool) {
        let now = Instant::now();
        let rest = 10 * started.elapsed();
        self.again = now + SWEEP_AGAIN.max(rest);
        let pause = if is_live { SWEEP } else { SWEEP_BLIND };
        self.next = now + pause.max(rest);
    }
}
