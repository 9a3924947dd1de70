//! The thread of the wire view: from the packets with which handshakes begin to what the model is told of them.

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::os::fd::AsFd as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use tokio::sync::mpsc::Sender;
use tokio::sync::mpsc::error::TrySendError;
use tracing::warn;

use super::asked::Asked;
use super::owners::Finder;
use crate::bell::Bell;
use crate::capture::Wire;
use crate::model::{Lost, WireMsg};
use crate::packets::Hellos;
use crate::target::follow::watch::Watch;
use crate::tls::ClientRandom;
use crate::wire::{Handshakes, Limits, Seen};

/// What was seen and waits for the model, some 2 KiB each at the most.
const SEEN: usize = 16_384;
/// Application protocols that are kept of a hello.
const PROTOCOLS: usize = 8;
/// How long it waits until the model is offered it again.
const AGAIN: Duration = Duration::from_millis(20);
/// How often it is counted what was lost.
const COUNT: Duration = Duration::from_millis(500);
/// How long a packet can be on its way at the end: the kernel hands over a block after 50 ms.
const LAST: Duration = Duration::from_millis(70);

/// The thread's other end, and that of the one that is asked whose connections are.
pub struct WireThread {
    asked: Asked,
    shared: Arc<Shared>,
    /// What was left when reading ended.
    rest: Receiver<Vec<WireMsg>>,
}

struct Shared {
    is_ending: AtomicBool,
    bell: Bell,
}

impl WireThread {
    /// Opens the socket, and tells from now on what it shows.
    ///
    /// # Errors
    ///
    /// When the kernel gives no packets, or no thread.
    pub fn start(wire: Wire, watch: Watch, model: Sender<WireMsg>) -> io::Result<Self> {
        let hellos = Hellos::open(wire.filter.as_fd())?;
        let shared = Shared { is_ending: AtomicBool::new(false), bell: Bell::new()? };
        let shared = Arc::new(shared);
        let asked = Asked::start(Finder::new(wire.owners, watch), model.clone())?;
        let (rests, rest) = sync_channel(1);
        let mut thread = Thread {
            hellos,
            handshakes: Handshakes::new(Limits::default()),
            shared: Arc::clone(&shared),
            model,
            untold: Untold::default(),
            counted: Instant::now(),
        };
        thread::Builder::new().name("wire".to_owned()).spawn(move || {
            thread.read();
            let _ = rests.send(thread.take_rest());
        })?;
        Ok(Self { asked, shared, rest })
    }

    /// Asks whose a connection is. What there is no room for gets no answer.
    pub fn find(&self, client_random: ClientRandom, client: SocketAddr, server: SocketAddr) {
        self.asked.find(client_random, client, server);
    }

    /// Takes what was seen last; from then on only questions are answered.
    pub fn stop(&self, limit: Duration) -> Vec<WireMsg> {
        self.shared.is_ending.store(true, Ordering::Relaxed);
        self.shared.bell.ring();
        self.rest.recv_timeout(limit).unwrap_or_default()
    }

    /// Takes the answers that are still to come.
    pub fn finish(self, limit: Duration) -> Vec<WireMsg> {
        self.asked.finish(limit)
    }
}

struct Thread {
    hellos: Hellos,
    handshakes: Handshakes,
    shared: Arc<Shared>,
    model: Sender<WireMsg>,
    untold: Untold,
    counted: Instant,
}

/// What the model was not told yet.
#[derive(Debug, Default)]
struct Untold {
    seen: VecDeque<Seen>,
    /// Of what was seen, what there was no room for.
    left_out: u64,
    lost: Lost,
    is_lost_new: bool,
}

impl Untold {
    fn is_empty(&self) -> bool {
        self.seen.is_empty() && !self.is_lost_new
    }

    fn add(&mut self, seen: impl Iterator<Item = Seen>) {
        self.seen.extend(seen);
        let excess = self.seen.len().saturating_sub(SEEN);
        self.seen.drain(..excess);
        self.left_out += excess as u64;
    }

    /// What was lost since the start: of several figures the last one counts.
    fn lose(&mut self, lost: Lost) {
        self.is_lost_new |= lost != self.lost;
        self.lost = lost;
    }

    /// Gives the model what it has room for.
    fn tell(&mut self, model: &Sender<WireMsg>) {
        if !self.seen.is_empty() {
            match model.try_reserve() {
                Ok(place) => place.send(WireMsg::Seen(std::mem::take(&mut self.seen).into())),
                Err(TrySendError::Closed(())) => self.seen.clear(),
                Err(TrySendError::Full(())) => {}
            }
        }
        if self.is_lost_new {
            let sent = model.try_send(WireMsg::Lost(self.lost));
            self.is_lost_new = matches!(sent, Err(TrySendError::Full(_)));
        }
    }

