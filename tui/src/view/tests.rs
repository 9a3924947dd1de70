//! Every view at the three sizes, with names that try something.

use insta::assert_snapshot;
use ratatui::Terminal;
use ratatui::backend::TestBackend;

use super::legend::legend;
use super::paint::width;
use super::*;
use crate::action::{Action, Context};
use crate::model::fixture::{self, add_many, add_sessions, at, everything};
use crate::model::target::Selection;
use crate::model::{KernelCounters, KeyLogMsg, Model, Msg};

const SIZES: [(u16, u16); 3] = [(60, 12), (80, 24), (120, 40)];
pub(super) const LOOK: Look =
    Look { theme: Theme::MONOCHROME, offset: UtcOffset::UTC, reveal: false };

pub(super) fn screen(app: &mut App, size: (u16, u16)) -> TestBackend {
    screen_as(app, size, &LOOK)
}

fn screen_as(app: &mut App, (width, height): (u16, u16), look: &Look) -> TestBackend {
    let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
    let pages = pages(app, Size { width, height }, look);
    app.settle(pages);
    terminal.draw(|frame| draw(frame, app, look)).unwrap();
    terminal.backend().clone()
}

fn snapshots(name: &str, app: &mut App) {
    for (width, height) in SIZES {
        let screen = screen(app, (width, height));
        assert_snapshot!(format!("{name}_{width}x{height}"), screen);
    }
}

fn busy() -> App {
    let mut app = fixture::app(everything());
    add_sessions(&mut app);
    app
}

#[test]
fn sessions() {
    snapshots("sessions", &mut busy());
}

#[test]
fn sessions_with_trouble() {
    let mut app = busy();
    app.act(at(6), Action::NullFilter);
    app.act(at(7), Action::Save);
    app.receive(at(7), Msg::KeyLog(KeyLogMsg::Opened { generation: 1, known: Vec::new() }));
    let error = Some("./tlskeytop.keylog: No space left on device".to_owned());
    app.receive(at(8), Msg::KeyLog(KeyLogMsg::Wrote { generation: 1, written: 5, error }));
    let counters = KernelCounters { ring_full: 1234, ..KernelCounters::default() };
    app.receive(at(8), Msg::Counters(counters));
    app.act(at(8), Action::Last);
    app.act(at(8), Action::Pause);
    add_many(&mut app, 20);
    snapshots("trouble", &mut app);
}

#[test]
fn a_forced_layout_stays_in_sight() {
    let shows =
        |app: &mut App| SIZES.map(|size| screen(app, size).to_string().contains("LAYOUT FORCED"));
    let mut app = busy();
    assert_eq!(shows(&mut app), [false; 3]);
    let forced = crate::target::layout::Forced::named("3.0.0").unwrap();
    let mut scan = fixture::scan();
    std::sync::Arc::make_mut(&mut scan.images[0].plan).force_layout(&forced);
    let mut app = App::new(Model::new(everything(), "keylog".into(), 1000));
    app.receive(at(9), Msg::Scanned(scan));
    assert_eq!(shows(&mut app), [true; 3]);
}

#[test]
fn sessions_while_saving_and_scrolled() {
    let mut app = busy();
    app.act(at(7), Action::Save);
    app.receive(at(7), Msg::KeyLog(KeyLogMsg::Opened { generation: 1, known: Vec::new() }));
    app.receive(at(8), Msg::KeyLog(KeyLogMsg::Wrote { generation: 1, written: 9, error: None }));
    add_many(&mut app, 60);
    screen(&mut app, (80, 24));
    app.act(at(8), Action::Last);
    app.expire(at(20));
    snapshots("scrolled", &mut app);
}

#[test]
fn picker() {
    let mut app = fixture::app(Selection::default());
    app.act(at(1), Action::Down);
    app.act(at(1), Action::Mark);
    snapshots("picker", &mut app);
}

#[test]
fn picker_of_what_is_attached() {
    let mut app = fixture::app(everything());
    app.receive(
        at(1),
        Msg::Attached {
            image: crate::model::target::ImageId(3),
            result: Err("/opt/grpc/cygrpc.so: Invalid argument (os error 22)".to_owned()),
        },
    );
    app.act(at(1), Action::Processes);
    snapshots("picker_attached", &mut app);
}

#[test]
fn help() {
    let mut app = busy();
    app.act(at(1), Action::Help);
    snapshots("help", &mut app);
    screen(&mut app, (80, 24));
    app.act(at(1), Action::Last);
    app.expire(at(20));
    snapshots("help_end", &mut app);
    let mut app = fixture::app(Selection::default());
    app.act(at(1), Action::Help);
    snapshots("help_processes", &mut app);
}

