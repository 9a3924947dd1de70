use proptest::prelude::*;

use super::*;

fn above(lineage: &Lineage, pid: u32) -> Vec<(u32, u64)> {
    let ancestors = lineage.ancestors(pid).into_iter();
    ancestors.map(|ancestor| (ancestor.pid, ancestor.start_ticks)).collect()
}

#[test]
fn a_parent_that_ended_stays_while_it_has_descendants() {
    let mut lineage = Lineage::default();
    for (pid, parent, start) in [(1, 0, 0), (5, 1, 10), (6, 5, 11), (7, 6, 12)] {
        lineage.fork(pid, parent, start, true);
    }
    lineage.exit(5);
    lineage.exit(6);
    assert_eq!(above(&lineage, 7), [(6, 11), (5, 10), (1, 0)]);
    assert_eq!(lineage.living_parent(7), Some(1));
    let births = lineage.births();
    let line = [7, 6, 5, 1].map(|pid| births[&pid].parent);
    assert_eq!((line, births.len()), ([6, 5, 1, 0], 4));
    // Others that ended since push them out of memory, but not out of the line.
    for n in 0..ENDED as u64 + 2 {
        lineage.fork(100, 1, n, true);
        lineage.exit(100);
    }
    assert_eq!(above(&lineage, 7), [(6, 11), (5, 10), (1, 0)]);
    lineage.exit(7);
    assert_eq!(lineage.births().len(), 1, "only 1 runs, and nobody is above it");
    for n in 0..ENDED as u64 + 2 {
        lineage.fork(100, 1, n, true);
        lineage.exit(100);
    }
    assert!(lineage.get(7).is_none() && lineage.get(5).is_none());
    assert_eq!(lineage.nodes.len(), ENDED + 1);
}

#[test]
fn a_pid_that_is_used_again_is_another_process() {
    let mut lineage = Lineage::default();
    lineage.fork(5, 1, 10, true);
    lineage.fork(6, 5, 11, true);
    // Its end was lost.
    lineage.fork(5, 1, 50, true);
    lineage.fork(7, 5, 51, true);
    assert_eq!(above(&lineage, 6), [(5, 10)]);
    assert_eq!(above(&lineage, 7), [(5, 50)]);
    assert_eq!(lineage.living_pids().count(), 3);
    let owner = |tick| lineage.at(5, tick * lineage.tick).map(|moment| moment.node.start_ticks);
    assert_eq!([9, 10, 49, 50].map(owner), [None, Some(10), Some(10), Some(50)]);
    // The parent that /proc shows may have got its id later.
    let mut lineage = Lineage::default();
    lineage.fork(5, 0, 50, true);
    lineage.fork(6, 0, 11, true);
    lineage.adopt(6, 5);
    assert_eq!(above(&lineage, 6), []);
    lineage.adopt(5, 6);
    assert_eq!(above(&lineage, 5), [(6, 11)]);
}

#[test]
fn a_program_has_its_name_and_file_from_the_records() {
    let mut lineage = Lineage::default();
    lineage.fork(5, 1, 10, false);
    lineage.exec(5, "curl".into(), 1);
    lineage.mapped(5, &"/usr/bin/curl".into());
    lineage.mapped(5, &"/lib/ld.so".into());
    lineage.exit(5);
    let node = lineage.get(5).unwrap();
    assert_eq!((node.comm.raw(), node.exe.as_ref().unwrap().raw()), ("curl", "/usr/bin/curl"));
}

fn shell(pid: u32) -> Process {
    Process {
        pid,
        parent: 1,
        start_ticks: 10,
        comm: "sh".into(),
        exe: Some("/bin/sh".into()),
        is_container_known: true,
        container: None,
        inner_pid: None,
        is_past: false,
        ancestors: [].into(),
    }
}

