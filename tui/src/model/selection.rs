//! Who is chosen, and by which rule.

use std::collections::BTreeMap;

use globset::GlobMatcher;

use super::container::ContainerPattern;
use super::family::Family;
use super::target::{Ancestor, Process, is_same_start};
use crate::target::plan::Ways;

/// Why a process reports, or why it does not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Choice {
    /// No rule chooses it.
    No,
    /// By its process id.
    Pid,
    /// It descends from the chosen process with this id.
    Child(u32),
    /// It belongs to the command that we run.
    Command,
    /// By its name.
    Name,
    /// By its container, pod or unit.
    Container,
    /// Everything is chosen.
    Everything,
    /// Whatever chooses it: it is excluded.
    Excluded(Exclusion),
}

/// What excludes a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exclusion {
    /// Its process id.
    Pid,
    /// It descends from the excluded process with this id.
    Child(u32),
    /// Its name.
    Name,
    /// Its container, pod or unit.
    Container,
}

/// Which processes report.
#[derive(Clone, Debug, Default)]
pub struct Selection {
    /// Everything, now and in future.
    pub all: bool,
    /// Chosen by process id, with the process's `start_ticks`, or 0 when these are not known: another process
    /// that gets the same id later is not chosen.
    pub pids: BTreeMap<u32, u64>,
    /// Chosen by name.
    pub names: Vec<GlobMatcher>,
    /// Chosen by container, pod or unit.
    pub containers: Vec<ContainerPattern>,
    /// The descendants of what is chosen by its id are chosen too, and those of what is excluded by it excluded.
    pub children: bool,
    /// What is left out, whatever chooses it.
    pub excluded: Excluded,
    /// Every descendant of this process is chosen: of ourselves, with a command that we run.
    pub root: Option<Ancestor>,
    /// Only images that were named (`--image`).
    pub only_named_images: bool,
    /// By tap, by walk.
    pub ways: Ways,
    /// The descendants of what is chosen by its id.
    pub family: Family,
}

/// What is left out whatever chooses it, unless the user takes it in again.
#[derive(Clone, Debug, Default)]
pub struct Excluded {
    /// By process id, with the `start_ticks`, or 0 when these are not known.
    pub pids: BTreeMap<u32, u64>,
    /// By name.
    pub names: Vec<GlobMatcher>,
    /// By container.
    pub containers: Vec<ContainerPattern>,
    /// Taken in again, by process id.
    pub pardoned: BTreeMap<u32, u64>,
    /// The descendants of those that are excluded by process id.
    pub family: Family,
}

impl Excluded {
    /// Whether nothing is.
    pub fn is_empty(&self) -> bool {
        self.pids.is_empty()
            && self.names.is_empty()
            && self.containers.is_empty()
            && !self.family.has_orphans()
    }

    fn of(&self, process: &Process, children: bool) -> Option<Exclusion> {
        if self.is_empty() || is_in(&self.pardoned, process) {
            return None;
        }
        if is_in(&self.pids, process) {
            return Some(Exclusion::Pid);
        }
        if self.names.iter().any(|name| name.is_match(process.comm.raw())) {
            return Some(Exclusion::Name);
        }
        if matches_container(&self.containers, process) {
            return Some(Exclusion::Container);
        }
        self.of_family(process, children).or_else(|| {
            // It might be in one of them, and nobody can tell any more.
            let might_be = !self.containers.is_empty() && !process.is_container_known;
            might_be.then_some(Exclusion::Container)
        })
    }

    fn of_family(&self, process: &Process, children: bool) -> Option<Exclusion> {
        let root = children.then(|| self.family.root_of(&self.pids, process)).flatten()?;
        // One that was taken in again brings its own descendants along, where it is the nearer one.
        let taken_in = process.ancestors.iter().take_while(|above| **above != root);
        let taken_in = taken_in.into_iter().any(|above| {
            self.pardoned
                .get(&above.pid)
                .is_some_and(|ticks| [0, above.start_ticks].contains(ticks))
        });
        (!taken_in).then_some(Exclusion::Child(root.pid))
    }
}

/// Whether this process, and no other of the same id, is listed.
fn is_in(pids: &BTreeMap<u32, u64>, process: &Process) -> bool {
    let start = process.start_ticks;
    let same = |ticks: &u64| *ticks == 0 || start == 0 || is_same_start(*ticks, start);
    pids.get(&process.pid).is_some_and(same)
}

fn matches_container(patterns: &[ContainerPattern], process: &Process) -> bool {
    let Some(container) = &process.container else { return false };
    patterns.iter().any(|pattern| pattern.is_match(container))
}

