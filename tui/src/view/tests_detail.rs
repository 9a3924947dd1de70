//! One session in its own view, the list of its key lines, and what is asked for in the last line.

use std::sync::Arc;

use insta::assert_snapshot;

use super::tests::screen;
use super::*;
use crate::action::Action;
use crate::model::container::Container;
use crate::model::fixture::{
    self, HOSTILE, add_many, add_sessions, at, everything, make_walkable, process, secret,
};
use crate::model::target::{ImageId, Process};
use crate::model::{Facts, KeyLogMsg, Method, Model, Msg, Time};
use crate::tls::{CipherSuite, Label, Role, Version};

const SIZES: [(u16, u16); 4] = [(60, 12), (80, 24), (120, 40), (200, 60)];
fn snapshots(name: &str, app: &mut App) {
    for (width, height) in SIZES {
        let screen = screen(app, (width, height));
        assert_snapshot!(format!("{name}_{width}x{height}"), screen);
    }
}

/// A session of which much is known, from a process that tries something: with a null secret, a missing one, a
/// conflict, and secrets by tap and by walk.
fn rich(app: &mut App) {
    let plain = process(1201, HOSTILE[0]);
    let hostile = Arc::new(Process {
        exe: Some("/opt/日本語/\u{202e}bin/🦀".into()),
        container: Some(Container {
            runtime: Some("docker"),
            id: Some("0123456789abcdef".repeat(4).as_str().into()),
            ..Container::default()
        }),
        inner_pid: Some(12),
        ..(*plain).clone()
    });
    let facts = Facts {
        version: Some(Version::Tls13),
        cipher: Some(CipherSuite(0x1302)),
        role: Some(Role::Server),
        resumed: Some(true),
    };
    let labels = [
        (Label::ClientEarlyTraffic, 0, Method::Tap),
        (Label::ClientHandshake, 0xb1, Method::Tap),
        (Label::ServerHandshake, 0xb2, Method::Tap),
        (Label::ClientTraffic0, 0xb3, Method::Walk),
        (Label::ClientTraffic0, 0xbf, Method::Walk),
        (Label::Exporter, 0xb5, Method::Tap),
    ];
    for (label, fill, method) in labels {
        let event = secret(at(6), &hostile, 0xab, label, fill);
        app.receive(at(6), Msg::Secret(crate::model::Captured { facts, method, ..event }));
    }
}

/// That session in its view.
fn detail() -> App {
    let mut app = fixture::app(everything());
    let image = app.model.targets.images.get_mut(&ImageId(1)).unwrap();
    make_walkable(image);
    rich(&mut app);
    screen(&mut app, (80, 24));
    app.act(at(7), Action::Open);
    let result = Ok("nginx: worker\u{1b}[2J -g \u{202e}daemon off; 日本語".into());
    app.receive(at(7), Msg::CommandLine { process: (1201, 1201), result });
    app.expire(at(60));
    app
}

fn now(app: &mut App, time: Time) {
    app.receive(time, Msg::Tick);
    app.expire(time);
}

#[test]
fn detail_masked() {
    snapshots("detail", &mut detail());
}

#[test]
fn detail_revealed_and_scrolled() {
    let mut app = detail();
    app.act(at(8), Action::Down);
    app.act(at(8), Action::Reveal);
    now(&mut app, at(11));
    snapshots("detail_revealed", &mut app);
    let mut app = detail();
    screen(&mut app, (60, 12));
    app.act(at(8), Action::Last);
    snapshots("detail_end", &mut app);
}

#[test]
fn detail_saved_and_evicted() {
    let mut app = fixture::app(everything());
    add_sessions(&mut app);
    app.act(at(7), Action::Save);
    app.receive(at(7), Msg::KeyLog(KeyLogMsg::Opened { generation: 1, known: Vec::new() }));
    app.receive(at(8), Msg::KeyLog(KeyLogMsg::Wrote { generation: 1, written: 9, error: None }));
    app.expire(at(60));
    screen(&mut app, (80, 24));
    app.act(at(8), Action::Open);
    assert_snapshot!("detail_tls12_80x24", screen(&mut app, (80, 24)));

    app.model.sessions = crate::model::Store::new(1);
    add_many(&mut app, 3);
    assert_snapshot!("detail_gone_80x24", screen(&mut app, (80, 24)));
}

