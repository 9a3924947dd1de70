//! Which of the sessions' values are in the key log, and which have to stay out of it.

use super::{SessionRef, Store};
use crate::model::session::{Entry, Session};
use crate::tls::{KeyLine, Label};

impl Store {
    /// Compares a new value with what other processes have of the same line. Where one differs, both
    /// sessions have a conflict, and the newer value is kept from the key log.
    pub fn check_other_processes(&mut self, session: SessionRef, label: &Label) -> bool {
        let Some(held) = self.get(session) else { return false };
        let mut others = self.slots_of(&held.key.client_random);
        others.retain(|slot| *slot != session.slot);
        if others.is_empty() {
            return false;
        }
        let Some(value) = held.entries.iter().rfind(|entry| entry.label == *label) else {
            return false;
        };
        let (value, repeats) = (value.secret.clone(), label.repeats());
        let differs = |entry: &Entry| {
            entry.label == *label && !repeats && !entry.is_null() && entry.secret != value
        };
        let mut conflict = false;
        let mut already_saved = false;
        for slot in others {
            let other = &mut self.sessions[slot];
            if other.entries.iter().any(differs) {
                other.conflicts = other.conflicts.saturating_add(1);
                self.watch.touch(other.serial);
                conflict = true;
            }
            already_saved |= other
                .entries
                .iter()
                .any(|entry| entry.label == *label && entry.saved && entry.secret == value);
        }
        self.mark(session, label, |entry| {
            entry.shadowed |= conflict;
            entry.saved |= already_saved;
        });
        if conflict {
            self.count_conflict(session);
        }
        conflict
    }

    /// Notes that a secret waits to be written.
    pub(in crate::model) fn mark_queued(&mut self, session: SessionRef, line: &KeyLine) {
        if let Some(held) = self.held_mut(session) {
            let same = |e: &&mut Entry| e.label == line.label && e.secret == line.secret;
            held.entries.iter_mut().filter(same).for_each(|entry| entry.queued = true);
        }
    }

    /// Whether another process has another value of this line, which is or will be in the key log.
    pub(in crate::model) fn has_rival(&self, session: SessionRef, line: &KeyLine) -> bool {
        let rival = |entry: &Entry| {
            entry.label == line.label
                && !line.label.repeats()
                && entry.secret != line.secret
                && (entry.queued || entry.saved)
        };
        self.by_random
            .of(&self.sessions, &line.client_random)
            .filter(|&slot| slot != session.slot)
            .any(|slot| self.sessions[slot].entries.iter().any(rival))
    }

    /// Keeps a secret from the key log, where its line has another value.
    pub(in crate::model) fn mark_shadowed(&mut self, session: SessionRef, label: &Label) {
        self.mark(session, label, |entry| entry.shadowed = true);
    }

    /// Notes that the key log has another value for this line.
    pub fn shadow(&mut self, session: SessionRef, label: &Label) {
        self.mark(session, label, |entry| entry.shadowed = true);
        self.count_conflict(session);
    }

    fn count_conflict(&mut self, session: SessionRef) {
        if let Some(held) = self.held_mut(session) {
            held.conflicts = held.conflicts.saturating_add(1);
        }
    }

    fn mark(&mut self, session: SessionRef, label: &Label, change: impl Fn(&mut Entry)) {
        if let Some(held) = self.held_mut(session)
            && let Some(entry) = held.entries.iter_mut().rfind(|entry| entry.label == *label)
        {
            change(entry);
            self.watch.touch(session.serial);
            self.note_done(session.slot);
        }
    }

    /// Marks every entry with this line and value as saved, in all processes that have it.
    pub fn mark_saved(&mut self, line: &KeyLine) {
        let same =
            |e: &&mut Entry| !e.is_null() && e.label == line.label && e.secret == line.secret;
        for slot in self.slots_of(&line.client_random) {
            let session = &mut self.sessions[slot];
            self.watch.touch(session.serial);
            session.entries.iter_mut().filter(same).for_each(|entry| entry.saved = true);
            self.note_done(slot);
        }
    }

    /// The sessions that hold this line with this value.
    pub(in crate::model) fn with_line(&self, line: &KeyLine) -> Vec<SessionRef> {
        let holds = |session: &&Session| {
            session.entries.iter().any(|e| e.label == line.label && e.secret == line.secret)
        };
        self.slots_of(&line.client_random)
            .into_iter()
            .map(|slot| (slot, &self.sessions[slot]))
            .filter(|(_, session)| holds(session))
            .map(|(slot, session)| SessionRef { slot, serial: session.serial })
            .collect()
    }

    /// Forgets what was saved: the key log is another file now.
    pub fn clear_saved(&mut self) {
        self.watch.touch_all();
        self.done.clear();
        for (_, session) in &mut self.sessions {
            session.is_done = false;
            for entry in &mut session.entries {
                entry.saved = false;
                entry.shadowed = false;
                entry.queued = false;
            }
        }
    }
}
