use std::fs;
use std::os::unix::fs::{MetadataExt as _, symlink};

use etherparse::PacketBuilder;
use tempfile::TempDir;

use super::*;
use crate::keylog::Owner;
use crate::tls::{ClientRandom, Label, Secret};
use crate::wire::fixture::{client_hello, records, server_hello, server_hello_12};

/// A folder with a capture and a key log.
struct Case {
    folder: TempDir,
}

impl Case {
    fn new(capture: &[u8], keys: &[KeyLine]) -> Self {
        let case = Self { folder: tempfile::tempdir().unwrap() };
        fs::write(case.path("in"), capture).unwrap();
        let text: String = keys.iter().map(|line| line.to_text().to_string()).collect();
        fs::write(case.path("keys"), text).unwrap();
        case
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn inject(&self) -> Result<Report, InjectError> {
        let [keys, input, output] = ["keys", "in", "out"].map(|name| self.path(name));
        inject(&Injection { keys, input, output })
    }

    /// The blocks of the output, in words.
    fn output(&self) -> Vec<String> {
        let mut reader = Reader::new(fs::File::open(self.path("out")).unwrap()).unwrap();
        let mut found = Vec::new();
        while let Some(block) = reader.next_block().unwrap() {
            found.push(match block.item {
                Item::Section(_) => "section".to_owned(),
                Item::Packet(packet) => format!("packet at {}", packet.at.0),
                Item::Secrets(text) => {
                    let text = String::from_utf8(text.to_vec()).unwrap();
                    let names = text.lines().map(|line| line.split(' ').next().unwrap());
                    names.collect::<Vec<_>>().join(" ")
                }
                Item::Other => "other".to_owned(),
            });
        }
        found
    }
}

fn key(label: &[u8], random: u8) -> KeyLine {
    let label = Label::parse(label).unwrap();
    let length = if label == Label::ClientRandom { 48 } else { 32 };
    let secret = Secret::new(&label, &[random ^ 0xff; 48], length).unwrap();
    KeyLine { label, client_random: ClientRandom([random; 32]), secret }
}

/// One handshake in IP packets, both hellos.
fn handshake(random: u8, answer: &[u8]) -> [Vec<u8>; 2] {
    let (client, server) = ([192, 0, 2, random], [192, 0, 2, 1]);
    let hello = records(&client_hello(random, 0), 16384);
    let answer = records(answer, 16384);
    let packet = |source: ([u8; 4], u16), target: ([u8; 4], u16), sequence, ack, data: &[u8]| {
        let mut packet = Vec::new();
        let builder = PacketBuilder::ipv4(source.0, target.0, 9);
        let builder = builder.tcp(source.1, target.1, sequence, 512).ack(ack);
        builder.write(&mut packet, data).unwrap();
        packet
    };
    [
        packet((client, 4000), (server, 443), 1, 9, &hello),
        packet((server, 443), (client, 4000), 9, 1 + hello.len() as u32, &answer),
    ]
}

/// A big-endian pcap file with times of microseconds.
fn classic(packets: &[Vec<u8>]) -> Vec<u8> {
    let numbers = [0xa1b2_c3d4, 0x0002_0004, 0, 0, 65535, 101u32];
    let mut file: Vec<u8> = numbers.iter().flat_map(|number| number.to_be_bytes()).collect();
    for (packet, seconds) in packets.iter().zip(1..) {
        let length = packet.len() as u32;
        file.extend([seconds, 5, length, length].iter().flat_map(|number| number.to_be_bytes()));
        file.extend(packet);
    }
    file
}

/// A section of a pcapng file.
fn section(packets: &[Vec<u8>], secrets: &[KeyLine]) -> Vec<u8> {
    let mut writer = Writer::new(Vec::new());
    writer.section().unwrap();
    // A length that is not true any more once there is more in it.
    writer.get_mut()[16..24].fill(0);
    writer
        .interface(&Interface { name: Some("x"), link: 101, snap_length: 0, time_digits: 9 })
        .unwrap();
    writer.secrets(secrets).unwrap();
    for (packet, time) in packets.iter().zip(1..) {
        let original_length = packet.len() as u32;
        let packet = Packet { interface: 0, time, original_length, bytes: packet, comment: None };
        writer.packet(&packet).unwrap();
    }
    writer.into_inner()
}

#[test]
fn exactly_the_secrets_of_its_handshakes_are_added() {
    let packets = [handshake(1, &server_hello_12()), handshake(2, &server_hello())].concat();
    let mut null = key(b"SERVER_TRAFFIC_SECRET_0", 2);
    null.secret = Secret::new(&null.label, &[0; 32], 32).unwrap();
    let keys = [
        key(b"CLIENT_RANDOM", 7),
        key(b"CLIENT_TRAFFIC_SECRET_0", 2),
        null,
        key(b"CLIENT_RANDOM", 1),
        key(b"CLIENT_RANDOM", 1),
    ];
    let case = Case::new(&classic(&packets), &keys);
    let report = case.inject().unwrap().to_string();
    let out = case.path("out");
    let expected = format!(
        "{}: 4 packets, 2 secrets added\n1 of 2 handshakes have their secrets\n  \
         1970-01-01T00:00:03.000005Z 192.0.2.2:4000 > 192.0.2.1:443 localhost TLS 1.3 random 02020202: \
         not all secrets\n",
        out.display()
    );
    assert_eq!(report, expected);
    let times = [1_000_005_000u64, 2_000_005_000, 3_000_005_000, 4_000_005_000];
    let mut expected = vec!["section".to_owned(), "other".to_owned()];
    expected.push("CLIENT_TRAFFIC_SECRET_0 CLIENT_RANDOM".to_owned());
    expected.extend(times.map(|time| format!("packet at {time}")));
    assert_eq!(case.output(), expected);
    let metadata = fs::metadata(out).unwrap();
    assert_eq!((metadata.mode() & 0o7777, metadata.uid()), (0o600, Owner::of_this_run().uid));
}

#[test]
fn each_section_has_its_own_and_what_was_there_is_not_repeated() {
    let first = section(&handshake(1, &server_hello_12()), &[key(b"CLIENT_RANDOM", 1)]);
    let second = section(&handshake(2, &server_hello_12()), &[]);
    let keys = [key(b"CLIENT_RANDOM", 2), key(b"CLIENT_RANDOM", 1)];
    let case = Case::new(&[first.clone(), second].concat(), &keys);
    let report = case.inject().unwrap().to_string();
    assert!(report.contains("4 packets, 1 secrets added to 1 that were there\n2 of 2"), "{report}");
    let packets = ["packet at 1", "packet at 2"];
    let section = |line| [&["section", "other", line][..], &packets].concat();
    assert_eq!(case.output(), [section("CLIENT_RANDOM"), section("CLIENT_RANDOM")].concat());
    let written = fs::read(case.path("out")).unwrap();
    assert_eq!(written[16..24], [0xff; 8], "the length of the section is not known");
    assert_eq!(written[24..first.len()], first[24..]);
}

#[test]
fn a_capture_that_is_cut_is_taken_as_far_as_it_is_whole() {
    let whole = classic(&handshake(1, &server_hello()));
    let case = Case::new(&whole[..whole.len() - 1], &[]);
    let report = case.inject().unwrap();
    assert!(report.to_string().ends_with("not answered\n"), "{report}");
    let [warning] = &report.warnings()[..] else { panic!("{report:?}") };
    let place = format!("at byte {}:", 24 + 16 + handshake(1, &[]).map(|packet| packet.len())[0]);
    assert!(warning.contains(&place), "{warning}");
    assert_eq!(case.output().len(), 3);
}

#[test]
fn what_is_there_is_not_overwritten_and_what_is_broken_leaves_nothing() {
    let good = classic(&handshake(1, &server_hello()));
    let case = Case::new(&good, &[]);
    symlink("nowhere", case.path("out")).unwrap();
    assert!(matches!(case.inject(), Err(InjectError::Exists(_))));
    fs::remove_file(case.path("out")).unwrap();
    fs::hard_link(case.path("in"), case.path("out")).unwrap();
    assert!(matches!(case.inject(), Err(InjectError::Exists(_))));
    assert_eq!(fs::read(case.path("in")).unwrap(), good);
    fs::remove_file(case.path("out")).unwrap();
    fs::remove_file(case.path("in")).unwrap();
    fs::create_dir(case.path("in")).unwrap();
    assert!(matches!(case.inject(), Err(InjectError::NotAFile(_))));

    let mut broken = good;
    broken[24 + 8] = 0xff;
    let case = Case::new(&broken, &[]);
    let error = case.inject().unwrap_err().to_string();
    assert!(error.ends_with("in: at byte 24: a packet of more than 64 MiB"), "{error}");
    assert!(!case.path("out").exists());
}

#[test]
fn a_file_without_a_line_of_a_key_log_is_none() {
    let case = Case::new(&classic(&handshake(1, &server_hello())), &[]);
    fs::write(case.path("keys"), "-----BEGIN CERTIFICATE-----\n").unwrap();
    let error = case.inject().unwrap_err().to_string();
    assert!(error.contains("has other contents than a key log; name the file"), "{error}");
    assert!(!case.path("out").exists());
    fs::write(case.path("keys"), "# nothing yet\n").unwrap();
    assert!(case.inject().is_ok());
}

#[test]
fn an_output_that_does_not_become_whole_is_removed() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("out");
    let mut output = Output::create(&path).unwrap();
    io::Write::write_all(&mut output, &[0; 1 << 20]).unwrap();
    assert!(path.exists());
    drop(output);
    assert!(!path.exists());
    // Another file that has the name by now is not ours.
    let output = Output::create(&path).unwrap();
    fs::remove_file(&path).unwrap();
    fs::write(&path, "another").unwrap();
    drop(output);
    assert!(path.exists());
}
