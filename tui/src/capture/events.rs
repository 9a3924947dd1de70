//! The ring buffer, read when the kernel says that something is in it.

use std::io;

use aya::maps::{MapData, RingBuf};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use super::Decoder;
use crate::model::Msg;

/// Messages taken out of the ring buffer before the loop gets its turn again.
const BATCH: usize = 1024;

/// Secrets as they come out of the kernel.
pub struct Events {
    ring: AsyncFd<RingBuf<MapData>>,
    decoder: Decoder,
}

impl Events {
    pub(super) fn new(ring: RingBuf<MapData>, decoder: Decoder) -> io::Result<Self> {
        // SAFETY: the ring buffer owns its file descriptor, which stays open and the same as long as it.
        let ring = unsafe { AsyncFd::register_with_interest(ring, Interest::READABLE) }
            .map_err(|error| error.into_parts().1)?;
        Ok(Self { ring, decoder })
    }

    /// Waits until there are records, and appends a bounded number of them. Cancel-safe: nothing is
    /// taken before it is ready to return.
    ///
    /// # Errors
    ///
    /// When the file descriptor cannot be waited for.
    pub async fn next(&mut self, into: &mut Vec<Msg>) -> io::Result<()> {
        loop {
            let mut ready = self.ring.readable_mut().await?;
            if drain(ready.get_inner_mut(), &mut self.decoder, into) < BATCH {
                ready.clear_ready();
            }
            if !into.is_empty() {
                return Ok(());
            }
        }
    }

    /// Takes what is there, without waiting: for the end of the program.
    pub fn drain(&mut self, into: &mut Vec<Msg>) {
        while drain(self.ring.get_mut(), &mut self.decoder, into) == BATCH {}
    }
}

fn drain(ring: &mut RingBuf<MapData>, decoder: &mut Decoder, into: &mut Vec<Msg>) -> usize {
    decoder.refresh_clock();
    let mut taken = 0;
    while taken < BATCH
        && let Some(record) = ring.next()
    {
        decoder.decode(&record, into);
        taken += 1;
    }
    taken
}
