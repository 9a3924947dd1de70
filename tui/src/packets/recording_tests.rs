//! Which packet is written when, by made-up packets and a clock that the test has.

use etherparse::PacketBuilder;

use super::*;
use crate::packets::fixture::key;
use crate::tls::{Label, Role};
use crate::wire::fixture::{client_hello, records};

const SERVER: u16 = 443;
const WAIT: Duration = Duration::from_secs(3);

/// What came out, in its order: connections by the client's port.
#[derive(Debug, PartialEq, Eq)]
enum Wrote {
    Secrets(usize),
    /// The connection, and its comment.
    Packet(u16, Option<String>),
    /// One that is no TCP.
    Other,
}

use Wrote::{Other, Packet, Secrets};

#[derive(Default)]
struct Disk {
    wrote: Vec<Wrote>,
    is_full: bool,
}

impl Disk {
    fn take(&mut self, what: Wrote) -> io::Result<()> {
        self.wrote.push(what);
        if self.is_full { Err(io::ErrorKind::StorageFull.into()) } else { Ok(()) }
    }
}

impl Sink for Disk {
    fn secrets(&mut self, lines: &[Box<KeyLine>]) -> io::Result<()> {
        self.take(Secrets(lines.len()))
    }

    fn packet(&mut self, packet: &Held, comment: Option<&str>) -> io::Result<()> {
        let Some(segment) = segment(Link::Ip, &packet.bytes) else { return self.take(Other) };
        let ports = [segment.source.port(), segment.destination.port()];
        let client = ports.into_iter().find(|port| *port != SERVER).unwrap();
        self.take(Packet(client, comment.map(str::to_owned)))
    }
}

/// A recording, its disk and its clock.
struct Scene {
    recording: Recording,
    disk: Disk,
    now: Time,
}

impl Scene {
    fn open(scope: Scope, held: usize) -> Self {
        let terms = Terms { scope, all_secrets: false, wait: WAIT, held };
        let now = Time(1_000_000_000_000);
        Self { recording: Recording::new(terms), disk: Disk::default(), now }
    }

    fn after(&mut self, time: Duration) {
        self.now = self.now + time;
    }

    /// One packet a millisecond.
    fn packet(&mut self, bytes: &[u8]) {
        self.after(Duration::from_millis(1));
        let original_length = bytes.len() as u32;
        let (time, interface, link) = (self.now, 0, Link::Ip);
        self.recording.packet(Caught { time, interface, link, original_length, bytes });
    }

    fn syn(&mut self, client: u16) {
        self.syn_of(client, 0);
    }

    fn syn_of(&mut self, client: u16, sequence: u32) {
        self.packet(&frame(client, sequence, true, &[]));
    }

    /// The ClientHello of a connection, whose random is `random`.
    fn hello(&mut self, client: u16, random: u8) {
        let hello = records(&client_hello(random, 32), 16384);
        self.packet(&frame(client, 1, false, &hello));
    }

    /// Something in the middle of a connection.
    fn data(&mut self, client: u16) {
        self.packet(&frame(client, 5000, false, &[23, 3, 3, 0, 1, 9]));
    }

    /// A reset of its own or a forged one, whose number is far away.
    fn reset(&mut self, client: u16) {
        let builder = PacketBuilder::ipv4([192, 0, 2, 9], [192, 0, 2, 1], 9);
        let mut bytes = Vec::new();
        let builder = builder.tcp(client, SERVER, 0x7000_0000, 512).rst();
        builder.write(&mut bytes, &[]).unwrap();
        self.packet(&bytes);
    }

    fn secret(&mut self, random: u8) {
        self.recording.key(key(&Label::ClientRandom, random, 1, 7, Role::Client));
    }

    /// What is written now.
    fn release(&mut self) -> Vec<Wrote> {
        let _ = self.recording.release(self.now, false, &mut self.disk);
        std::mem::take(&mut self.disk.wrote)
    }

    /// What is written once no packet can come in between.
    fn settled(&mut self) -> Vec<Wrote> {
        self.after(SETTLE);
        self.release()
    }

    fn end(&mut self) -> Vec<Wrote> {
        self.recording.release(self.now, true, &mut self.disk).unwrap();
        std::mem::take(&mut self.disk.wrote)
    }
}