#[test]
fn lines_to_choose_from() {
    let mut app = fixture::app(everything());
    rich(&mut app);
    screen(&mut app, (80, 24));
    app.act(at(7), Action::CopyLine);
    app.act(at(7), Action::Down);
    app.expire(at(60));
    snapshots("lines", &mut app);
}

#[test]
fn paths_are_asked_for() {
    let mut app = App::new(Model::new(everything(), "./日本/tlskeytop.keylog".into(), 1000));
    app.receive(at(1), Msg::Scanned(fixture::scan()));
    add_sessions(&mut app);
    app.expire(at(60));
    app.act(at(7), Action::Save);
    assert_snapshot!("save_path_60x12", screen(&mut app, (60, 12)));
    app.act(at(7), Action::Back);
    app.act(at(7), Action::Export);
    assert_snapshot!("export_path_80x24", screen(&mut app, (80, 24)));
}

/// All texts in which a secret of the fixture could be read: two bytes and one are shown masked.
fn shows_a_secret(app: &mut App) -> bool {
    SIZES.into_iter().any(|size| {
        let text: String =
            screen(app, size).buffer().content().iter().map(|cell| cell.symbol()).collect();
        (0xb1..=0xb5u8).chain(1..=9).any(|fill| text.contains(&hex::encode([fill; 3])))
    })
}

#[test]
fn no_secret_is_in_any_frame_unless_it_is_revealed() {
    let mut app = fixture::app(everything());
    add_sessions(&mut app);
    rich(&mut app);
    screen(&mut app, (80, 24));
    assert!(!shows_a_secret(&mut app));
    app.act(at(8), Action::CopyLine);
    assert!(app.ui.lines.is_some() && !shows_a_secret(&mut app));
    app.act(at(8), Action::Back);
    app.act(at(8), Action::Open);
    for _ in 0..12 {
        assert!(!shows_a_secret(&mut app));
        app.act(at(8), Action::Down);
    }

    app.act(at(10), Action::Reveal);
    now(&mut app, at(10));
    assert!(shows_a_secret(&mut app));
    app.act(at(11), Action::Reveal);
    assert!(!shows_a_secret(&mut app), "r masks again");

    app.act(at(12), Action::Reveal);
    now(&mut app, at(41));
    assert!(shows_a_secret(&mut app));
    now(&mut app, at(42));
    assert!(!shows_a_secret(&mut app), "after 30 s");

    for leave in [Action::Back, Action::Processes, Action::Images] {
        app.ui.view = View::Sessions;
        app.act(at(50), Action::Open);
        app.act(at(50), Action::Reveal);
        assert!(shows_a_secret(&mut app));
        app.act(at(50), leave);
        assert!(!shows_a_secret(&mut app));
        app.ui.view = View::Detail;
        assert!(!shows_a_secret(&mut app), "{leave:?}: also when it is looked at again");
    }
}

#[test]
fn no_size_panics() {
    for action in [Action::Reveal, Action::Last, Action::CopyLine] {
        let mut app = detail();
        app.act(at(8), action);
        for size in [(0, 0), (1, 1), (59, 11), (60, 12), (61, 13), (200, 12), (60, 60), (300, 90)] {
            screen(&mut app, size);
        }
    }
}

/// Every line of it can be reached on the smallest screen, and the way back leads to the first.
#[test]
fn it_scrolls_from_end_to_end() {
    let mut app = detail();
    screen(&mut app, (60, 12));
    let text = |app: &mut App| screen(app, (60, 12)).to_string();
    let mut seen = String::new();
    for _ in 0..60 {
        seen.push_str(&text(&mut app));
        app.act(at(8), Action::Down);
    }
    for word in
        ["EXPORTER_SECRET", "KEY LINE", "0x1302", "resumed", "layout", "container", "daemon"]
    {
        assert!(seen.contains(word), "{word}");
    }
    assert!(text(&mut app).contains("↑"));
    for _ in 0..60 {
        app.act(at(8), Action::Up);
        text(&mut app);
    }
    assert_eq!((app.ui.detail.cursor, app.ui.detail.past), (0, 0));
    assert!(text(&mut app).contains("CLIENT_EARLY_TRAFFIC_SECRET"));
}
