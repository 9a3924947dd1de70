//! Wakes a thread that waits in poll(2).

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::event::{EventfdFlags, eventfd};

/// An eventfd(2): readable once it was rung.
#[derive(Debug)]
pub struct Bell(OwnedFd);

impl Bell {
    /// One that was not rung.
    ///
    /// # Errors
    ///
    /// When there is no descriptor left.
    pub fn new() -> io::Result<Self> {
        Ok(Self(eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?))
    }

    /// Wakes the thread, or has it not wait the next time.
    pub fn ring(&self) {
        // It fails when it was rung 2^64 times.
        let _ = rustix::io::write(&self.0, &1u64.to_ne_bytes());
    }

    /// Takes notice.
    pub fn hush(&self) {
        let mut rung = [0u8; 8];
        let _ = rustix::io::read(&self.0, &mut rung);
    }
}

impl AsFd for Bell {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}
