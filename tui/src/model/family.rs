//! The descendants of chosen processes. A process whose parent has ended gets another one, so that its ancestors
//! have to be remembered.

use std::collections::{BTreeMap, BTreeSet};

use super::target::{Ancestor, Birth, Process, START_TOLERANCE, is_same_start as is_same};

/// Descendants remembered: as many as the kernel's side has room for rules. Further ones are found by their
/// living ancestors alone.
const MEMBERS: usize = 65_536;

/// Chosen by process id: the `start_ticks` of each, or 0 when these are not known.
type Roots = BTreeMap<u32, u64>;

/// Who descends from which chosen process, as far as that was seen.
#[derive(Clone, Debug, Default)]
pub struct Family {
    members: BTreeMap<u32, Member>,
    /// Chosen processes that have ended, and whose descendants live on.
    ended: BTreeSet<Ancestor>,
    /// There were more members than are remembered, and it was told already.
    overflowed: bool,
    told: bool,
}

#[derive(Clone, Copy, Debug)]
struct Member {
    start_ticks: u64,
    root: Ancestor,
}

impl Family {
    /// The chosen process from which this one descends.
    pub fn root_of(&self, roots: &Roots, process: &Process) -> Option<Ancestor> {
        let own = Ancestor { pid: process.pid, start_ticks: process.start_ticks };
        self.member(own)
            .or_else(|| process.ancestors.iter().find_map(|above| self.root_at(roots, *above)))
    }

    fn member(&self, process: Ancestor) -> Option<Ancestor> {
        let member = self.members.get(&process.pid)?;
        // 0: it had ended before it was looked at.
        let is_it = process.start_ticks == 0 || is_same(member.start_ticks, process.start_ticks);
        is_it.then_some(member.root)
    }

    /// The root of whoever has this ancestor.
    fn root_at(&self, roots: &Roots, above: Ancestor) -> Option<Ancestor> {
        let is_it = |ticks: &u64| *ticks == 0 || is_same(*ticks, above.start_ticks);
        let is_root = roots.get(&above.pid).is_some_and(is_it);
        let has_ended = |ended: &Ancestor| {
            ended.pid == above.pid && is_same(ended.start_ticks, above.start_ticks)
        };
        (is_root || self.ended.iter().any(has_ended)).then_some(above).or_else(|| {
            let member = self.members.get(&above.pid)?;
            is_same(member.start_ticks, above.start_ticks).then_some(member.root)
        })
    }

    /// Remembers a process that reported, and those between it and the chosen one.
    pub fn saw(&mut self, roots: &Roots, process: &Process) {
        if process.start_ticks != 0
            && let Some(root) = self.root_of(roots, process)
        {
            self.insert(process.pid, process.start_ticks, root);
            // Those between may end before the next look at the machine. Not those above where it was found: of
            // one whose parent has ended, that is whoever took it over.
            let below = |above: &&Ancestor| self.root_at(roots, **above).is_none();
            let between = process.ancestors.iter().take_while(below).count();
            if between < process.ancestors.len() {
                for above in &process.ancestors[..between] {
                    self.insert(above.pid, above.start_ticks, root);
                }
            }
        }
    }

    fn insert(&mut self, pid: u32, start_ticks: u64, root: Ancestor) {
        if self.members.len() < MEMBERS || self.members.contains_key(&pid) {
            self.members.insert(pid, Member { start_ticks, root });
        } else {
            self.overflowed = true;
        }
    }

