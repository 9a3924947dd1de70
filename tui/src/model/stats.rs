//! What was counted since the start.

use std::collections::{BTreeMap, VecDeque};

use super::Time;
use super::store::Evicted;
use super::target::ImageId;

/// What the eBPF programs counted, summed over the CPUs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct KernelCounters {
    /// Probe hits.
    pub hits: u64,
    /// Hits of processes that are not chosen.
    pub filtered: u64,
    /// No room in the ring buffer.
    pub ring_full: u64,
    /// Client random that could not be read.
    pub random_unreadable: u64,
    /// Secret that could not be read.
    pub secret_unreadable: u64,
    /// Label that could not be read in the kernel (user space then asks the plan).
    pub label_unreadable: u64,
}

/// Everything that is counted.
#[derive(Clone, Debug, Default)]
pub struct Stats {
    /// Sessions seen.
    pub sessions: u64,
    /// Of those, complete ones.
    pub complete: u64,
    /// Secrets captured, null ones not among them.
    pub secrets: u64,
    /// Values that were there already.
    pub duplicates: u64,
    /// Null secrets.
    pub nulls: u64,
    /// Values that differ from what was there.
    pub conflicts: u64,
    /// Events that cannot be right: length, label.
    pub rejected: u64,
    /// Secrets for which their session had no room.
    pub not_kept: u64,
    /// Labels that neither the kernel nor the file gave.
    pub label_lost: u64,
    /// Secrets that were wiped since their process had ended before it could be told whose child it was, or in which
    /// container.
    pub unattributed: u64,
    /// Sessions dropped to make room.
    pub evicted: Evicted,
    /// Secrets that came from the probes of each known image, all kinds and all processes.
    pub events: BTreeMap<ImageId, u64>,
    /// What the kernel side counted.
    pub kernel: KernelCounters,
    /// New sessions in each of the last seconds, oldest first; the last one is not over.
    pub rate: Rate,
}

impl Stats {
    /// Secrets that were made and not captured: no room in the ring, and failed user reads.
    pub fn lost(&self) -> u64 {
        self.kernel.ring_full
            + self.kernel.random_unreadable
            + self.kernel.secret_unreadable
            + self.label_lost
    }
}

/// How many sessions began in each second of the last minute.
#[derive(Clone, Debug, Default)]
pub struct Rate {
    seconds: VecDeque<u64>,
    newest: u64,
}

const SECONDS_KEPT: usize = 60;

impl Rate {
    /// Moves on to the present second.
    pub(super) fn advance(&mut self, now: Time) {
        let now = now.seconds();
        if self.seconds.is_empty() {
            self.newest = now;
            self.seconds.push_back(0);
        }
        let steps = now.saturating_sub(self.newest).min(SECONDS_KEPT as u64);
        for _ in 0..steps {
            self.seconds.push_back(0);
        }
        // Also where the clock was set back.
        self.newest = now;
        while self.seconds.len() > SECONDS_KEPT {
            self.seconds.pop_front();
        }
    }

    /// One more session in the present second.
    pub(super) fn count(&mut self, now: Time) {
        self.advance(now);
        if let Some(present) = self.seconds.back_mut() {
            *present += 1;
        }
    }

    /// Sessions in each second, oldest first; the last second is not over.
    pub fn per_second(&self) -> impl ExactSizeIterator<Item = u64> + '_ {
        self.seconds.iter().copied()
    }

    /// Sessions a second over the last five whole seconds.
    pub fn recent(&self) -> f64 {
        let whole = self.seconds.iter().rev().skip(1).take(5);
        let count = whole.len();
        if count == 0 { 0.0 } else { whole.sum::<u64>() as f64 / count as f64 }
    }
}
