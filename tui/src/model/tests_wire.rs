//! What the wire shows, and what becomes of it with and without secrets.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use proptest::prelude::*;

use super::fixture::{self, at, everything, process, secret};
use super::target::{Birth, Process, Scan, Selection};
use super::{
    Coverage, Effect, GRACE, Model, Msg, Owner, Owners, REMEMBERED, Reason, SecretState, Session,
    SessionKey, Time, WireMsg, WireView,
};
use crate::tls::{CipherSuite, ClientRandom, Label, Role, Version};
use crate::wire::{Answer, Seen};

fn model(selection: Selection) -> Model {
    let mut model = Model::new(selection, "keys".into(), 1000);
    model.wire.view = WireView::Rows;
    model.update(
        at(0),
        Msg::Scanned(Scan {
            began: 1_000_000,
            births: [(5000, Birth { parent: 1, start_ticks: 5000 })].into(),
            ..fixture::scan()
        }),
    );
    model
}

fn end(port: u16) -> SocketAddr {
    SocketAddr::from(([192, 0, 2, 1], port))
}

fn begun(random: u8, time: Time) -> Seen {
    Seen::Begun(Box::new(fixture::hello(ClientRandom([random; 32]), time)))
}

fn answered(random: u8, time: Time, is_retry: bool) -> Seen {
    Seen::Answered(Answer {
        client_random: ClientRandom([random; 32]),
        at: time,
        version: Some(Version::Tls12),
        cipher: CipherSuite(0xc02f),
        alpn: Some("h2".into()),
        is_retry,
    })
}

/// A whole handshake on the wire.
fn shake(model: &mut Model, now: Time, random: u8) {
    let seen = vec![begun(random, now), answered(random, now + Duration::from_millis(2), false)];
    model.update(now, Msg::Wire(WireMsg::Seen(seen)));
}

fn owned(model: &mut Model, now: Time, random: u8, client: Option<Arc<Process>>) {
    let owner = |process| Owner { process, runtime: None, found_at: 0 };
    let owners = Owners { client: client.map(owner), ..Owners::default() };
    model.update(now, Msg::Wire(WireMsg::Owners(ClientRandom([random; 32]), owners)));
}

fn session(model: &Model, random: u8) -> &Session {
    let is = |session: &&Session| session.key.client_random == ClientRandom([random; 32]);
    let found: Vec<&Session> = model.sessions.newest_first().filter(is).collect();
    assert_eq!(found.len(), 1, "{found:?}");
    found[0]
}

fn counts(model: &Model) -> [u64; 3] {
    let Coverage { covered, missing, others, .. } = model.wire.coverage;
    [covered, missing, others]
}

#[test]
fn a_session_learns_what_its_process_did_not_tell() {
    for secret_is_first in [true, false] {
        let mut model = model(everything());
        let mut event = secret(at(1), &process(7, "nginx"), 1, Label::ClientRandom, 3);
        event.facts.role = Some(Role::Server);
        let event = Msg::Secret(event);
        if secret_is_first {
            model.update(at(1), event);
            shake(&mut model, at(1), 1);
        } else {
            shake(&mut model, at(1), 1);
            model.update(at(1), event);
        }
        let session = session(&model, 1);
        assert_eq!(session.server_name.as_ref().unwrap().raw(), "example.org");
        assert_eq!(session.peer, Some(end(40_000)));
        assert_eq!(session.facts.version, Some(Version::Tls12));
        assert_eq!(session.facts.cipher, Some(CipherSuite(0xc02f)));
        let wire = session.wire.as_ref().unwrap();
        assert_eq!(wire.took(), Some(Duration::from_millis(2)));
        assert_eq!(wire.protocols().map(|name| name.raw()).collect::<Vec<_>>(), ["h2"]);
        assert_eq!(session.state(), SecretState::Complete);
        model.update(at(9), Msg::Tick);
        assert_eq!((counts(&model), model.sessions.len()), ([1, 0, 0], 1));
    }
}

#[test]
fn both_ends_here_are_two_sessions_of_one_handshake() {
    let mut model = model(everything());
    shake(&mut model, at(1), 1);
    for (pid, role) in [(7, Role::Server), (901, Role::Client)] {
        let mut event = secret(at(1), &process(pid, "both"), 1, Label::ClientRandom, 3);
        event.facts.role = Some(role);
        model.update(at(1), Msg::Secret(event));
    }
    model.update(at(9), Msg::Tick);
    assert_eq!((counts(&model), model.sessions.len()), ([1, 0, 0], 2));
    let peer = |pid| {
        let key = SessionKey { pid, client_random: ClientRandom([1; 32]) };
        model.sessions.find(&key).unwrap().peer.unwrap()
    };
    assert_eq!((peer(7), peer(901)), (end(40_000), end(443)));
}

