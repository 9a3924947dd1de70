//! What users type, and scripts pass on: filter, search, patterns, command line. The first byte chooses.

use std::cell::OnceCell;
use std::ffi::OsString;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::ffi::OsStringExt as _;
use std::sync::Arc;

use tlskeytop::cli::{self, Task};
use tlskeytop::doors;
use tlskeytop::model::container::{Container, ContainerPattern};
use tlskeytop::model::target::{ImageId, Process};
use tlskeytop::model::ui::Filter;
use tlskeytop::model::{Captured, Facts, Method, Store, Time, WhoIsWho};
use tlskeytop::tls::{CipherSuite, ClientRandom, Label, Role, Secret, Version};

use crate::shown::assert_harmless;

/// Words of those languages.
pub const WORDS: &[&str] = &[
    "pid:4711",
    "proc:",
    "tls:1.2",
    "!",
    "\"",
    "state:complete",
    "role:server",
    "saved:no",
    "peer:",
    "container:",
    "cipher:chacha",
    "c1c1",
    "ngx",
    "^",
    "$",
    "'",
    "--pid\0",
    "1,2,3",
    "--name\0",
    "--exclude-name\0",
    "--container\0",
    "--layout\x003.0.0\0",
    "--duration\0",
    "1e300",
    "-k\0-\0",
    "--mode\0json\0",
    "--\0",
    "{a,b}",
    "[!a-z]",
    "**",
    "\\",
];

/// Reads it.
///
/// # Panics
/// When something does not hold.
pub fn run(bytes: &[u8]) {
    let Some((&which, bytes)) = bytes.split_first() else { return };
    let text = String::from_utf8_lossy(bytes);
    match which % 4 {
        0 => filter(&text),
        1 => search(&text),
        2 => pattern(&text),
        _ => command_line(bytes),
    }
}

/// Of two opposites, exactly one holds.
fn filter(text: &str) {
    let filter = Filter::parse(text);
    if let Some(error) = filter.error() {
        assert_harmless(error);
    }
    let opposite = Filter::parse(&format!("!{text}"));
    let is_one_word = !text.contains(|c: char| c.is_whitespace() || c == '"');
    with_sessions(|sessions| {
        for session in sessions.newest_first() {
            let holds = filter.matches(session, "OpenSSL 3.0.17");
            assert!(holds || !filter.is_empty(), "an empty filter shows everything");
            if is_one_word && !filter.is_empty() {
                assert_ne!(holds, opposite.matches(session, "OpenSSL 3.0.17"), "{text:?}");
            }
        }
    });
}

/// The letters that are found are some of the text's, in their order.
fn search(text: &str) {
    let (search, name) = text.split_once('\n').unwrap_or((text, "nginx: worker 日本"));
    let Some(found) = doors::searched_letters(search, name) else { return };
    for letters in found {
        assert!(letters.is_sorted_by(|one, next| one < next), "{letters:?}");
        let last = letters.last().map_or(0, |&last| last as usize + 1);
        assert!(last <= name.chars().count(), "{letters:?} of {name:?}");
    }
}

fn pattern(text: &str) {
    let (pattern, name) = text.split_once('\n').unwrap_or((text, "nginx.service"));
    let Ok(pattern) = ContainerPattern::new(pattern) else { return };
    let unit = Container { unit: Some(name.into()), ..Container::default() };
    assert!(!pattern.is_match(&Container::default()), "what is in no container has no name");
    let _ = pattern.is_match(&unit);
}

/// Arguments are separated by NUL, as in `/proc/PID/cmdline`.
fn command_line(bytes: &[u8]) {
    let arguments = bytes.split(|&byte| byte == 0).map(|text| OsString::from_vec(text.to_vec()));
    let Ok(task) = cli::parse(std::iter::once("tlskeytop".into()).chain(arguments)) else { return };
    let Task::Capture(task) = task else { return };
    let selection = &task.selection;
    assert!(!selection.pids.contains_key(&0) && !selection.excluded.pids.contains_key(&0));
    assert!(task.duration.is_none_or(|duration| !duration.is_zero()));
    assert!(task.count != Some(0));
    with_sessions(|sessions| {
        for session in sessions.newest_first() {
            let is_excluded = selection.excluded.pids.contains_key(&session.process.pid);
            assert!(!is_excluded || !selection.chooses(&session.process), "excludes win");
        }
    });
}

fn with_sessions(look: impl FnOnce(&Store)) {
    thread_local!(static SESSIONS: OnceCell<Store> = const { OnceCell::new() });
    SESSIONS.with(|sessions| look(sessions.get_or_init(sessions_of_two)));
}

/// A session of which everything is known, and one of which nothing is.
fn sessions_of_two() -> Store {
    let mut store = Store::new(10);
    let container = Container {
        runtime: Some("docker"),
        id: Some("0123456789abcdef".repeat(4).as_str().into()),
        unit: Some("nginx.service".into()),
        ..Container::default()
    };
    let known = Process {
        pid: 4711,
        parent: 1,
        start_ticks: 1,
        comm: "nginx".into(),
        exe: Some("/usr/sbin/nginx".into()),
        container: Some(container),
        is_container_known: true,
        inner_pid: Some(7),
        is_past: false,
        ancestors: [].into(),
    };
    let unknown =
        Process { pid: 1, exe: None, container: None, comm: "日本".into(), ..known.clone() };
    let facts = Facts {
        version: Some(Version::Tls12),
        cipher: Some(CipherSuite(0xc030)),
        role: Some(Role::Server),
        resumed: Some(false),
    };
    let ends = WhoIsWho {
        server_name: Some("example.com".into()),
        peer: Some(SocketAddr::from((Ipv4Addr::LOCALHOST, 443))),
    };
    for (process, facts, ends) in
        [(known, facts, ends), (unknown, Facts::default(), WhoIsWho::default())]
    {
        let secret = Secret::new(&Label::ClientRandom, &[0x5a; 48], 48).expect("48 are right");
        store.take(Captured {
            time: Time(1_767_323_045_000_000_000),
            client_random: ClientRandom([process.pid as u8; 32]),
            process: Arc::new(process),
            image: ImageId(1),
            method: Method::Tap,
            label: Label::ClientRandom,
            secret,
            facts,
            ends,
            caught_up: None,
            may_be_updated: false,
        });
    }
    store
}
