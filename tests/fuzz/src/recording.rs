//! What a recording may meet: packets, blocks of the kernel's ring, secrets, a full disk, a clock that is set. The first byte
//! chooses its terms; then comes one step after the other, each with a byte that says which.

use std::collections::HashSet;
use std::io;
use std::time::Duration;

use tlskeytop::doors::{Caught, Held, Recording, Sink, frames, packet_key};
use tlskeytop::model::Time;
use tlskeytop::packets::{Scope, Terms};
use tlskeytop::tls::{ClientRandom, KeyLine, Label, LineId, Secret};
use tlskeytop::wire::{Handshakes, Limits, Link, Seen, segment};

/// A record with a ClientHello, a step of the clock to each side, a secret, a release.
pub const WORDS: &[&str] =
    &["\x16\x03\x01", "\x01\0\0", "\x03\x20", "\x04\x20", "\x02\0\0", "\x05"];

/// So low that small inputs reach it.
const HELD: usize = 6000;
/// How long packets wait.
const WAIT: Duration = Duration::from_secs(3);
/// Longer than packets that are younger may come first.
const SETTLE: Duration = Duration::from_millis(200);
/// Numbers of links.
const LINKS: [u16; 4] = [1, 113, 276, 101];

/// Takes the steps.
///
/// # Panics
/// When something does not hold.
pub fn run(bytes: &[u8]) {
    let Some((&terms, mut rest)) = bytes.split_first() else { return };
    let mut scene = Scene::open(terms);
    while let Some((&step, after)) = rest.split_first() {
        rest = scene.step(step, after);
    }
    scene.end();
}

struct Scene {
    recording: Recording,
    terms: Terms,
    disk: Disk,
    /// Tells which handshakes there are.
    handshakes: Handshakes,
    begun: Vec<ClientRandom>,
    now: Time,
    packets: u64,
}

impl Scene {
    fn open(terms: u8) -> Self {
        let scope = if terms & 1 == 0 { Scope::All } else { Scope::Attached };
        let terms = Terms { scope, all_secrets: terms & 2 != 0, wait: WAIT, held: HELD };
        Self {
            recording: Recording::new(terms),
            terms,
            disk: Disk { is_in_order: true, ..Disk::default() },
            handshakes: Handshakes::new(Limits::default()),
            begun: Vec::new(),
            now: Time(1 << 60),
            packets: 0,
        }
    }