#[test]
fn what_was_read_before_an_exec_says_nothing_of_the_new_program() {
    let mut lineage = Lineage::default();
    lineage.fork(5, 1, 10, true);
    lineage.exec(5, "curl".into(), 100);
    lineage.mapped(5, &"/usr/bin/curl".into());
    let name = |lineage: &Lineage| {
        let node = lineage.get(5).unwrap();
        (node.comm.to_string(), node.exe.as_ref().unwrap().to_string())
    };
    for began in [99, 100] {
        lineage.seen(&shell(5), began);
        assert_eq!(name(&lineage), ("curl".to_owned(), "/usr/bin/curl".to_owned()));
    }
    // An exec whose record was lost.
    let curl = Process { comm: "curl".into(), exe: Some("/usr/bin/curl".into()), ..shell(5) };
    lineage.get_mut(5).unwrap().process = Some(Arc::new(curl.clone()));
    lineage.seen(&curl, 101);
    assert!(lineage.get(5).unwrap().process.is_some());
    lineage.seen(&shell(5), 102);
    assert_eq!(name(&lineage), ("sh".to_owned(), "/bin/sh".to_owned()));
    assert!(lineage.get(5).unwrap().process.is_none());
}

#[test]
fn a_container_is_inherited_and_certain_with_an_id() {
    let process = |pid, container| Process { container: Some(container), ..shell(pid) };
    let mut lineage = Lineage::default();
    let docker = Container { id: Some("abc".into()), ..Container::default() };
    let unit = Container { unit: Some("docker.service".into()), ..Container::default() };
    lineage.seen(&process(5, docker.clone()), 1);
    lineage.seen(&process(6, unit.clone()), 1);
    for (pid, parent) in [(20, 5), (21, 20), (22, 6), (23, 22), (24, 99)] {
        lineage.fork(pid, parent, 11, true);
    }
    for (pid, container, is_known) in [
        (20, Some(&docker), true),
        (21, Some(&docker), true),
        (22, Some(&unit), false),
        (23, Some(&unit), false),
        (24, None, false),
    ] {
        let node = lineage.get(pid).unwrap();
        assert_eq!((node.container.as_ref(), node.is_container_known), (container, is_known));
    }
}

#[test]
fn a_fork_bomb_is_bounded_and_counted() {
    let mut lineage = Lineage { limit: 100, ..Lineage::default() };
    for pid in 1..1000 {
        lineage.fork(pid, pid - 1, u64::from(pid), true);
    }
    assert_eq!((lineage.nodes.len(), lineage.untracked), (100, 899));
    // A chain of which only the last lives.
    let mut lineage = Lineage::default();
    for pid in 1..10_000 {
        lineage.fork(pid, pid - 1, u64::from(pid), true);
        lineage.exit(pid - 1);
    }
    assert!(lineage.ancestors(9999).len() <= 2 * DEPTH as usize + 1);
    assert!(lineage.nodes.len() <= ENDED + 2 * DEPTH as usize + 2, "{}", lineage.nodes.len());
}

proptest! {
    #[test]
    fn whatever_happens_it_stays_whole(
        steps in proptest::collection::vec((0u8..5, 1u32..12, 1u32..12), 0..400),
    ) {
        let mut lineage = Lineage { limit: 8, ..Lineage::default() };
        for (time, (kind, pid, other)) in (0..).zip(steps) {
            match kind {
                0 | 1 => lineage.fork(pid, other, time, true),
                2 => lineage.exit(pid),
                3 => lineage.adopt(pid, other),
                _ => lineage.exec(pid, "x".into(), time),
            }
            prop_assert!(lineage.nodes.len() <= 8);
            for (id, node) in &lineage.nodes {
                let children = lineage.nodes.iter().filter(|(_, n)| n.parent == Some(id));
                prop_assert_eq!(children.count(), node.children as usize);
                prop_assert!(node.is_living || node.is_remembered || node.children > 0);
            }
            for (pid, id) in &lineage.by_pid {
                prop_assert_eq!(lineage.nodes[*id].pid, *pid);
                prop_assert!(lineage.ancestors(*pid).len() <= lineage.nodes.len());
            }
        }
    }
}
