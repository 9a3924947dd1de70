//! Made-up connections in made-up memory, through which the steps are taken as the kernel side takes them.

use proptest::prelude::*;
use tlskeytop_common::PAYLOAD;

use super::super::tests::fits;
use super::super::{ReadError, Reading};
use super::*;
use crate::target::layout::boringssl::{AWS_LC, BORINGSSL, Era};
use crate::target::layout::states::{Machine, States};
use crate::tls::Label;

const RANDOM: [u8; 32] = [0xc1; 32];
const ROOM: usize = 4096;
const SSL: u64 = 0x1_0000;
const STATE3: u64 = 0x2_0000;
const HS: u64 = 0x3_0000;
const FRESH: u64 = 0x4_0000;
const KEPT: u64 = 0x5_0000;
const ASKED: u64 = 0x6_0000;
const CIPHER: u64 = 0x7_0000;

/// Bytes that look like the output of a hash.
fn secret(name: u8, length: usize) -> Vec<u8> {
    (0..length).map(|index| name ^ (index as u8).wrapping_mul(37)).collect()
}

/// The objects of one connection, by the address's upper bytes.
struct Memory<'l> {
    layout: &'l BoringSslLayout,
    since: &'static str,
    objects: Vec<Vec<u8>>,
}

impl<'l> Memory<'l> {
    fn new(era: &'l Era, version: u16, server: bool) -> Self {
        let objects = vec![vec![0; ROOM]; 8];
        let mut memory = Self { layout: &era.layout, since: era.date, objects };
        let layout = &era.layout;
        // The bits beside `server` are somebody else's.
        memory.put(SSL, layout.server, &[0xa0 | u8::from(server)]);
        memory.put(SSL, layout.s3, &STATE3.to_ne_bytes());
        match layout.version {
            Some(VersionAt::Connection(at)) => memory.put(SSL, Some(at), &version.to_ne_bytes()),
            Some(VersionAt::S3(at)) => memory.put(STATE3, Some(at), &version.to_ne_bytes()),
            None => {}
        }
        memory.put(STATE3, layout.client_random, &RANDOM);
        memory
    }

    fn put(&mut self, object: u64, field: Option<u32>, bytes: &[u8]) {
        let Some(at) = field.map(|at| at as usize) else { return };
        self.objects[(object >> 16) as usize][at..at + bytes.len()].copy_from_slice(bytes);
    }

    fn secret(&mut self, object: u64, place: Option<SecretAt>, bytes: &[u8]) {
        let Some(place) = place else { return };
        self.put(object, Some(place.offset), bytes);
        let length = (bytes.len() as u64).to_le_bytes();
        self.put(object, Some(place.length), &length[..place.length_size as usize]);
    }

    fn session(&mut self, object: u64, cipher: u16, master: &[u8]) {
        self.secret(object, self.layout.session_secret, master);
        self.put(object, self.layout.session_cipher, &CIPHER.to_ne_bytes());
        self.put(CIPHER, self.layout.cipher_id, &cipher.to_ne_bytes());
    }

    /// TLS 1.3 up to the server's ServerHello, and with `application` up to its Finished.
    fn shakes_hands(mut self, cipher: u16, length: usize, application: bool) -> Self {
        let layout = self.layout;
        self.put(STATE3, layout.hs, &HS.to_ne_bytes());
        self.put(HS, layout.new_session, &FRESH.to_ne_bytes());
        self.session(FRESH, cipher, &[]);
        self.secret(HS, layout.client_handshake_secret, &secret(2, length));
        self.secret(HS, layout.server_handshake_secret, &secret(3, length));
        // As it is meanwhile: the keys of the handshake.
        self.secret(STATE3, layout.write_traffic_secret, &secret(2, length));
        self.secret(STATE3, layout.read_traffic_secret, &secret(3, length));
        if application {
            self.secret(HS, layout.client_traffic_secret_0, &secret(4, length));
            self.secret(HS, layout.server_traffic_secret_0, &secret(5, length));
            self.secret(STATE3, layout.exporter_secret, &secret(6, length));
        }
        self
    }

