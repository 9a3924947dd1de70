//! Processes as the lineage knows them, with what `/proc` says of them.

use std::sync::Arc;

use super::{Lineage, Moment};
use crate::model::target::Process;
use crate::target::past::Program;
use crate::text::Foreign;

impl Lineage {
    /// A process that has ended, or is another program by now, as it was.
    pub fn past(&self, moment: &Moment<'_>) -> Process {
        let node = moment.node;
        let (comm, exe) = match moment.program() {
            Some(Program { process: Some(known), .. }) => {
                return Process { is_past: true, ..Process::clone(&known) };
            }
            Some(Program { comm, exe, process: None }) => (comm, exe),
            None => (Foreign::default(), None),
        };
        let ancestors = self.ancestors_of(moment);
        Process {
            pid: node.pid,
            parent: ancestors.first().map_or(0, |parent| parent.pid),
            start_ticks: node.start_ticks,
            comm,
            exe,
            container: node.container.clone(),
            is_container_known: node.is_container_known,
            inner_pid: None,
            is_past: true,
            ancestors: ancestors.into(),
        }
    }

    /// What is known of a process, with what `/proc` said of it from a moment on, if that is the same one: it started at
    /// `started` then.
    pub fn describe(
        &mut self,
        pid: u32,
        started: u64,
        read: Option<(Process, u64)>,
    ) -> Arc<Process> {
        let ancestors = self.ancestors(pid).into();
        let parent = self.living_parent(pid).unwrap_or(0);
        let Some(node) = self.get_mut(pid) else {
            let nothing =
                Process { pid, parent, comm: Foreign::default(), ancestors, ..Process::unknown() };
            return Arc::new(read.map_or(nothing, |(read, _)| read));
        };
        if let Some(process) = &node.process {
            return Arc::clone(process);
        }
        let is_same = |read: &Process| {
            node.start_ticks == started
                && read.start_ticks.abs_diff(started) <= u64::from(!node.is_exact)
        };
        let read = read.filter(|(read, _)| is_same(read));
        if let Some((read, _)) = &read {
            // Also of the program before: an exec does not change it.
            node.learn_container(read);
        }
        match read.filter(|(_, began)| node.changed < *began) {
            Some((read, _)) => {
                (node.start_ticks, node.is_exact) = (read.start_ticks, true);
                let exe = read.exe.or_else(|| node.exe.clone());
                let process = Arc::new(Process { ancestors, exe, ..read });
                node.process = Some(Arc::clone(&process));
                process
            }
            // It ended, or became another program while it was looked at: what the records say.
            None => Arc::new(Process {
                pid,
                parent,
                start_ticks: node.start_ticks,
                comm: node.comm.clone(),
                exe: node.exe.clone(),
                container: node.container.clone(),
                is_container_known: node.is_container_known,
                inner_pid: None,
                is_past: false,
                ancestors,
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::target::process;

    #[test]
    fn what_was_read_before_an_exec_is_not_kept() {
        let mut lineage = Lineage::default();
        lineage.fork_at(5, 1, 10 * process::tick());
        lineage.exec(5, "curl".into(), 100);
        let shell = Process {
            pid: 5,
            parent: 1,
            start_ticks: 10,
            comm: "sh".into(),
            exe: None,
            container: None,
            is_container_known: true,
            inner_pid: None,
            is_past: false,
            ancestors: [].into(),
        };
        let early = lineage.describe(5, 10, Some((shell.clone(), 99)));
        assert_eq!((early.comm.raw(), early.is_container_known), ("curl", true));
        assert!(lineage.get(5).unwrap().process.is_none());
        let late = lineage.describe(5, 10, Some((Process { comm: "curl".into(), ..shell }, 101)));
        assert_eq!(late.comm.raw(), "curl");
        assert!(lineage.get(5).unwrap().process.is_some());
    }
}
