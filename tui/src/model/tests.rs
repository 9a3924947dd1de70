//! The rules of design.md, one test each, and what must hold for any order of events.

use std::path::PathBuf;
use std::sync::Arc;

use proptest::prelude::*;

use super::target::{Birth, Change, Image, ImageId, Process, Scan, Target};
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

fn all() -> Model {
    limited(100)
}

fn limited(sessions: usize) -> Model {
    let selection = Selection { all: true, ..Selection::default() };
    Model::new(selection, PathBuf::from("k"), sessions)
}

fn key(pid: u32, random: u8) -> SessionKey {
    SessionKey { pid, client_random: ClientRandom([random; 32]) }
}

/// Sends an event and plays the writer: what is to be written is written.
fn send(model: &mut Model, file: &mut Vec<String>, msg: Msg) {
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
fn rules_that_change_while_an_attach_is_answered_reach_the_kernel() {
    let names = vec![globset::Glob::new("zzz").unwrap().compile_matcher()];
    let selection = Selection { names, ..Selection::default() };
    let mut model = Model::new(selection, PathBuf::from("k"), 10);
    let scan = Scan { targets: Vec::new(), images: vec![image(0)], ..Scan::default() };
    model.update(NOW, Msg::Scanned(scan));
    let effects = model.update(NOW, Msg::Secret(event(2, 7, Label::ClientRandom, 3)));
    assert!(matches!(effects[..], [Effect::Capture(Change::Rule(2, false))]), "{effects:?}");
    let effects = model.update(NOW, Msg::Attached { image: ImageId(0), result: Ok(1) });
    assert!(matches!(effects[..], [Effect::Capture(Change::ForgetRule(2))]), "{effects:?}");
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
fn what_was_not_chosen_is_dropped_and_the_kernel_is_told() {
    let selection = Selection {
        names: vec![globset::Glob::new("proc1*").unwrap().compile_matcher()],
        ..Selection::default()
    };
    let mut model = Model::new(selection, PathBuf::from("k"), 10);
    model.update(NOW, Msg::Scanned(Scan::default()));
    let effects = model.update(NOW, Msg::Secret(event(2, 7, Label::ClientRandom, 3)));
    assert!(matches!(effects[..], [Effect::Capture(Change::Rule(2, false))]), "{effects:?}");
    assert!(model.sessions.is_empty());
    let effects = model.update(NOW, Msg::Secret(event(12, 7, Label::ClientRandom, 3)));
    assert!(matches!(effects[..], [Effect::Capture(Change::Rule(12, true))]), "{effects:?}");
    assert_eq!(model.sessions.len(), 1);
}

#[test]
fn only_images_of_chosen_processes_are_attached() {
    let mut model = Model::new(Selection::default(), PathBuf::from("k"), 10);
    let target =
        |pid, image| Target { process: process(pid), images: vec![ImageId(image)], command: None };
    let scan = Scan {
        targets: vec![target(1, 0), target(2, 1)],
        images: vec![image(0), image(1)],
        ..Scan::default()
    };
    assert!(model.update(NOW, Msg::Scanned(scan)).is_empty());
    let effects = model.update(NOW, Msg::ChoosePid(2, true));
    let changes: Vec<_> = effects
        .into_iter()
        .map(|effect| match effect {
            Effect::Capture(change) => change,
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(changes, [Change::ReportAnew(2), Change::Attach(ImageId(1))]);
    assert!(!model.is_ready());
    model.update(NOW, Msg::Attached { image: ImageId(1), result: Ok(1) });
    assert!(model.is_ready());
    assert_eq!((model.targets.attached_processes(), model.targets.attached_images()), (1, 1));
    let effects = model.update(NOW, Msg::ChoosePid(2, false));
    assert_eq!(effects.len(), 2, "{effects:?}");
}

/// A target with TLS code that began at `ticks`, as the only process there is.
fn only_process(pid: u32, ticks: u64) -> Scan {
    let process = Process { start_ticks: ticks, ..Process::clone(&process(pid)) };
    Scan {
        targets: vec![Target {
            process: Arc::new(process),
            images: vec![ImageId(0)],
            command: None,
        }],
        images: vec![image(0)],
        pids: Some([pid].into()),
        births: [(pid, Birth { parent: 0, start_ticks: ticks })].into(),
        ..Scan::default()
    }
}

#[test]
fn a_process_that_got_the_id_of_a_chosen_one_is_not_chosen() {
    let mut model = Model::new(Selection::default(), PathBuf::from("k"), 10);
    model.update(NOW, Msg::Scanned(only_process(5, 1)));
    model.update(NOW, Msg::ChoosePid(5, true));
    assert_eq!(model.targets.selection.pids, [(5, 1)].into());
    // Its secrets come before a scan has seen it.
    let mut other = event(5, 1, Label::ClientRandom, 1);
    other.process = Arc::new(Process { start_ticks: 20, ..Process::clone(&process(5)) });
    let effects = model.update(NOW, Msg::Secret(other));
    assert!(matches!(effects[..], [Effect::Capture(Change::Rule(5, false))]), "{effects:?}");
    assert!(model.sessions.is_empty());
    let effects = model.update(NOW, Msg::Scanned(only_process(5, 20)));
    assert!(model.targets.selection.pids.is_empty());
    let told = format!("{effects:?}");
    assert_eq!(told, "[Capture(ForgetRule(5)), Capture(Detach(ImageId(0)))]");
}

#[test]
fn a_chosen_process_that_ended_is_dropped_when_its_last_secrets_are_read() {
    let selection = Selection { pids: [(5, 1)].into(), ..Selection::default() };
    let mut model = Model::new(selection, PathBuf::from("k"), 10);
    let nobody = |pids| Scan { pids, ..Scan::default() };
    model.update(NOW, Msg::Scanned(only_process(5, 1)));
    model.update(NOW, Msg::Scanned(nobody(Some([9].into()))));
    let mut last = event(5, 1, Label::ClientRandom, 1);
    last.process = Arc::new(Process { start_ticks: 0, ..Process::clone(&process(5)) });
    model.update(NOW, Msg::Secret(last));
    assert_eq!(model.sessions.len(), 1);
    // One that was not found for once, and one scan that could not list the processes.
    model.update(NOW, Msg::Scanned(only_process(5, 1)));
    model.update(NOW, Msg::Scanned(nobody(None)));
    let effects = model.update(NOW, Msg::Scanned(nobody(Some([9].into()))));
    assert_eq!(model.targets.selection.pids.len(), 1);
    // On a machine where nothing else happens, no other picture would come.
    assert!(matches!(effects[..], [Effect::Report]), "{effects:?}");
    let effects = model.update(NOW, Msg::Scanned(nobody(Some([9].into()))));
    assert!(matches!(effects[..], [Effect::Capture(Change::ForgetRule(5))]), "{effects:?}");
    assert!(model.targets.selection.is_empty());
}

#[test]
fn a_rule_that_the_kernel_lost_is_set_again() {
    let selection = Selection {
        names: vec![globset::Glob::new("proc1*").unwrap().compile_matcher()],
        ..Selection::default()
    };
    let mut model = Model::new(selection, PathBuf::from("k"), 10);
    for random in [7, 8] {
        let effects = model.update(NOW, Msg::Secret(event(2, random, Label::ClientRandom, 3)));
        assert!(matches!(effects[..], [Effect::Capture(Change::Rule(2, false))]), "{effects:?}");
    }
}

#[test]
fn one_failed_attach_leaves_the_others() {
    let mut model = all();
    let scan = Scan { images: vec![image(0), image(1)], ..Scan::default() };
    model.update(NOW, Msg::Scanned(scan));
    model.update(NOW, Msg::Attached { image: ImageId(0), result: Err("refused".to_owned()) });
    model.update(NOW, Msg::Attached { image: ImageId(1), result: Ok(2) });
    assert!(model.is_ready());
    assert_eq!(model.targets.attached_images(), 1);
    assert_eq!(model.targets.images[&ImageId(0)].state, ImageState::Failed("refused".to_owned()));
}

#[test]
fn an_image_that_is_not_known_any_more_is_detached() {
    let mut model = all();
    let images = |ids: &[u32]| Scan {
        images: ids.iter().map(|id| image(*id)).collect(),
        warnings: vec!["no room".to_owned()],
        ..Scan::default()
    };
    model.update(NOW, Msg::Scanned(images(&[0, 1, 2])));
    model.update(NOW, Msg::Attached { image: ImageId(0), result: Ok(1) });
    model.update(NOW, Msg::Attached { image: ImageId(1), result: Err("refused".to_owned()) });
    let effects = model.update(NOW, Msg::Scanned(images(&[])));
    let told = format!("{effects:?}");
    let expected = "[Warn(\"no room\"), Capture(Detach(ImageId(0))), Capture(Detach(ImageId(2)))]";
    assert_eq!(told, expected, "one that failed has nothing to detach");
    assert!(model.targets.images.is_empty() && model.is_ready());
    // The answer for one that was on its way comes too late.
    assert!(model.update(NOW, Msg::Attached { image: ImageId(2), result: Ok(1) }).is_empty());
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

#[test]
fn what_has_the_keys_of_an_image_is_attached_with_it() {
    use crate::target::plan::{Arguments, Operands};
    let with = |id, path: &str, version, arguments: Arguments| {
        let mut image = fixture::image(id, path, Some(("NSS", version)), 1);
        Arc::make_mut(&mut image.plan).taps[0].arguments = arguments;
        image
    };
    let key = || {
        let record = tlskeytop_common::RecordConfig::default();
        Arguments::Key(Operands { record, labels: &[] })
    };
    let token = || Arguments::Token(tlskeytop_common::TokenConfig::default());
    let mut tls = with(1, "/lib/libssl3.so", "3.87.1", key());
    tls.named = true;
    let images = vec![
        tls,
        with(2, "/lib/libsoftokn3.so", "3.87.1", token()),
        with(3, "/opt/libsoftokn3.so", "3.125.1", token()),
    ];
    let selection = Selection { all: true, only_named_images: true, ..Selection::default() };
    let mut targets = Targets::new(selection);
    targets.merge(Scan { images, ..Scan::default() });
    let attached = |changes: Vec<Change>| -> Vec<ImageId> {
        let of = |change| match change {
            Change::Attach(image) => Some(image),
            _ => None,
        };
        changes.into_iter().filter_map(of).collect()
    };
    assert_eq!(attached(targets.reconcile()), [ImageId(1), ImageId(2)]);
    // The walk has no use for either.
    targets.selection.ways = crate::target::plan::Ways::Walk;
    let detached = targets.reconcile();
    assert_eq!(detached, [Change::Detach(ImageId(1)), Change::Detach(ImageId(2))]);
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
