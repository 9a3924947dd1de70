//! The sessions that are kept, in the order of arrival, up to a limit.

mod by_random;
mod lines;
mod names;

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;

use slab::Slab;

use self::by_random::{ByRandom, Slots};
use self::names::Names;
use super::reason::Verdict;
use super::session::{Captured, Entry, Outcome, Session, SessionKey};
use super::touched::{Touched, Watch};
use super::wire::OnWire;
use crate::tls::ClientRandom;

/// Finds one session again, or finds that it is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SessionRef {
    slot: usize,
    serial: u64,
}

/// All sessions.
#[derive(Debug)]
pub struct Store {
    sessions: Slab<Session>,
    /// Oldest first.
    order: VecDeque<Placed>,
    by_random: ByRandom,
    /// Sessions that changed, when somebody wants to know.
    changed: Option<VecDeque<SessionRef>>,
    /// Serials of the sessions that have only null secrets.
    nulls: BTreeSet<u64>,
    /// Serials of the sessions that are complete and saved, which go first when there is no room.
    done: BTreeSet<u64>,
    /// Serials of the handshakes without a secret, which go before those.
    missing: BTreeSet<u64>,
    /// Number of sessions with a server name or a peer.
    named: usize,
    names: Names,
    /// What changed or went, for who keeps rows in an order of their own.
    watch: Watch,
    limit: usize,
    next_serial: u64,
}

/// A session's place in the order of arrival, found without looking at sessions: these are far apart in memory.
#[derive(Clone, Copy, Debug)]
struct Placed {
    serial: u64,
    slot: u32,
}

/// What became of a secret, and of its session.
#[derive(Debug)]
pub struct Taken {
    /// The session.
    pub session: SessionRef,
    /// What became of the secret.
    pub outcome: Outcome,
    /// This secret made the session complete.
    pub completed: bool,
    /// The session is new.
    pub created: bool,
}

/// What had to go to make room.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Evicted {
    /// Sessions.
    pub sessions: u64,
    /// Of those, sessions with a secret that was in no key log.
    pub unsaved: u64,
}

impl Store {
    /// A store for at most `limit` sessions.
    pub fn new(limit: usize) -> Self {
        Self {
            sessions: Slab::new(),
            order: VecDeque::new(),
            by_random: ByRandom::default(),
            changed: None,
            nulls: BTreeSet::new(),
            done: BTreeSet::new(),
            missing: BTreeSet::new(),
            named: 0,
            names: Names::default(),
            watch: Watch::default(),
            limit: limit.max(1),
            next_serial: 0,
        }
    }

    /// Number of sessions.
    pub fn len(&self) -> usize {
        self.sessions.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.sessions.is_empty()
    }

    /// Sessions, newest first.
    pub fn newest_first(&self) -> impl DoubleEndedIterator<Item = &Session> + ExactSizeIterator {
        self.order.iter().rev().map(|placed| self.at(*placed))
    }

    /// Sessions from the one with this serial to older ones; from the next older one if it is gone.
    pub fn back_from(&self, serial: u64) -> impl Iterator<Item = &Session> {
        let end = self.order.partition_point(|placed| placed.serial <= serial);
        self.order.range(..end).rev().map(|placed| self.at(*placed))
    }

    /// Sessions from the one with this serial to newer ones; from the next newer one if it is gone.
    pub fn forward_from(&self, serial: u64) -> impl Iterator<Item = &Session> {
        let start = self.order.partition_point(|placed| placed.serial < serial);
        self.order.range(start..).map(|placed| self.at(*placed))
    }

    fn at(&self, placed: Placed) -> &Session {
        &self.sessions[placed.slot as usize]
    }

    /// The session with this serial, if it is still kept.
    pub fn by_serial(&self, serial: u64) -> Option<&Session> {
        let at = self.order.binary_search_by_key(&serial, |placed| placed.serial).ok()?;
        Some(self.at(self.order[at]))
    }

    /// Number of sessions from a serial on.
    pub fn sessions_from(&self, serial: u64) -> usize {
        self.order.len() - self.order.partition_point(|placed| placed.serial < serial)
    }

    /// Number of sessions with a server name or a peer.
    pub fn named_sessions(&self) -> usize {
        self.named
    }

    /// From now on, or no more, `take_touched` is called again and again.
    pub fn watch(&mut self, on: bool) {
        self.watch.set(on);
    }

    /// The sessions that are new, changed in any way, or went, since this was asked last.
    pub fn take_touched(&mut self) -> Touched {
        self.watch.take()
    }

