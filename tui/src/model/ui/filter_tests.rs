use proptest::prelude::*;

use super::*;
use crate::model::Store;
use crate::model::fixture::{HOSTILE, START, process, secret};
use crate::tls::{CipherSuite, Label};

const LIBRARY: &str = "OpenSSL 3.0.17";

/// A complete TLS 1.3 session of curl (7), a client.
fn session(change: impl Fn(&mut Session)) -> Session {
    let event = secret(START, &process(7, "Curl"), 0xab, Label::ClientHandshake, 1);
    let mut session = Session::new(0, &event);
    for label in Label::TLS13_COMPLETE {
        session.take(secret(START, &process(7, "Curl"), 0xab, label, 1));
    }
    session.facts.cipher = Some(CipherSuite(0x1302));
    session.facts.role = Some(Role::Client);
    change(&mut session);
    session
}

#[track_caller]
fn check(session: &Session, text: &str, expected: bool) {
    let filter = Filter::parse(text);
    assert_eq!(filter.error(), None, "{text}");
    assert_eq!(filter.matches(session, LIBRARY), expected, "{text}");
}

#[test]
fn free_text_is_looked_for_in_what_is_known() {
    let session = session(|_| {});
    for text in
        ["curl", "CURL", "bin/c", "openssl", "3.0.17", "tls 1.3", "1.3", "aes_256", "abab", "7", ""]
    {
        check(&session, text, true);
    }
    for text in ["wget", "1.2", "chacha", "abac", "71", "curl wget", "\"curl openssl\""] {
        check(&session, text, false);
    }
    check(&session, "curl openssl 1.3", true);
}

#[test]
fn a_column_s_name_is_a_key_as_well() {
    for (alias, name) in ALIASES {
        let value = if name == "state" { "null" } else { "text" };
        let (alias, name) = (format!("{alias}:{value}"), format!("{name}:{value}"));
        assert_eq!(Filter::parse(&alias), Filter::parse(&name), "{alias}");
        assert!(!Filter::parse(&alias).is_empty(), "{alias}");
    }
}

#[test]
fn containers_and_units_are_found() {
    use crate::model::container::{Container, Pod};
    let session = session(|session| {
        let container = Container {
            runtime: Some("podman"),
            id: Some("0123456789abcdef".repeat(4).as_str().into()),
            pod: Some(Pod { uid: "7f3a-99".into(), qos: "burstable" }),
            unit: Some("Nginx.service".into()),
            outside: None,
        };
        let process = (*session.process).clone();
        let process = crate::model::target::Process { container: Some(container), ..process };
        session.process = process.into();
    });
    for text in
        ["container:456789ab", "container:podman", "container:nginx", "container:7F3A", "nginx.s"]
    {
        check(&session, text, true);
    }
    for text in ["container:curl", "!container:nginx", "container:docker"] {
        check(&session, text, false);
    }
    check(&self::session(|_| {}), "container:nginx", false);
    assert!(Filter::parse("container:").error().is_some());
}

#[test]
fn keys_look_at_one_thing() {
    let session = session(|_| {});
    for text in [
        "pid:7",
        "proc:url",
        "PROC:URL",
        "lib:\"openssl 3\"",
        "tls:1.3",
        "cipher:gcm_sha384",
        "cipher:TLS_AES",
        "state:complete",
        "role:client",
        "saved:no",
        "pid:7 proc:curl !tls:1.2",
    ] {
        check(&session, text, true);
        if !text.contains(' ') {
            check(&session, &format!("!{text}"), false);
            check(&session, &format!("!!{text}"), true);
        }
    }
    for text in [
        "pid:70",
        "proc:openssl",
        "proc:bin",
        "lib:curl",
        "tls:1.2",
        "tls:d1.3",
        "state:null",
        "state:partial",
        "role:server",
        "saved:yes",
        "peer:1",
        "name:a",
    ] {
        check(&session, text, false);
        check(&session, &format!("!{text}"), true);
    }
}

#[test]
fn peer_and_server_name_match_once_they_are_known() {
    let session = session(|session| {
        session.peer = Some(([192, 0, 2, 1], 443).into());
        session.server_name = Some("Example.org".into());
    });
    for text in ["peer:192.0.2.1", "peer::443", "name:example", "example.ORG", "192.0.2.1:443"] {
        check(&session, text, true);
    }
    check(&session, "name:192", false);
}

