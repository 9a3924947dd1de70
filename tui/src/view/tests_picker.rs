//! The processes, the images and the lines on top at four sizes.

use std::sync::Arc;

use insta::assert_snapshot;
use ratatui::style::Modifier;
use tui_input::InputRequest;

use super::tests::screen;
use super::*;
use crate::action::Action;
use crate::model::container::Container;
use crate::model::fixture::{self, add_many, add_sessions, at, everything, make_walkable};
use crate::model::target::{ImageId, Process, Selection};
use crate::model::{KernelCounters, KeyLogMsg, Msg};
use crate::target::plan::{FoundBy, Hook};
use crate::text::Foreign;

const SIZES: [(u16, u16); 4] = [(60, 12), (80, 24), (120, 40), (200, 60)];
fn snapshots(name: &str, app: &mut App) {
    for (width, height) in SIZES {
        assert_snapshot!(format!("{name}_{width}x{height}"), screen(app, (width, height)));
    }
}

fn type_in(app: &mut App, text: &str) {
    for c in text.chars() {
        app.edit(InputRequest::InsertChar(c));
    }
}

/// With parents, a container, an image that can be walked only, and open connections.
fn receive_all(app: &mut App) {
    let mut scan = fixture::scan();
    let parents = [(901, 600), (1201, 7), (1202, 1201), (1203, 1202)];
    for target in &mut scan.targets {
        let mut process: Process = (*target.process).clone();
        if let Some((_, parent)) = parents.iter().find(|(pid, _)| *pid == process.pid) {
            process.parent = *parent;
        }
        if process.pid == 901 {
            process.container = Some(Container {
                runtime: Some("docker"),
                id: Some("0123456789abcdef".repeat(4).as_str().into()),
                ..Container::default()
            });
            process.exe = Some(Foreign::from("/opt/\x1b[2J日本/bin/node"));
        }
        target.process = Arc::new(process);
    }
    scan.ancestors = [(600, 7), (1, 0)].into();
    scan.images[0].named = false;
    make_walkable(&mut scan.images[0]);
    make_walkable(&mut scan.images[1]);
    let plan = Arc::make_mut(&mut scan.images[1].plan);
    plan.taps.clear();
    for name in ["SSL_do_handshake", "SSL_get_error"] {
        plan.hooks.push(Hook {
            name,
            address: 0x3000,
            file_offset: 0x3000,
            probe_offset: 0x3000,
            found_by: FoundBy::Export,
        });
    }
    app.receive(at(1), Msg::Scanned(scan));
}

fn app_with(selection: Selection) -> App {
    let model = crate::model::Model::new(selection, "./tlskeytop.keylog".into(), 1000);
    let mut app = App::new(model);
    receive_all(&mut app);
    app
}

fn attached() -> App {
    let mut app = app_with(everything());
    for (id, result) in [
        (1, Ok(2)),
        (2, Ok(3)),
        (3, Err("/opt/grpc/cygrpc.so: Invalid argument (os error 22)".to_owned())),
    ] {
        app.receive(at(2), Msg::Attached { image: ImageId(id), result });
    }
    for (pid, image) in [(7, 1), (901, 2)] {
        let image = ImageId(image);
        app.receive(at(2), Msg::CatchingUp { pid, image, result: Ok(Some(3)) });
    }
    app
}

#[test]
fn processes_as_a_tree() {
    let mut app = app_with(Selection::default());
    app.act(at(1), Action::Tree);
    app.act(at(1), Action::Last);
    app.act(at(1), Action::Up);
    app.act(at(1), Action::Up);
    app.act(at(1), Action::Mark);
    snapshots("processes_tree", &mut app);
}

#[test]
fn processes_that_are_caught_up_with() {
    let mut app = attached();
    app.expire(at(20));
    app.receive(at(20), Msg::Tick);
    app.act(at(20), Action::Processes);
    snapshots("processes_catching_up", &mut app);
}

#[test]
fn processes_that_are_searched() {
    let mut app = app_with(Selection::default());
    app.act(at(1), Action::Search);
    type_in(&mut app, "ope 日");
    snapshots("processes_search", &mut app);
    let screen = screen(&mut app, (80, 24));
    let marked: Vec<_> = screen
        .buffer()
        .content()
        .iter()
        .filter(|cell| cell.modifier.contains(Modifier::UNDERLINED) && cell.symbol() != " ")
        .map(|cell| cell.symbol())
        .collect();
    assert_eq!(marked, ["日", "O", "p", "e", "O", "p", "e"]);
    type_in(&mut app, " and no such thing \x1b[2J");
    app.act(at(1), Action::Confirm);
    snapshots("processes_no_match", &mut app);
}

#[test]
fn help_of_processes_and_images() {
    for (name, action) in
        [("help_processes_end", Action::Processes), ("help_images", Action::Images)]
    {
        let mut app = attached();
        app.expire(at(20));
        app.act(at(20), action);
        app.act(at(20), Action::Help);
        screen(&mut app, (80, 24));
        app.act(at(20), Action::Last);
        assert_snapshot!(format!("{name}_80x24"), screen(&mut app, (80, 24)));
        assert_snapshot!(format!("{name}_120x40"), screen(&mut app, (120, 40)));
    }
}

