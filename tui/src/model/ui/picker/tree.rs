//! The processes as a tree: below each its nearest descendants with TLS code.

use std::collections::{BTreeMap, BTreeSet};

use crate::model::target::Targets;

/// Levels whose lines are drawn: what is deeper begins with an ellipsis.
const LEVELS: usize = 6;

/// Every process, parents before their children and those by their ids, with the lines that lead to it.
pub(super) fn tree(targets: &Targets) -> Vec<(u32, String)> {
    let mut children: BTreeMap<Option<u32>, BTreeSet<u32>> = BTreeMap::new();
    for pid in targets.processes.keys() {
        children.entry(parent(targets, *pid)).or_default().insert(*pid);
    }
    let mut rows = Vec::with_capacity(targets.processes.len());
    let mut unseen: BTreeSet<u32> = targets.processes.keys().copied().collect();
    let roots = children.remove(&None).unwrap_or_default();
    for root in roots {
        descend(root, &mut children, &mut unseen, &mut rows);
    }
    // A look at the machine takes time, in which an id may go to another process: then there are circles.
    while let Some(pid) = unseen.first().copied() {
        if let Some(others) = children.get_mut(&parent(targets, pid)) {
            others.remove(&pid);
        }
        descend(pid, &mut children, &mut unseen, &mut rows);
    }
    rows
}

/// Adds a process and all below it. Not by recursion: how deep it goes is up to other users.
fn descend(
    root: u32,
    children: &mut BTreeMap<Option<u32>, BTreeSet<u32>>,
    unseen: &mut BTreeSet<u32>,
    rows: &mut Vec<(u32, String)>,
) {
    unseen.remove(&root);
    rows.push((root, String::new()));
    // The processes on the way down, each with those beside it that are still to come.
    let mut path = vec![children.remove(&Some(root)).unwrap_or_default()];
    while let Some(level) = path.last_mut() {
        let Some(pid) = level.pop_first() else {
            path.pop();
            continue;
        };
        unseen.remove(&pid);
        rows.push((pid, guide(&path)));
        path.push(children.remove(&Some(pid)).unwrap_or_default());
    }
}

/// The lines before a process: two columns for each level.
fn guide(path: &[BTreeSet<u32>]) -> String {
    let hidden = path.len().saturating_sub(LEVELS);
    let mut guide = String::from(if hidden > 0 { "…" } else { "" });
    let Some((own, above)) = path[hidden..].split_last() else { return guide };
    guide.extend(above.iter().map(|level| if level.is_empty() { "  " } else { "│ " }));
    guide.push_str(if own.is_empty() { "└─" } else { "├─" });
    guide
}

/// The nearest process above with TLS code.
fn parent(targets: &Targets, pid: u32) -> Option<u32> {
    let mut above = targets.processes.get(&pid)?.process.parent;
    for _ in 0..=targets.ancestors.len() {
        match targets.processes.contains_key(&above) {
            true if above == pid => return None,
            true => return Some(above),
            false => above = *targets.ancestors.get(&above)?,
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::model::fixture::process;
    use crate::model::target::{Process, Scan, Selection, Target};

    fn shown(parents: &[(u32, u32)], ancestors: &[(u32, u32)]) -> Vec<String> {
        let target = |&(pid, parent)| Target {
            process: Arc::new(Process { parent, ..(*process(pid, "x")).clone() }),
            images: Vec::new(),
            command: None,
        };
        let mut targets = Targets::new(Selection::default());
        targets.merge(Scan {
            targets: parents.iter().map(target).collect(),
            ancestors: ancestors.iter().copied().collect(),
            ..Scan::default()
        });
        tree(&targets).into_iter().map(|(pid, guide)| format!("{guide}{pid}")).collect()
    }

    #[test]
    fn the_nearest_ancestor_with_tls_code_is_the_parent() {
        let parents = [(10, 1), (11, 10), (12, 90), (13, 12), (14, 11), (20, 77), (9, 20)];
        let ancestors = [(1, 0), (90, 91), (91, 10), (77, 1)];
        let expected = ["10", "├─11", "│ └─14", "└─12", "  └─13", "20", "└─9"];
        assert_eq!(shown(&parents, &ancestors), expected);
    }

    #[test]
    fn circles_and_orphans_are_shown_once() {
        assert_eq!(shown(&[(1, 2), (2, 1), (3, 2), (4, 4)], &[]), ["4", "1", "└─2", "  └─3"]);
        assert_eq!(shown(&[(5, 70)], &[(70, 71), (71, 70)]), ["5"]);
        assert_eq!(shown(&[(5, 999)], &[]), ["5"]);
    }

    #[test]
    fn a_deep_tree_stays_small() {
        let parents: Vec<_> = (1..20_000).map(|pid| (pid, pid - 1)).collect();
        let rows = shown(&parents, &[]);
        assert_eq!(rows.len(), parents.len());
        assert_eq!(rows.last().map(String::as_str), Some("…          └─19999"));
    }
}
