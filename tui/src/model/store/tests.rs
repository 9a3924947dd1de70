use super::*;
use crate::model::fixture::{START, process, secret};

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
