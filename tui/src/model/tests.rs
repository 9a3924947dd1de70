//! The rules of design.md for sessions and their secrets, one test each.

use std::path::PathBuf;
use std::sync::Arc;

use super::target::{Image, ImageId, Process};
use super::*;
use crate::text::Foreign;
use crate::tls::{ClientRandom, Label, Secret};

pub(super) const NOW: Time = Time(1_000_000_000_000);

pub(super) fn process(pid: u32) -> Arc<Process> {
    let comm = Foreign::from(format!("proc{pid}").as_str());
    let ancestors = [].into();
    let (exe, container, inner_pid) = (None, None, None);
    Arc::new(Process {
        pid,
        parent: 0,
        start_ticks: 1,
        comm,
        exe,
        container,
        is_container_known: true,
        inner_pid,
        ancestors,
        is_past: false,
    })
}

pub(super) fn event(pid: u32, random: u8, label: Label, value: u8) -> Captured {
    let len = if label == Label::ClientRandom { 48 } else { 32 };
    Captured {
        time: NOW,
        process: process(pid),
        image: ImageId(0),
        method: Method::Tap,
        client_random: ClientRandom([random; 32]),
        secret: Secret::new(&label, &[value; 64], len).unwrap(),
        facts: Facts::default(),
        ends: WhoIsWho::default(),
        label,
        caught_up: None,
        may_be_updated: false,
    }
}

pub(super) fn image(id: u32) -> Image {
    super::fixture::image(id, "/lib/libssl.so", None, 1)
}

pub(super) fn all() -> Model {
    limited(100)
}

pub(super) fn limited(sessions: usize) -> Model {
    let selection = Selection { all: true, ..Selection::default() };
    Model::new(selection, PathBuf::from("k"), sessions)
}

pub(super) fn key(pid: u32, random: u8) -> SessionKey {
    SessionKey { pid, client_random: ClientRandom([random; 32]) }
}

/// Sends an event and plays the writer: what is to be written is written.
pub(super) fn send(model: &mut Model, file: &mut Vec<String>, msg: Msg) {
    let mut queue = vec![msg];
    while let Some(msg) = queue.pop() {
        for effect in model.update(NOW, msg) {
            match effect {
                Effect::OpenKeyLog(_) => {
                    queue.push(Msg::KeyLog(KeyLogMsg::Opened { generation: 1, known: Vec::new() }));
                }
                Effect::WriteLines { generation, lines } => {
                    file.extend(lines.iter().map(|line| line.line.to_text().to_string()));
                    let written = lines.len();
                    queue.push(Msg::KeyLog(KeyLogMsg::Wrote { generation, written, error: None }));
                }
                _ => {}
            }
        }
    }
}

#[test]
fn tls13_is_complete_with_its_four_traffic_secrets() {
    let mut model = all();
    for (n, label) in Label::TLS13_COMPLETE.into_iter().enumerate() {
        let state = model.sessions.find(&key(1, 7)).map(Session::state);
        let expected = (n > 0).then_some(SecretState::Partial { have: n as u8, need: 4 });
        assert_eq!(state, expected);
        model.update(NOW, Msg::Secret(event(1, 7, label, n as u8 + 1)));
    }
    assert_eq!(model.sessions.find(&key(1, 7)).unwrap().state(), SecretState::Complete);
    assert_eq!(model.stats.complete, 1);
}

#[test]
fn an_exporter_alone_is_not_complete() {
    let mut model = all();
    model.update(NOW, Msg::Secret(event(1, 7, Label::Exporter, 1)));
    let state = model.sessions.find(&key(1, 7)).unwrap().state();
    assert_eq!(state, SecretState::Partial { have: 0, need: 4 });
}

#[test]
fn a_null_secret_is_never_written_and_a_real_one_replaces_it() {
    let (mut model, mut file) = (all(), Vec::new());
    send(&mut model, &mut file, Msg::Save(true));
    send(&mut model, &mut file, Msg::Secret(event(1, 7, Label::ClientRandom, 0)));
    assert_eq!(model.sessions.find(&key(1, 7)).unwrap().state(), SecretState::Null);
    assert!(file.is_empty());
    send(&mut model, &mut file, Msg::Secret(event(1, 7, Label::ClientRandom, 9)));
    assert_eq!(model.sessions.find(&key(1, 7)).unwrap().state(), SecretState::Complete);
    assert_eq!(file.len(), 1);
    assert_eq!((model.stats.nulls, model.stats.secrets), (1, 1));
}

#[test]
fn within_a_session_the_first_value_wins() {
    let (mut model, mut file) = (all(), Vec::new());
    send(&mut model, &mut file, Msg::Save(true));
    for value in [1, 1, 2, 1] {
        send(&mut model, &mut file, Msg::Secret(event(1, 7, Label::Exporter, value)));
    }
    let session = model.sessions.find(&key(1, 7)).unwrap();
    assert_eq!((session.duplicates, session.conflicts), (2, 1));
    assert_eq!((model.stats.duplicates, model.stats.conflicts), (2, 1));
    assert!(session.entries[0].secret.expose().iter().all(|&byte| byte == 1));
    assert_eq!(file.len(), 1);
}

#[test]
fn both_ends_on_one_machine_share_a_line() {
    let (mut model, mut file) = (all(), Vec::new());
    send(&mut model, &mut file, Msg::Save(true));
    for pid in [1, 2] {
        send(&mut model, &mut file, Msg::Secret(event(pid, 7, Label::ClientRandom, 3)));
    }
    assert_eq!(file.len(), 1);
    assert!(model.sessions.find(&key(1, 7)).unwrap().is_saved());
    assert!(model.sessions.find(&key(2, 7)).unwrap().is_saved());
    assert_eq!(model.stats.conflicts, 0);
}

