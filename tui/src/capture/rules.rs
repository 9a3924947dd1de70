//! Who reports, and what was counted: the small maps.

use aya::maps::{Array, HashMap, MapData, MapError, PerCpuArray};
use tlskeytop_common::{COUNTERS, Counter, PidRule};

use crate::model::KernelCounters;
use crate::model::target::Change;

/// Decides in the kernel which processes report.
pub struct Rules {
    pids: HashMap<MapData, u32, u32>,
    /// `Settings`, whose two words are one u64.
    settings: Array<MapData, u64>,
    /// Counts the times that a process was chosen after what it reported may not have been taken.
    times_chosen: u32,
}

impl Rules {
    pub(super) fn new(pids: HashMap<MapData, u32, u32>, settings: Array<MapData, u64>) -> Self {
        Self { pids, settings, times_chosen: 0 }
    }

    /// Carries out a change of a rule; attaching is not its business.
    ///
    /// # Errors
    ///
    /// When the map is full: user space then still decides, only later.
    pub fn apply(&mut self, change: &Change) -> Result<(), MapError> {
        match change {
            Change::Rule(pid, false) => self.pids.insert(pid, PidRule::NO.0, 0),
            Change::Rule(pid, true) => match self.pids.get(pid, 0).map(PidRule) {
                Ok(PidRule::NO) => self.report_anew(*pid),
                Ok(_) => Ok(()),
                Err(_) => self.pids.insert(pid, PidRule::YES.0, 0),
            },
            Change::ReportAnew(pid) => self.report_anew(*pid),
            Change::ForgetRule(pid) => match self.pids.remove(pid) {
                Err(MapError::KeyNotFound) | Ok(()) => Ok(()),
                Err(error) => Err(error),
            },
            // The first word of `Settings`, on a little-endian machine.
            Change::ReportUnknown(report) => self.settings.set(0, u64::from(*report), 0),
            Change::Attach(_)
            | Change::Detach(_)
            | Change::CatchUp { .. }
            | Change::CaughtUp { .. } => Ok(()),
        }
    }

    /// A number that the process did not have makes the kernel forget what it saw of it.
    fn report_anew(&mut self, pid: u32) -> Result<(), MapError> {
        self.times_chosen = self.times_chosen.wrapping_add(1);
        self.pids.insert(pid, PidRule::YES.0.saturating_add(self.times_chosen), 0)
    }
}

/// What the eBPF programs count.
pub struct Counters {
    map: PerCpuArray<MapData, u64>,
}

impl Counters {
    pub(super) fn new(map: PerCpuArray<MapData, u64>) -> Self {
        Self { map }
    }

    /// Sums the counters over all CPUs.
    ///
    /// # Errors
    ///
    /// When the map cannot be read.
    pub fn read(&self) -> Result<KernelCounters, MapError> {
        let mut sums = [0u64; COUNTERS as usize];
        for (index, sum) in (0..).zip(&mut sums) {
            *sum = self.map.get(&index, 0)?.iter().sum();
        }
        let of = |counter: Counter| sums[counter as usize];
        Ok(KernelCounters {
            hits: of(Counter::Hits),
            filtered: of(Counter::Filtered),
            ring_full: of(Counter::RingFull),
            random_unreadable: of(Counter::RandomUnreadable),
            secret_unreadable: of(Counter::SecretUnreadable),
            label_unreadable: of(Counter::LabelUnreadable),
        })
    }
}
