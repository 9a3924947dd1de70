//! Which process holds a socket. That is looked for among the descriptors of processes, of which a machine can have very
//! many, so that time is counted: who takes more than a share owes the rest, and until then nothing is looked for.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use crate::target::process;

/// Listening ports whose processes are remembered.
const HOLDERS: usize = 256;
/// Descriptors of a process that are looked at.
const DESCRIPTORS: usize = 4096;
/// The part of the time that is spent on processes that held a socket of the same port before, 1/100, and on all processes.
const KNOWN: u32 = 100;
const ALL: u32 = 200;
/// Time that can be owed before nothing more is looked for.
const AT_ONCE: Duration = Duration::from_millis(20);
/// The longest search: some 200,000 descriptors.
const LONGEST: Duration = Duration::from_millis(250);

/// Finds them.
pub(super) struct Holders {
    /// The port of a server, and a process that held a socket of it; newest last.
    known: VecDeque<(u16, u32)>,
    among_known: Share,
    among_all: Share,
}

impl Holders {
    pub fn new() -> Self {
        let now = Instant::now();
        Self {
            known: VecDeque::new(),
            among_known: Share::new(KNOWN, now),
            among_all: Share::new(ALL, now),
        }
    }

    /// The one process that holds the socket of a server, which is asked for by its inode.
    pub fn find(&mut self, port: u16, inode: impl FnOnce() -> Option<u32>) -> Option<u32> {
        let began = Instant::now();
        if !self.among_known.is_left(began) {
            return None;
        }
        let name = inode().map(|inode| format!("socket:[{inode}]"));
        let found = name.as_ref().map(|name| self.find_known(port, name, began + LONGEST));
        self.among_known.take(began.elapsed());
        match found? {
            Held::By(pid) => Some(pid),
            Held::Not => self.search(port, &name?),
            Held::BySeveral | Held::NotKnown => None,
        }
    }

    /// Among processes that held a socket of the port, and those that may share it with them: a process gives its sockets
    /// to its children.
    fn find_known(&self, port: u16, name: &str, end: Instant) -> Held {
        let known = self.known.iter().filter(|(known, _)| *known == port);
        // Where a family is too large, all processes are looked at.
        let families = known.filter_map(|(_, pid)| process::with_family(*pid));
        let mut pids: Vec<u32> = families.flatten().collect();
        pids.sort_unstable();
        pids.dedup();
        among(pids, name, end)
    }

    fn search(&mut self, port: u16, name: &str) -> Option<u32> {
        let began = Instant::now();
        if !self.among_all.is_left(began) {
            return None;
        }
        let found = process::all_pids().map(|pids| among(pids, name, began + LONGEST));
        self.among_all.take(began.elapsed());
        let Ok(Held::By(pid)) = found else { return None };
        self.known.retain(|holder| *holder != (port, pid));
        self.known.push_back((port, pid));
        if self.known.len() > HOLDERS {
            self.known.pop_front();
        }
        Some(pid)
    }
}

/// Who holds a socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Held {
    By(u32),
    BySeveral,
    Not,
    /// There was no time to look at all, or one of the family may hold it too.
    NotKnown,
}

fn among(pids: Vec<u32>, name: &str, end: Instant) -> Held {
    let mut found = Held::Not;
    let mut unsure = Vec::new();
    for pid in pids {
        match (holds(pid, name, end), found) {
            (Holds::No, _) => {}
            (Holds::Yes, Held::Not) => found = Held::By(pid),
            (Holds::Yes, _) => return Held::BySeveral,
            (Holds::Maybe, _) => unsure.push(pid),
            (Holds::NoTime, _) => return Held::NotKnown,
        }
    }
    match found {
        Held::By(pid) if !unsure.is_empty() && may_share(pid, &unsure) => Held::NotKnown,
        found => found,
    }
}

/// Whether one of these may have a process's sockets, too: parent and children may, who else is not known to.
fn may_share(pid: u32, others: &[u32]) -> bool {
    process::with_family(pid).is_none_or(|family| family.iter().any(|pid| others.contains(pid)))
}