fn frame(client: u16, sequence: u32, syn: bool, payload: &[u8]) -> Vec<u8> {
    let builder = PacketBuilder::ipv4([192, 0, 2, 9], [192, 0, 2, 1], 9);
    let builder = builder.tcp(client, SERVER, sequence, 512);
    let builder = if syn { builder.syn() } else { builder.ack(1) };
    let mut bytes = Vec::new();
    builder.write(&mut bytes, payload).unwrap();
    bytes
}

fn plain(client: u16) -> Wrote {
    Packet(client, None)
}

fn of_curl(client: u16) -> Wrote {
    Packet(client, Some("client curl (7)".to_owned()))
}

#[test]
fn from_the_hello_on_packets_wait_for_its_secrets() {
    let mut scene = Scene::open(Scope::All, usize::MAX);
    scene.syn(1);
    assert!(scene.release().is_empty(), "an older one may still come");
    assert_eq!(scene.settled(), [plain(1)]);
    scene.packet(b"no IP");
    scene.hello(1, 0xa1);
    scene.data(2);
    assert_eq!(scene.settled(), [Other]);
    scene.after(WAIT / 2);
    assert!(scene.release().is_empty());
    scene.secret(0xa1);
    assert_eq!(scene.release(), [Secrets(1), of_curl(1), plain(2)]);
    assert!(!scene.recording.is_waiting());
    let counts = scene.recording.counts();
    assert_eq!((counts.packets, counts.secrets, counts.hurried), (4, 1, 0));
}

#[test]
fn they_wait_no_longer_than_they_may_and_later_secrets_are_written() {
    let mut scene = Scene::open(Scope::All, usize::MAX);
    scene.hello(1, 0xa1);
    let hello = scene.now;
    scene.data(1);
    scene.now = hello + (WAIT - Duration::from_nanos(1));
    assert!(scene.release().is_empty());
    scene.now = hello + WAIT;
    assert_eq!(scene.release(), [plain(1), plain(1)]);
    scene.secret(0xa1);
    scene.secret(0xee);
    assert_eq!(scene.release(), [Secrets(1)], "those of connections in the file");
    scene.data(1);
    assert_eq!(scene.settled(), [of_curl(1)]);
}

#[test]
fn all_secrets_are_written_where_that_is_asked_for() {
    let mut scene = Scene::open(Scope::All, usize::MAX);
    let terms = Terms { all_secrets: true, ..scene.recording.terms };
    scene.recording = Recording::new(terms);
    scene.secret(0xee);
    assert_eq!(scene.release(), [Secrets(1)]);
}

/// By 100 s, with more packets waiting than one can pass.
#[test]
fn a_clock_that_is_set_back_makes_nobody_wait() {
    for scope in [Scope::All, Scope::Attached] {
        let mut scene = Scene::open(scope, usize::MAX);
        scene.syn(1);
        scene.hello(1, 0xa1);
        let held = 1500;
        (0..held).for_each(|_| scene.data(1));
        assert!(scene.release().len() < 2, "it has no secrets");
        scene.now = Time(scene.now.0 - 100_000_000_000);
        scene.syn(2);
        let written = scene.release().len();
        let is_left_out = scope == Scope::Attached;
        assert!(is_left_out || written > held, "{scope:?}: {written}");
        scene.hello(2, 0xa2);
        scene.secret(0xa2);
        assert_eq!(scene.settled(), [of_curl(2), Secrets(1), of_curl(2)], "{scope:?}");
        assert!(!scene.recording.is_waiting());
    }
}

#[test]
fn with_too_many_bytes_the_first_ones_wait_no_longer() {
    const HELD: usize = 20_000;
    let mut scene = Scene::open(Scope::All, HELD);
    scene.hello(1, 0xa1);
    while scene.recording.backlog.bytes() <= HELD {
        scene.data(2);
    }
    let written = scene.release();
    assert_eq!(written[0], plain(1));
    assert!(scene.recording.backlog.bytes() <= HELD);
    assert_eq!(scene.recording.counts().hurried, 1);
}

#[test]
fn secrets_stand_right_before_the_packets_that_need_them() {
    let mut scene = Scene::open(Scope::All, usize::MAX);
    scene.hello(1, 0xa1);
    scene.data(3);
    scene.hello(2, 0xa2);
    scene.data(3);
    scene.secret(0xa2);
    assert!(scene.settled().is_empty(), "the first one still waits");
    scene.secret(0xa1);
    let expected = [Secrets(1), of_curl(1), plain(3), Secrets(1), of_curl(2), plain(3)];
    assert_eq!(scene.release(), expected);
}

