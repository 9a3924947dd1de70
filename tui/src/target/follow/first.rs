//! For whom the user waits.

use std::collections::{BTreeMap, BTreeSet};

/// The processes for which the user waits.
#[derive(Debug, Default)]
pub struct First {
    /// By their ids.
    pub pids: BTreeSet<u32>,
    /// Their descendants, too.
    pub children: bool,
    /// Nobody else: the first report waits for them alone.
    pub alone: bool,
}

impl First {
    /// Whether this is one of them.
    pub fn has(&self, pid: u32) -> bool {
        self.pids.contains(&pid)
    }

    /// Takes in the descendants, among these processes with their parents.
    pub fn take_children(&mut self, parents: &[(u32, u32)]) {
        if !self.children {
            return;
        }
        let mut children: BTreeMap<u32, Vec<u32>> = BTreeMap::new();
        for (pid, parent) in parents {
            children.entry(*parent).or_default().push(*pid);
        }
        // Not round by round: how deep it goes is up to other users.
        let mut left: Vec<u32> = self.pids.iter().copied().collect();
        while let Some(pid) = left.pop() {
            let born = children.remove(&pid).unwrap_or_default();
            left.extend(born.into_iter().filter(|child| self.pids.insert(*child)));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn descendants_are_taken_in_whatever_their_order() {
        let chosen = |children| First { pids: [5].into(), children, alone: true };
        // 9 is a grandchild and comes first; ids that were used again make a circle.
        let parents = [(9, 7), (7, 5), (5, 9), (8, 1)];
        let taken = |children| {
            let mut first = chosen(children);
            first.take_children(&parents);
            first.pids
        };
        assert_eq!(taken(true), [5, 7, 9].into());
        assert_eq!(taken(false), [5].into());
    }
}
