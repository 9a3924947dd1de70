//! The programs for the wire view, on this kernel: which packets pass the filter, and whose connections they are. Needs root;
//! says so when it is skipped.
#![allow(clippy::unwrap_used, reason = "in a test a panic is the message")]

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsFd as _;
use std::time::{Duration, Instant};

use tlskeytop::capture::{self, RING, Wire};
use tlskeytop::packets::Hellos;
use tlskeytop::target::plan::Ways;

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

    /// The payloads that passed, client's first: until there is one that ends the test, a connection of its own.
    fn passed(&mut self) -> [Vec<u8>; 2] {
        let [client, server] = self.ends();
        let last = TcpListener::bind("127.0.0.1:0").unwrap();
        let end = last.local_addr().unwrap();
        TcpStream::connect(end).unwrap();
        let mut passed = [Vec::new(), Vec::new()];
        let (mut syns, mut is_over) = (0, false);
        let deadline = Instant::now() + Duration::from_secs(30);
        while !is_over {
            assert!(Instant::now() < deadline, "the last packet does not come");
            self.hellos.take(|_, segment| {
                is_over |= segment.destination == end;
                if (segment.source, segment.destination) == (client, server) {
                    syns += usize::from(segment.flags.syn);
                    passed[0].extend_from_slice(segment.payload);
                } else if (segment.source, segment.destination) == (server, client) {
                    syns += usize::from(segment.flags.syn);
                    passed[1].extend_from_slice(segment.payload);
                }
            });
        }
        assert_eq!(syns, 2, "each once");
        passed
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
fn a_server_hello_in_pieces_passes_and_other_protocols_do_not() {
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

    let Some(mut scene) = Scene::open("127.0.0.1:0") else { return };
    scene.client_says(b"GET / HTTP/1.0\r\n\r\n");
    scene.server_says(&[b'x'; 3000]);
    assert_eq!(scene.passed(), [Vec::<u8>::new(), Vec::new()]);
    // TLS that begins later, as with STARTTLS.
    scene.client_says(&[22, 3, 1, 1, 0, 1, 7]);
    assert_eq!(scene.server_after_starttls(), [vec![22, 3, 1, 1, 0, 1, 7], server_hello(90)]);
}

impl Scene {
    fn server_after_starttls(&mut self) -> [Vec<u8>; 2] {
        let [client, server] = self.ends();
        self.server_says(&server_hello(90));
        let mut passed = [Vec::new(), Vec::new()];
        let deadline = Instant::now() + Duration::from_secs(30);
        while passed[1].is_empty() {
            assert!(Instant::now() < deadline, "the answer does not come");
            self.hellos.take(|_, segment| match (segment.source, segment.destination) {
                ends if ends == (client, server) => passed[0].extend_from_slice(segment.payload),
                ends if ends == (server, client) => passed[1].extend_from_slice(segment.payload),
                _ => {}
            });
        }
        passed
    }
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