#[test]
fn of_attached_processes_whole_connections_are_written_and_nothing_else() {
    let mut scene = Scene::open(Scope::Attached, usize::MAX);
    scene.packet(b"no IP");
    scene.data(3);
    for (client, random) in [(1, 0xa1), (2, 0xa2)] {
        scene.syn(client);
        scene.hello(client, random);
    }
    assert!(scene.settled().is_empty());
    scene.secret(0xa2);
    // The other one was first, and it is not known whether it is one of those.
    assert!(scene.release().is_empty());
    scene.after(WAIT);
    assert_eq!(scene.release(), [of_curl(2), Secrets(1), of_curl(2)]);
    scene.data(1);
    scene.data(2);
    assert_eq!(scene.settled(), [of_curl(2)], "decided on once");
}

#[test]
fn at_the_end_everything_is_written_with_the_secrets_that_are_there() {
    let mut scene = Scene::open(Scope::All, usize::MAX);
    scene.hello(1, 0xa1);
    scene.recording.key(key(&Label::ClientTraffic0, 0xa1, 1, 7, Role::Client));
    scene.data(1);
    assert!(scene.settled().is_empty());
    assert_eq!(scene.end(), [Secrets(1), of_curl(1), of_curl(1)]);
}

#[test]
fn while_the_disk_takes_nothing_what_is_kept_is_bounded() {
    const HELD: usize = 20_000;
    let mut scene = Scene::open(Scope::All, HELD);
    for number in 0..2000 {
        scene.hello(1000 + number, number as u8);
        scene.recording.drop_excess(scene.now);
    }
    assert!(scene.recording.backlog.bytes() <= HELD);
    let waiting = scene.recording.waits.len();
    assert!(waiting < 100, "{waiting} waits for packets that are gone");
    let dropped = scene.recording.counts().dropped as usize;
    assert_eq!(scene.end().len(), 2000 - dropped);
}

#[test]
fn a_full_disk_ends_a_release_and_the_rest_comes_later() {
    let mut scene = Scene::open(Scope::All, usize::MAX);
    scene.syn(1);
    scene.syn(2);
    scene.disk.is_full = true;
    assert_eq!(scene.settled(), [plain(1)]);
    scene.disk.is_full = false;
    assert_eq!(scene.release(), [plain(2)]);
}

/// The same ends, one after the other: with secrets, without TLS, and with secrets again.
#[test]
fn what_follows_between_the_same_ends_is_another_connection() {
    for scope in [Scope::All, Scope::Attached] {
        let mut scene = Scene::open(scope, usize::MAX);
        scene.syn(1);
        scene.hello(1, 0xa1);
        scene.secret(0xa1);
        scene.syn_of(1, 90_000);
        scene.packet(&frame(1, 90_001, false, b"GET / HTTP/1.1"));
        scene.syn_of(1, 180_000);
        let hello = records(&client_hello(0xa2, 32), 16384);
        scene.packet(&frame(1, 180_001, false, &hello));
        let server = key(&Label::ClientRandom, 0xa2, 1, 8, Role::Server);
        scene.recording.key(server);
        let of_server = || Packet(1, Some("server curl (8)".to_owned()));
        let mut expected = vec![of_curl(1), Secrets(1), of_curl(1)];
        if scope == Scope::All {
            expected.extend([plain(1), plain(1)]);
        }
        expected.extend([of_server(), Secrets(1), of_server()]);
        assert_eq!(scene.settled(), expected, "{scope:?}");
    }
}

/// The pieces in the middle are the connection's as well.
#[test]
fn a_hello_in_many_segments_is_written_whole() {
    let mut scene = Scene::open(Scope::Attached, usize::MAX);
    scene.syn(1);
    let hello = records(&client_hello(0xa1, 32), 16384);
    let pieces = hello.chunks(20);
    let count = pieces.len();
    for (at, piece) in (1..).step_by(20).zip(pieces) {
        scene.packet(&frame(1, at, false, piece));
    }
    scene.secret(0xa1);
    let written = scene.settled();
    assert_eq!(written.iter().filter(|what| **what == of_curl(1)).count(), 1 + count);
}

#[test]
fn what_the_disk_never_takes_is_dropped() {
    let mut scene = Scene::open(Scope::All, usize::MAX);
    (1..=5).for_each(|client| scene.syn(client));
    scene.disk.is_full = true;
    assert_eq!(scene.settled(), [plain(1)]);
    assert!(scene.recording.release(scene.now, true, &mut scene.disk).is_err());
    scene.recording.give_up();
    let counts = scene.recording.counts();
    assert_eq!((counts.packets, counts.dropped), (2, 3));
    assert!(!scene.recording.is_waiting());
}