    /// The serial that the next new session will have.
    pub fn next_serial(&self) -> u64 {
        self.next_serial
    }

    /// Number of sessions that have only null secrets.
    pub fn null_sessions(&self) -> usize {
        self.nulls.len()
    }

    /// Those of them from a serial on.
    pub fn null_sessions_from(&self, serial: u64) -> usize {
        self.nulls.range(serial..).count()
    }

    /// The session, if it is still kept.
    pub fn get(&self, session: SessionRef) -> Option<&Session> {
        self.sessions.get(session.slot).filter(|held| held.serial == session.serial)
    }

    /// The session of a process and a client random.
    pub fn find(&self, key: &SessionKey) -> Option<&Session> {
        self.slot_of(key).map(|slot| &self.sessions[slot])
    }

    /// The reference by which a session is found again, or found to be gone.
    pub fn reference_of(&self, key: &SessionKey) -> Option<SessionRef> {
        let slot = self.slot_of(key)?;
        Some(SessionRef { slot, serial: self.sessions[slot].serial })
    }

    fn slot_of(&self, key: &SessionKey) -> Option<usize> {
        let mut slots = self.by_random.of(&self.sessions, &key.client_random);
        slots.find(|&slot| self.sessions[slot].key == *key)
    }

    /// The sessions of a client random, oldest first.
    fn slots_of(&self, random: &ClientRandom) -> Slots {
        let mut slots: Slots = self.by_random.of(&self.sessions, random).collect();
        slots.sort_unstable_by_key(|&slot| self.sessions[slot].serial);
        slots
    }

    /// Takes a secret into its session, which is made if it is new.
    pub fn take(&mut self, mut event: Captured) -> Taken {
        if let Some(name) = &mut event.ends.server_name {
            self.names.share(name);
        }
        let key = event.session_key();
        let slots: Slots = self.by_random.of(&self.sessions, &key.client_random).collect();
        let find = |wanted: &dyn Fn(&Session) -> bool| {
            slots.iter().copied().find(|&slot| wanted(&self.sessions[slot]))
        };
        let adopted = find(&Session::is_missing);
        let known = find(&|session| session.key == key).filter(|_| adopted.is_none());
        let slot = known.or(adopted).unwrap_or_else(|| self.insert(&event));
        let session = &mut self.sessions[slot];
        let was_named = session.is_named();
        let was_changed = session.changed && known.or(adopted).is_some();
        if adopted.is_some() {
            session.adopt(&event);
            self.missing.remove(&session.serial);
        }
        let was_complete = session.state() == super::SecretState::Complete;
        let outcome = session.take(event);
        match session.is_null() {
            true => self.nulls.insert(session.serial),
            false => self.nulls.remove(&session.serial),
        };
        let is_named = session.is_named();
        self.named = self.named + usize::from(is_named) - usize::from(was_named);
        self.watch.touch(session.serial);
        let reference = SessionRef { slot, serial: session.serial };
        let completed = !was_complete && session.state() == super::SecretState::Complete;
        let changed = session.changed && !was_changed;
        self.note_done(slot);
        if changed {
            self.note_change(reference);
        }
        Taken { session: reference, outcome, completed, created: known.is_none() }
    }

    fn insert(&mut self, event: &Captured) -> usize {
        self.push(Session::new(self.next_serial, event))
    }

    fn push(&mut self, session: Session) -> usize {
        self.next_serial += 1;
        let slot = self.sessions.insert(session);
        self.order.push_back(Placed { serial: self.next_serial - 1, slot: slot as u32 });
        self.by_random.insert(&self.sessions, slot);
        slot
    }

    /// Whether anything is known of a handshake.
    pub(super) fn knows(&self, random: &ClientRandom) -> bool {
        self.by_random.of(&self.sessions, random).next().is_some()
    }

    /// Adds a row for a handshake that has no secret.
    pub(super) fn miss(&mut self, random: ClientRandom, on_wire: Arc<OnWire>, verdict: Verdict) {
        let session = Session::missing_one(self.next_serial, random, &on_wire, verdict);
        self.named += usize::from(session.is_named());
        let serial = session.serial;
        let slot = self.push(session);
        self.missing.insert(serial);
        self.watch.touch(serial);
        self.note_change(SessionRef { slot, serial });
    }

