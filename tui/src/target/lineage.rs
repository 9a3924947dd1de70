//! Who is a descendant of whom, also of those that ended: what forked tells it as it happens, and `/proc` for those that
//! ran before.

mod describe;

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;

use slab::Slab;

use super::past::{Past, Program};
use super::process;
use crate::model::container::Container;
use crate::model::target::{Ancestor, Birth, Process};
use crate::text::Foreign;

/// Processes known at a time, ended ones among them; a fork bomb's others are counted.
const LIMIT: usize = 65_536;
/// Ended processes that are remembered though nobody descends from them: their last secrets may not have been read.
const ENDED: usize = 4096;
/// Generations. A chain of processes that each fork and end would else grow for ever.
const DEPTH: u32 = 64;

/// A process: the id is never that of another one, as a pid may be, for as long as anything refers to it.
type NodeId = usize;

/// What is known of a process.
#[derive(Debug)]
pub struct Node {
    /// Its process id.
    pub pid: u32,
    /// Clock ticks from boot to its start, as in [`Process::start_ticks`].
    pub start_ticks: u64,
    /// From `/proc`, and not from the time of a fork's record, which comes some microseconds late.
    pub is_exact: bool,
    /// Its name.
    pub comm: Foreign,
    /// The executable, where it was seen.
    pub exe: Option<Foreign>,
    /// Its container, or its parent's when it was not read.
    pub container: Option<Container>,
    /// As [`Process::is_container_known`].
    pub is_container_known: bool,
    /// When it became this program, or got its name (nanoseconds of `CLOCK_BOOTTIME`): what was read from `/proc` before
    /// may be about another one. 0 where that was not seen.
    pub changed: u64,
    /// What `/proc` said of it, since it is this program.
    pub process: Option<Arc<Process>>,
    /// What it was before that.
    past: Past,
    /// From when until when it was there (nanoseconds of `CLOCK_BOOTTIME`), as far as that was seen.
    started: u64,
    ended: u64,
    parent: Option<NodeId>,
    depth: u32,
    children: u32,
    is_living: bool,
    is_remembered: bool,
}

/// A process as it was at a time.
#[derive(Clone, Copy, Debug)]
pub struct Moment<'l> {
    /// The process.
    pub node: &'l Node,
    /// It is that program to this day, and has not ended.
    pub is_present: bool,
    time: u64,
}

impl Moment<'_> {
    /// The program that it was; `None` when it was too many others since.
    pub fn program(&self) -> Option<Program> {
        let Node { comm, exe, process, changed, past, .. } = self.node;
        match self.time < *changed {
            true => past.at(self.time).cloned(),
            false => {
                let (comm, exe, process) = (comm.clone(), exe.clone(), process.clone());
                Some(Program { comm, exe, process })
            }
        }
    }
}

impl Node {
    /// It becomes another program, or gets another name.
    fn change(&mut self, comm: Foreign, exe: Option<Foreign>, time: u64) {
        let comm = std::mem::replace(&mut self.comm, comm);
        let exe = std::mem::replace(&mut self.exe, exe);
        let process = self.process.take();
        self.past.push(time, Program { comm, exe, process });
        self.changed = time;
    }

    fn as_ancestor(&self) -> Ancestor {
        Ancestor { pid: self.pid, start_ticks: self.start_ticks }
    }

    /// Takes over what `/proc` says of its container.
    fn learn_container(&mut self, read: &Process) {
        if read.is_container_known {
            (self.container, self.is_container_known) = (read.container.clone(), true);
        }
    }
}

/// Every process, and where it comes from.
#[derive(Debug)]
pub struct Lineage {
    nodes: Slab<Node>,
    /// The last one with each pid.
    by_pid: HashMap<u32, NodeId>,
    /// Those that ended last, in this order.
    ended: VecDeque<NodeId>,
    limit: usize,
    /// Nanoseconds of a clock tick.
    tick: u64,
    /// Processes for which there was no room.
    pub untracked: u64,
}

impl Default for Lineage {
    fn default() -> Self {
        Self {
            nodes: Slab::new(),
            by_pid: HashMap::new(),
            ended: VecDeque::new(),
            limit: LIMIT,
            tick: process::tick(),
            untracked: 0,
        }
    }
}

impl Lineage {
    /// A process began some microseconds before this time.
    pub fn fork_at(&mut self, pid: u32, parent: u32, time: u64) {
        let is_exact = time % self.tick > self.tick / 5;
        self.fork(pid, parent, time / self.tick, is_exact);
        if let Some(node) = self.living(pid) {
            node.started = time;
        }
    }

