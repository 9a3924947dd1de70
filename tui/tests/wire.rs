//! The programs for the wire view, on this kernel: which packets pass the filter, and whose connections they are. Needs root;
//! says so when it is skipped.
#![allow(clippy::unwrap_used, reason = "in a test a panic is the message")]

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsFd as _;
use std::time::{Duration, Instant};

use tlskeytop::capture::{self, RING, Wire};
use tlskeytop::model::Time;
use tlskeytop::packets::Hellos;
use tlskeytop::target::plan::Ways;
use tlskeytop::wire::{Dropped, Handshakes, Limits, Seen, Segment};

/// A record that begins as a ServerHello, of `len` bytes with its header.
fn server_hello(len: usize) -> Vec<u8> {
    let mut record = vec![0x5a; len];
    record[..6].copy_from_slice(&[22, 3, 3, 0, 0, 2]);
    record[3..5].copy_from_slice(&u16::try_from(len - 5).unwrap().to_be_bytes());
    record
}

/// Client and server on one connection, which is then as in the wire view.
struct Scene {
    hellos: Hellos,
    wire: Wire,
    client: TcpStream,
    server: TcpStream,
}

impl Scene {
    fn open(address: &str) -> Option<Self> {
        if !rustix::process::geteuid().is_root() {
            assert!(
                std::env::var_os("TLSKEYTOP_REQUIRE_LIVE").is_none(),
                "only root can load eBPF"
            );
            eprintln!("skipped: only root can load eBPF programs");
            return None;
        }
        // For the ring of events, which nobody waits for here.
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let _inside = runtime.enter();
        let loaded = capture::load(RING, Ways::Auto, true).unwrap();
        assert!(loaded.warnings.is_empty(), "{:?}", loaded.warnings);
        let wire = loaded.wire.unwrap();
        // The tracepoint is watched as long as the object is there.
        Box::leak(Box::new(loaded.probes));
        let hellos = Hellos::open(wire.filter.as_fd()).unwrap();
        let listener = TcpListener::bind(address).unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let server = listener.accept().unwrap().0;
        Some(Self { hellos, wire, client, server })
    }

    fn ends(&self) -> [SocketAddr; 2] {
        [self.client.local_addr().unwrap(), self.server.local_addr().unwrap()]
    }

    fn client_says(&mut self, bytes: &[u8]) {
        self.client.write_all(bytes).unwrap();
        self.server.read_exact(&mut vec![0; bytes.len()]).unwrap();
    }

    fn server_says(&mut self, bytes: &[u8]) {
        self.server.write_all(bytes).unwrap();
        self.client.read_exact(&mut vec![0; bytes.len()]).unwrap();
    }