    /// Tells the sessions of a handshake what the wire showed of it, and whether there is a secret in one of them.
    pub(super) fn meet(&mut self, random: &ClientRandom, on_wire: &Arc<OnWire>) -> bool {
        let mut has_secret = false;
        for slot in self.slots_of(random) {
            let session = &mut self.sessions[slot];
            let (was_named, was_changed) = (session.is_named(), session.changed);
            session.meet_wire(on_wire);
            has_secret |= session.entries.iter().any(|entry| !entry.is_null());
            let reference = SessionRef { slot, serial: session.serial };
            let is_new = session.changed && !was_changed;
            self.named += usize::from(!was_named && session.is_named());
            self.watch.touch(reference.serial);
            if is_new {
                self.note_change(reference);
            }
        }
        has_secret
    }

    /// From now on `take_changed` is called again and again.
    pub fn track_changes(&mut self) {
        self.changed.get_or_insert_default();
    }

    fn note_change(&mut self, session: SessionRef) {
        let Some(changed) = &mut self.changed else { return };
        changed.push_back(session);
        // When nobody takes them for long, sessions that are gone must not pile up.
        if changed.len() > 2 * self.limit + 1024 {
            let sessions = &self.sessions;
            changed.retain(|s| sessions.get(s.slot).is_some_and(|held| held.serial == s.serial));
        }
    }

    /// Up to `most` sessions that changed since they were taken last, in the order of their change; none
    /// without `track_changes`.
    pub fn take_changed(&mut self, most: usize) -> Vec<SessionRef> {
        let Some(changed) = &mut self.changed else { return Vec::new() };
        let some: Vec<_> = changed.drain(..most.min(changed.len())).collect();
        for session in &some {
            if let Some(held) = self.held_mut(*session) {
                held.changed = false;
            }
        }
        some
    }

    fn held_mut(&mut self, session: SessionRef) -> Option<&mut Session> {
        self.sessions.get_mut(session.slot).filter(|held| held.serial == session.serial)
    }

    /// Notes whether a session is complete and saved, after any of its entries changed.
    fn note_done(&mut self, slot: usize) {
        let session = &mut self.sessions[slot];
        let was_done = session.is_done;
        session.is_done = session.state() == super::SecretState::Complete && session.is_saved();
        match (was_done, session.is_done) {
            (false, true) => self.done.insert(session.serial),
            (true, false) => self.done.remove(&session.serial),
            _ => return,
        };
    }

    /// Every session, oldest first, as references.
    pub fn references(&self) -> impl Iterator<Item = SessionRef> + '_ {
        let reference =
            |placed: &Placed| SessionRef { slot: placed.slot as usize, serial: placed.serial };
        self.order.iter().map(reference)
    }

    /// Drops sessions while there are more than the limit: first handshakes without a secret, then the oldest that are
    /// complete and saved, then the oldest.
    pub fn evict(&mut self) -> Evicted {
        let mut evicted = Evicted::default();
        if self.sessions.len() <= self.limit {
            return evicted;
        }
        // A hundredth more than needed: what goes at one time is looked for once.
        let mut excess = self.sessions.len() - self.limit + self.limit / 100;
        // What has no secret goes first, then what is in the key log.
        let mut first = Vec::new();
        for goes_first in [&self.missing, &self.done] {
            let going: Vec<u64> = goes_first.iter().take(excess).copied().collect();
            excess -= going.len();
            first.push(going);
        }
        for going in first {
            self.drop_from_front(going.into_iter(), &mut evicted);
        }
        if self.sessions.len() > self.limit {
            let oldest: Vec<u64> = self.order.iter().take(excess).map(|p| p.serial).collect();
            self.drop_from_front(oldest.into_iter(), &mut evicted);
        }
        evicted
    }

    /// Drops the sessions with these serials, which are in the order of arrival.
    fn drop_from_front(&mut self, serials: impl Iterator<Item = u64>, evicted: &mut Evicted) {
        let mut kept = Vec::new();
        for serial in serials {
            while let Some(placed) = self.order.pop_front() {
                if placed.serial == serial {
                    evicted.sessions += u64::from(!self.missing.contains(&serial));
                    evicted.unsaved += u64::from(self.remove(placed.slot as usize));
                    break;
                }
                kept.push(placed);
            }
        }
        kept.into_iter().rev().for_each(|placed| self.order.push_front(placed));
    }

    /// Whether it had a secret that was in no key log.
    fn remove(&mut self, slot: usize) -> bool {
        self.by_random.remove(&self.sessions, slot);
        let session = self.sessions.remove(slot);
        self.nulls.remove(&session.serial);
        if session.is_done {
            self.done.remove(&session.serial);
        }
        self.missing.remove(&session.serial);
        self.named -= usize::from(session.is_named());
        self.watch.touch(session.serial);
        session.entries.iter().any(Entry::wants_saving)
    }
}

#[cfg(test)]
mod tests;
