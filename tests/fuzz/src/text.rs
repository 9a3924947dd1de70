//! Text of other processes: as it is shown, drawn and written as JSON.

use std::path::PathBuf;
use std::sync::Arc;

use ratatui::Terminal;
use ratatui::backend::TestBackend;
use ratatui::layout::Size;
use time::UtcOffset;
use tlskeytop::json;
use tlskeytop::model::target::{ImageId, Process, Selection};
use tlskeytop::model::ui::App;
use tlskeytop::model::{Captured, Facts, Method, Model, Msg, Time, WhoIsWho};
use tlskeytop::text::{Foreign, sanitize};
use tlskeytop::tls::{ClientRandom, Label, Secret};
use tlskeytop::view::{Look, Theme, draw, pages};

use crate::shown::assert_harmless;

/// What terminals act on.
pub const WORDS: &[&str] = &[
    "\u{1b}[2J",
    "\u{1b}]52;c;aGk=\u{7}",
    "\u{9b}31m",
    "\u{202e}",
    "\u{2066}",
    "\u{200d}",
    "\u{fe0f}",
    "e\u{301}",
    "日本",
    "\u{1f469}\u{200d}\u{1f4bb}",
    "\0",
    "\r\n",
];

const LOOK: Look = Look { theme: Theme::ANSI, offset: UtcOffset::UTC, reveal: false };
const SIZE: Size = Size { width: 60, height: 12 };

/// Shows it everywhere.
///
/// # Panics
/// When something of it could reach a terminal.
pub fn run(bytes: &[u8]) {
    let foreign = Foreign::from_bytes(bytes);
    assert!(!foreign.raw().contains('\0'));
    let shown = foreign.to_string();
    assert_harmless(&shown);
    assert_eq!(shown, sanitize(foreign.raw()));
    assert_eq!(shown, sanitize(&shown), "what is harmless stays as it is");
    assert_harmless(&foreign.file_name().to_string());
    let app = app(&foreign);
    check_json(&app, &foreign);
    check_screen(app);
}

/// A machine where this text is the name of everything.
fn app(name: &Foreign) -> App {
    let selection = Selection { all: true, ..Selection::default() };
    let mut app = App::new(Model::new(selection, PathBuf::from("./keys"), 10));
    let process = Process {
        pid: 4711,
        parent: 1,
        start_ticks: 1,
        comm: name.clone(),
        exe: Some(name.clone()),
        container: None,
        is_container_known: true,
        inner_pid: None,
        is_past: false,
        ancestors: [].into(),
    };
    let secret = Secret::new(&Label::ClientRandom, &[0x5a; 48], 48).expect("48 bytes are right");
    let captured = Captured {
        time: Time(1_767_323_045_000_000_000),
        process: Arc::new(process),
        image: ImageId(1),
        method: Method::Tap,
        client_random: ClientRandom([0xc1; 32]),
        label: Label::ClientRandom,
        secret,
        facts: Facts::default(),
        ends: WhoIsWho { server_name: Some(name.clone()), peer: None },
        caught_up: None,
        may_be_updated: false,
    };
    app.receive(captured.time, Msg::Secret(captured));
    let thread = name.clone();
    app.receive(Time(1), Msg::Rejected { pid: 4711, thread, reason: "made up".to_owned() });
    app
}

/// One object in one line, from which the text comes back as it was.
fn check_json(app: &App, name: &Foreign) {
    let session = app.model.sessions.newest_first().next().expect("a session");
    let line = json::session(session, &app.model.targets, false);
    assert_harmless(line.strip_suffix('\n').expect("it ends"));
    let object: serde_json::Value = serde_json::from_str(&line).expect("it is JSON");
    assert_eq!(object["comm"], name.raw());
    assert_eq!(object["server_name"], name.raw());
    assert!(!line.contains(&"5a".repeat(16)), "the secret was not asked for");
}

fn check_screen(mut app: App) {
    let Ok(mut terminal) = Terminal::new(TestBackend::new(SIZE.width, SIZE.height));
    app.settle(pages(&app, SIZE, &LOOK));
    let Ok(_) = terminal.draw(|frame| draw(frame, &app, &LOOK));
    for cell in terminal.backend().buffer().content() {
        assert_harmless(cell.symbol());
    }
}
