//! The detail, copying, saving and exporting.

use std::path::PathBuf;

use super::*;
use crate::model::fixture::*;
use crate::model::{SessionRef, Store};
use crate::tls::Label;

fn app() -> App {
    let mut app = crate::model::fixture::app(everything());
    add_sessions(&mut app);
    settle(&mut app);
    app
}

fn settle(app: &mut App) {
    app.settle(Pages { sessions: 5, detail: 5, detail_past: 9, ..Pages::default() });
}

fn act(app: &mut App, action: Action) -> Vec<Effect> {
    let effects = app.act(at(10), action);
    settle(app);
    effects
}

fn told(app: &App) -> &str {
    app.ui.toast.as_ref().map_or("", |toast| &toast.text)
}

fn copied(effects: &[Effect]) -> String {
    let [Effect::Copy { text, what: "key line" }] = effects else { panic!("{effects:?}") };
    text.to_string()
}

fn type_over(app: &mut App, text: &str) {
    app.edit(tui_input::InputRequest::DeleteLine);
    for c in text.chars() {
        app.edit(tui_input::InputRequest::InsertChar(c));
    }
}

fn opened() -> Msg {
    Msg::KeyLog(KeyLogMsg::Opened { generation: 1, known: Vec::new() })
}

#[test]
fn the_detail_stays_with_its_session() {
    let mut app = app();
    act(&mut app, Action::Last);
    let effects = act(&mut app, Action::Open);
    assert!(matches!(effects[..], [Effect::LookAt { pid: 7, start_ticks: 7 }]));
    let looked_at = |app: &App| app.detail_session().map(|session| session.serial);
    assert_eq!(looked_at(&app), Some(0));
    add_many(&mut app, 50);
    act(&mut app, Action::Down);
    act(&mut app, Action::Down);
    assert_eq!((looked_at(&app), app.ui.detail.cursor), (Some(0), 2));
    assert!(copied(&act(&mut app, Action::CopyLine)).starts_with("CLIENT_TRAFFIC_SECRET_0 a1a1"));
    let effects = act(&mut app, Action::CopyLines);
    assert!(matches!(&effects[..], [Effect::Copy { text, .. }] if text.lines().count() == 5));

    app.model.sessions = Store::new(1);
    add_many(&mut app, 5);
    assert_eq!(looked_at(&app), None);
    for action in [
        Action::CopyLine,
        Action::CopyLines,
        Action::CopyClientRandom,
        Action::Reveal,
        Action::Down,
    ] {
        assert!(act(&mut app, action).is_empty(), "{action:?}");
    }
    assert_eq!(app.ui.detail.revealed_until, None);
    act(&mut app, Action::Back);
    assert_eq!(app.ui.view, View::Sessions);
}

#[test]
fn a_command_line_is_for_the_process_that_is_looked_at() {
    let mut app = app();
    act(&mut app, Action::Last);
    act(&mut app, Action::Open);
    let answer = |ticks| Msg::CommandLine { process: (7, ticks), result: Ok("nginx -g".into()) };
    app.receive(at(10), answer(8));
    assert_eq!(app.ui.detail.command_line, CommandLine::Reading);
    app.receive(at(10), answer(7));
    assert_eq!(app.ui.detail.command_line, CommandLine::Known("nginx -g".into()));
}

#[test]
fn what_the_version_wants_is_missing_until_it_comes() {
    let mut app = app();
    let of = |app: &App, random: u8| {
        let all = app.model.sessions.newest_first();
        let session = all.into_iter().find(|s| s.key.client_random.0[0] == random).unwrap();
        session.missing().map(|label| label.as_str()).collect::<Vec<_>>()
    };
    assert_eq!(of(&app, 0xa3), ["CLIENT_TRAFFIC_SECRET_0", "SERVER_TRAFFIC_SECRET_0"]);
    assert_eq!(of(&app, 0xa2).len() + of(&app, 0xa1).len() + of(&app, 0xa4).len(), 0);
    act(&mut app, Action::Down);
    act(&mut app, Action::Open);
    act(&mut app, Action::Last);
    assert_eq!(app.ui.detail.cursor, 3);
    app.ui.detail.past = 0;
    assert!(act(&mut app, Action::CopyLine).is_empty());
    assert_eq!(told(&app), "this secret was not captured");
}

#[test]
fn secrets_are_masked_after_thirty_seconds_and_on_leaving() {
    let mut app = app();
    act(&mut app, Action::Open);
    act(&mut app, Action::Reveal);
    assert_eq!(app.ui.detail.seconds_left(at(10)), Some(30));
    app.ui.toast = None;
    assert!(app.expire(at(11)), "the seconds are shown");
    assert!(!app.expire(at(11)));
    assert_eq!(app.ui.detail.seconds_left(at(39)), Some(1));
    assert!(app.expire(at(40)));
    assert_eq!(app.ui.detail.revealed_until, None);
    assert!(!app.expire(at(41)));
    for action in [Action::Back, Action::Processes, Action::Images] {
        app.ui.view = View::Detail;
        act(&mut app, Action::Reveal);
        assert!(app.ui.detail.revealed_until.is_some());
        act(&mut app, action);
        assert_eq!(app.ui.detail.revealed_until, None, "{action:?}");
    }
}

