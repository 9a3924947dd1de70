//! Processes, and from whom they come.

use std::sync::Arc;

use super::container::Container;
use crate::text::Foreign;

/// A process that another one comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Ancestor {
    /// Process id.
    pub pid: u32,
    /// Clock ticks from boot to its start, as in [`Process::start_ticks`].
    pub start_ticks: u64,
}

/// Clock ticks by which the start of one process may be told differently: records come a little late.
pub const START_TOLERANCE: u64 = 1;

/// Whether two starts under one id are those of one process. Ids are not used again as fast as that.
pub fn is_same_start(one: u64, other: u64) -> bool {
    one.abs_diff(other) <= START_TOLERANCE
}

/// What is known of a process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Process {
    /// Process id, in the initial pid namespace.
    pub pid: u32,
    /// Its parent's process id (`/proc/PID/stat`, field 4); 0 when it has none that we can see, or is not known.
    pub parent: u32,
    /// Clock ticks from boot to its start (`/proc/PID/stat`, field 22): with the pid, a unique name.
    pub start_ticks: u64,
    /// Name (`/proc/PID/comm`), or that of the thread when the process had ended.
    pub comm: Foreign,
    /// Path of the executable as the process sees it; `None` when it could not be read.
    pub exe: Option<Foreign>,
    /// Its container, or its unit of systemd, where the cgroup's path shows one.
    pub container: Option<Container>,
    /// That is certain: it was read, or inherited in a container with an id, which nobody leaves by a fork. Else it ended
    /// before it could be read, and the container is that of its parent, if any.
    pub is_container_known: bool,
    /// Its id in the innermost pid namespace, where that is another one than ours.
    pub inner_pid: Option<u32>,
    /// Its parent, the parent's parent and so on, as far as they are known.
    pub ancestors: Arc<[Ancestor]>,
    /// It had ended, or become another program, when it was looked at: what holds for it holds for nobody who has its id
    /// now.
    pub is_past: bool,
}

impl Process {
    /// Nobody knows which.
    pub fn unknown() -> Self {
        Self {
            pid: 0,
            parent: 0,
            start_ticks: 0,
            comm: "?".into(),
            exe: None,
            container: None,
            is_container_known: false,
            inner_pid: None,
            ancestors: [].into(),
            is_past: true,
        }
    }

    /// `4711`, or `4711 (7 inside)` where it has another id in a namespace of its own.
    pub fn pids(&self) -> String {
        match self.inner_pid {
            Some(inner) => format!("{} ({inner} inside)", self.pid),
            None => self.pid.to_string(),
        }
    }
}

/// From whom a process was born, and when.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Birth {
    /// Its parent's process id, or that of the process that took it over.
    pub parent: u32,
    /// As [`Process::start_ticks`].
    pub start_ticks: u64,
}