    /// TLS 1.3 when `hs` is null.
    fn done(mut self, cipher: u16, length: usize) -> Self {
        let layout = self.layout;
        self.put(STATE3, layout.established_session, &KEPT.to_ne_bytes());
        self.session(KEPT, cipher, &secret(9, length));
        self.secret(STATE3, layout.write_traffic_secret, &secret(7, length));
        self.secret(STATE3, layout.read_traffic_secret, &secret(8, length));
        self.secret(STATE3, layout.exporter_secret, &secret(6, length));
        self
    }

    /// What the kernel side would send.
    fn payload(&self) -> Vec<u8> {
        let mut payload = vec![0; PAYLOAD];
        let mut pointers = [0u64; POINTERS];
        pointers[0] = SSL;
        for step in steps(self.layout).steps {
            let address = pointers[usize::from(step.from)];
            if address == 0 {
                continue;
            }
            let object = &self.objects[(address >> 16) as usize];
            let from = &object[step.offset as usize..];
            if step.kind == StepKind::Follow as u8 {
                pointers[usize::from(step.to)] = u64::from_ne_bytes(from[..8].try_into().unwrap());
            } else {
                let (at, len) = (usize::from(step.at), usize::from(step.len));
                payload[at..at + len].copy_from_slice(&from[..len]);
            }
        }
        payload
    }

    fn fingerprint(&self) -> Vec<u8> {
        self.payload()[..usize::from(QUICK)].to_vec()
    }

    fn read(&self) -> Result<Option<Reading>, ReadError> {
        read(self.layout, Some(self.since), &self.payload())
    }

    /// The labels, and the names with which the secrets were made.
    fn found(&self) -> Vec<(String, u8)> {
        let Some(reading) = self.read().unwrap() else { return Vec::new() };
        assert_eq!(reading.client_random.0, RANDOM);
        let secrets = reading.secrets.iter();
        secrets.map(|(label, secret)| (label.to_string(), secret.expose()[0])).collect()
    }
}

fn eras() -> impl Iterator<Item = &'static Era> {
    BORINGSSL.iter().chain(AWS_LC.iter())
}

fn expect(found: &[(String, u8)], wanted: &[(Label, u8)]) {
    let wanted: Vec<_> = wanted.iter().map(|(label, name)| (label.to_string(), *name)).collect();
    assert_eq!(found, wanted);
}

#[test]
fn the_steps_of_every_era_fit() {
    for era in eras() {
        fits(&steps(&era.layout), era.from);
        assert!(era.layout.can_be_walked());
    }
    assert!(!BoringSslLayout::default().can_be_walked());
    fits(&steps(&BoringSslLayout::default()), "nothing proved");
}

#[test]
fn tls13_while_the_handshake_runs() {
    for era in eras() {
        for (server, cipher, length) in [(false, 0x1301, 32), (true, 0x1302, 48)] {
            let memory = Memory::new(era, 0x0304, server).shakes_hands(cipher, length, false);
            let handshake = [(Label::ClientHandshake, 2), (Label::ServerHandshake, 3)];
            expect(&memory.found(), &handshake);
            let all = Memory::new(era, 0x0304, server).shakes_hands(cipher, length, true);
            let application =
                [(Label::ClientTraffic0, 4), (Label::ServerTraffic0, 5), (Label::Exporter, 6)];
            expect(&all.found(), &[&handshake[..], &application[..]].concat());
            assert_ne!(memory.fingerprint(), all.fingerprint(), "{}", era.from);
            let facts = all.read().unwrap().unwrap().facts;
            assert_eq!(facts.cipher, Some(CipherSuite(cipher)));
            assert_eq!(facts.role, Some(if server { Role::Server } else { Role::Client }));
        }
    }
}

#[test]
fn tls13_after_the_handshake_has_labels_by_the_role() {
    for era in eras() {
        let client = Memory::new(era, 0x0304, false).done(0x1302, 48);
        let exporter = (Label::Exporter, 6);
        let labels = [(Label::ClientTraffic0, 7), (Label::ServerTraffic0, 8), exporter.clone()];
        expect(&client.found(), &labels);
        let server = Memory::new(era, 0x0304, true).done(0x1301, 32);
        let labels = [(Label::ServerTraffic0, 7), (Label::ClientTraffic0, 8), exporter];
        expect(&server.found(), &labels);
        let running = Memory::new(era, 0x0304, false).shakes_hands(0x1302, 48, true);
        assert_ne!(client.fingerprint(), running.fingerprint(), "{}", era.from);
    }
}

