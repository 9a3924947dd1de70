//! A key log that somebody else has written into: what is in it stays, and a line that is added is a line.

use std::fs;
use std::io::{Read as _, Seek as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use tempfile::TempDir;
use tlskeytop::keylog::{KeyLog, KeyLogError, Owner, Written};
use tlskeytop::model::PendingLine;
use tlskeytop::tls::{
    ClientRandom, KeyLine, Label, LineId, ParsedLine, Secret, ValueTag, parse_line,
};

/// Parts of a key log.
pub const WORDS: &[&str] = &[
    "CLIENT_RANDOM ",
    "SERVER_TRAFFIC_SECRET_N ",
    "c1c1c1c1c1c1c1c1c1c1c1c1c1c1c1c1c1c1c1c1c1c1c1c1c1c1c1c1c1c1c1c1 ",
    "5A5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a",
    "5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a",
    "\r\n",
    "# comment\n",
];
/// Bytes from which on a line is no key line.
const LONGEST: usize = 4096;

/// Reads the lines, and adds one to the file.
///
/// # Panics
/// When something does not hold.
pub fn run(bytes: &[u8]) {
    let mut keys = Vec::new();
    for line in bytes.split_inclusive(|&byte| byte == b'\n') {
        if let ParsedLine::Key(key) = parse_line(line) {
            check(&key);
            let is_known = line.ends_with(b"\n") && line.len() < LONGEST;
            keys.extend(is_known.then_some(key));
        }
    }
    // The folder is there as long as the process.
    thread_local!(static FOLDER: TempDir = tempfile::tempdir().expect("a folder"));
    FOLDER.with(|folder| add(&folder.path().join("keys"), bytes, &keys));
}

/// What was read is written as it should be, and read back as the same.
fn check(key: &KeyLine) {
    let text = key.to_text();
    let fields: Vec<_> = text.strip_suffix('\n').expect("it ends").split(' ').collect();
    let [label, random, secret] = fields[..] else { panic!("{} fields", fields.len()) };
    let is_lower_hex =
        |text: &str| text.bytes().all(|byte| byte.is_ascii_digit() || matches!(byte, b'a'..=b'f'));
    assert_eq!(Label::parse(label.as_bytes()), Ok(key.label.clone()));
    assert!(random.len() == 64 && is_lower_hex(random));
    assert!(matches!(secret.len(), 64 | 96) && is_lower_hex(secret));
    assert!(label != "CLIENT_RANDOM" || secret.len() == 96);
    assert_eq!(parse_line(text.as_bytes()), ParsedLine::Key(key.clone()));
}

fn add(path: &Path, bytes: &[u8], keys: &[KeyLine]) {
    let mut file = fs::OpenOptions::new();
    file.read(true).write(true).create(true).truncate(false).mode(0o600);
    let mut file = file.open(path).expect("a file of our own");
    file.set_len(0).expect("a file of our own");
    file.write_all(bytes).expect("room for a small file");
    let (mut keylog, known) = match KeyLog::open(path, Owner::of_this_run()) {
        Ok(opened) => opened,
        Err(KeyLogError::OtherContents(_)) => return assert!(keys.is_empty()),
        Err(error) => panic!("{error}"),
    };
    for key in keys {
        let id = LineId::new(&key.label, &key.client_random, &key.secret);
        let tag = ValueTag::new(&key.client_random, &key.secret);
        assert!(known.contains(&(id, tag)), "{key:?}");
    }
    assert_eq!(known.len(), keys.len());
    let secret = Secret::new(&Label::Exporter, &[0x5a; 32], 32).expect("32 bytes are right");
    let line = KeyLine { label: Label::Exporter, client_random: ClientRandom([0xc1; 32]), secret };
    let expected = line.to_text();
    let pending = [PendingLine { line, version: None }];
    let written = keylog.write(&pending).expect("it is there");
    assert!(matches!(written, Written::Lines { count: 1, error: None }), "{written:?}");
    let mut after = Vec::new();
    file.rewind().expect("a file");
    file.read_to_end(&mut after).expect("a file");
    let newline = match bytes {
        [] | [.., b'\n'] => &b""[..],
        _ => b"\n",
    };
    assert_eq!(after, [bytes, newline, expected.as_bytes()].concat());
}
