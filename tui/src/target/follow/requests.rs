//! What others ask of the thread that follows.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::bell::Bell;

#[derive(Debug)]
struct Wishes {
    sweep: AtomicBool,
    report: AtomicBool,
    wake: Bell,
}

/// Asks the thread for something.
#[derive(Clone, Debug)]
pub struct Requests(Arc<Wishes>);

impl Requests {
    /// It begins with a look and a report.
    pub(super) fn begin() -> io::Result<Self> {
        let (sweep, report) = (AtomicBool::new(true), AtomicBool::new(true));
        Ok(Self(Arc::new(Wishes { sweep, report, wake: Bell::new()? })))
    }

    /// A look at the whole machine.
    pub fn sweep(&self) {
        self.0.sweep.store(true, Ordering::Release);
        self.0.wake.ring();
    }

    /// A report of what is known.
    pub fn report(&self) {
        self.0.report.store(true, Ordering::Release);
        self.0.wake.ring();
    }

    /// It rings when something is asked for.
    pub(super) fn bell(&self) -> &Bell {
        &self.0.wake
    }

    /// Whether a look was asked for since.
    pub(super) fn take_sweep(&self) -> bool {
        self.0.sweep.swap(false, Ordering::Acquire)
    }

    /// Whether a report was asked for since.
    pub(super) fn take_report(&self) -> bool {
        self.0.report.swap(false, Ordering::Acquire)
    }
}
