//! What is chosen, as the kernel has to be told of it: rules and probes that come and go.

use std::collections::{BTreeSet, HashMap};

use super::{Image, ImageId, ImageState, Process, Targets};
use crate::model::selection::{Choice, Exclusion};
use crate::target::plan::Library;
use crate::text::Foreign;

/// What the kernel should do, as a difference to what it does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// Attach the plan of an image.
    Attach(ImageId),
    /// Remove its probes.
    Detach(ImageId),
    /// Let a process report, or not.
    Rule(u32, bool),
    /// Let a process report, also what it reported before: it may not have been taken then.
    ReportAnew(u32),
    /// Forget what was said of a process.
    ForgetRule(u32),
    /// Whether processes without a rule report.
    ReportUnknown(bool),
    /// Attach to the reads and writes of one process, for the connections that it has open.
    CatchUp {
        /// The process.
        pid: u32,
        /// The image.
        image: ImageId,
    },
    /// Remove those probes.
    CaughtUp {
        /// The process.
        pid: u32,
        /// The image.
        image: ImageId,
    },
}

/// What the kernel was told of a process.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Rule {
    /// It reports.
    Reports,
    /// It does not, while it is this program.
    Silent(Program),
}

/// The program that a process is: an exec makes it another one.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Program {
    start_ticks: u64,
    comm: Foreign,
    exe: Option<Foreign>,
}

impl Program {
    fn of(process: &Process) -> Self {
        let Process { start_ticks, comm, exe, .. } = process;
        Self { start_ticks: *start_ticks, comm: comm.clone(), exe: exe.clone() }
    }
}

impl Targets {
    /// Decides on a process that reported without a rule, and remembers it.
    pub fn decide(&mut self, process: &Process) -> (bool, Option<Change>) {
        if self.selection.takes_all() {
            return (true, None);
        }
        let chosen = self.selection.chooses(process);
        self.selection.saw(process);
        // A process that reports although it has the rule not to has lost it in the kernel, with an exec or an
        // earlier process of this id.
        let is_known = chosen && self.rules.get(&process.pid) == Some(&Rule::Reports);
        // Of one that ended before it was looked at, nothing is remembered: its id may be another's by now.
        let has_ended = process.start_ticks == 0 || !process.is_container_known;
        if is_known || has_ended && !chosen || process.is_past {
            return (chosen, None);
        }
        let rule = if chosen { Rule::Reports } else { Rule::Silent(Program::of(process)) };
        self.rules.insert(process.pid, rule);
        (chosen, Some(Change::Rule(process.pid, chosen)))
    }

    /// What has to change in the kernel so that it does what is chosen.
    pub fn reconcile(&mut self) -> Vec<Change> {
        let mut changes = Vec::new();
        // First the rules, then the probes: nothing reports that was not chosen.
        self.reconcile_rules(&mut changes);
        let wanted = self.wanted_images();
        for image in self.images.values_mut() {
            match (&image.state, wanted.contains(&image.id)) {
                (ImageState::Idle, true) => {
                    image.state = ImageState::Attaching;
                    changes.push(Change::Attach(image.id));
                }
                (ImageState::Attached { .. } | ImageState::Attaching, false) => {
                    image.state = ImageState::Idle;
                    changes.push(Change::Detach(image.id));
                }
                (ImageState::Failed(_), false) => image.state = ImageState::Idle,
                _ => {}
            }
        }
        changes
    }

    fn reconcile_rules(&mut self, changes: &mut Vec<Change>) {
        let open = self.selection.is_open();
        if open != self.reports_unknown {
            self.reports_unknown = open;
            changes.push(Change::ReportUnknown(open));
        }
        let mut wanted: HashMap<u32, Rule> = HashMap::new();
        if !self.selection.takes_all() {
            for pid in self.selection.pids.keys() {
                wanted.insert(*pid, Rule::Reports);
            }
            if open {
                for target in self.processes.values() {
                    let pid = target.process.pid;
                    let choice = self.selection.choice(&target.process);
                    if !matches!(choice, Choice::No | Choice::Excluded(_)) {
                        wanted.insert(pid, Rule::Reports);
                        continue;
                    }
                    wanted.remove(&pid);
                    // A look may be older than an exec, with which the kernel forgets who is silent, and would silence
                    // the new program. So may a report be; what it said ends with the next look that shows another
                    // program. Who is left out by its id stays so with an exec.
                    let silent = Rule::Silent(Program::of(&target.process));
                    let by_id = choice == Choice::Excluded(Exclusion::Pid);
                    if by_id || self.rules.get(&pid) == Some(&silent) {
                        wanted.insert(pid, silent);
                    }
                }
            }
        }
        for pid in self.rules.keys().filter(|pid| !wanted.contains_key(pid)) {
            changes.push(Change::ForgetRule(*pid));
        }
        for (pid, rule) in &wanted {
            let reports = *rule == Rule::Reports;
            if self.rules.get(pid).map(|known| *known == Rule::Reports) != Some(reports) {
                changes.push(if reports {
                    Change::ReportAnew(*pid)
                } else {
                    Change::Rule(*pid, false)
                });
            }
        }
        self.rules = wanted;
    }

    /// The images to attach, and with them those that have their keys.
    fn wanted_images(&self) -> BTreeSet<ImageId> {
        let mut wanted = self.wanted_by_processes();
        let holders: Vec<&Option<Library>> = wanted
            .iter()
            .filter_map(|id| self.images.get(id))
            .filter(|image| image.plan.wants_token())
            .map(|image| &image.plan.library)
            .collect();
        let is_usable = |image: &&Image| image.plan.is_token() && !image.excluded;
        let tokens = self.images.values().filter(is_usable);
        let needed = tokens.filter(|image| holders.contains(&&image.plan.library));
        wanted.extend(needed.map(|image| image.id));
        wanted
    }

    fn wanted_by_processes(&self) -> BTreeSet<ImageId> {
        let used: BTreeSet<ImageId> = self
            .processes
            .values()
            .filter(|target| self.selection.chooses(&target.process))
            .flat_map(|target| target.images.iter().copied())
            .collect();
        self.images
            .values()
            .filter(|image| self.can_attach(image))
            .filter(|image| self.selection.is_open() || used.contains(&image.id))
            .map(|image| image.id)
            .collect()
    }
}
