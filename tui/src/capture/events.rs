//! The ring buffer. The kernel wakes us for the first secret of a burst, and of each process, which may not live
//! long; else we look into the ring ourselves
//! until it stays empty, since each wake-up costs the target ten times what the rest of a probe hit does
//! (13 us instead of 1.5 us, measured on a virtual machine).

use std::io;
use std::time::Duration;

use aya::maps::{Array, MapData, RingBuf};
use tlskeytop_common::SecretEvent;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::time::{Instant, sleep_until};

use super::{Decoder, RING};
use crate::model::Msg;
use crate::target::follow::watch::Watch;

/// Messages taken out of the ring buffer before the loop gets its turn again.
const BATCH: usize = 1024;
/// Records that the ring can hold at the most: each has a header of 8 bytes (`BPF_RINGBUF_HDR_SZ`) and at the least a
/// secret.
const FULL: usize = RING as usize / (8 + size_of::<SecretEvent>());
/// How long the ring is left alone after a look that found something.
const POLL: Duration = Duration::from_millis(4);
/// The same after so many looks that found nothing, each of which costs some 50 us. After the last one we ask to be woken
/// again.
const PAUSES: [Duration; 3] = [POLL, POLL, LONGER];
const LONGER: Duration = Duration::from_millis(8);
/// So many records at a look and more are the highest rates of all: then what a look costs counts for more than when
/// a secret is seen, and it is taken half as often.
const MANY: usize = 32;

/// Secrets as they come out of the kernel.
pub struct Events {
    ring: AsyncFd<RingBuf<MapData>>,
    /// Tells the kernel side whether we look by ourselves.
    reader: Array<MapData, u32>,
    decoder: Decoder,
    /// When to look again; `None` while the kernel wakes us.
    next_look: Option<Instant>,
    /// Looks since the last one that found something.
    quiet: usize,
}

impl Events {
    pub(super) fn new(
        ring: RingBuf<MapData>,
        reader: Array<MapData, u32>,
        decoder: Decoder,
    ) -> io::Result<Self> {
        // SAFETY: the ring buffer owns its file descriptor, which stays open and the same as long as it.
        let ring = unsafe { AsyncFd::register_with_interest(ring, Interest::READABLE) }
            .map_err(|error| error.into_parts().1)?;
        Ok(Self { ring, reader, decoder, next_look: None, quiet: 0 })
    }

    /// Asks this from now on which process an event came from.
    pub fn watch(&mut self, watch: Watch) {
        self.decoder.watch(watch);
    }

    /// Whether we look into the ring by ourselves, and so are about to wake up.
    pub fn are_looked_for(&self) -> bool {
        self.next_look.is_some()
    }

    /// Waits until there are records, and appends a bounded number of them, or none after a look that found none.
    /// Cancel-safe: nothing is taken before it is ready to return.
    ///
    /// # Errors
    ///
    /// When the file descriptor cannot be waited for.
    pub async fn next(&mut self, into: &mut Vec<Msg>) -> io::Result<()> {
        match self.next_look {
            Some(at) => {
                tokio::select! {
                    () = sleep_until(at) => {}
                    woken = self.ring.readable_mut() => woken?.clear_ready(),
                }
                self.look(into);
            }
            None => {
                self.ring.readable_mut().await?.clear_ready();
                if self.take(into) > 0 {
                    self.look_by_ourselves(true);
                }
            }
        }
        Ok(())
    }

    /// Takes a bounded number of records, without waiting: now and then, for one that came while we asked to be
    /// woken again.
    pub fn glance(&mut self, into: &mut Vec<Msg>) {
        self.take(into);
    }

    /// Takes everything, without waiting: for the end, when no probe adds any more.
    pub fn drain(&mut self, into: &mut Vec<Msg>) {
        while self.take(into) == BATCH {}
    }

    /// Takes everything that is there now, without waiting: an end is found also while probes add more and more.
    pub fn take_present(&mut self, into: &mut Vec<Msg>) {
        let mut taken = 0;
        while taken < FULL {
            match self.take(into) {
                BATCH => taken += BATCH,
                _ => return,
            }
        }
    }

    fn look(&mut self, into: &mut Vec<Msg>) {
        let taken = self.take(into);
        self.quiet = if taken == 0 { self.quiet + 1 } else { 0 };
        match PAUSES.get(self.quiet) {
            Some(pause) => {
                let pause = match taken {
                    BATCH => Duration::ZERO,
                    MANY.. => LONGER,
                    _ => *pause,
                };
                self.next_look = Some(Instant::now() + pause);
            }
            None => {
                self.look_by_ourselves(false);
                // What came before the kernel side knew.
                self.take(into);
            }
        }
    }

    fn look_by_ourselves(&mut self, by_ourselves: bool) {
        // Where the map cannot be written, the kernel goes on waking us: slower for targets, and right.
        let told = self.reader.set(0, u32::from(by_ourselves), 0).is_ok();
        self.quiet = 0;
        self.next_look = (by_ourselves && told).then(|| Instant::now() + POLL);
    }

    fn take(&mut self, into: &mut Vec<Msg>) -> usize {
        self.decoder.begin_batch();
        let mut taken = 0;
        while taken < BATCH
            && let Some(record) = self.ring.get_mut().next()
        {
            self.decoder.decode(&record, into);
            taken += 1;
        }
        taken
    }
}
