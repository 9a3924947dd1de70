//! What is written to the key log, what is not, and what becomes of it when that fails.

use proptest::prelude::*;

use super::tests::{NOW, all, event, key, limited, send};
use super::*;
use crate::tls::Label;

#[test]
fn turning_saving_on_writes_what_was_captured_so_far() {
    let (mut model, mut file) = (all(), Vec::new());
    for random in 1..=5 {
        send(&mut model, &mut file, Msg::Secret(event(1, random, Label::ClientRandom, random)));
    }
    assert!(file.is_empty());
    send(&mut model, &mut file, Msg::Save(true));
    assert_eq!((file.len(), model.saving.lines, model.saving.pending()), (5, 5, 0));
    send(&mut model, &mut file, Msg::Save(false));
    send(&mut model, &mut file, Msg::Secret(event(1, 9, Label::ClientRandom, 9)));
    assert_eq!(file.len(), 5);
}

#[test]
fn lines_that_are_in_the_file_are_not_written_again() {
    let mut model = all();
    model.update(NOW, Msg::Secret(event(1, 7, Label::ClientRandom, 3)));
    model.update(NOW, Msg::Secret(event(1, 8, Label::ClientRandom, 4)));
    model.update(NOW, Msg::Save(true));
    let known = |random: u8, value: u8| {
        let event = event(1, random, Label::ClientRandom, value);
        let id = crate::tls::LineId::new(&event.label, &event.client_random, &event.secret);
        (id, crate::tls::ValueTag::new(&event.client_random, &event.secret))
    };
    // The second line is there with another value.
    let known = vec![known(7, 3), known(8, 5)];
    let effects = model.update(NOW, Msg::KeyLog(KeyLogMsg::Opened { generation: 1, known }));
    assert!(
        !effects.iter().any(|effect| matches!(effect, Effect::WriteLines { .. })),
        "{effects:?}"
    );
    assert!(model.sessions.find(&key(1, 7)).unwrap().entries[0].saved);
    assert!(model.sessions.find(&key(1, 8)).unwrap().entries[0].shadowed);
    assert_eq!(model.stats.conflicts, 1);
}

#[test]
fn what_could_not_be_written_stays_pending_and_is_tried_again() {
    let mut model = all();
    model.update(NOW, Msg::Save(true));
    model.update(NOW, Msg::KeyLog(KeyLogMsg::Opened { generation: 1, known: Vec::new() }));
    let written = |effects: Vec<Effect>| {
        effects.into_iter().find_map(|effect| match effect {
            Effect::WriteLines { lines, .. } => Some(lines.len()),
            _ => None,
        })
    };
    assert_eq!(
        written(model.update(NOW, Msg::Secret(event(1, 7, Label::ClientRandom, 3)))),
        Some(1)
    );
    assert_eq!(written(model.update(NOW, Msg::Secret(event(1, 8, Label::ClientRandom, 3)))), None);
    let full = || {
        Msg::KeyLog(KeyLogMsg::Wrote {
            generation: 1,
            written: 0,
            error: Some("disk full".to_owned()),
        })
    };
    assert_eq!(written(model.update(NOW, full())), None);
    assert_eq!(model.saving.pending(), 2);
    assert_eq!(model.saving.state, SavingState::Failing("disk full".to_owned()));
    assert_eq!(written(model.update(NOW, Msg::Tick)), None, "the retry is not due");
    let later = NOW + Duration::from_secs(2);
    assert_eq!(written(model.update(later, Msg::Tick)), Some(2));
    model.update(later, Msg::KeyLog(KeyLogMsg::Wrote { generation: 1, written: 2, error: None }));
    assert_eq!((model.saving.pending(), model.saving.lines), (0, 2));
    assert_eq!(model.saving.state, SavingState::On);
}

#[test]
fn a_secret_waits_once_however_often_its_session_changes() {
    let mut model = all();
    model.update(NOW, Msg::Save(true));
    model.update(NOW, Msg::KeyLog(KeyLogMsg::Opened { generation: 1, known: Vec::new() }));
    for (n, label) in Label::TLS13_COMPLETE.into_iter().enumerate() {
        model.update(NOW, Msg::Secret(event(1, 7, label, n as u8 + 1)));
        assert_eq!(model.saving.pending(), n + 1);
    }
}

#[test]
fn a_file_that_was_replaced_gets_everything_that_is_still_held() {
    let (mut model, mut file) = (all(), Vec::new());
    send(&mut model, &mut file, Msg::Save(true));
    send(&mut model, &mut file, Msg::Secret(event(1, 7, Label::ClientRandom, 3)));
    file.clear();
    send(
        &mut model,
        &mut file,
        Msg::KeyLog(KeyLogMsg::Opened { generation: 2, known: Vec::new() }),
    );
    assert_eq!(file.len(), 1);
}