#[test]
fn of_several_lines_one_is_chosen() {
    let mut app = app();
    assert!(copied(&act(&mut app, Action::CopyLine)).ends_with(&"07".repeat(48)), "the only one");
    act(&mut app, Action::Last);
    assert!(act(&mut app, Action::CopyLine).is_empty());
    assert_eq!(app.context(), Context::Lines);
    act(&mut app, Action::Last);
    act(&mut app, Action::Up);
    let line = copied(&act(&mut app, Action::Confirm));
    assert_eq!(line, format!("SERVER_TRAFFIC_SECRET_0 {} {}", "a1".repeat(32), "04".repeat(32)));
    assert_eq!(app.context(), Context::Sessions);
    act(&mut app, Action::CopyLine);
    assert!(act(&mut app, Action::Back).is_empty());
    assert!(app.ui.lines.is_none());

    act(&mut app, Action::CopyLine);
    app.model.sessions = Store::new(1);
    act(&mut app, Action::Down);
    assert!(act(&mut app, Action::Confirm).is_empty());
    assert!(told(&app).contains("dropped"), "{}", told(&app));
}

#[test]
fn a_null_secret_is_not_copied() {
    let mut app = app();
    let nginx = process(7, "nginx");
    for (label, fill) in [(Label::ClientEarlyTraffic, 0), (Label::ClientHandshake, 1)] {
        app.receive(at(9), Msg::Secret(secret(at(9), &nginx, 0xee, label, fill)));
    }
    settle(&mut app);
    assert!(copied(&act(&mut app, Action::CopyLine)).starts_with("CLIENT_HANDSHAKE"));
    act(&mut app, Action::Open);
    assert!(act(&mut app, Action::CopyLine).is_empty());
    assert!(told(&app).contains("null"));
}

#[test]
fn the_first_saving_asks_for_the_path() {
    let mut app = app();
    app.ui.files = Files { home: Some("/home/ada".into()), ..Files::default() };
    assert!(act(&mut app, Action::Save).is_empty());
    let prompt = app.ui.prompt.as_ref().unwrap();
    assert_eq!((prompt.purpose, prompt.input.value()), (Purpose::SavePath, "./tlskeytop.keylog"));
    act(&mut app, Action::Back);
    assert!(!app.model.saving.is_wanted() && app.ui.prompt.is_none());

    for (text, why) in [("", "path is empty"), ("-", "terminal")] {
        act(&mut app, Action::Save);
        type_over(&mut app, text);
        assert!(act(&mut app, Action::Confirm).is_empty());
        assert!(told(&app).contains(why), "{}", told(&app));
        assert!(!app.model.saving.is_wanted());
    }

    act(&mut app, Action::Save);
    type_over(&mut app, "~/keys");
    let effects = act(&mut app, Action::Confirm);
    assert!(matches!(&effects[..], [Effect::OpenKeyLog(p)] if p.as_os_str() == "/home/ada/keys"));
    app.receive(at(11), Msg::KeyLog(KeyLogMsg::Refused { reason: "a folder".to_owned() }));
    act(&mut app, Action::Save);
    assert!(app.ui.prompt.is_some(), "it is asked again after a refusal");
    act(&mut app, Action::Confirm);
    app.receive(at(11), opened());
    assert!(matches!(act(&mut app, Action::Save)[..], [Effect::CloseKeyLog]));
    assert!(matches!(act(&mut app, Action::Save)[..], [Effect::OpenKeyLog(_)]), "not asked again");
}

#[test]
fn a_path_from_the_command_line_is_not_asked_for() {
    let mut model = Model::new(everything(), "k".into(), 10);
    model.update(at(1), Msg::Save(true));
    assert!(App::new(model).ui.files.path_known);
    assert!(!App::new(Model::new(everything(), "k".into(), 10)).ui.files.path_known);
}

#[test]
fn another_path_closes_the_present_file() {
    let mut app = app();
    act(&mut app, Action::Save);
    app.receive(at(11), opened());
    let effects = app.receive(at(12), Msg::SaveTo("other".into()));
    assert!(matches!(&effects[..], [Effect::CloseKeyLog, Effect::OpenKeyLog(_)]), "{effects:?}");
    assert!(app.receive(at(12), Msg::SaveTo("other".into())).is_empty());
}

