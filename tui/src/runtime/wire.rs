//! The thread of the wire view: from the packets with which handshakes begin to what the model is told of them, and to
//! whose they are.

use std::io;
use std::net::SocketAddr;
use std::os::fd::AsFd as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use tokio::sync::mpsc::Sender;
use tokio::sync::mpsc::error::TrySendError;
use tracing::warn;

use super::owners::Finder;
use crate::bell::Bell;
use crate::capture::Wire;
use crate::model::{Lost, WireMsg};
use crate::packets::Hellos;
use crate::target::follow::watch::Watch;
use crate::tls::ClientRandom;
use crate::wire::{Handshakes, Limits, Seen};

/// Questions that can wait.
const QUESTIONS: usize = 4096;
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

/// Whose a connection is, is asked.
struct Question {
    client_random: ClientRandom,
    client: SocketAddr,
    server: SocketAddr,
}

/// The thread's other end.
pub struct WireThread {
    questions: Option<SyncSender<Question>>,
    shared: Arc<Shared>,
    /// What was left when reading ended, and then when it ended itself.
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
        let (questions, inbox) = sync_channel(QUESTIONS);
        let (rests, rest) = sync_channel(2);
        let mut thread = Thread {
            hellos,
            handshakes: Handshakes::new(Limits::default()),
            finder: Finder::new(wire.owners, watch),
            inbox,
            shared: Arc::clone(&shared),
            model,
            seen: Vec::new(),
            found: Vec::new(),
            lost: Lost::default(),
            not_told: 0,
            counted: Instant::now(),
        };
        thread::Builder::new().name("wire".to_owned()).spawn(move || {
            thread.read();
            let _ = rests.send(thread.take_rest());
            thread.answer_all();
            let _ = rests.send(thread.take_rest());
        })?;
        Ok(Self { questions: Some(questions), shared, rest })
    }

    /// Asks whose a connection is. What there is no room for gets no answer.
    pub fn find(&self, client_random: ClientRandom, client: SocketAddr, server: SocketAddr) {
        let question = Question { client_random, client, server };
        if let Some(questions) = &self.questions
            && questions.try_send(question).is_ok()
        {
            self.shared.bell.ring();
        }
    }

    /// Takes what was seen last; from then on only questions are answered.
    pub fn stop(&self, limit: Duration) -> Vec<WireMsg> {
        self.shared.is_ending.store(true, Ordering::Relaxed);
        self.shared.bell.ring();
        self.rest.recv_timeout(limit).unwrap_or_default()
    }

    /// Takes the answers that are still to come.
    pub fn finish(mut self, limit: Duration) -> Vec<WireMsg> {
        self.questions = None;
        self.rest.recv_timeout(limit).unwrap_or_default()
    }
}

struct Thread {
    hellos: Hellos,
    handshakes: Handshakes,
    finder: Finder,
    inbox: Receiver<Question>,
    shared: Arc<Shared>,
    model: Sender<WireMsg>,
    /// What the model was not told yet.
    seen: Vec<Seen>,
    found: Vec<WireMsg>,
    lost: Lost,
    /// Of what was seen, what the model had no room for.
    not_told: u64,
    counted: Instant,
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
            while let Ok(question) = self.inbox.try_recv() {
                self.answer(&question);
            }
            self.count();
            self.tell();
            // Without the model nobody is there to be told.
            if left == Some(Duration::ZERO) || self.model.is_closed() {
                return;
            }
        }
    }

    /// Until the last question is answered.
    fn answer_all(&mut self) {
        while let Ok(question) = self.inbox.recv() {
            self.answer(&question);
        }
    }

    fn wait(&self, left: Option<Duration>) {
        let is_behind = !self.seen.is_empty() || !self.found.is_empty();
        let limit = if is_behind { Some(left.unwrap_or(AGAIN).min(AGAIN)) } else { left };
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
        let (handshakes, seen) = (&mut self.handshakes, &mut self.seen);
        self.hellos.take(|time, segment| {
            seen.extend(handshakes.segment(time, segment).into_iter().map(shortened));
        });
        let excess = self.seen.len().saturating_sub(SEEN);
        self.seen.drain(..excess);
        self.not_told += excess as u64;
    }

    fn answer(&mut self, question: &Question) {
        let owners = self.finder.owners(question.client, question.server);
        if self.found.len() < QUESTIONS {
            self.found.push(WireMsg::Owners(question.client_random, owners));
        }
    }

    fn count(&mut self) {
        if self.counted.elapsed() < COUNT {
            return;
        }
        self.counted = Instant::now();
        let packets = self.hellos.statistics().map_or(0, |counted| u64::from(counted.dropped));
        let dropped = self.handshakes.dropped();
        let lost = Lost {
            packets: self.lost.packets + packets,
            hellos: dropped.connections + dropped.segments + dropped.hellos + self.not_told,
        };
        if lost != self.lost {
            self.lost = lost;
            self.found.push(WireMsg::Lost(lost));
        }
    }

    /// Gives the model what it has room for.
    fn tell(&mut self) {
        if !self.seen.is_empty() {
            let seen = std::mem::take(&mut self.seen);
            let sent = self.model.try_send(WireMsg::Seen(seen));
            if let Err(TrySendError::Full(WireMsg::Seen(seen))) = sent {
                self.seen = seen;
            }
        }
        // Answers come behind what they are about.
        while self.seen.is_empty()
            && let Some(found) = self.found.pop()
        {
            if let Err(TrySendError::Full(found)) = self.model.try_send(found) {
                self.found.push(found);
                return;
            }
        }
    }

    fn take_rest(&mut self) -> Vec<WireMsg> {
        self.counted = self.counted.checked_sub(COUNT).unwrap_or(self.counted);
        self.count();
        let mut rest = Vec::new();
        if !self.seen.is_empty() {
            rest.push(WireMsg::Seen(std::mem::take(&mut self.seen)));
        }
        rest.append(&mut self.found);
        rest
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