#[test]
fn without_a_secret_it_is_missing_after_a_while_and_a_late_one_makes_a_session_of_it() {
    let mut model = model(everything());
    shake(&mut model, at(1), 1);
    let effects = model.update(at(1) + Duration::from_millis(250), Msg::Tick);
    assert!(matches!(effects[..], [Effect::FindOwners { .. }]), "{effects:?}");
    // GnuTLS of process 1203 cannot be captured, says the fixture.
    let gnutls = fixture::scan().targets[4].process.clone();
    owned(&mut model, at(2), 1, Some(Arc::clone(&gnutls)));
    model.update(at(3), Msg::Tick);
    assert_eq!((counts(&model), model.sessions.len()), ([0, 0, 0], 0), "it is not decided");
    model.update(at(1) + GRACE, Msg::Tick);
    let row = session(&model, 1);
    assert_eq!(row.state(), SecretState::Missing);
    assert_eq!(row.reason, Some(Reason::Unsupported(Some("GnuTLS 3.7.9".into()))));
    assert_eq!(
        (row.pid(), row.facts.role, row.peer),
        (Some(1203), Some(Role::Client), Some(end(443)))
    );
    assert_eq!((counts(&model), model.stats.sessions), ([0, 1, 0], 0));
    let serial = row.serial;
    for pid in [7, 1203] {
        let event = secret(at(5), &process(pid, "late"), 1, Label::ClientRandom, 3);
        model.update(at(5), Msg::Secret(event));
    }
    assert_eq!((counts(&model), model.stats.sessions), ([1, 0, 0], 2));
    let first = model.sessions.by_serial(serial).unwrap();
    assert_eq!((first.key.pid, first.state()), (7, SecretState::Complete));
    assert_eq!((first.reason.clone(), first.facts.role), (None, None));
}