#[test]
fn the_lines_of_what_was_captured_before_are_told() {
    let mut app = app();
    act(&mut app, Action::Save);
    app.receive(at(11), opened());
    let wrote = |written| Msg::KeyLog(KeyLogMsg::Wrote { generation: 1, written, error: None });
    app.receive(at(11), wrote(9));
    assert_eq!(
        told(&app),
        "saving to ./tlskeytop.keylog: wrote 9 lines, all that was captured so far"
    );
    app.ui.toast = None;
    let nginx = process(7, "nginx");
    app.receive(at(12), Msg::Secret(secret(at(12), &nginx, 0xee, Label::ClientRandom, 1)));
    app.receive(at(12), wrote(1));
    assert_eq!(app.ui.toast, None, "later ones are counted in the status");
}

#[test]
fn the_shown_sessions_are_exported() {
    let mut app = app();
    assert!(act(&mut app, Action::Export).is_empty());
    assert_eq!(app.context(), Context::Prompt);
    let effects = act(&mut app, Action::Confirm);
    let [Effect::Export { path, sessions: 4, lines }] = &effects[..] else { panic!("{effects:?}") };
    assert_eq!((path, lines.len()), (&PathBuf::from("./tlskeytop-export.keylog"), 9));
    assert_eq!(lines.capacity(), 9, "growing would leave secrets behind");
    assert!(!format!("{effects:?}").contains("0101"));

    let done = Exported { path: path.clone(), sessions: 4, written: 8, known: 1, error: None };
    app.receive(at(11), Msg::Exported(done.clone()));
    let text = "8 lines of 4 sessions exported to ./tlskeytop-export.keylog; 1 more was in it";
    assert_eq!(told(&app), text);
    app.receive(at(11), Msg::Exported(Exported { written: 0, known: 9, ..done.clone() }));
    let text = "nothing new: ./tlskeytop-export.keylog has the 9 lines of 4 sessions already";
    assert_eq!(told(&app), text);
    let failed = Exported { written: 0, error: Some("x: a \x1b[2Jlink".to_owned()), ..done };
    app.receive(at(11), Msg::Exported(failed));
    assert_eq!(told(&app), "not exported: x: a \\x1b[2Jlink");

    act(&mut app, Action::Export);
    type_over(&mut app, " ");
    assert!(act(&mut app, Action::Confirm).is_empty());
    assert_eq!(told(&app), "not exported: the path is empty");
}

#[test]
fn nothing_is_exported_where_nothing_is_shown_or_over_the_key_log() {
    let mut app = crate::model::fixture::app(everything());
    act(&mut app, Action::Export);
    assert_eq!(told(&app), "no session with a key line is shown");
    assert!(app.ui.prompt.is_none());
    let mut app = self::app();
    act(&mut app, Action::Save);
    act(&mut app, Action::Export);
    type_over(&mut app, "./tlskeytop.keylog");
    assert!(act(&mut app, Action::Confirm).is_empty());
    assert!(told(&app).contains("this is the key log"));
}

#[test]
fn quitting_asks_only_when_it_should() {
    let mut app = app();
    assert!(act(&mut app, Action::Quit).is_empty());
    act(&mut app, Action::Back);
    app.ui.confirm_quit = false;
    assert!(matches!(act(&mut app, Action::Quit)[..], [Effect::Quit]));
}

#[test]
fn saving_before_quitting_asks_for_the_path_first() {
    let asked = || {
        let mut app = app();
        app.ui.files = Files::default();
        act(&mut app, Action::Quit);
        assert!(act(&mut app, Action::Save).is_empty());
        assert_eq!(app.context(), Context::Prompt);
        app.receive(at(10), Msg::Tick);
        app
    };
    let wrote = || Msg::KeyLog(KeyLogMsg::Wrote { generation: 1, written: 9, error: None });
    let quits = |effects: Vec<Effect>| effects.iter().any(|e| matches!(e, Effect::Quit));
    let mut app = asked();
    act(&mut app, Action::Confirm);
    app.receive(at(11), opened());
    assert!(quits(app.receive(at(11), wrote())));

    let mut app = asked();
    act(&mut app, Action::Back);
    act(&mut app, Action::Save);
    act(&mut app, Action::Confirm);
    app.receive(at(11), opened());
    assert!(!quits(app.receive(at(11), wrote())), "the user went back, and saved later");
}

#[test]
fn a_prompt_does_not_hold_the_keys_on_a_screen_that_is_too_small() {
    let mut app = app();
    act(&mut app, Action::Export);
    app.settle(Pages { too_small: true, ..Pages::default() });
    app.act(at(10), Action::Confirm);
    assert!(app.ui.prompt.is_some());
    app.act(at(10), Action::Back);
    assert!(app.ui.prompt.is_none());
}

#[test]
fn a_reference_is_of_one_session() {
    let app = app();
    let session = app.model.sessions.newest_first().next().unwrap();
    let reference: SessionRef = app.model.sessions.reference_of(&session.key).unwrap();
    assert_eq!(app.model.sessions.get(reference).unwrap().serial, session.serial);
}
