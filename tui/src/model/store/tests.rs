use super::*;
use crate::model::fixture::{START, process, secret};
use crate::tls::Label;

fn store(limit: usize, fills: &[u8]) -> Store {
    let mut store = Store::new(limit);
    for (random, fill) in (0..).zip(fills) {
        store.take(secret(START, &process(7, "nginx"), random, Label::ClientRandom, *fill));
    }
    store
}

#[test]
fn null_sessions_are_counted_until_they_have_a_value_or_go() {
    let mut store = store(4, &[0, 0, 1, 0]);
    assert_eq!(store.null_sessions(), 3);
    store.take(secret(START, &process(7, "nginx"), 1, Label::ClientRandom, 5));
    assert_eq!(store.null_sessions(), 2);
    store.take(secret(START, &process(7, "nginx"), 9, Label::ClientRandom, 5));
    store.evict();
    assert_eq!((store.len(), store.null_sessions()), (4, 1));
}

#[test]
fn sessions_are_walked_from_a_serial_that_may_be_gone() {
    let mut store = store(3, &[1, 1, 1, 1, 1]);
    store.evict();
    let serials = |it: &mut dyn Iterator<Item = &Session>| it.map(|s| s.serial).collect();
    let back: Vec<u64> = serials(&mut store.back_from(3));
    let forward: Vec<u64> = serials(&mut store.forward_from(0));
    assert_eq!((back, forward), (vec![3, 2], vec![2, 3, 4]));
    assert_eq!(store.back_from(1).count(), 0);
}

#[test]
fn sessions_that_are_complete_and_saved_go_first_wherever_they_are() {
    let mut store = store(5, &[1, 1, 1, 1, 1]);
    let lines: Vec<_> = store.forward_from(0).flat_map(Session::key_lines).collect();
    store.mark_saved(&lines[1]);
    store.mark_saved(&lines[4]);
    let serials = |store: &Store| store.forward_from(0).map(|s| s.serial).collect::<Vec<_>>();
    let more = |store: &mut Store, random| {
        store.take(secret(START, &process(7, "nginx"), random, Label::ClientRandom, 1));
        store.evict()
    };
    assert_eq!(more(&mut store, 10), Evicted { sessions: 1, unsaved: 0 });
    assert_eq!(serials(&store), [0, 2, 3, 4, 5]);
    assert_eq!(more(&mut store, 11), Evicted { sessions: 1, unsaved: 0 });
    assert_eq!(serials(&store), [0, 2, 3, 5, 6]);
    // Of another key log nothing is saved: the oldest goes.
    store.mark_saved(&lines[3]);
    store.clear_saved();
    assert_eq!(more(&mut store, 12), Evicted { sessions: 1, unsaved: 1 });
    assert_eq!(serials(&store), [2, 3, 5, 6, 7]);
    assert_eq!(store.by_serial(5).map(|session| session.serial), Some(5));
    assert!(store.by_serial(4).is_none());
}