#[test]
fn images_and_no_warnings() {
    let mut app = app_with(Selection::default());
    app.act(at(1), Action::Images);
    snapshots("images", &mut app);
}

#[test]
fn images_with_trouble() {
    let mut app = attached();
    add_sessions(&mut app);
    for n in 0..30 {
        let text = format!("rejected from \x1b[2J日本 ({n}): a secret of 31 bytes");
        app.receive(at(10 + n), Msg::Warning(text.clone()));
        app.receive(at(10 + n), Msg::Warning(text));
    }
    let counters = KernelCounters {
        hits: 1_234_567,
        filtered: 1234,
        ring_full: 3,
        secret_unreadable: 1,
        ..KernelCounters::default()
    };
    app.receive(at(50), Msg::Counters(counters));
    app.expire(at(60));
    snapshots("images_unseen", &mut app);
    app.act(at(60), Action::Images);
    snapshots("images_trouble", &mut app);
    screen(&mut app, (80, 24));
    app.act(at(60), Action::PageDown);
    assert_snapshot!("images_scrolled_80x24", screen(&mut app, (80, 24)));
}

/// The two lines on top.
fn status(app: &mut App, width: u16) -> String {
    let text = screen(app, (width, 24)).to_string();
    let lines = text.lines().take(2).map(|line| line.split('"').nth(1).unwrap_or_default());
    lines.map(str::trim_end).collect::<Vec<_>>().join("\n")
}

#[test]
fn status_of_all_kinds() {
    let mut apps = Vec::new();
    let mut quiet = fixture::app(everything());
    quiet.expire(at(20));
    apps.push(("quiet", quiet));
    let mut catching_up = attached();
    catching_up.receive(at(3), Msg::Tick);
    screen(&mut catching_up, (80, 24));
    apps.push(("catching up", catching_up));
    let mut saving = fixture::app(everything());
    add_sessions(&mut saving);
    saving.act(at(7), Action::Save);
    saving.receive(at(7), Msg::KeyLog(KeyLogMsg::Opened { generation: 1, known: Vec::new() }));
    saving.receive(at(8), Msg::KeyLog(KeyLogMsg::Wrote { generation: 1, written: 9, error: None }));
    apps.push(("saving", saving));
    let mut trouble = attached();
    add_sessions(&mut trouble);
    trouble.act(at(7), Action::Save);
    trouble.receive(at(7), Msg::KeyLog(KeyLogMsg::Opened { generation: 1, known: Vec::new() }));
    let error = Some("./tlskeytop.keylog: No space left on device".to_owned());
    trouble.receive(at(8), Msg::KeyLog(KeyLogMsg::Wrote { generation: 1, written: 5, error }));
    let counters = KernelCounters { ring_full: 1234, ..KernelCounters::default() };
    trouble.receive(at(8), Msg::Counters(counters));
    trouble.act(at(8), Action::Pause);
    add_many(&mut trouble, 20);
    apps.push(("trouble", trouble));
    let mut lines = Vec::new();
    for (name, app) in &mut apps {
        for width in [60, 80, 120, 200] {
            lines.push(format!("{name}, {width} columns\n{}", status(app, width)));
        }
    }
    assert_snapshot!(lines.join("\n\n"));
}

/// What must be seen at every width, when there is something to see.
#[test]
fn what_matters_stays_in_the_status() {
    let mut app = attached();
    add_sessions(&mut app);
    let counters = KernelCounters { ring_full: 1234, ..KernelCounters::default() };
    app.receive(at(8), Msg::Counters(counters));
    app.act(at(8), Action::Pause);
    add_many(&mut app, 20);
    for width in 60..200 {
        let text = status(&mut app, width);
        for part in ["LOST 1,234", "PAUSED +20 new", "off: ", "lines", "conflicts 1"] {
            assert!(text.contains(part), "{part} at {width}:\n{text}");
        }
        let catching_up = text.contains("open conn");
        assert!(width < 100 || catching_up, "{width}:\n{text}");
        assert!(
            !catching_up || text.contains(" s  ") || text.contains(" s\n") || text.ends_with(" s")
        );
    }
}

#[test]
fn no_size_panics_and_nothing_is_a_control_character() {
    let mut search = app_with(everything());
    search.act(at(1), Action::Processes);
    search.act(at(1), Action::Search);
    type_in(&mut search, "n");
    let mut images = attached();
    images.act(at(1), Action::Images);
    let mut tree = app_with(Selection::default());
    tree.act(at(1), Action::Tree);
    for app in [&mut search, &mut images, &mut tree] {
        for (width, height) in [(0, 0), (1, 1), (60, 12), (61, 13), (99, 12), (100, 12), (300, 90)]
        {
            let screen = screen(app, (width, height));
            for cell in screen.buffer().content() {
                assert_eq!(crate::text::sanitize(cell.symbol()), cell.symbol());
            }
        }
    }
}