    /// A process began. Without a parent that is known, it has none.
    fn fork(&mut self, pid: u32, parent: u32, start_ticks: u64, is_exact: bool) {
        let (comm, exe, container, is_known) = match self.get(parent) {
            Some(parent) => {
                let container = parent.container.clone();
                // Container runtimes and systemd move what they start from where they are themselves.
                let has_id = container.as_ref().is_some_and(|container| container.id.is_some());
                let is_known = parent.is_container_known && has_id;
                (parent.comm.clone(), parent.exe.clone(), container, is_known)
            }
            None => (Foreign::default(), None, None, false),
        };
        if let Some(id) = self.insert(pid, start_ticks, is_exact) {
            // Only now: making room may have dropped a parent that ended.
            let parent = self.by_pid.get(&parent).copied().filter(|parent| *parent != id);
            let node = &mut self.nodes[id];
            (node.comm, node.exe) = (comm, exe);
            (node.container, node.is_container_known) = (container, is_known);
            self.link(id, parent);
        }
    }

    /// A process became another program.
    pub fn exec(&mut self, pid: u32, comm: Foreign, time: u64) {
        if let Some(node) = self.living(pid) {
            node.change(comm, None, time);
        }
    }

    /// A process has another name.
    pub fn rename(&mut self, pid: u32, comm: Foreign, time: u64) {
        if let Some(node) = self.living(pid) {
            let exe = node.exe.clone();
            node.change(comm, exe, time);
        }
    }

    /// A process mapped this file: since an exec, the first one is its program.
    pub fn mapped(&mut self, pid: u32, path: &Foreign) {
        if let Some(node) = self.living(pid)
            && node.exe.is_none()
        {
            node.exe = Some(path.clone());
        }
    }

    /// A process ended at this time.
    pub fn exit_at(&mut self, pid: u32, time: u64) {
        if let Some(node) = self.living(pid) {
            node.ended = time;
            self.exit(pid);
        }
    }

    /// A process ended.
    fn exit(&mut self, pid: u32) {
        let Some(&id) = self.by_pid.get(&pid) else { return };
        let node = &mut self.nodes[id];
        if !std::mem::replace(&mut node.is_living, false) {
            return;
        }
        node.is_remembered = true;
        self.ended.push_back(id);
        if self.ended.len() > ENDED {
            self.forget_oldest();
        }
    }

    /// `/proc`, read from `began` on, shows this process. The parent is added by [`Lineage::adopt`], once all are known.
    pub fn seen(&mut self, process: &Process, began: u64) {
        let known = self.living(process.pid).filter(|node| {
            node.start_ticks == process.start_ticks
                || (!node.is_exact && node.start_ticks.abs_diff(process.start_ticks) <= 1)
        });
        match known {
            Some(node) => {
                (node.start_ticks, node.is_exact) = (process.start_ticks, true);
                node.learn_container(process);
                if node.changed < began {
                    let exe = process.exe.clone().or_else(|| node.exe.take());
                    if node
                        .process
                        .as_ref()
                        .is_some_and(|known| known.comm != process.comm || known.exe != exe)
                    {
                        node.process = None;
                    }
                    (node.comm, node.exe) = (process.comm.clone(), exe);
                }
            }
            None => {
                if let Some(id) = self.insert(process.pid, process.start_ticks, true) {
                    let node = &mut self.nodes[id];
                    (node.comm, node.exe) = (process.comm.clone(), process.exe.clone());
                    node.learn_container(process);
                }
            }
        }
    }

    /// `/proc` shows this parent of a process of which no fork was seen.
    pub fn adopt(&mut self, pid: u32, parent: u32) {
        let (Some(&id), Some(&parent)) = (self.by_pid.get(&pid), self.by_pid.get(&parent)) else {
            return;
        };
        // A parent that began later has the id of another one that ended.
        let is_older = self.nodes[parent].start_ticks <= self.nodes[id].start_ticks;
        if id != parent && self.nodes[id].parent.is_none() && is_older {
            // Ids that are used again must not make a circle.
            let mut above = Some(parent);
            while let Some(at) = above {
                if at == id {
                    return;
                }
                above = self.nodes[at].parent;
            }
            self.link(id, Some(parent));
        }
    }

    /// The last process with this id.
    pub fn get(&self, pid: u32) -> Option<&Node> {
        self.by_pid.get(&pid).map(|id| &self.nodes[*id])
    }