#[test]
fn early_data_and_a_server_that_refuses_it() {
    for era in eras() {
        let early = |memory: &mut Memory<'_>, length| {
            memory.put(STATE3, era.layout.hs, &HS.to_ne_bytes());
            memory.secret(HS, era.layout.early_traffic_secret, &secret(1, length));
        };
        let mut memory = Memory::new(era, 0x0304, false);
        let before = memory.fingerprint();
        early(&mut memory, 48);
        expect(&memory.found(), &[(Label::ClientEarlyTraffic, 1)]);
        assert_ne!(memory.fingerprint(), before);
        // Another hash than the one of the session that was offered: of the early secret not all bytes are known.
        let memory = {
            early(&mut memory, 48);
            memory.shakes_hands(0x1301, 32, false)
        };
        expect(&memory.found(), &[(Label::ClientHandshake, 2), (Label::ServerHandshake, 3)]);
        let mut memory = Memory::new(era, 0x0304, true);
        early(&mut memory, 32);
        let memory = memory.shakes_hands(0x1303, 32, true);
        assert_eq!(memory.found().len(), 6);
        assert_eq!(memory.found()[5], (Label::ClientEarlyTraffic.to_string(), 1));
    }
}

#[test]
fn tls12_on_both_sides() {
    for era in eras() {
        for server in [false, true] {
            let mut memory = Memory::new(era, 0x0303, server);
            memory.put(STATE3, era.layout.established_session, &KEPT.to_ne_bytes());
            memory.session(KEPT, 0xc02f, &secret(1, 48));
            expect(&memory.found(), &[(Label::ClientRandom, 1)]);
            assert_eq!(memory.read().unwrap().unwrap().facts.cipher, Some(CipherSuite(0xc02f)));
            let done = memory.fingerprint();
            // A renegotiation: the client random is that of the new handshake already, the session is not.
            memory.put(STATE3, era.layout.hs, &HS.to_ne_bytes());
            assert!(memory.found().is_empty(), "{}", era.from);
            memory.put(HS, era.layout.new_session, &FRESH.to_ne_bytes());
            assert!(memory.found().is_empty(), "{}", era.from);
            let running = memory.fingerprint();
            memory.session(FRESH, 0xc02f, &secret(2, 48));
            expect(&memory.found(), &[(Label::ClientRandom, 2)]);
            assert!(done != running && running != memory.fingerprint());
        }
    }
}

#[test]
fn an_offered_session_counts_when_it_is_resumed() {
    for era in &BORINGSSL[..] {
        let mut memory = Memory::new(era, 0x0303, false);
        memory.put(STATE3, era.layout.hs, &HS.to_ne_bytes());
        memory.put(SSL, era.layout.session, &ASKED.to_ne_bytes());
        memory.session(ASKED, 0xc02f, &secret(3, 48));
        let states = States::at(Machine::Client, era.date).unwrap();
        for (state, is_resumed) in [
            ("start_connect", false),
            ("read_server_hello", false),
            ("read_session_ticket", true),
            ("read_server_finished", true),
        ] {
            let number = states.number(state).unwrap();
            memory.put(HS, era.layout.state, &number.to_ne_bytes());
            assert_eq!(memory.found().len(), usize::from(is_resumed), "{} {state}", era.from);
        }
        memory.put(HS, era.layout.state, &0x0101_0101u32.to_ne_bytes());
        assert!(memory.found().is_empty(), "no state at all");
    }
}

#[test]
fn a_connection_before_its_handshake_gives_nothing_yet() {
    let era = BORINGSSL.last().unwrap();
    let mut memory = Memory::new(era, 0, false);
    memory.put(STATE3, era.layout.hs, &HS.to_ne_bytes());
    assert_eq!(memory.read(), Ok(None));
    memory.put(STATE3, era.layout.client_random, &[0; 32]);
    assert_eq!(memory.read(), Ok(None));
    assert_eq!(read(&era.layout, None, &[0; PAYLOAD]), Ok(None));
    assert_eq!(read(&era.layout, None, &[]), Ok(None));
}