    fn into_messages(self) -> Vec<WireMsg> {
        let seen = (!self.seen.is_empty()).then(|| WireMsg::Seen(self.seen.into()));
        let lost = self.is_lost_new.then_some(WireMsg::Lost(self.lost));
        seen.into_iter().chain(lost).collect()
    }
}

impl Thread {
    /// Until reading ends.
    fn read(&mut self) {
        let mut end = None;
        loop {
            if self.shared.is_ending.load(Ordering::Relaxed) {
                end.get_or_insert_with(|| Instant::now() + LAST);
            }
            let left = end.map(|end: Instant| end.saturating_duration_since(Instant::now()));
            self.wait(left);
            self.take();
            self.count();
            self.untold.tell(&self.model);
            // Without the model nobody is there to be told.
            if left == Some(Duration::ZERO) || self.model.is_closed() {
                return;
            }
        }
    }

    fn wait(&self, left: Option<Duration>) {
        let limit =
            if !self.untold.is_empty() { Some(left.unwrap_or(AGAIN).min(AGAIN)) } else { left };
        let limit = limit.and_then(|limit| Timespec::try_from(limit).ok());
        let mut ready = [
            PollFd::from_borrowed_fd(self.hellos.as_fd(), PollFlags::IN),
            PollFd::from_borrowed_fd(self.shared.bell.as_fd(), PollFlags::IN),
        ];
        match poll(&mut ready, limit.as_ref()) {
            Ok(_) | Err(rustix::io::Errno::INTR) => self.shared.bell.hush(),
            Err(error) => {
                warn!(%error, "waiting for hellos");
                thread::sleep(AGAIN);
            }
        }
    }

    fn take(&mut self) {
        let (handshakes, untold) = (&mut self.handshakes, &mut self.untold);
        self.hellos.take(|time, segment| {
            untold.add(handshakes.segment(time, segment).into_iter().map(shortened));
        });
    }

    fn count(&mut self) {
        if self.counted.elapsed() < COUNT {
            return;
        }
        self.counted = Instant::now();
        let packets = self.hellos.statistics().map_or(0, |counted| u64::from(counted.dropped));
        let dropped = self.handshakes.dropped();
        let lost = Lost {
            packets: self.untold.lost.packets + packets,
            hellos: dropped.connections + dropped.cut + dropped.hellos + self.untold.left_out,
        };
        self.untold.lose(lost);
    }

    fn take_rest(&mut self) -> Vec<WireMsg> {
        self.counted = self.counted.checked_sub(COUNT).unwrap_or(self.counted);
        self.count();
        std::mem::take(&mut self.untold).into_messages()
    }
}

/// Without what the model does not keep: a hello can have 64 KiB.
fn shortened(seen: Seen) -> Seen {
    match seen {
        Seen::Begun(mut hello) => {
            hello.ciphers = Box::default();
            if hello.alpn.len() > PROTOCOLS {
                hello.alpn = hello.alpn.into_iter().take(PROTOCOLS).collect();
            }
            Seen::Begun(hello)
        }
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use tokio::sync::mpsc::channel;

    use super::*;

    #[test]
    fn the_model_learns_the_last_figure_of_what_was_lost() {
        let (model, mut told) = channel(1);
        let lost = |hellos| Lost { packets: 0, hellos };
        let mut untold = Untold::default();
        for hellos in [1, 2, 3] {
            untold.lose(lost(hellos));
            untold.tell(&model);
        }
        let mut next = || match told.try_recv() {
            Ok(WireMsg::Lost(lost)) => Some(lost.hellos),
            other => panic!("{other:?}"),
        };
        assert_eq!(next(), Some(1));
        untold.lose(lost(3));
        untold.tell(&model);
        assert_eq!(next(), Some(3));
        assert!(untold.is_empty() && untold.into_messages().is_empty());
    }

    #[test]
    fn what_there_is_no_room_for_is_counted_and_the_newest_stays() {
        let mut untold = Untold::default();
        let seen = |number: u32| {
            let mut random = ClientRandom([0; 32]);
            random.0[..4].copy_from_slice(&number.to_be_bytes());
            Seen::Ended(random)
        };
        untold.add((0..SEEN as u32 + 3).map(seen));
        assert_eq!((untold.left_out, untold.seen.len()), (3, SEEN));
        assert_eq!(untold.seen[0], seen(3));
        // One more costs no more than one: the others stay where they are.
        let place = std::ptr::from_ref(&untold.seen[9]);
        untold.add([seen(0)].into_iter());
        assert!(std::ptr::eq(place, &untold.seen[8]));
    }
}
