//! Which process an event came from, without reading `/proc` for each of them.

use std::collections::{BTreeSet, HashMap};
use std::io;
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tlskeytop_common::COMM_LEN;

use crate::clock::boot_time;
use crate::model::target::Process;
use crate::target::follow::watch::Watch;
use crate::target::process;
use crate::text::Foreign;

/// After this, a known pid is looked at again: it may have been given to another process.
const FRESH: Duration = Duration::from_millis(500);
/// Processes remembered at a time.
const LIMIT: usize = 4096;
/// Thread names remembered of a process. One with more is looked at again for some of them.
const NAMES: usize = 64;

/// As the kernel gives it, padded with NUL.
type ThreadName = [u8; COMM_LEN];

/// Processes that reported lately.
#[derive(Debug, Default)]
pub struct Processes {
    known: HashMap<u32, Known>,
    /// Where the kernel tells what processes do: then nothing else is asked of those that it tells of.
    pub watch: Option<Watch>,
    /// What it said of those that have not ended, since a batch of events began.
    told: HashMap<u32, Told>,
}

/// A process that was the same one, and the same program, all this time (nanoseconds of `CLOCK_BOOTTIME`).
#[derive(Debug)]
struct Told {
    time: RangeInclusive<u64>,
    process: Arc<Process>,
}

#[derive(Debug)]
struct Known {
    looked: Instant,
    process: Arc<Process>,
    /// The names of its threads since it is this program. An exec gives the thread another name.
    names: BTreeSet<ThreadName>,
}

impl Processes {
    /// The process that had this id at that time (nanoseconds of `CLOCK_BOOTTIME`), by one of its threads. When it has
    /// ended already, all that is known is the thread's name.
    pub fn get(&mut self, pid: u32, tid: u32, thread: &ThreadName, time: u64) -> Arc<Process> {
        if let Some(process) = self.ask(pid, time) {
            return named(process, pid == tid, thread);
        }
        let found = self.look(pid, thread, Instant::now(), process::read_with_ancestors);
        at_time(found, thread, time)
    }

    /// A batch of events begins: what was told before may not be all that is known.
    pub fn begin_batch(&mut self) {
        self.told.clear();
    }

    /// What the kernel tells of a process. Of all events of a batch that are older than the first question, one is
    /// enough: each takes what the kernel has told since, and lets the thread that follows wait.
    fn ask(&mut self, pid: u32, time: u64) -> Option<Arc<Process>> {
        if let Some(told) = self.told.get(&pid).filter(|told| told.time.contains(&time)) {
            return Some(Arc::clone(&told.process));
        }
        let now = boot_time();
        let process = self.watch.as_ref()?.process_at(pid, time)?;
        if !process.is_past {
            self.told.insert(pid, Told { time: time..=now, process: Arc::clone(&process) });
        }
        Some(process)
    }

    fn look(
        &mut self,
        pid: u32,
        thread: &ThreadName,
        now: Instant,
        read: impl FnOnce(u32) -> io::Result<Process>,
    ) -> Arc<Process> {
        let is_fresh = |known: &Known| {
            now.duration_since(known.looked) < FRESH && known.names.contains(thread)
        };
        if let Some(known) = self.known.get(&pid)
            && is_fresh(known)
        {
            return Arc::clone(&known.process);
        }
        let found = read(pid);
        if let Some(known) = self.known.get_mut(&pid) {
            known.looked = now;
            match found {
                Ok(process) if process != *known.process => {
                    known.process = Arc::new(process);
                    known.names.clear();
                }
                // The same, or it ended between two of its secrets.
                _ if known.names.len() >= NAMES => known.names.clear(),
                _ => {}
            }
            known.names.insert(*thread);
            return Arc::clone(&known.process);
        }
        self.make_room(now);
        let process = Arc::new(found.unwrap_or_else(|_| ended(pid, thread)));
        let names = [*thread].into();
        self.known.insert(pid, Known { looked: now, process: Arc::clone(&process), names });
        process
    }

    fn make_room(&mut self, now: Instant) {
        if self.known.len() >= LIMIT {
            self.known.retain(|_, known| now.duration_since(known.looked) < FRESH);
            if self.known.len() >= LIMIT {
                self.known.clear();
            }
        }
    }
}