/// What a key does and what a symbol means stands there whole, on the smallest usual terminal too.
#[test]
fn no_line_of_the_help_is_cut() {
    for context in [Context::Sessions, Context::Detail, Context::Picker, Context::Images] {
        let app = fixture::app(Selection::default());
        let keys = app.keymap.bindings(context).map(|binding| (binding.key_list(), binding.about));
        let legend = legend(context).map(|(name, about)| (name.to_owned(), about));
        let lines: Vec<_> = keys.chain(legend).filter(|(_, about)| !about.is_empty()).collect();
        let names = lines.iter().map(|(name, _)| width(name)).max().unwrap_or(0);
        for (name, about) in lines {
            assert!(names + 2 + width(about) <= 76, "{context:?}: {name}: {about}");
        }
    }
}

/// The footer: what matters least is shown where there is room.
#[test]
fn hints() {
    let mut app = busy();
    app.expire(at(20));
    let footer = |app: &mut App, width| {
        let text = screen(app, (width, 24)).to_string();
        text.lines().last().unwrap_or_default().trim_matches(['"', ' ']).to_owned()
    };
    let footers: Vec<_> = [60, 80, 100, 120, 140].map(|width| footer(&mut app, width)).into();
    assert_snapshot!(footers.join("\n"));
}

#[test]
fn question() {
    let mut app = busy();
    app.act(at(7), Action::Quit);
    snapshots("question", &mut app);
}

#[test]
fn toast() {
    let mut app = busy();
    app.tell(at(7), crate::model::ui::Level::Warning, "from \x1b[2J日本 and \u{202e}back");
    snapshots("toast", &mut app);
}

#[test]
fn empty() {
    snapshots("empty", &mut fixture::app(everything()));
    let mut app = fixture::app(Selection::default());
    app.act(at(1), Action::Back);
    snapshots("nothing_attached", &mut app);
    let mut app = fixture::app(everything());
    app.act(at(1), Action::Pause);
    add_sessions(&mut app);
    snapshots("paused_from_the_start", &mut app);
}

#[test]
fn too_small() {
    assert_snapshot!(screen(&mut busy(), (59, 12)));
    assert_snapshot!(screen(&mut busy(), (60, 11)));
    let mut app = busy();
    app.act(at(7), Action::Quit);
    assert_snapshot!(screen(&mut app, (45, 3)));
}

#[test]
fn no_size_panics() {
    let mut apps = [busy(), fixture::app(Selection::default()), busy(), busy()];
    apps[2].act(at(1), Action::Help);
    apps[3].act(at(1), Action::Quit);
    for app in &mut apps {
        app.tell(at(7), crate::model::ui::Level::Info, "told");
        for (width, height) in [(0, 0), (1, 1), (60, 12), (61, 13), (200, 12), (60, 60), (300, 90)]
        {
            screen(app, (width, height));
        }
    }
}

/// Columns that stay at 80 and more, whatever else is there.
#[test]
fn process_version_and_secrets_never_drop() {
    for width in 60..200 {
        let text = screen(&mut busy(), (width, 24)).to_string();
        for title in ["PROCESS", "TLS", "SECRETS"] {
            assert!(text.contains(title), "{title} at {width}");
        }
    }
}

#[test]
fn nothing_on_the_screen_is_a_control_character() {
    for app in [&mut busy(), &mut fixture::app(Selection::default())] {
        let screen = screen(app, (120, 40));
        let symbols = screen.buffer().content().iter().flat_map(|cell| cell.symbol().chars());
        for c in symbols {
            assert_eq!(crate::text::sanitize(&c.to_string()), c.to_string());
        }
    }
}

#[test]
fn secrets_are_never_on_the_screen() {
    let mut app = busy();
    app.act(at(7), Action::Last);
    let text = screen(&mut app, (200, 60)).to_string();
    assert!(text.contains("0101…01"));
    assert!(!text.contains("010101"));
}

#[test]
fn secrets_are_shown_in_full_when_the_user_says_so() {
    let look = Look { reveal: true, ..LOOK };
    let mut app = busy();
    // The selected session has five secrets of 32 bytes, another one a secret of 48.
    app.act(at(7), Action::Last);
    for (width, height) in [(80, 24), (120, 40)] {
        let screen = screen_as(&mut app, (width, height), &look);
        let text = screen.to_string();
        for fill in 1..=5u8 {
            assert!(text.contains(&hex::encode([fill; 32])), "{text}");
        }
        assert!(!text.contains('…') || !text.contains("more"), "{text}");
        assert_snapshot!(format!("revealed_{width}x{height}"), screen);
    }
    for _ in 0..4 {
        app.act(at(7), Action::Up);
        for (width, height) in SIZES.into_iter().chain([(70, 20)]) {
            let screen = screen_as(&mut app, (width, height), &look);
            assert!(screen.buffer().area.width == width);
        }
    }
}
