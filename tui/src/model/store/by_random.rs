//! The sessions of a client random: one for each process that has it, seldom more than client and server.

use std::collections::hash_map::RandomState;
use std::hash::BuildHasher as _;

use hashbrown::HashTable;
use slab::Slab;
use smallvec::SmallVec;

use crate::model::session::Session;
use crate::tls::ClientRandom;

/// Slots of sessions.
pub(super) type Slots = SmallVec<[usize; 4]>;

/// Holds slots alone: the client randoms are in the sessions.
#[derive(Debug, Default)]
pub(super) struct ByRandom {
    slots: HashTable<u32>,
    /// With a key of its own, since who chooses client randoms must not choose where they go.
    hasher: RandomState,
}

impl ByRandom {
    /// In no order.
    pub fn of<'a>(
        &'a self,
        sessions: &'a Slab<Session>,
        random: &ClientRandom,
    ) -> impl Iterator<Item = usize> + use<'a> {
        let random = *random;
        let slots = self.slots.iter_hash(self.hasher.hash_one(random)).map(|&slot| slot as usize);
        slots.filter(move |&slot| sessions[slot].key.client_random == random)
    }

    /// Adds a session that is in its slot already.
    pub fn insert(&mut self, sessions: &Slab<Session>, slot: usize) {
        let hash = |slot: &u32| self.hasher.hash_one(sessions[*slot as usize].key.client_random);
        let slot = slot as u32;
        self.slots.insert_unique(hash(&slot), slot, hash);
    }

    /// Drops a session that is still in its slot.
    pub fn remove(&mut self, sessions: &Slab<Session>, slot: usize) {
        let hash = self.hasher.hash_one(sessions[slot].key.client_random);
        if let Ok(held) = self.slots.find_entry(hash, |held| *held as usize == slot) {
            held.remove();
        }
    }
}