#[test]
fn what_cannot_be_is_refused() {
    let field = |name| Err(ReadError::Field(name));
    for era in eras() {
        let finished = || Memory::new(era, 0x0304, false).done(0x1302, 48);
        let layout = &era.layout;
        let mut memory = finished();
        memory.secret(STATE3, layout.read_traffic_secret, &[]);
        assert_eq!(memory.read(), field("number of secrets"));
        let mut memory = finished();
        memory.secret(STATE3, layout.exporter_secret, &secret(6, 32));
        assert_eq!(memory.read(), field("length of a secret"));
        let mut memory = finished();
        memory.secret(STATE3, layout.exporter_secret, &secret(6, 33));
        assert_eq!(memory.read(), field("length of a secret"));
        let mut memory = finished();
        memory.secret(STATE3, layout.exporter_secret, &secret(7, 48));
        assert_eq!(memory.read(), field("secret"), "the same as another");
        let mut memory = finished();
        let pointers = [0x0000_7f12_3456_7890u64, 77, 0].map(u64::to_ne_bytes).concat();
        memory.secret(STATE3, layout.exporter_secret, &pointers.repeat(2));
        assert_eq!(memory.read(), field("secret"), "no output of a hash");
        let memory = Memory::new(era, 0x0304, false).done(0x1301, 48);
        assert_eq!(memory.read(), field("length of a secret"), "SHA-256");
        let memory = Memory::new(era, 0x0304, false).done(0xc02f, 48);
        assert_eq!(memory.read(), Err(ReadError::Cipher(CipherSuite(0xc02f))));
        let mut memory = finished();
        memory.put(STATE3, layout.client_random, &[0; 32]);
        assert_eq!(memory.read(), field("client_random"));
        let memory = Memory::new(era, 0x0305, false).done(0x1302, 48);
        assert_eq!(memory.read(), field("version"));
        let mut memory = Memory::new(era, 0x0303, false);
        memory.put(STATE3, layout.established_session, &KEPT.to_ne_bytes());
        memory.session(KEPT, 0xc02f, &secret(1, 32));
        assert_eq!(memory.read(), field("length of a secret"), "a master secret of 32 bytes");
    }
}

#[test]
fn fields_that_are_not_proved_are_left_out() {
    let era = BORINGSSL.last().unwrap();
    let layout = BoringSslLayout { new_session: None, exporter_secret: None, ..era.layout };
    assert!(layout.can_be_walked());
    fits(&steps(&layout), "not everything proved");
    let era = Era { layout, ..era.clone() };
    let memory = Memory::new(&era, 0x0304, false).shakes_hands(0x1301, 32, true);
    assert_eq!(memory.found().len(), 4);
    assert_eq!(memory.read().unwrap().unwrap().facts.cipher, None);
}

/// Values that an attacker would try in the places that are looked at first.
fn hostile() -> impl Strategy<Value = Vec<u8>> {
    let version = prop::sample::select(vec![0u16, 0x0303, 0x0304, 0xfefd, 0x1234]);
    let length = prop::sample::select(vec![0u8, 16, 31, 33, 47, 49, 64, 255]);
    let bytes = prop::collection::vec(any::<u8>(), PAYLOAD);
    (version, length, bytes).prop_map(|(version, length, mut bytes)| {
        bytes[..2].copy_from_slice(&version.to_ne_bytes());
        for at in (EARLY..=OFFERED).step_by(64) {
            bytes[usize::from(at + SECRET)] = length;
        }
        bytes[usize::from(HASH_LENGTH)] = length;
        bytes
    })
}

proptest! {
    #[test]
    fn hostile_bytes_give_no_key_and_no_panic(bytes in hostile(), era in any::<prop::sample::Index>()) {
        let era = eras().nth(era.index(eras().count())).unwrap();
        prop_assert!(!matches!(read(&era.layout, Some(era.date), &bytes), Ok(Some(_))));
    }

    #[test]
    fn any_bytes_are_read_without_a_panic(
        bytes in prop::collection::vec(any::<u8>(), 0..1100),
        era in any::<prop::sample::Index>(),
    ) {
        let era = eras().nth(era.index(eras().count())).unwrap();
        prop_assert!(!matches!(read(&era.layout, None, &bytes), Ok(Some(_))));
    }
}