#[test]
fn why_is_told_as_far_as_it_is_known() {
    let mut excluding = everything();
    excluding.excluded.pids.insert(7, 0);
    let late = |model: &mut Model| {
        for id in [1, 2] {
            let image = super::target::ImageId(id);
            model.update(at(2), Msg::Attached { image, result: Ok(1) });
        }
    };
    let early = |model: &mut Model| {
        for id in [1, 2] {
            let image = super::target::ImageId(id);
            model.update(at(0), Msg::Attached { image, result: Ok(1) });
        }
    };
    let one_late = |model: &mut Model| {
        for (id, time) in [(1, 0), (3, 2)] {
            let image = super::target::ImageId(id);
            model.update(at(time), Msg::Attached { image, result: Ok(1) });
        }
    };
    let nothing = |_: &mut Model| {};
    let refused = |model: &mut Model| {
        let result = Err("no".to_owned());
        model.update(at(0), Msg::Attached { image: super::target::ImageId(1), result });
    };
    let nginx = || Some(process(7, "nginx"));
    let java = || Some(process(5000, "java"));
    let young =
        || Some(Arc::new(Process { start_ticks: 2_000_000, ..(*process(5000, "x")).clone() }));
    type Prepare<'a> = &'a dyn Fn(&mut Model);
    let rows: [(_, Prepare<'_>, Option<Arc<Process>>, Reason); 9] = [
        (excluding, &early, nginx(), Reason::Excluded),
        (everything(), &early, nginx(), Reason::Unknown),
        (everything(), &late, nginx(), Reason::Late),
        (everything(), &one_late, Some(process(1201, "both")), Reason::Unknown),
        (everything(), &nothing, nginx(), Reason::Late),
        (everything(), &refused, nginx(), Reason::Refused),
        (everything(), &early, java(), Reason::Unsupported(None)),
        (everything(), &early, young(), Reason::Unknown),
        (everything(), &early, None, Reason::Unknown),
    ];
    for (selection, prepare, owner, reason) in rows {
        let mut model = model(selection);
        prepare(&mut model);
        // It takes a while until packets are read.
        let seen = vec![begun(1, at(1)), answered(1, at(1), false)];
        model.update(at(2), Msg::Wire(WireMsg::Seen(seen)));
        owned(&mut model, at(2), 1, owner);
        model.update(at(9), Msg::Tick);
        assert_eq!(session(&model, 1).reason, Some(reason));
    }
    let mut model = model(everything());
    shake(&mut model, at(1), 1);
    let owners = Owners { is_foreign: true, ..Owners::default() };
    model.update(at(2), Msg::Wire(WireMsg::Owners(ClientRandom([1; 32]), owners)));
    model.update(at(9), Msg::Tick);
    let row = session(&model, 1);
    assert_eq!((row.reason.clone(), row.pid()), (Some(Reason::Forwarded), None));
    assert_eq!(row.process.comm.raw(), "?");
}

#[test]
fn of_two_ends_the_chosen_one_is_shown() {
    let mut selection = everything();
    selection.excluded.pids.insert(7, 0);
    let mut model = model(selection);
    shake(&mut model, at(1), 1);
    let owner = |pid, runtime| Some(Owner { process: process(pid, "x"), runtime, found_at: 0 });
    let owners =
        Owners { client: owner(7, None), server: owner(5000, Some("Java")), is_foreign: false };
    model.update(at(2), Msg::Wire(WireMsg::Owners(ClientRandom([1; 32]), owners)));
    model.update(at(9), Msg::Tick);
    let row = session(&model, 1);
    assert_eq!(row.reason, Some(Reason::Unsupported(Some("Java".into()))));
    assert_eq!((row.facts.role, row.peer), (Some(Role::Server), Some(end(40_000))));
}

#[test]
fn who_chose_one_process_is_not_told_of_all_others() {
    let selection = Selection { pids: [(7, 0)].into(), ..Selection::default() };
    let mut model = model(selection);
    for (random, owner) in
        [(1, Some(process(901, "node"))), (2, None), (3, Some(process(7, "nginx")))]
    {
        shake(&mut model, at(1), random);
        owned(&mut model, at(2), random, owner);
    }
    model.update(at(9), Msg::Tick);
    assert_eq!((counts(&model), model.sessions.len()), ([0, 1, 2], 1));
    assert_eq!(session(&model, 3).key.pid, 7);
    // The other end was captured after all.
    let event = secret(at(9), &process(7, "nginx"), 1, Label::ClientRandom, 3);
    model.update(at(9), Msg::Secret(event));
    assert_eq!(counts(&model), [1, 1, 1]);
}

#[test]
fn what_is_no_handshake_counts_nowhere() {
    let mut model = model(everything());
    let random = ClientRandom([3; 32]);
    let seen = vec![
        begun(1, at(1)),
        begun(2, at(1)),
        answered(2, at(1), true),
        begun(3, at(1)),
        Seen::Ended(random),
        answered(3, at(1), false),
        answered(4, at(1), false),
    ];
    model.update(at(1), Msg::Wire(WireMsg::Seen(seen)));
    model.update(at(9), Msg::Wire(WireMsg::Ended));
    assert_eq!((counts(&model), model.sessions.len()), ([0, 0, 0], 0));
    // The answer to the second hello; it was the same handshake.
    let seen = vec![begun(2, at(9)), answered(2, at(9), false), answered(2, at(9), false)];
    model.update(at(9), Msg::Wire(WireMsg::Seen(seen)));
    model.update(at(9), Msg::Wire(WireMsg::Ended));
    assert_eq!((counts(&model), model.sessions.len()), ([0, 1, 0], 1));
    assert!(session(&model, 2).wire.as_ref().unwrap().was_retried);
}

#[test]
fn a_null_secret_covers_nothing_and_takes_over_the_row() {
    let mut model = model(everything());
    shake(&mut model, at(1), 1);
    model.update(at(9), Msg::Tick);
    let event =
        |fill| Msg::Secret(secret(at(9), &process(7, "nginx"), 1, Label::ClientRandom, fill));
    model.update(at(9), event(0));
    assert_eq!((counts(&model), session(&model, 1).state()), ([0, 1, 0], SecretState::Null));
    model.update(at(9), event(4));
    assert_eq!((counts(&model), session(&model, 1).state()), ([1, 0, 0], SecretState::Complete));
}

#[test]
fn only_counting_makes_no_rows_and_asks_nobody() {
    let mut model = model(everything());
    model.wire.view = WireView::Count;
    shake(&mut model, at(1), 1);
    assert!(model.update(at(2), Msg::Tick).is_empty());
    model.update(at(9), Msg::Tick);
    assert_eq!((counts(&model), model.sessions.len()), ([0, 1, 0], 0));
}

#[test]
fn a_clock_that_is_set_back_delays_nothing_for_long() {
    let mut model = model(everything());
    shake(&mut model, at(1000), 1);
    model.update(at(1), Msg::Tick);
    model.update(at(1) + GRACE, Msg::Tick);
    assert_eq!(counts(&model), [0, 1, 0]);
}

#[test]
fn of_too_many_the_oldest_are_forgotten_and_secrets_stay() {
    let mut model = model(everything());
    for random in 0..=255 {
        let event = secret(at(1), &process(7, "nginx"), random, Label::ClientRandom, 3);
        model.update(at(1), Msg::Secret(event));
    }
    let number = |number: u32| {
        let mut random = ClientRandom([0xee; 32]);
        random.0[..4].copy_from_slice(&number.to_be_bytes());
        random
    };
    let count = REMEMBERED as u32 + 5000;
    for first in (0..count).step_by(1000) {
        let hellos = (first..first + 1000).flat_map(|n| {
            let answer = Answer {
                client_random: number(n),
                at: at(1),
                version: None,
                cipher: CipherSuite(0),
                alpn: None,
                is_retry: false,
            };
            [Seen::Begun(Box::new(fixture::hello(number(n), at(1)))), Seen::Answered(answer)]
        });
        model.update(at(1), Msg::Wire(WireMsg::Seen(hellos.collect())));
    }
    assert_eq!(model.wire.coverage.forgotten, 5000);
    model.update(at(9), Msg::Tick);
    assert_eq!(model.wire.coverage.missing, REMEMBERED as u64);
    assert!(model.sessions.len() <= 1000);
    let has_secrets = |session: &&Session| !session.entries.is_empty();
    assert_eq!(model.sessions.newest_first().filter(has_secrets).count(), 256);
    assert_eq!(model.stats.evicted.unsaved, 0);
}

#[derive(Clone, Copy, Debug)]
enum Step {
    Begun(u8),
    Answered(u8, bool),
    Ended(u8),
    Secret(u8, u32, u8),
    Owners(u8, u32),
    Tick(u8),
}

fn step() -> impl Strategy<Value = Step> {
    let random = || 0u8..4;
    prop_oneof![
        random().prop_map(Step::Begun),
        (random(), any::<bool>()).prop_map(|(random, retry)| Step::Answered(random, retry)),
        random().prop_map(Step::Ended),
        (random(), prop_oneof![Just(7), Just(901)], 0u8..3)
            .prop_map(|(random, pid, fill)| Step::Secret(random, pid, fill)),
        (random(), prop_oneof![Just(7), Just(901), Just(5000)])
            .prop_map(|(random, pid)| Step::Owners(random, pid)),
        (0u8..3).prop_map(Step::Tick),
    ]
}

proptest! {
    /// Whatever comes in whatever order: a handshake is counted once, and has one row or its sessions.
    #[test]
    fn no_order_loses_or_doubles_a_row(steps in proptest::collection::vec(step(), 0..60)) {
        let mut model = model(everything());
        let (mut now, mut has_secret) = (at(1), [false; 4]);
        for step in steps {
            match step {
                Step::Begun(random) => {
                    model.update(now, Msg::Wire(WireMsg::Seen(vec![begun(random, now)])));
                }
                Step::Answered(random, retry) => {
                    let seen = vec![answered(random, now, retry)];
                    model.update(now, Msg::Wire(WireMsg::Seen(seen)));
                }
                Step::Ended(random) => {
                    let seen = vec![Seen::Ended(ClientRandom([random; 32]))];
                    model.update(now, Msg::Wire(WireMsg::Seen(seen)));
                }
                Step::Secret(random, pid, fill) => {
                    let event = secret(now, &process(pid, "p"), random, Label::ClientRandom, fill);
                    model.update(now, Msg::Secret(event));
                    has_secret[usize::from(random)] |= fill != 0;
                }
                Step::Owners(random, pid) => owned(&mut model, now, random, Some(process(pid, "p"))),
                Step::Tick(seconds) => {
                    now = now + Duration::from_secs(seconds.into());
                    model.update(now, Msg::Tick);
                }
            }
        }
        model.update(now, Msg::Wire(WireMsg::Ended));
        let mut missing = 0;
        for random in 0..4u8 {
            let is = |s: &&Session| s.key.client_random == ClientRandom([random; 32]);
            let rows: Vec<&Session> = model.sessions.newest_first().filter(is).collect();
            let without = rows.iter().filter(|row| row.is_missing()).count();
            prop_assert!(without <= 1 && (without == 0 || rows.len() == 1), "{rows:?}");
            prop_assert!(!(has_secret[usize::from(random)] && without > 0), "{rows:?}");
            let pids: std::collections::BTreeSet<u32> = rows.iter().map(|s| s.key.pid).collect();
            prop_assert_eq!(pids.len(), rows.len(), "a session twice");
            missing += without;
        }
        let covered = has_secret.iter().filter(|has| **has).count() as u64;
        let [counted, uncovered, others] = counts(&model);
        prop_assert!(counted <= covered, "{counted} of {covered}");
        prop_assert!(uncovered >= missing as u64 && counted + uncovered <= 4);
        prop_assert_eq!(others, 0);
        let named = model.sessions.newest_first().filter(|s| s.server().is_some()).count();
        prop_assert_eq!(model.sessions.named_sessions(), named);
    }
}