/// Whether a process has a descriptor.
enum Holds {
    Yes,
    No,
    /// It has more than are looked at.
    Maybe,
    /// There was no time to look at all.
    NoTime,
}

fn holds(pid: u32, name: &str, end: Instant) -> Holds {
    let Ok(descriptors) = std::fs::read_dir(format!("/proc/{pid}/fd")) else { return Holds::No };
    for (index, descriptor) in descriptors.flatten().enumerate() {
        if index == DESCRIPTORS {
            return Holds::Maybe;
        }
        if Instant::now() >= end {
            return Holds::NoTime;
        }
        let target = std::fs::read_link(descriptor.path());
        if target.is_ok_and(|target| target.as_os_str() == name) {
            return Holds::Yes;
        }
    }
    Holds::No
}

/// A part of the time.
#[derive(Debug)]
struct Share {
    /// 1/so much of it.
    part: u32,
    owed: Duration,
    at: Instant,
}

impl Share {
    fn new(part: u32, now: Instant) -> Self {
        Self { part, owed: Duration::ZERO, at: now }
    }

    /// Whether some of it is left.
    fn is_left(&mut self, now: Instant) -> bool {
        let passed = now.saturating_duration_since(self.at);
        self.at = now;
        self.owed = self.owed.saturating_sub(passed / self.part);
        self.owed < AT_ONCE
    }

    fn take(&mut self, time: Duration) {
        self.owed += time;
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::os::fd::{AsRawFd as _, OwnedFd};
    use std::os::unix::net::UnixStream;

    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn name(socket: &UnixStream) -> String {
        let link = format!("/proc/self/fd/{}", socket.as_raw_fd());
        std::fs::read_link(link).unwrap().into_os_string().into_string().unwrap()
    }

    fn later() -> Instant {
        Instant::now() + 60 * SECOND
    }

    #[test]
    fn a_child_is_not_named_while_its_parent_has_too_many_descriptors_to_look_at() {
        let limit = getrlimit(Resource::Nofile);
        let many = DESCRIPTORS as u64 + 100;
        setrlimit(Resource::Nofile, Rlimit { current: Some(many), ..limit }).unwrap();
        let others: Vec<_> = (0..DESCRIPTORS).map(|_| File::open("/dev/null").unwrap()).collect();
        let (ours, _other) = UnixStream::pair().unwrap();
        let name = name(&ours);
        let stdin = OwnedFd::from(ours.try_clone().unwrap());
        let mut child = std::process::Command::new("cat").stdin(stdin).spawn().unwrap();
        let pids = || vec![std::process::id(), child.id()];
        let beyond = among(pids(), &name, later());
        drop(others);
        let within = among(pids(), &name, later());
        drop(ours);
        let alone = among(pids(), &name, later());
        child.kill().unwrap();
        child.wait().unwrap();
        assert_eq!((beyond, within), (Held::NotKnown, Held::BySeveral));
        assert_eq!(alone, Held::By(child.id()));
    }

    #[test]
    fn what_is_owed_is_paid_before_more_is_taken() {
        let start = Instant::now();
        let mut share = Share::new(100, start);
        assert!(share.is_left(start));
        share.take(Duration::from_millis(200));
        for second in 1..=18 {
            assert!(!share.is_left(start + SECOND * second), "{second}");
        }
        assert!(share.is_left(start + SECOND * 19));
        // What was not taken is not saved.
        share.take(AT_ONCE);
        assert!(!share.is_left(start + SECOND * 19));
        assert!(share.is_left(start + SECOND * 1000));
        share.take(AT_ONCE);
        assert!(!share.is_left(start + SECOND * 1000));
    }

    #[test]
    fn a_search_ends_in_time_and_then_says_nothing() {
        let (ours, _other) = UnixStream::pair().unwrap();
        let name = name(&ours);
        let pid = std::process::id();
        assert_eq!(among(vec![pid], &name, later()), Held::By(pid));
        assert_eq!(among(vec![pid, pid], &name, later()), Held::BySeveral);
        assert_eq!(among(vec![pid], "socket:[0]", later()), Held::Not);
        assert_eq!(among(vec![pid], &name, Instant::now()), Held::NotKnown);
    }
}