#[test]
fn repeated_labels_are_all_written_while_saving() {
    let (mut model, mut file) = (all(), Vec::new());
    send(&mut model, &mut file, Msg::Save(true));
    let label = Label::parse(b"CLIENT_TRAFFIC_SECRET_N").unwrap();
    for value in 1..=200 {
        send(&mut model, &mut file, Msg::Secret(event(1, 7, label.clone(), value)));
    }
    assert_eq!((file.len(), model.stats.not_kept), (200, 0));
}

#[test]
fn an_answer_for_an_earlier_file_saves_nothing() {
    let mut model = all();
    model.update(NOW, Msg::Save(true));
    model.update(NOW, Msg::KeyLog(KeyLogMsg::Opened { generation: 1, known: Vec::new() }));
    model.update(NOW, Msg::Secret(event(1, 7, Label::ClientRandom, 3)));
    // The file was replaced while the line was on its way.
    let effects =
        model.update(NOW, Msg::KeyLog(KeyLogMsg::Opened { generation: 2, known: Vec::new() }));
    assert!(
        matches!(&effects[..], [Effect::WriteLines { generation: 2, lines }] if lines.len() == 1)
    );
    model.update(NOW, Msg::KeyLog(KeyLogMsg::Wrote { generation: 1, written: 1, error: None }));
    assert!(!model.sessions.find(&key(1, 7)).unwrap().entries[0].saved);
    model.update(NOW, Msg::KeyLog(KeyLogMsg::Wrote { generation: 2, written: 1, error: None }));
    assert!(model.sessions.find(&key(1, 7)).unwrap().entries[0].saved);
}

#[test]
fn the_losing_value_stays_out_of_a_new_file_too() {
    let (mut model, mut file) = (all(), Vec::new());
    send(&mut model, &mut file, Msg::Save(true));
    send(&mut model, &mut file, Msg::Secret(event(1, 7, Label::ClientRandom, 3)));
    send(&mut model, &mut file, Msg::Secret(event(2, 7, Label::ClientRandom, 4)));
    file.clear();
    let replaced = KeyLogMsg::Opened { generation: 2, known: Vec::new() };
    send(&mut model, &mut file, Msg::KeyLog(replaced));
    assert_eq!(file.len(), 1);
    assert!(model.sessions.find(&key(2, 7)).unwrap().entries[0].shadowed);
}

#[test]
fn a_path_that_is_refused_does_not_replace_the_one_before() {
    let mut model = all();
    let before = model.saving.path.clone();
    model.update(NOW, Msg::SaveTo("/no/such/folder/keys".into()));
    let reason = "no such folder".to_owned();
    model.update(NOW, Msg::KeyLog(KeyLogMsg::Refused { reason }));
    assert_eq!(model.saving.path, before);
    model.update(NOW, Msg::SaveTo("/tmp/keys".into()));
    model.update(NOW, Msg::KeyLog(KeyLogMsg::Opened { generation: 1, known: Vec::new() }));
    assert_eq!(model.saving.path, std::path::Path::new("/tmp/keys"));
}

fn any_label() -> impl Strategy<Value = Label> {
    prop_oneof![
        Just(Label::ClientRandom),
        Just(Label::ClientHandshake),
        Just(Label::ServerTraffic0),
        Just(Label::Exporter),
    ]
}

proptest! {
    /// Whatever comes in whatever order: the file has no line twice, no null, and never two values for
    /// one line; the store never exceeds its limit.
    #[test]
    fn the_file_has_each_line_once(
        events in proptest::collection::vec((1u32..4, 1u8..5, any_label(), 0u8..3), 1..80),
        save_at in 0usize..80,
        limit in 2usize..20,
    ) {
        let (mut model, mut file) = (limited(limit), Vec::new());
        for (n, (pid, random, label, value)) in events.into_iter().enumerate() {
            if n == save_at {
                send(&mut model, &mut file, Msg::Save(true));
            }
            send(&mut model, &mut file, Msg::Secret(event(pid, random, label, value)));
            prop_assert!(model.sessions.len() <= limit);
        }
        let mut names: Vec<_> = file.iter().map(|line| line.rsplit_once(' ').unwrap().0).collect();
        names.sort_unstable();
        let lines = names.len();
        names.dedup();
        prop_assert_eq!(names.len(), lines);
        prop_assert!(file.iter().all(|line| !line.trim_end().ends_with(&"0".repeat(64))));
        prop_assert_eq!(model.saving.lines as usize, lines);
        prop_assert_eq!(model.saving.pending(), 0);
    }
}