/// The process by the name that the event has. A process is called as its main thread is: where that has another name than
/// is known, the record of an exec was lost; where none is known, it has been too many programs since.
fn named(process: Arc<Process>, is_main: bool, thread: &ThreadName) -> Arc<Process> {
    let name = thread_name(thread);
    match process.comm.raw() {
        "" => Arc::new(Process { comm: name, ..Process::clone(&process) }),
        known if is_main && known != name.raw() => {
            Arc::new(Process { comm: name, exe: None, ..Process::clone(&process) })
        }
        _ => process,
    }
}

/// The process, if it was there at that time already. If not, another one has its id, which began earlier.
fn at_time(found: Arc<Process>, thread: &ThreadName, time: u64) -> Arc<Process> {
    let latest = process::ticks_at(time);
    match found.start_ticks <= latest {
        true => found,
        false => Arc::new(Process { start_ticks: latest, ..ended(found.pid, thread) }),
    }
}

fn thread_name(thread: &[u8]) -> Foreign {
    Foreign::from_bytes(thread)
}

fn ended(pid: u32, thread: &[u8]) -> Process {
    Process { pid, comm: thread_name(thread), ..Process::unknown() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> ThreadName {
        let mut name = [0; COMM_LEN];
        name[..text.len()].copy_from_slice(text.as_bytes());
        name
    }

    fn program(comm: &str) -> io::Result<Process> {
        Ok(Process { comm: comm.into(), start_ticks: 7, ..ended(5, b"") })
    }

    fn unread(_: u32) -> io::Result<Process> {
        panic!("it was looked at again")
    }

    #[test]
    fn after_an_exec_it_is_another_program_at_once() {
        let (mut processes, now) = (Processes::default(), Instant::now());
        let comm = |process: Arc<Process>| process.comm.to_string();
        assert_eq!(comm(processes.look(5, &name("sh"), now, |_| program("sh"))), "sh");
        assert_eq!(comm(processes.look(5, &name("sh"), now, unread)), "sh");
        assert_eq!(comm(processes.look(5, &name("curl"), now, |_| program("curl"))), "curl");
        assert_eq!(comm(processes.look(5, &name("curl"), now, unread)), "curl");
        // Back again: the name was that of an earlier program.
        assert_eq!(comm(processes.look(5, &name("sh"), now, |_| program("sh"))), "sh");
    }

    #[test]
    fn of_a_lost_exec_the_main_thread_tells_the_name() {
        let known = Arc::new(Process { exe: Some("/bin/sh".into()), ..program("sh").unwrap() });
        let as_seen = |is_main, thread| {
            let Process { comm, exe, .. } = &*named(Arc::clone(&known), is_main, &name(thread));
            (comm.to_string(), exe.is_some())
        };
        assert_eq!(as_seen(true, "curl"), ("curl".to_owned(), false));
        assert_eq!(as_seen(true, "sh"), ("sh".to_owned(), true));
        assert_eq!(as_seen(false, "worker"), ("sh".to_owned(), true));
    }

    #[test]
    fn one_that_began_after_the_event_is_not_taken_for_it() {
        let (mut processes, now) = (Processes::default(), Instant::now());
        let mut at = |ticks| {
            let found = processes.look(5, &name("old"), now, |_| program("new"));
            let process = at_time(found, &name("old"), ticks * process::tick());
            (process.comm.to_string(), process.start_ticks, process.is_past)
        };
        assert_eq!(at(5), ("old".to_owned(), 5, true));
        assert_eq!(at(7).0, "new");
    }

    #[test]
    fn threads_with_names_of_their_own_are_looked_at_once() {
        let (mut processes, now) = (Processes::default(), Instant::now());
        for thread in ["node", "worker-1", "worker-2"] {
            processes.look(5, &name(thread), now, |_| program("node"));
        }
        for thread in ["worker-1", "node", "worker-2"] {
            assert_eq!(processes.look(5, &name(thread), now, unread).comm.raw(), "node");
        }
        let later = now + FRESH;
        let found = processes.look(5, &name("node"), later, |_| program("other"));
        assert_eq!(found.comm.raw(), "other", "the pid may be another process's by now");
    }

    #[test]
    fn one_that_ended_keeps_what_was_known_and_names_are_bounded() {
        let (mut processes, now) = (Processes::default(), Instant::now());
        let gone = |_| Err(io::ErrorKind::NotFound.into());
        assert_eq!(processes.look(6, &name("late"), now, gone).start_ticks, 0);
        processes.look(5, &name("sh"), now, |_| program("sh"));
        for n in 0..1000 {
            let found = processes.look(5, &name(&n.to_string()), now, gone);
            assert_eq!(found.comm.raw(), "sh");
            assert!(processes.known[&5].names.len() <= NAMES);
        }
    }
}