/// Those of a captured process that come after a while are wanted as those that come at once.
#[test]
fn without_room_packets_that_nobody_knows_yet_are_dropped_and_what_follows_is_written() {
    const HELD: usize = 20_000;
    let mut scene = Scene::open(Scope::Attached, HELD);
    scene.syn(1);
    scene.hello(1, 0xa1);
    for number in 0..150 {
        scene.hello(1000 + number, number as u8);
        assert_eq!(scene.release(), []);
        assert!(scene.recording.kept().bytes <= HELD);
    }
    let dropped = scene.recording.counts().dropped;
    assert!(dropped > 2, "{dropped}");
    scene.secret(0xa1);
    scene.data(1);
    scene.after(WAIT);
    assert_eq!(scene.release(), [of_curl(1)]);
    // The others were not wanted: that they are left out is no loss.
    assert_eq!(scene.recording.counts().dropped, dropped);
    // With a part of its secrets one is known to be wanted.
    scene.recording.key(key(&Label::ClientTraffic0, 0xa2, 1, 7, Role::Client));
    scene.hello(2, 0xa2);
    (0..150).for_each(|number| scene.hello(2000 + number, number as u8));
    assert_eq!(scene.release()[..2], [Secrets(1), of_curl(2)]);
    assert_eq!(scene.recording.counts().hurried, 1);
}

/// While the disk takes nothing, and at the end.
#[test]
fn what_would_have_been_left_out_is_not_counted_as_dropped() {
    const HELD: usize = 20_000;
    let mut scene = Scene::open(Scope::Attached, HELD);
    for number in 0..150 {
        scene.hello(1000 + number, number as u8);
        scene.after(WAIT);
        scene.recording.drop_excess(scene.now);
    }
    let kept = scene.recording.kept();
    assert!(kept.packets < 150 && kept.bytes <= HELD, "{kept:?}");
    assert_eq!(scene.recording.counts().dropped, 0);
    scene.hello(1, 0xa1);
    scene.secret(0xa1);
    let mut is_missed = |client| {
        let bytes = frame(client, 5000, false, b"more");
        scene.recording.is_missed(Link::Ip, &bytes)
    };
    assert_eq!([1, 1149, 7].map(&mut is_missed), [true, false, false]);
    scene.recording.give_up();
    assert_eq!(scene.recording.counts().dropped, 1);
    assert!(!scene.recording.is_waiting());
}

/// With other connections as many as one likes, in between and afterwards.
#[test]
fn a_connection_that_is_captured_is_written_whatever_others_there_are() {
    let mut scene = Scene::open(Scope::Attached, usize::MAX);
    scene.syn(1);
    scene.hello(1, 0xa1);
    let flood = |scene: &mut Scene| {
        for number in 0..70_000u32 {
            let [_, high, middle, low] = number.to_be_bytes();
            let builder = PacketBuilder::ipv4([10, high, middle, low], [192, 0, 2, 1], 9);
            let mut bytes = Vec::new();
            builder.tcp(7, SERVER, 0, 512).syn().write(&mut bytes, &[]).unwrap();
            scene.now = scene.now + Duration::from_micros(1);
            let (time, interface, link) = (scene.now, 0, Link::Ip);
            let original_length = bytes.len() as u32;
            let bytes = &bytes[..];
            scene.recording.packet(Caught { time, interface, link, original_length, bytes });
        }
    };
    flood(&mut scene);
    scene.secret(0xa1);
    assert_eq!(scene.settled(), [of_curl(1), Secrets(1), of_curl(1)]);
    flood(&mut scene);
    scene.data(1);
    scene.after(WAIT);
    assert_eq!(scene.release(), [of_curl(1)]);
}

#[test]
fn a_hello_that_is_cut_off_is_told() {
    let mut scene = Scene::open(Scope::All, usize::MAX);
    let hello = records(&client_hello(0xa1, 32), 16384);
    scene.syn(1);
    scene.packet(&frame(1, 1, false, &hello[..50]));
    scene.reset(1);
    scene.packet(&frame(1, 51, false, &hello[50..]));
    scene.secret(0xa1);
    scene.after(WAIT);
    assert_eq!(scene.release().len(), 4);
    let counts = scene.recording.counts();
    assert_eq!((counts.secrets, counts.hellos), (0, 1));
}