#[test]
fn another_process_cannot_suppress_a_secret() {
    let (mut model, mut file) = (all(), Vec::new());
    send(&mut model, &mut file, Msg::Save(true));
    send(&mut model, &mut file, Msg::Secret(event(666, 7, Label::ClientRandom, 6)));
    send(&mut model, &mut file, Msg::Secret(event(1, 7, Label::ClientRandom, 3)));
    for pid in [1, 666] {
        assert_eq!(model.sessions.find(&key(pid, 7)).unwrap().conflicts, 1, "{pid}");
    }
    let mine = model.sessions.find(&key(1, 7)).unwrap();
    assert!(mine.entries[0].shadowed && !mine.entries[0].saved);
    assert_eq!(mine.key_lines().count(), 1, "it can still be copied and exported");
    assert_eq!(file.len(), 1);
}

#[test]
fn the_cipher_of_early_data_is_not_the_one_that_is_chosen() {
    let mut model = all();
    let with_cipher = |label, id| {
        let mut event = event(1, 7, label, 3);
        event.facts.cipher = Some(crate::tls::CipherSuite(id));
        Msg::Secret(event)
    };
    model.update(NOW, with_cipher(Label::ClientEarlyTraffic, 0x1301));
    assert_eq!(model.sessions.find(&key(1, 7)).unwrap().facts.cipher, None);
    model.update(NOW, with_cipher(Label::ClientHandshake, 0x1303));
    model.update(NOW, with_cipher(Label::EarlyExporter, 0x1301));
    let cipher = model.sessions.find(&key(1, 7)).unwrap().facts.cipher;
    assert_eq!(cipher, Some(crate::tls::CipherSuite(0x1303)));
}

#[test]
fn repeated_labels_keep_each_value_and_are_bounded() {
    let mut model = all();
    let label = Label::parse(b"CLIENT_TRAFFIC_SECRET_N").unwrap();
    for value in 1..=200 {
        model.update(NOW, Msg::Secret(event(1, 7, label.clone(), value)));
    }
    let session = model.sessions.find(&key(1, 7)).unwrap();
    assert_eq!(session.entries.len(), 16);
    assert_eq!((session.conflicts, model.stats.not_kept, model.stats.duplicates), (0, 184, 0));
}

#[test]
fn changes_are_kept_only_for_who_asks() {
    let mut model = all();
    model.update(NOW, Msg::Secret(event(1, 1, Label::ClientRandom, 3)));
    assert!(model.sessions.take_changed(10).is_empty());
    model.sessions.track_changes();
    for random in 2..5 {
        model.update(NOW, Msg::Secret(event(1, random, Label::ClientRandom, 3)));
    }
    assert_eq!(model.sessions.take_changed(2).len(), 2);
    assert_eq!(model.sessions.take_changed(2).len(), 1);
    assert!(model.sessions.take_changed(2).is_empty());
}

#[test]
fn the_oldest_complete_and_saved_sessions_go_first() {
    let (mut model, mut file) = (limited(3), Vec::new());
    // The oldest is not complete.
    send(&mut model, &mut file, Msg::Secret(event(1, 1, Label::Exporter, 1)));
    send(&mut model, &mut file, Msg::Save(true));
    for random in 2..=9 {
        send(&mut model, &mut file, Msg::Secret(event(1, random, Label::ClientRandom, random)));
    }
    assert_eq!(model.sessions.len(), 3);
    assert!(model.sessions.find(&key(1, 1)).is_some());
    assert!(model.sessions.find(&key(1, 9)).is_some());
    assert!(model.sessions.find(&key(1, 2)).is_none());
    assert_eq!(model.stats.evicted, Evicted { sessions: 6, unsaved: 0 });
    // It is remembered as written, though its session is gone.
    let before = file.len();
    send(&mut model, &mut file, Msg::Secret(event(1, 2, Label::ClientRandom, 2)));
    assert_eq!(file.len(), before);
}

#[test]
fn what_a_key_update_may_have_replaced_contradicts_nothing() {
    let mut model = all();
    model.update(NOW, Msg::Secret(event(5, 1, Label::ClientTraffic0, 7)));
    let later = Captured {
        may_be_updated: true,
        caught_up: Some(0x7000),
        ..event(5, 1, Label::ClientTraffic0, 8)
    };
    model.update(NOW, Msg::Secret(later));
    assert_eq!((model.stats.conflicts, model.stats.duplicates), (0, 0));
    model.update(NOW, Msg::Secret(event(5, 1, Label::ClientTraffic0, 8)));
    assert_eq!(model.stats.conflicts, 1);
}

#[test]
fn the_ends_are_told_once_and_stay() {
    let ends = |name: &str, port| WhoIsWho {
        server_name: Some(name.into()),
        peer: Some(([192, 0, 2, 1], port).into()),
    };
    let mut model = all();
    let told = |label, ends| Msg::Secret(Captured { ends, ..event(5, 1, label, 7) });
    model.update(NOW, Msg::Secret(event(5, 1, Label::ServerHandshake, 7)));
    model.update(NOW, told(Label::ClientHandshake, ends("example.org", 443)));
    model.update(NOW, told(Label::ClientTraffic0, ends("other.example.org", 80)));
    let session = model.sessions.newest_first().next().unwrap();
    assert_eq!(session.server().as_deref(), Some("example.org"));
    assert_eq!(session.peer, Some(([192, 0, 2, 1], 443).into()));
}
