//! What is known, as it is told.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use tracing::debug;

use super::Follower;
use crate::model::target::{Scan, Target};
use crate::target::process;
use crate::target::registry::COMMANDS;

/// Changes are told this often at the most, unless an image is new.
const PACE: Duration = Duration::from_millis(400);
/// How long command lines are waited for, after the first report.
const COMMANDS_LATER: Duration = Duration::from_millis(1);

impl Follower {
    pub(super) fn report(&mut self) -> Scan {
        let started = Instant::now();
        // Before the picture is taken: who starts from now on is not in it.
        let began = process::ticks_since_boot();
        let targets = self.targets();
        let patience = match (self.first.is_told(), self.is_urgent) {
            (false, _) => COMMANDS,
            (true, true) => Duration::ZERO,
            (true, false) => COMMANDS_LATER,
        };
        let ancestors = self.ancestors(&targets);
        let (mut scan, is_waiting) = self.registry.report(targets, patience);
        scan.ancestors = ancestors;
        scan.began = began;
        // Of records that were lost, one may say that a process which seems to have ended lives.
        scan.pids = (!self.is_incomplete).then(|| self.watch.pids());
        scan.births = self.watch.births();
        scan.ended = std::mem::take(&mut self.ended);
        scan.unread = std::mem::take(&mut self.unread);
        self.tell_losses(&mut scan.warnings);
        if let Some(written) = &mut self.written {
            for (id, error) in written.watch(&self.registry.probed()) {
                debug!(?id, %error, "cannot be watched for writes");
            }
        }
        self.first.tell();
        (self.is_urgent, self.has_changed) = (false, is_waiting);
        let took = started.elapsed();
        debug!("report took {took:?}");
        self.next_report = Instant::now() + PACE.max(10 * took);
        scan
    }

    fn targets(&self) -> Vec<Target> {
        let targets = self.watch.targets().into_iter();
        let targets = targets.filter(|(_, images)| !self.registry.are_tokens(images));
        let target = |(pid, images)| {
            Some(Target { process: self.watch.process(pid)?, images, command: None })
        };
        targets.filter_map(target).collect()
    }

    /// The parents of those processes that are between the targets.
    fn ancestors(&self, targets: &[Target]) -> BTreeMap<u32, u32> {
        let known: BTreeSet<u32> = targets.iter().map(|target| target.process.pid).collect();
        let mut parents = BTreeMap::new();
        for target in targets {
            let mut pid = target.process.parent;
            while pid != 0 && !known.contains(&pid) && !parents.contains_key(&pid) {
                let Some(parent) = self.watch.living_parent(pid) else { break };
                parents.insert(pid, parent);
                pid = parent;
            }
        }
        parents
    }

    fn tell_losses(&mut self, warnings: &mut Vec<String>) {
        let (untracked, lost) = self.watch.untracked_and_lost();
        if untracked > 0 && self.told.0 == 0 {
            warnings.push("there are more processes than can be followed".to_owned());
        }
        if lost > self.told.1 {
            let more = lost - self.told.1;
            warnings.push(format!(
                "the kernel lost {more} records of what processes do; all of them are looked at instead"
            ));
        }
        self.told = (untracked, lost);
    }
}
