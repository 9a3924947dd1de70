//! What the first report waits for: before everything was looked at it would say too little, but a machine may never be
//! idle.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use super::first::First;

/// How long it waits after the first look at all processes, unless it waits for all.
const PATIENCE: Duration = Duration::from_secs(30);
/// Sweeps that it waits for, because a file could not be opened before its process ended. It may be one that nobody can
/// open.
const LOOKS_AGAIN: u32 = 3;

/// The first report, and for whom the user waits.
#[derive(Debug)]
pub struct FirstReport {
    is_told: bool,
    first: First,
    /// Those of them whose mappings are still to be read.
    unread: BTreeSet<u32>,
    patience: Duration,
    /// Until then it waits for what is being planned; `None` before the first sweep, and for ever.
    until: Option<Instant>,
    /// A file could not be opened by the process that was asked for it, and another one has it mapped: it waits for
    /// another sweep.
    looks_again: bool,
    /// How often that was so.
    looked_again: u32,
}

impl Default for FirstReport {
    fn default() -> Self {
        Self {
            is_told: false,
            first: First::default(),
            unread: BTreeSet::new(),
            patience: PATIENCE,
            until: None,
            looks_again: false,
            looked_again: 0,
        }
    }
}

impl FirstReport {
    /// For whom the user waits.
    pub fn set_first(&mut self, first: First) {
        self.first = first;
    }

    /// It waits for all, however long that takes.
    pub fn wait_for_all(&mut self) {
        self.patience = Duration::MAX;
    }

    /// Whether the user waits for this process.
    pub fn is_for(&self, pid: u32) -> bool {
        self.first.has(pid)
    }

    /// Whether the user waits for nobody else.
    pub fn is_for_them_alone(&self) -> bool {
        self.first.alone
    }

    /// Whether it was told.
    pub fn is_told(&self) -> bool {
        self.is_told
    }

    /// It is told now.
    pub fn tell(&mut self) {
        self.is_told = true;
    }

    /// Until when it waits at the latest, if that is known.
    pub fn until(&self) -> Option<Instant> {
        self.until.filter(|_| !self.is_told)
    }

    /// Whether it waits at all.
    pub fn waits(&self, now: Instant) -> bool {
        !self.is_told && self.until.is_none_or(|until| now < until)
    }

    /// Whether mappings are still to be read that it waits for. `is_sweeping`: those of anybody are.
    pub fn lacks_mappings(&self, is_sweeping: bool) -> bool {
        let are_unread = if self.first.alone { !self.unread.is_empty() } else { is_sweeping };
        self.looks_again || are_unread
    }

    /// A sweep begins.
    pub fn sweep_begins(&mut self, started: Instant) {
        self.until = self.until.or(started.checked_add(self.patience));
        self.looked_again += u32::from(std::mem::take(&mut self.looks_again));
    }

    /// The processes that there are, with their parents.
    pub fn take_children(&mut self, parents: &[(u32, u32)]) {
        if !self.is_told {
            self.first.take_children(parents);
        }
    }

    /// The mappings of these processes are going to be read.
    pub fn are_asked(&mut self, pids: impl Iterator<Item = u32>) {
        self.unread = pids.filter(|pid| self.first.has(*pid)).collect();
    }

    /// The mappings of this one were read, or cannot be.
    pub fn is_read(&mut self, pid: u32) {
        self.unread.remove(&pid);
    }

    /// Those of all were.
    pub fn are_all_read(&mut self) {
        self.unread.clear();
    }

    /// A file has to be looked at by another process that has it mapped.
    pub fn look_again(&mut self) {
        self.looks_again = self.looked_again < LOOKS_AGAIN;
    }
}