impl Selection {
    /// Whether nothing at all was chosen.
    pub fn is_empty(&self) -> bool {
        !self.all
            && self.pids.is_empty()
            && !self.has_patterns()
            && !self.family.has_orphans()
            && self.root.is_none()
    }

    /// Whether a name or a container chooses.
    pub fn has_patterns(&self) -> bool {
        !self.names.is_empty() || !self.containers.is_empty()
    }

    /// Whether this process is chosen.
    pub fn chooses(&self, process: &Process) -> bool {
        self.takes_all() || !matches!(self.choice(process), Choice::No | Choice::Excluded(_))
    }

    /// Whether every process is chosen, without exception.
    pub fn takes_all(&self) -> bool {
        self.all && self.excluded.is_empty()
    }

    /// By which rule this process is chosen, the narrowest first; or that it is not.
    pub fn choice(&self, process: &Process) -> Choice {
        if let Some(exclusion) = self.excluded.of(process, self.children) {
            return Choice::Excluded(exclusion);
        }
        self.chosen_by(process)
    }

    /// The same, as if nothing were excluded.
    fn chosen_by(&self, process: &Process) -> Choice {
        if self.chooses_pid(process) {
            return Choice::Pid;
        }
        if self.children
            && let Some(root) = self.family.root_of(&self.pids, process)
        {
            return Choice::Child(root.pid);
        }
        match () {
            () if self.root.is_some_and(|root| process.ancestors.contains(&root)) => {
                Choice::Command
            }
            () if self.names_process(process) => Choice::Name,
            () if matches_container(&self.containers, process) => Choice::Container,
            () if self.all => Choice::Everything,
            () => Choice::No,
        }
    }

    /// Whether this process, and no other of the same id, is chosen by its id.
    pub fn chooses_pid(&self, process: &Process) -> bool {
        is_in(&self.pids, process)
    }

    /// Whether this process is chosen by its name.
    pub fn names_process(&self, process: &Process) -> bool {
        self.names.iter().any(|name| name.is_match(process.comm.raw()))
    }

    /// Whether processes that are not known yet can turn out to be chosen.
    pub fn is_open(&self) -> bool {
        self.all
            || self.root.is_some()
            || self.has_patterns()
            || self.children && (!self.pids.is_empty() || self.family.has_orphans())
    }

    /// Whether a process might have been chosen as a child, or by its container, had it lived to be looked at; or would
    /// have been, but for a container that it might be in.
    pub fn might_choose(&self, process: &Process) -> bool {
        let by_children = process.start_ticks == 0
            && self.children
            && (!self.pids.is_empty() || self.family.has_orphans());
        let is_unknown = !process.is_container_known;
        let might = by_children || is_unknown && !self.containers.is_empty();
        match self.choice(process) {
            Choice::Excluded(Exclusion::Container) if is_unknown => {
                might || self.chosen_by(process) != Choice::No
            }
            Choice::Excluded(_) => false,
            _ => might,
        }
    }

    /// Chooses a process by its id, or takes it in again when it was excluded and something else chooses it.
    pub(super) fn take_in(&mut self, pid: u32, process: Option<&Process>) {
        let ticks = process.map_or(0, |process| process.start_ticks);
        if self.excluded.pids.remove(&pid).is_some() {
            self.excluded.family.drop_root(pid);
        }
        if let Some(process) = process
            && self.excluded.of(process, self.children).is_some()
        {
            self.excluded.pardoned.insert(pid, ticks);
        }
        if !process.is_some_and(|process| self.chooses(process)) {
            self.pids.insert(pid, ticks);
        }
    }

    /// Drops a process; it is excluded when something else than its id chooses it.
    pub(super) fn leave_out(&mut self, pid: u32, process: Option<&Process>) {
        self.excluded.pardoned.remove(&pid);
        if self.pids.remove(&pid).is_some() {
            self.family.drop_root(pid);
        }
        if let Some(process) = process
            && self.chooses(process)
        {
            self.excluded.pids.insert(pid, process.start_ticks);
        }
    }

    /// Tells once that there are more descendants than are remembered.
    pub(super) fn take_overflow(&mut self) -> bool {
        self.family.take_overflow() | self.excluded.family.take_overflow()
    }

    /// Remembers a process that reported, if it descends from one that was chosen or excluded.
    pub(super) fn saw(&mut self, process: &Process) {
        if self.children {
            self.family.saw(&self.pids, process);
            self.excluded.family.saw(&self.excluded.pids, process);
        }
    }
}