    /// Takes over who lives now, and from whom each was born.
    pub fn looked(&mut self, roots: &Roots, births: &BTreeMap<u32, Birth>) {
        self.members.retain(|pid, member| {
            births.get(pid).is_some_and(|birth| is_same(birth.start_ticks, member.start_ticks))
        });
        // What was found of each process above; `None`: it has no root.
        let mut found: BTreeMap<u32, Option<Ancestor>> = BTreeMap::new();
        let mut path = Vec::new();
        for &pid in births.keys() {
            let mut at = pid;
            // Not by recursion: how deep it goes is up to other users. Ids that were used again make circles.
            let root = loop {
                let Some(birth) = births.get(&at) else { break None };
                if let Some(known) = found.get(&at) {
                    break *known;
                }
                let own = Ancestor { pid: at, start_ticks: birth.start_ticks };
                if let Some(root) = self.root_at(roots, own) {
                    break Some(root);
                }
                found.insert(at, None);
                path.push(own);
                // A parent that is younger than its child is another process with its id.
                match births.get(&birth.parent) {
                    Some(parent) if parent.start_ticks <= birth.start_ticks + START_TOLERANCE => {
                        at = birth.parent
                    }
                    _ => break None,
                }
            };
            for process in path.drain(..) {
                if let Some(root) = root {
                    found.insert(process.pid, Some(root));
                    self.insert(process.pid, process.start_ticks, root);
                }
            }
        }
        let roots: BTreeSet<Ancestor> = self.members.values().map(|member| member.root).collect();
        self.ended.retain(|ended| roots.contains(ended));
    }

    /// A chosen process has ended. Its descendants, if any, go on.
    pub fn root_ended(&mut self, root: Ancestor) {
        if self.members.values().any(|member| member.root == root) {
            self.ended.insert(root);
        }
    }

    /// A process is not chosen any more, and so its descendants.
    pub fn drop_root(&mut self, pid: u32) {
        self.members.retain(|_, member| member.root.pid != pid);
        self.ended.retain(|ended| ended.pid != pid);
    }

    /// Whether there are descendants of processes that have ended.
    pub fn has_orphans(&self) -> bool {
        !self.ended.is_empty()
    }

