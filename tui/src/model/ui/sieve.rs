//! A filter on its way through many sessions.

use std::collections::HashMap;
use std::hash::Hash;

use foldhash::fast::RandomState;

use super::filter::{Filter, Words};
use crate::model::Session;
use crate::model::target::{ImageId, Process};
use crate::tls::{CipherSuite, Version};

/// Many sessions share few processes, libraries and ciphers: which words hold for these is looked at once.
pub(super) struct Sieve<'a> {
    filter: &'a Filter,
    /// By address: no process moves while its sessions are looked at.
    processes: Known<*const Process>,
    libraries: Known<ImageId>,
    facts: Known<(Option<Version>, Option<CipherSuite>)>,
}

type Known<K> = HashMap<K, Words, RandomState>;

impl<'a> Sieve<'a> {
    /// For one pass.
    pub fn new(filter: &'a Filter) -> Self {
        let (processes, libraries, facts) = Default::default();
        Self { filter, processes, libraries, facts }
    }

    /// As [`Filter::matches`].
    pub fn lets_through(&mut self, session: &Session, library: &str) -> bool {
        let filter = self.filter;
        if filter.is_empty() {
            return true;
        }
        let process = &raw const *session.process;
        let by_process =
            known(&mut self.processes, process, || filter.hold_for_process(&session.process));
        let by_library =
            known(&mut self.libraries, session.image, || filter.hold_for_library(library));
        let facts = (session.facts.version, session.facts.cipher);
        let by_facts = known(&mut self.facts, facts, || filter.hold_for_facts(&session.facts));
        filter.matches_with(by_process | by_library | by_facts, session)
    }
}

fn known<K: Hash + Eq>(of: &mut Known<K>, key: K, find: impl FnOnce() -> Words) -> Words {
    *of.entry(key).or_insert_with(find)
}