    /// Gives all that passed, up to what ends the test: a connection of its own.
    fn take(&mut self, mut each: impl FnMut(&Segment<'_>)) {
        let last = TcpListener::bind("127.0.0.1:0").unwrap();
        let end = last.local_addr().unwrap();
        TcpStream::connect(end).unwrap();
        let mut is_over = false;
        let deadline = Instant::now() + Duration::from_secs(30);
        while !is_over {
            assert!(Instant::now() < deadline, "the last packet does not come");
            self.hellos.take(|_, segment| {
                is_over |= segment.destination == end;
                each(segment);
            });
        }
    }

    /// The payloads that passed, client's first.
    fn passed(&mut self) -> [Vec<u8>; 2] {
        let [client, server] = self.ends();
        let mut passed = [Vec::new(), Vec::new()];
        let mut syns = 0;
        self.take(|segment| {
            if (segment.source, segment.destination) == (client, server) {
                syns += usize::from(segment.flags.syn);
                passed[0].extend_from_slice(segment.payload);
            } else if (segment.source, segment.destination) == (server, client) {
                syns += usize::from(segment.flags.syn);
                passed[1].extend_from_slice(segment.payload);
            }
        });
        assert_eq!(syns, 2, "each once");
        passed
    }

    /// What was seen of its handshakes.
    fn seen(&mut self, handshakes: &mut Handshakes) -> Vec<Seen> {
        let [client, server] = self.ends();
        let mut seen = Vec::new();
        self.take(|segment| {
            let ends = [segment.source, segment.destination];
            if ends == [client, server] || ends == [server, client] {
                seen.extend(handshakes.segment(Time(0), segment));
            }
        });
        seen
    }
}

#[test]
fn a_handshake_passes_up_to_the_server_hello() {
    for address in ["127.0.0.1:0", "[::1]:0"] {
        let Some(mut scene) = Scene::open(address) else { return };
        let hello = [&[22, 3, 1, 1, 0, 1][..], &[7; 300]].concat();
        scene.client_says(&hello[..1]);
        scene.client_says(&hello[1..200]);
        scene.client_says(&hello[200..]);
        let retry = [&server_hello(90)[..11], &RETRY, &[0; 71]].concat();
        scene.server_says(&retry);
        scene.client_says(&hello);
        let answer = server_hello(120);
        scene.server_says(&answer);
        scene.server_says(&[23; 5000]);
        scene.client_says(&[23; 5000]);
        let passed = scene.passed();
        assert_eq!(passed[0], [&hello[..], &hello].concat());
        assert_eq!(passed[1], [&retry[..], &answer].concat());
    }
}

const RETRY: [u8; 8] = [0xcf, 0x21, 0xad, 0x74, 0xe5, 0x9a, 0x61, 0x11];

#[test]
fn a_server_hello_in_pieces_passes() {
    let Some(mut scene) = Scene::open("127.0.0.1:0") else { return };
    scene.client_says(&[22, 3, 1]);
    let answer = server_hello(3000);
    scene.server_says(&answer[..1000]);
    scene.server_says(&answer[1000..]);
    scene.server_says(&vec![23; 40_000]);
    scene.server_says(&[23; 100]);
    let passed = scene.passed();
    assert!(passed[1].starts_with(&answer));
    assert!(passed[1].len() < 3000 + 40_000 + 100, "{}", passed[1].len());
}

/// Bytes of data that are kept where something else than a handshake begins.
const OTHER: usize = 8;

#[test]
fn of_other_protocols_the_first_words_pass_alone() {
    let request: &[u8] = b"GET / HTTP/1.0\r\n\r\n";
    let banner: &[u8] = b"220 mail.example ESMTP\r\n";
    for (first, client, server) in [(request, &request[..OTHER], &[][..]), (banner, &[], banner)] {
        let Some(mut scene) = Scene::open("127.0.0.1:0") else { return };
        if client.is_empty() {
            scene.server_says(first);
        } else {
            scene.client_says(first);
        }
        scene.server_says(&[b'x'; 30_000]);
        scene.client_says(&[b'x'; 30_000]);
        assert_eq!(scene.passed(), [client.to_vec(), server[..server.len().min(OTHER)].to_vec()]);
    }
}

#[test]
fn endless_pieces_of_a_handshake_do_not_all_pass() {
    let Some(mut scene) = Scene::open("127.0.0.1:0") else { return };
    scene.client_says(&[22]);
    for _ in 0..5000 {
        scene.client_says(&[3]);
    }
    let passed = scene.passed();
    assert_eq!(passed[0].len(), (128 << 10) / 32);
}

#[test]
fn tls_after_other_words_is_seen_and_the_rest_forgotten() {
    let Some(mut scene) = Scene::open("127.0.0.1:0") else { return };
    scene.client_says(b"CONNECT localhost:443 HTTP/1.1\r\n\r\n");
    scene.server_says(b"HTTP/1.1 200 OK\r\n\r\n");
    let hello = client_hello();
    scene.client_says(&hello[..40]);
    scene.client_says(&hello[40..]);
    scene.server_says(&server_hello_of_tls_12());
    let mut handshakes = Handshakes::new(Limits::default());
    let seen = scene.seen(&mut handshakes);
    let [Seen::Begun(hello), Seen::Answered(answer)] = &seen[..] else { panic!("{seen:?}") };
    assert_eq!([hello.client, hello.server], scene.ends());
    assert_eq!((hello.client_random.0, answer.cipher.0), ([7; 32], 0x1301));

    let Some(mut scene) = Scene::open("127.0.0.1:0") else { return };
    scene.client_says(b"GET / HTTP/1.0\r\n\r\n");
    scene.server_says(&[b'x'; 3000]);
    let mut handshakes = Handshakes::new(Limits::default());
    let [client, server] = scene.ends();
    let mut most = 0;
    scene.take(|segment| {
        let ends = [segment.source, segment.destination];
        if ends == [client, server] || ends == [server, client] {
            assert!(handshakes.segment(Time(0), segment).is_empty());
            most = most.max(handshakes.len());
        }
    });
    assert_eq!((most, handshakes.len(), handshakes.dropped()), (1, 0, Dropped::default()));
}

/// The least that is one: no extensions, and one cipher suite.
fn client_hello() -> Vec<u8> {
    let body = [&[3, 3][..], &[7; 32], &[0, 0, 2, 0x13, 1, 1, 0]].concat();
    hello(1, &body)
}

fn server_hello_of_tls_12() -> Vec<u8> {
    let body = [&[3, 3][..], &[8; 32], &[0, 0x13, 1, 0]].concat();
    hello(2, &body)
}

fn hello(kind: u8, body: &[u8]) -> Vec<u8> {
    let len = u8::try_from(body.len()).unwrap();
    [&[22, 3, 3, 0, len + 4, kind, 0, 0, len], body].concat()
}

#[test]
fn the_owners_of_both_ends_are_known() {
    for address in ["127.0.0.1:0", "[::1]:0"] {
        let Some(mut scene) = Scene::open(address) else { return };
        let [client, server] = scene.ends();
        let opener = scene.wire.owners.client(client, server).unwrap();
        assert_eq!(opener.pid, std::process::id());
        assert!(!opener.since_boot.is_zero());
        assert_eq!(scene.wire.owners.client(server, client), None, "the other end");
        assert_eq!(scene.wire.owners.server(client, server), Some(std::process::id()));
        // No socket of ours.
        let other = "192.0.2.1:443".parse().unwrap();
        assert_eq!(scene.wire.owners.client(client, other), None);
        assert_eq!(scene.wire.owners.server(client, other), None);
    }
}