#[test]
fn tls_1_2_finds_what_is_only_known_to_be_1_2_or_older() {
    let older = session(|session| session.facts.version = Some(Version::Tls12OrOlder));
    check(&older, "tls:1.2", true);
    check(&older, "tls:1.1", false);
    let exact = session(|session| session.facts.version = Some(Version::Tls11));
    check(&exact, "tls:1.2", false);
    check(&exact, "tls:1.1", true);
    let unknown = session(|session| session.facts.version = None);
    check(&unknown, "tls:1.2", false);
}

#[test]
fn quotes_make_free_text_of_anything() {
    let odd = session(|session| session.process = process(7, "a:b !c"));
    check(&odd, "\"a:b !c\"", true);
    check(&odd, "\"a:b", true);
    check(&odd, "\"!c\"", true);
    check(&odd, "!\"!c\"", false);
    check(&odd, "proc:\":b !\"", true);
    check(&odd, "p\"roc:x\"", false);
}

#[test]
fn hostile_names_match_as_they_are_shown() {
    let named = |name| session(|session| session.process = process(7, name));
    check(&named(HOSTILE[0]), "\\x1b]0;pwned", true);
    check(&named(HOSTILE[1]), "日本語", true);
    check(&named(HOSTILE[2]), "\\u{202e}gpj", true);
    check(&named(HOSTILE[3]), "🦀 proc:CRAB", true);
    check(&named("ÉCOLE"), "école", true);
}

#[test]
fn what_is_not_understood_is_told_and_does_not_filter() {
    let session = session(|_| {});
    for (text, error) in [
        ("colour:red", "no key colour: (quote it to find it)"),
        ("pid:x", "pid: a process id"),
        ("pid:", "pid: a process id"),
        ("proc:", "proc: a process name"),
        ("tls:1.4", "tls: 1.3, 1.2, 1.1 or 1.0"),
        ("!state:done", "state: null, partial, complete, missing or waiting"),
        ("role:both", "role: client or server"),
        ("saved:maybe", "saved: yes or no"),
    ] {
        let filter = Filter::parse(text);
        assert_eq!(filter.error(), Some(error), "{text}");
        assert!(filter.is_empty() && filter.matches(&session, LIBRARY), "{text}");
        let filter = Filter::parse(&format!("{text} wget"));
        assert!(!filter.matches(&session, LIBRARY), "the other word holds: {text}");
    }
    for text in ["", " ", "!", "! !", "\"\"", "!\"\""] {
        let filter = Filter::parse(text);
        assert_eq!((filter.is_empty(), filter.error()), (true, None), "{text}");
    }
}

proptest! {
    #[test]
    fn no_text_panics(text in "(?s).{0,60}") {
        Filter::parse(&text).matches(&session(|_| {}), LIBRARY);
    }

    #[test]
    fn no_word_with_a_key_panics(
        text in "(!{0,2}(pid|proc|lib|tls|cipher|state|peer|name|role|saved|x)?:?\"?[\\PC ]{0,5}\"? ?){0,4}"
    ) {
        Filter::parse(&text).matches(&session(|_| {}), LIBRARY);
    }

    #[test]
    fn a_word_or_its_negation_holds(text in "[a-z0-9:]{1,8}") {
        let (session, filter) = (session(|_| {}), Filter::parse(&text));
        let negated = Filter::parse(&format!("!{text}"));
        prop_assert_eq!(filter.error(), negated.error());
        if filter.error().is_none() {
            prop_assert_ne!(filter.matches(&session, LIBRARY), negated.matches(&session, LIBRARY));
        }
    }

    #[test]
    fn every_case_is_found(name in "\\PC{1,12}") {
        let mut store = Store::new(1);
        store.take(secret(START, &process(7, &name), 1, Label::ClientRandom, 1));
        let session = store.newest_first().next().unwrap();
        let quoted = format!("\"{}\"", session.process.comm.shown().replace('"', ""));
        if !name.contains('"') {
            prop_assert!(Filter::parse(&quoted).matches(session, ""));
        }
    }
}