    /// Who had this id at a time (nanoseconds of `CLOCK_BOOTTIME`), which is not the last one with it where that began
    /// later, and what it was then; `None` when nothing is known of it.
    pub fn at(&self, pid: u32, time: u64) -> Option<Moment<'_>> {
        let was_there = |id: &NodeId| {
            let node = &self.nodes[*id];
            node.pid == pid && (node.started..=node.ended).contains(&time)
        };
        let last = self.by_pid.get(&pid).copied().filter(was_there);
        let id = last.or_else(|| self.ended.iter().rev().copied().find(was_there))?;
        let node = &self.nodes[id];
        let is_present = node.is_living && node.changed <= time;
        Some(Moment { node, is_present, time })
    }

    /// Where that process comes from, the nearest first.
    fn ancestors_of(&self, moment: &Moment<'_>) -> Vec<Ancestor> {
        self.above_node(moment.node.parent).map(Node::as_ancestor).collect()
    }

    /// The same, to say what `/proc` says of it.
    fn get_mut(&mut self, pid: u32) -> Option<&mut Node> {
        self.by_pid.get(&pid).map(|id| &mut self.nodes[*id])
    }

    /// Where it comes from, the nearest first.
    pub fn ancestors(&self, pid: u32) -> Vec<Ancestor> {
        self.above(pid).map(Node::as_ancestor).collect()
    }

    /// The nearest ancestor that has not ended.
    pub fn living_parent(&self, pid: u32) -> Option<u32> {
        self.above(pid).find(|node| node.is_living).map(|node| node.pid)
    }

    /// Who runs.
    pub fn living_pids(&self) -> impl Iterator<Item = u32> + '_ {
        self.nodes.iter().filter(|(_, node)| node.is_living).map(|(_, node)| node.pid)
    }

    /// From whom everyone was born who runs, and who is above them and has ended; 0 where it is not known. Not the others
    /// that have ended: they must not seem to go on. An ended one whose id is another process's by now is left out.
    pub fn births(&self) -> BTreeMap<u32, Birth> {
        let birth = |node: &Node| {
            let parent = node.parent.map_or(0, |id| self.nodes[id].pid);
            (node.pid, Birth { parent, start_ticks: node.start_ticks })
        };
        let living = || self.nodes.iter().map(|(_, node)| node).filter(|node| node.is_living);
        let mut births: BTreeMap<u32, Birth> = living().map(birth).collect();
        for node in living() {
            let mut above = node.parent;
            while let Some(node) = above.map(|id| &self.nodes[id]) {
                // Of one that is there, and so of those above it, it was said already.
                if node.is_living || births.contains_key(&node.pid) {
                    break;
                }
                births.extend([birth(node)]);
                above = node.parent;
            }
        }
        births
    }

    fn above(&self, pid: u32) -> impl Iterator<Item = &Node> {
        self.above_node(self.by_pid.get(&pid).and_then(|id| self.nodes[*id].parent))
    }

    fn above_node(&self, first: Option<NodeId>) -> impl Iterator<Item = &Node> {
        let ids = std::iter::successors(first, |id| self.nodes[*id].parent);
        ids.map(|id| &self.nodes[id])
    }

    fn living(&mut self, pid: u32) -> Option<&mut Node> {
        self.get_mut(pid).filter(|node| node.is_living)
    }

    fn insert(&mut self, pid: u32, start_ticks: u64, is_exact: bool) -> Option<NodeId> {
        // Its end was not seen.
        let started = start_ticks.saturating_mul(self.tick);
        self.exit_at(pid, started);
        while self.nodes.len() >= self.limit && !self.ended.is_empty() {
            self.forget_oldest();
        }
        if self.nodes.len() >= self.limit {
            self.untracked += 1;
            // What is known by this id is not about this process.
            self.by_pid.remove(&pid);
            return None;
        }
        let id = self.nodes.insert(Node {
            pid,
            start_ticks,
            is_exact,
            comm: Foreign::default(),
            exe: None,
            container: None,
            is_container_known: false,
            changed: 0,
            process: None,
            past: Past::default(),
            started,
            ended: u64::MAX,
            parent: None,
            depth: 0,
            children: 0,
            is_living: true,
            is_remembered: false,
        });
        self.by_pid.insert(pid, id);
        Some(id)
    }

    fn link(&mut self, id: NodeId, parent: Option<NodeId>) {
        let mut parent = parent;
        while let Some(at) = parent {
            let node = &self.nodes[at];
            if node.depth < DEPTH || node.is_living && node.depth < 2 * DEPTH {
                break;
            }
            parent = node.parent;
        }
        let Some(parent) = parent else { return };
        let depth = self.nodes[parent].depth + 1;
        self.nodes[parent].children += 1;
        let node = &mut self.nodes[id];
        (node.parent, node.depth) = (Some(parent), depth);
    }

    fn forget_oldest(&mut self) {
        let Some(id) = self.ended.pop_front() else { return };
        self.nodes[id].is_remembered = false;
        self.drop_unused(id);
    }

    /// Drops a process that nobody needs any more, and then those above it for which the same is true.
    fn drop_unused(&mut self, id: NodeId) {
        let mut next = Some(id);
        while let Some(id) = next {
            let node = &self.nodes[id];
            if node.is_living || node.is_remembered || node.children > 0 {
                return;
            }
            let node = self.nodes.remove(id);
            if self.by_pid.get(&node.pid) == Some(&id) {
                self.by_pid.remove(&node.pid);
            }
            if let Some(parent) = node.parent {
                self.nodes[parent].children -= 1;
            }
            next = node.parent;
        }
    }
}

#[cfg(test)]
mod tests;
