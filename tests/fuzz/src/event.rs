//! Records of the ring buffer, whose contents are the targets' memory. The first byte chooses the form: as it is, or of the
//! size that each kind of record has; the cookie then names one of the plans below.

use std::cell::RefCell;
use std::mem::offset_of;

use tlskeytop::capture::Decoder;
use tlskeytop::doors;
use tlskeytop::model::{Captured, Msg};
use tlskeytop::target::layout::Forced;
use tlskeytop::target::plan::{
    Arguments, ImagePlan, LabelAt, Library, Operands, RandomPath, Site, SiteKind, Tap,
};
use tlskeytop::tls::{KeyLine, Label, ParsedLine, parse_line};
use tlskeytop_common::{
    Cookie, FirstSecretEvent, Operand, RecordConfig, SECRET_MAX, SecretEvent, WalkEvent,
};

use crate::shown::assert_harmless;

/// Labels.
pub const WORDS: &[&str] = &[
    "CLIENT_RANDOM\0",
    "EXPORTER_SECRET\0",
    "SERVER_TRAFFIC_SECRET_N\0",
    "\x30\0\0\0",
    "\x02\x03",
];

/// Layouts by which connections are read, with their libraries.
const LAYOUTS: [(&str, &str); 11] = [
    ("OpenSSL", "1.1.0i"),
    ("OpenSSL", "1.1.1j"),
    ("OpenSSL", "3.0.0"),
    ("OpenSSL", "3.2.0"),
    ("OpenSSL", "3.5.0"),
    ("quictls", "3.0.0+quic"),
    ("BoringSSL", "a86c69888"),
    ("BoringSSL", "1b724a6b8"),
    ("BoringSSL", "b2a2955da"),
    ("AWS-LC", "v1.27.0"),
    ("LibreSSL", "LibreSSL-3.8.2"),
];
/// Where pid and cookie are: the same in both kinds of records.
const COOKIE: usize = offset_of!(SecretEvent, cookie);
const PID: usize = offset_of!(SecretEvent, pid);

/// Decodes it.
///
/// # Panics
/// When something does not hold.
pub fn run(bytes: &[u8]) {
    let Some((&form, bytes)) = bytes.split_first() else { return };
    let mut record = bytes.to_vec();
    let (size, pid) = match form % 4 {
        0 => (record.len(), PID),
        1 => (size_of::<SecretEvent>(), PID),
        2 => (size_of::<FirstSecretEvent>(), PID),
        _ => (size_of::<WalkEvent>(), offset_of!(WalkEvent, pid)),
    };
    record.resize(size, 0);
    if form % 4 != 0 {
        // The site is as the input has it.
        let mut cookie = Cookie::unpack(number(&record, COOKIE));
        cookie.slot %= LAYOUTS.len() as u32 + 3;
        record[COOKIE..COOKIE + 8].copy_from_slice(&cookie.pack().to_ne_bytes());
    }
    let walk = record.len() == size_of::<WalkEvent>();
    let pid = if walk { offset_of!(WalkEvent, pid) } else { pid };
    let pid = record.get(pid..pid + 4).map_or(0, |_| number(&record, pid) as u32);
    thread_local!(static DECODER: RefCell<Decoder> = RefCell::new(decoder()));
    let mut messages = Vec::new();
    DECODER.with_borrow_mut(|decoder| decoder.decode(&record, &mut messages));
    for message in messages {
        match message {
            Msg::Secret(captured) => check(&captured, pid, &record),
            Msg::Rejected { pid: told, thread, reason } => {
                assert!(told == pid || told == 0, "{told} instead of {pid}");
                assert_harmless(&thread.to_string());
                assert_harmless(&reason);
            }
            Msg::LabelLost => {}
            other => panic!("no record says {other:?}"),
        }
    }
}

/// Eight bytes of the record, or what there is.
fn number(record: &[u8], at: usize) -> u64 {
    let mut bytes = [0; 8];
    for (to, from) in bytes.iter_mut().zip(record.iter().skip(at)) {
        *to = *from;
    }
    u64::from_ne_bytes(bytes)
}

/// The kernel says whose it is, a line of a key log can be made of it, and `Debug` does not tell it.
fn check(captured: &Captured, pid: u32, record: &[u8]) {
    assert_eq!(captured.process.pid, pid);
    assert!(!captured.client_random.is_null());
    let random = captured.client_random.0;
    assert!(record.windows(random.len()).any(|bytes| bytes == random), "a random of nowhere");
    assert_eq!(Label::parse(captured.label.as_str().as_bytes()), Ok(captured.label.clone()));
    assert!(captured.secret.expose().len() <= SECRET_MAX);
    let (label, secret) = (captured.label.clone(), captured.secret.clone());
    let line = KeyLine { label, client_random: captured.client_random, secret };
    assert_eq!(parse_line(line.to_text().as_bytes()), ParsedLine::Key(line));
    if let Some(name) = &captured.ends.server_name {
        assert!(name.raw().bytes().all(|byte| byte.is_ascii_graphic()), "{name:?}");
    }
    assert!(captured.ends.peer.is_none_or(|peer| peer.port() != 0));
    let debug = format!("{captured:?}");
    let shown = format!("Secret({} bytes)", captured.secret.expose().len());
    assert!(debug.contains(&shown), "{debug}");
}

fn decoder() -> Decoder {
    let site = Site { address: 0x1000, file_offset: 0x1000, kind: SiteKind::Call };
    let connection = Arguments::Connection(RandomPath { deref: None, offset: 0 });
    let tap = |arguments| Tap { function: 0x2000, symbol: None, arguments, sites: vec![site; 2] };
    let label = LabelAt { address: 0x8000, name: "EXPORTER_SECRET" };
    let by_label = ImagePlan {
        taps: vec![tap(connection.clone())],
        labels: vec![label],
        ..ImagePlan::nothing("made up")
    };
    let operands = |labels| Operands { record: no_record(), labels };
    let by_number = ImagePlan {
        taps: vec![tap(Arguments::Operands(operands(&["CLIENT_RANDOM", "EXPORTER_SECRET"])))],
        ..ImagePlan::nothing("made up")
    };
    let by_handle = ImagePlan {
        taps: vec![tap(Arguments::Key(operands(&[])))],
        ..ImagePlan::nothing("made up")
    };
    let walked = LAYOUTS.iter().map(|&(name, group)| {
        let forced = Forced::named(group).unwrap_or_else(|error| panic!("{error}"));
        let mut plan = ImagePlan {
            library: Some(Library { name, version: None }),
            taps: vec![tap(connection.clone())],
            ..ImagePlan::nothing("made up")
        };
        plan.force_layout(&forced);
        assert!(plan.layout.is_ok(), "{group} is no layout of {name}");
        plan
    });
    doors::decoder([by_label, by_number, by_handle].into_iter().chain(walked).collect())
}

fn no_record() -> RecordConfig {
    RecordConfig { client_random: Operand::default(), ..RecordConfig::default() }
}
