//! The table of sessions with a filter, in another order, and with all that a session can tell.

use insta::assert_snapshot;

use super::tests::{LOOK, screen};
use super::*;
use crate::action::Action;
use crate::model::Msg;
use crate::model::fixture::{self, add_sessions, at, everything, process, secret};
use crate::tls::{CipherSuite, Label, Role, Version};
use tui_input::InputRequest;

const SIZES: [(u16, u16); 4] = [(60, 12), (80, 24), (120, 40), (200, 60)];
fn snapshots(name: &str, app: &mut App) {
    for (width, height) in SIZES {
        let screen = screen(app, (width, height));
        assert_snapshot!(format!("{name}_{width}x{height}"), screen);
    }
}

/// The hostile ones, and some whose version, cipher and role are known; one sent early data, one has a
/// null secret among others.
fn busy() -> App {
    let mut app = fixture::app(everything());
    add_sessions(&mut app);
    let tls13: Vec<_> = Label::TLS13_COMPLETE.into_iter().chain([Label::Exporter]).collect();
    let early: Vec<_> = [Label::ClientEarlyTraffic].into_iter().chain(tls13.clone()).collect();
    let curl = process(31_337, "curl");
    let firefox = process(2020, "firefox-bin");
    for (n, (process, labels, version, cipher, role)) in (0..).zip([
        (&curl, &tls13, Version::Tls13, 0x1302, Role::Client),
        (&firefox, &early, Version::Tls13, 0x1303, Role::Client),
        (&curl, &vec![Label::ClientRandom], Version::Tls12, 0xc02f, Role::Server),
        (&firefox, &tls13, Version::Tls13, 0x1301, Role::Client),
    ]) {
        for label in labels {
            let fill = u8::from(n != 3 || *label != Label::ServerTraffic0);
            let mut event = secret(at(7 + n), process, 0xb0 + n as u8, label.clone(), fill);
            event.facts.version = Some(version);
            event.facts.cipher = Some(CipherSuite(cipher));
            event.facts.role = Some(role);
            app.receive(event.time, Msg::Secret(event));
        }
    }
    app.expire(at(60));
    app
}

fn type_filter(app: &mut App, text: &str) {
    app.act(at(60), Action::Filter);
    for c in text.chars() {
        app.edit(InputRequest::InsertChar(c));
    }
}

#[test]
fn columns() {
    snapshots("columns", &mut busy());
}

#[test]
fn sorted() {
    let mut app = busy();
    app.sort_by(at(60), Column::Process);
    app.expire(at(70));
    snapshots("sorted", &mut app);
}

#[test]
fn filter_while_it_is_typed() {
    let mut app = busy();
    type_filter(&mut app, "tls:1.3 !state:partial");
    snapshots("filter_typed", &mut app);
    type_filter(&mut app, " tls:9");
    snapshots("filter_error", &mut app);
}

#[test]
fn filter_that_is_on() {
    let mut app = busy();
    type_filter(&mut app, "crab");
    app.act(at(60), Action::Confirm);
    snapshots("filtered", &mut app);
    type_filter(&mut app, "\x1b[2J no such");
    app.act(at(60), Action::Confirm);
    snapshots("filtered_out", &mut app);
}

#[test]
fn a_long_filter_leaves_room_for_the_count() {
    let mut app = busy();
    type_filter(&mut app, &"日本語 🦀 ".repeat(40));
    snapshots("filter_long", &mut app);
}

#[test]
fn help_with_the_legend_of_the_labels() {
    let mut app = busy();
    app.act(at(60), Action::Help);
    assert_snapshot!("legend_120x60", screen(&mut app, (120, 60)));
}

/// Whatever else is there, in whatever order.
#[test]
fn process_version_cipher_and_state_never_drop() {
    let mut app = busy();
    for column in Column::ALL {
        app.sort_by(at(60), column);
        for width in (60..220).step_by(5) {
            let text = screen(&mut app, (width, 24)).to_string();
            for title in ["PROCESS", "TLS", "CIPHER", "SECRETS", "LABEL"] {
                assert!(text.contains(title), "{title} at {width}");
            }
        }
    }
}

#[test]
fn the_sorted_column_has_an_arrow_at_any_width() {
    let mut app = busy();
    for column in Column::ALL.into_iter().filter(|column| *column != Column::Time) {
        for _ in 0..2 {
            app.sort_by(at(60), column);
            for width in [60, 79, 80, 99, 120, 200] {
                let text = screen(&mut app, (width, 24)).to_string();
                let header = text.lines().nth(2).unwrap_or_default();
                let columns = pages(&app, Size { width, height: 24 }, &LOOK).columns;
                let arrow = header.contains(['▲', '▼']);
                assert_eq!(arrow, columns.contains(column), "{column:?} at {width}: {header}");
            }
        }
    }
}

#[test]
fn a_click_finds_the_column_whose_heading_it_hits() {
    let app = busy();
    let size = Size { width: 80, height: 24 };
    let at = |x, y| header_column_at(&app, size, &LOOK, Position { x, y });
    assert_eq!(at(0, 2), Some(Column::Time));
    assert_eq!(at(8, 2), Some(Column::Time), "the gap belongs to the column before it");
    assert_eq!(at(9, 2), Some(Column::Pid));
    assert_eq!(at(17, 2), Some(Column::Process));
    assert_eq!(at(79, 2), Some(Column::Labels));
    assert_eq!(at(80, 2), None);
    assert_eq!(at(9, 1), None);
    assert_eq!(at(9, 3), None);
}