    /// Tells once that there are more descendants than are remembered.
    pub fn take_overflow(&mut self) -> bool {
        self.overflowed && !std::mem::replace(&mut self.told, self.overflowed)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::model::fixture::process;

    fn births(all: &[(u32, u32)]) -> BTreeMap<u32, Birth> {
        all.iter()
            .map(|&(pid, parent)| (pid, Birth { parent, start_ticks: u64::from(pid) }))
            .collect()
    }

    fn above(pid: u32, ancestors: &[u32]) -> Process {
        let ancestor = |pid: &u32| Ancestor { pid: *pid, start_ticks: u64::from(*pid) };
        let ancestors: Arc<[Ancestor]> = ancestors.iter().map(ancestor).collect();
        Process { ancestors, ..(*process(pid, "x")).clone() }
    }

    fn root(family: &Family, roots: &Roots, process: &Process) -> Option<u32> {
        family.root_of(roots, process).map(|root| root.pid)
    }

    #[test]
    fn a_grandchild_stays_when_its_parent_has_ended() {
        let roots: Roots = [(7, 7)].into();
        let mut family = Family::default();
        family.looked(&roots, &births(&[(1, 0), (7, 1), (8, 7), (9, 8), (20, 1)]));
        family.looked(&roots, &births(&[(1, 0), (7, 1), (9, 1), (20, 1)]));
        assert_eq!(root(&family, &roots, &above(9, &[1])), Some(7));
        assert_eq!(root(&family, &roots, &above(10, &[9, 1])), Some(7), "its children too");
        assert_eq!(root(&family, &roots, &above(20, &[1])), None);
        assert_eq!(root(&family, &roots, &above(7, &[1])), None, "it is chosen itself");
    }

    #[test]
    fn who_took_an_orphan_over_is_no_relative() {
        let roots: Roots = [(7, 7)].into();
        let mut family = Family::default();
        family.saw(&roots, &above(30, &[20, 7, 1]));
        assert_eq!(root(&family, &roots, &above(20, &[1])), Some(7), "it stands between");
        family.saw(&roots, &above(30, &[1]));
        family.saw(&roots, &above(31, &[30, 1]));
        assert_eq!(root(&family, &roots, &above(31, &[1])), Some(7));
        assert_eq!(root(&family, &roots, &above(99, &[1])), None);
    }

    #[test]
    fn an_ended_root_is_kept_as_long_as_descendants_live() {
        let mut roots: Roots = [(7, 7)].into();
        let mut family = Family::default();
        family.looked(&roots, &births(&[(7, 1), (8, 7)]));
        roots.clear();
        family.root_ended(Ancestor { pid: 7, start_ticks: 7 });
        family.looked(&roots, &births(&[(8, 1), (9, 8)]));
        assert!(family.has_orphans());
        // As a lineage that remembers the ended tells it.
        assert_eq!(root(&family, &roots, &above(30, &[29, 7])), Some(7));
        family.looked(&roots, &births(&[(9, 1)]));
        assert_eq!(root(&family, &roots, &above(9, &[1])), Some(7));
        family.looked(&roots, &births(&[(1, 0)]));
        assert!(!family.has_orphans());
        assert_eq!(root(&family, &roots, &above(30, &[29, 7])), None);
        family.root_ended(Ancestor { pid: 50, start_ticks: 50 });
        assert!(!family.has_orphans(), "it had none");
    }

    #[test]
    fn another_process_with_the_same_id_is_no_relative() {
        let roots: Roots = [(7, 7)].into();
        let mut family = Family::default();
        family.looked(&roots, &births(&[(7, 1), (8, 7)]));
        let other = Process { start_ticks: 99, ..above(8, &[1]) };
        assert_eq!(root(&family, &roots, &other), None);
        let reborn = Ancestor { pid: 7, start_ticks: 70 };
        let child = Process { ancestors: [reborn].into(), ..above(30, &[]) };
        assert_eq!(root(&family, &roots, &child), None);
        // The parent's id was used again while the list was read: it is younger than its child.
        let mut late = births(&[(1, 0), (5, 7)]);
        late.insert(7, Birth { parent: 1, start_ticks: 7 });
        family.looked(&roots, &late);
        assert_eq!(root(&family, &roots, &above(5, &[1])), None);
    }

    #[test]
    fn one_that_is_dropped_takes_its_descendants_along() {
        let roots: Roots = [(7, 7), (9, 9)].into();
        let mut family = Family::default();
        family.looked(&roots, &births(&[(7, 1), (8, 7), (9, 8), (10, 9)]));
        assert_eq!(root(&family, &roots, &above(10, &[9, 8, 7])), Some(9), "the nearest");
        let roots: Roots = [(9, 9)].into();
        family.drop_root(7);
        assert_eq!(root(&family, &roots, &above(8, &[7])), None);
        assert_eq!(root(&family, &roots, &above(10, &[9, 8, 7])), Some(9));
    }

    #[test]
    fn a_start_that_is_told_a_tick_off_is_the_same_process() {
        let roots: Roots = [(7, 70)].into();
        let mut family = Family::default();
        let off = |pid, start_ticks| Ancestor { pid, start_ticks };
        let below =
            |ancestors: &[Ancestor]| Process { ancestors: ancestors.into(), ..above(9, &[]) };
        assert_eq!(root(&family, &roots, &below(&[off(7, 71)])), Some(7));
        assert_eq!(root(&family, &roots, &below(&[off(7, 72)])), None);
        family.saw(&roots, &below(&[off(8, 81), off(7, 70)]));
        assert_eq!(root(&family, &Roots::new(), &below(&[off(8, 80)])), Some(7));
    }

    #[test]
    fn circles_end_and_deep_trees_are_walked_once() {
        let mut family = Family::default();
        let circle: BTreeMap<u32, Birth> =
            [(5, 6), (6, 5)].map(|(pid, parent)| (pid, Birth { parent, start_ticks: 1 })).into();
        family.looked(&Roots::new(), &circle);
        let deep: Vec<_> = (2..50_000).map(|pid| (pid, pid - 1)).collect();
        family.looked(&[(2, 2)].into(), &births(&deep));
        assert_eq!(family.members.len(), deep.len() - 1);
        assert!(!family.take_overflow());
    }

    #[test]
    fn there_are_no_more_members_than_have_room() {
        let mut family = Family::default();
        let many: Vec<_> =
            std::iter::once((7, 1)).chain((100..70_000).map(|pid| (pid, 7))).collect();
        family.looked(&[(7, 7)].into(), &births(&many));
        assert_eq!(family.members.len(), MEMBERS);
        assert!(family.take_overflow() && !family.take_overflow());
        let roots = [(7, 7)].into();
        assert_eq!(root(&family, &roots, &above(69_999, &[7, 1])), Some(7), "by its parent");
    }
}
