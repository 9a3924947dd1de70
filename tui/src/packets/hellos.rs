//! The packets with which TLS handshakes begin, on all interfaces: the kernel leaves out the others.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};

use super::links::link;
use super::ring::Size;
use super::socket::{Socket, Statistics};
use crate::model::Time;
use crate::wire::{Segment, segment};

/// Some 120 hellos in each block. The kernel goes on to the next one after 50 ms, so that the number of blocks is also how
/// long a busy machine may keep us from reading: 0.8 s.
const RING: Size = Size { blocks: 16, block: 256 << 10 };

/// A packet socket with the eBPF program `handshakes` as its filter.
pub struct Hellos {
    socket: Socket,
}

impl Hellos {
    /// Opens it; what it receives waits until it is taken, or is dropped and counted.
    ///
    /// # Errors
    ///
    /// See [`Socket::open`].
    pub fn open(filter: BorrowedFd<'_>) -> io::Result<Self> {
        Ok(Self { socket: Socket::filtered(RING, filter)? })
    }

    /// Gives away what has come. A VLAN tag that the kernel took out is of no concern here.
    pub fn take(&mut self, mut each: impl FnMut(Time, &Segment<'_>)) {
        // No more than the ring has: who sends without end must not keep anybody here.
        for _ in 0..RING.blocks {
            let Some(block) = self.socket.next_block() else { return };
            for frame in block.frames() {
                let found = link(frame.hardware).and_then(|link| segment(link, frame.bytes));
                if let Some(segment) = found {
                    each(frame.time, &segment);
                }
            }
        }
    }

    /// What the kernel counted since this was asked last.
    ///
    /// # Errors
    ///
    /// The kernel's.
    pub fn statistics(&self) -> io::Result<Statistics> {
        self.socket.statistics()
    }
}

impl AsFd for Hellos {
    /// Readable when there is something to take.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}
