//! Handshakes that were seen on the wire, with and without a secret.

use std::sync::Arc;
use std::time::Duration;

use insta::assert_snapshot;

use super::tests::screen;
use super::*;
use crate::action::Action;
use crate::model::fixture::{self, add_sessions, at, everything, process};
use crate::model::target::Process;
use crate::model::{Lost, Msg, Owner, Owners, WireMsg, WireView};
use crate::tls::{CipherSuite, ClientRandom, Version};
use crate::wire::{Answer, Seen};

const SIZES: [(u16, u16); 3] = [(60, 12), (80, 24), (120, 40)];

fn snapshots(name: &str, app: &mut App) {
    for (width, height) in SIZES {
        let screen = screen(app, (width, height));
        assert_snapshot!(format!("{name}_{width}x{height}"), screen);
    }
}

fn owner(process: Arc<Process>, runtime: Option<&'static str>) -> Owners {
    Owners { client: Some(Owner { process, runtime, found_at: 0 }), ..Owners::default() }
}

/// A session that the wire shows as well, one of Java, one of a hostile process with GnuTLS, one that passes by.
fn app() -> App {
    let mut app = fixture::app(everything());
    app.model.wire.view = WireView::Rows;
    add_sessions(&mut app);
    let gnutls = Arc::clone(&fixture::scan().targets[4].process);
    let handshakes = [
        (0xa1, Version::Tls13, 0x1302, None),
        (0xd1, Version::Tls13, 0x1301, Some(owner(process(5000, "java"), Some("Java")))),
        (0xd2, Version::Tls12, 0xc02f, Some(owner(gnutls, None))),
        (0xd3, Version::Tls12, 0xc030, Some(Owners { is_foreign: true, ..Owners::default() })),
    ];
    for (random, version, cipher, owners) in handshakes {
        let client_random = ClientRandom([random; 32]);
        let answer = Answer {
            client_random,
            at: at(7) + Duration::from_micros(1400),
            version: Some(version),
            cipher: CipherSuite(cipher),
            alpn: (version == Version::Tls12).then(|| "h2\x1b[2J".into()),
            is_retry: false,
        };
        let hello = fixture::hello(client_random, at(7));
        let seen = vec![Seen::Begun(Box::new(hello)), Seen::Answered(answer)];
        app.receive(at(7), Msg::Wire(WireMsg::Seen(seen)));
        if let Some(owners) = owners {
            app.receive(at(8), Msg::Wire(WireMsg::Owners(client_random, owners)));
        }
    }
    app.receive(at(20), Msg::Tick);
    app.expire(at(60));
    app
}

#[test]
fn missing_rows() {
    snapshots("missing_rows", &mut app());
}

#[test]
fn missing_rows_alone() {
    let mut app = app();
    app.act(at(60), Action::Filter);
    for c in "state:missing reason:library".chars() {
        app.edit(tui_input::InputRequest::InsertChar(c));
    }
    app.act(at(60), Action::Confirm);
    app.settle(super::pages(&app, Size::new(80, 24), &super::tests::LOOK));
    snapshots("missing_filtered", &mut app);
    app.act(at(60), Action::Open);
    snapshots("missing_detail", &mut app);
}

#[test]
fn what_the_wire_view_lost_stands_beside_the_keys() {
    let mut app = app();
    app.receive(at(60), Msg::Wire(WireMsg::Lost(Lost { packets: 3, hellos: 1200 })));
    for width in [160, 60] {
        let screen = screen(&mut app, (width, 24)).to_string();
        assert!(screen.lines().next().unwrap().contains("keys 1/4, 1,203 lost"), "{screen}");
    }
}

#[test]
fn json_of_what_the_wire_showed() {
    let app = app();
    let sessions = app.model.sessions.newest_first();
    let lines: String =
        sessions.map(|session| crate::json::session(session, &app.model.targets, false)).collect();
    assert_snapshot!(lines);
}