    /// Takes one step, and gives back what follows.
    fn step<'b>(&mut self, step: u8, bytes: &'b [u8]) -> &'b [u8] {
        match (step % 7, bytes) {
            (0, [link, high, low, rest @ ..]) => {
                let (frame, rest) = cut(rest, *high, *low);
                self.packet(*link, frame);
                rest
            }
            (1, [link, high, low, rest @ ..]) => {
                let (block, rest) = cut(rest, *high, *low);
                for frame in frames(block) {
                    assert!(frame.bytes.len() <= block.len());
                    let mut room = Vec::new();
                    self.packet(*link, frame.whole(&mut room));
                }
                rest
            }
            (2, [which, label, rest @ ..]) => {
                self.secret(*which, *label);
                rest
            }
            (3, [more, rest @ ..]) => {
                self.now = self.now + Duration::from_millis(20) * u32::from(*more);
                rest
            }
            (4, [less, rest @ ..]) => {
                self.now = Time(self.now.0 - u64::from(*less) * 1_000_000_000);
                self.disk.is_in_order = false;
                rest
            }
            (5, rest) => {
                self.release();
                rest
            }
            (_, rest) => {
                self.disk.is_full = !self.disk.is_full;
                rest
            }
        }
    }

    /// One packet each microsecond.
    fn packet(&mut self, link: u8, bytes: &[u8]) {
        self.now = self.now + Duration::from_micros(1);
        let (time, interface) = (self.now, 0);
        let link = Link::from_number(LINKS[usize::from(link) % LINKS.len()]);
        if let Some(segment) = segment(link, bytes) {
            for seen in self.handshakes.segment(time, &segment) {
                if let Seen::Begun(hello) = seen {
                    self.begun.push(hello.client_random);
                }
            }
        }
        self.packets += 1;
        let original_length = bytes.len() as u32;
        self.recording.packet(Caught { time, interface, link, original_length, bytes });
    }

    /// A secret of a handshake that there was, or of another one.
    fn secret(&mut self, which: u8, label: u8) {
        let other = ClientRandom([which; 32]);
        let client_random = *self.begun.get(usize::from(which)).unwrap_or(&other);
        let label = match usize::from(label % 8) {
            0 => Label::ClientRandom,
            at => Label::TLS13_COMPLETE.get(at - 1).unwrap_or(&Label::Exporter).clone(),
        };
        let length = if label == Label::ClientRandom { 48 } else { 32 };
        let Ok(secret) = Secret::new(&label, &[7; 48], length) else { return };
        let line = KeyLine { label, client_random, secret };
        self.recording.key(packet_key(line, u32::from(which)));
    }

    /// As the recorder's thread does it.
    fn release(&mut self) {
        if self.recording.release(self.now, false, &mut self.disk).is_err() {
            self.recording.drop_excess(self.now);
        }
        self.check();
    }

    /// What is kept is bounded, and what was written was wanted.
    fn check(&self) {
        let kept = self.recording.kept();
        assert!(kept.bytes <= HELD, "{kept:?}");
        assert!(kept.waits <= kept.packets, "{kept:?}");
        assert!(kept.connections as u64 <= self.packets, "{kept:?}");
        assert!(kept.randoms[1] <= self.begun.len(), "{kept:?}");
        let counts = self.recording.counts();
        assert_eq!((counts.packets, counts.secrets), (self.disk.packets, self.disk.secrets));
        let known = |random: &ClientRandom| self.begun.contains(random);
        assert!(self.terms.all_secrets || self.disk.randoms.iter().all(known), "not needed");
        let rest = kept.packets as u64 + counts.packets + counts.dropped;
        match self.terms.scope {
            Scope::All => assert_eq!(rest, self.packets),
            Scope::Attached => assert!(rest <= self.packets),
        }
    }

    /// Whatever the clock did, what is first waits for no longer than agreed, once for its time and once for its connection's.
    /// What came behind it before the clock was set back may be due again only when it is first.
    fn end(mut self) {
        self.disk.is_full = false;
        self.release();
        loop {
            let left = self.recording.kept();
            if left.packets + left.waits == 0 {
                break;
            }
            for _ in 0..3 {
                self.now = self.now + (WAIT + SETTLE);
                self.release();
            }
            let kept = self.recording.kept();
            assert!(kept.packets + kept.waits < left.packets + left.waits, "{left:?}, {kept:?}");
        }
        assert!(!self.recording.is_waiting());
    }
}

/// So many of these bytes, and the rest.
fn cut(bytes: &[u8], high: u8, low: u8) -> (&[u8], &[u8]) {
    bytes.split_at(usize::from(u16::from_be_bytes([high, low])).min(bytes.len()))
}

#[derive(Default)]
struct Disk {
    is_full: bool,
    /// The clock was not set back.
    is_in_order: bool,
    newest: Time,
    packets: u64,
    secrets: u64,
    lines: HashSet<LineId>,
    randoms: HashSet<ClientRandom>,
}

impl Disk {
    fn took(&self) -> io::Result<()> {
        if self.is_full { Err(io::ErrorKind::StorageFull.into()) } else { Ok(()) }
    }
}

impl Sink for Disk {
    fn secrets(&mut self, lines: &[Box<KeyLine>]) -> io::Result<()> {
        for line in lines {
            assert!(self.lines.insert(line.id()), "a secret is written twice");
            self.randoms.insert(line.client_random);
            self.secrets += 1;
        }
        self.took()
    }

    fn packet(&mut self, packet: &Held, comment: Option<&str>) -> io::Result<()> {
        assert!(!self.is_in_order || self.newest <= packet.time, "not in the order of time");
        assert!(comment.is_none_or(|comment| comment.contains("made up")));
        self.newest = packet.time;
        self.packets += 1;
        self.took()
    }
}
