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
        let mut pids: Vec<u32> = known.flat_map(|(_, pid)| process::with_family(*pid)).collect();
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
    /// There was no time to look at all.
    NotKnown,
}

fn among(pids: Vec<u32>, name: &str, end: Instant) -> Held {
    let mut found = Held::Not;
    for pid in pids {
        match (holds(pid, name, end), found) {
            (Some(false), _) => {}
            (Some(true), Held::Not) => found = Held::By(pid),
            (Some(true), _) => return Held::BySeveral,
            (None, _) => return Held::NotKnown,
        }
    }
    found
}

/// Whether a process has a descriptor of this name; `None` when there was no time to look at all.
fn holds(pid: u32, name: &str, end: Instant) -> Option<bool> {
    let Ok(descriptors) = std::fs::read_dir(format!("/proc/{pid}/fd")) else { return Some(false) };
    for descriptor in descriptors.take(DESCRIPTORS).flatten() {
        if Instant::now() >= end {
            return None;
        }
        let target = std::fs::read_link(descriptor.path());
        if target.is_ok_and(|target| target.as_os_str() == name) {
            return Some(true);
        }
    }
    Some(false)
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
    use std::os::fd::AsRawFd as _;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

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
        let (ours, _other) = std::os::unix::net::UnixStream::pair().unwrap();
        let link = format!("/proc/self/fd/{}", ours.as_raw_fd());
        let name = std::fs::read_link(link).unwrap().into_os_string().into_string().unwrap();
        let pid = std::process::id();
        let later = || Instant::now() + 60 * SECOND;
        assert_eq!(among(vec![pid], &name, later()), Held::By(pid));
        assert_eq!(among(vec![pid, pid], &name, later()), Held::BySeveral);
        assert_eq!(among(vec![pid], "socket:[0]", later()), Held::Not);
        assert_eq!(among(vec![pid], &name, Instant::now()), Held::NotKnown);
    }
}
