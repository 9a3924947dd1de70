//! The priority of the threads between the exec of a program that was never seen and the probes in it: they have 4 ms,
//! and each of them works for less than one.

use std::cell::Cell;
use std::io;
use std::time::Duration;

/// `nice` of those threads: on a busy machine they run before others, which they hardly delay.
const URGENT: i32 = -15;
/// How long they run at a time before others may (Linux 6.12 and later; before, the kernel's own): who asks for less is
/// let in sooner.
const SLICE: Duration = Duration::from_micros(100);

thread_local! {
    /// What the thread asked for last.
    static LEVEL: Cell<Level> = const { Cell::new(Level::Given) };
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Level {
    /// As it was started.
    Given,
    Immediate,
    Raised,
    Lowered,
}

/// Does what others may wait for that are [`immediate`], and goes on as before.
pub fn immediately<T>(work: impl FnOnce() -> T) -> T {
    if LEVEL.get() != Level::Raised {
        return work();
    }
    immediate();
    let done = work();
    raise();
    done
}

/// The calling thread goes before all others, at once: for work that is bounded, and short. Threads and processes that it
/// starts do not.
pub fn immediate() {
    if LEVEL.replace(Level::Immediate) == Level::Immediate {
        return;
    }
    if set(&attributes(libc::SCHED_RR, 0, 1, Duration::ZERO)).is_err() {
        let _ = set(&attributes(libc::SCHED_OTHER, URGENT, 0, SLICE));
    }
}

/// The calling thread goes before others. Threads and processes that it starts do not.
pub fn raise() {
    if LEVEL.replace(Level::Raised) == Level::Raised {
        return;
    }
    // A machine that does not allow it is only slower.
    let _ = set(&attributes(libc::SCHED_OTHER, URGENT, 0, SLICE));
}

/// The calling thread does what takes long.
pub fn lower() {
    if LEVEL.replace(Level::Lowered) == Level::Lowered {
        return;
    }
    let _ = set(&attributes(libc::SCHED_OTHER, 0, 0, Duration::ZERO));
}

fn attributes(policy: i32, nice: i32, priority: u32, slice: Duration) -> libc::sched_attr {
    libc::sched_attr {
        size: size_of::<libc::sched_attr>() as u32,
        sched_policy: policy as u32,
        sched_flags: libc::SCHED_FLAG_RESET_ON_FORK as u64,
        sched_nice: nice,
        sched_priority: priority,
        sched_runtime: slice.as_nanos() as u64,
        sched_deadline: 0,
        sched_period: 0,
    }
}

fn set(attributes: &libc::sched_attr) -> io::Result<()> {
    // SAFETY: it reads the attributes, which live until it returns, with the size that is in them; 0 is the calling
    // thread.
    match unsafe { libc::syscall(libc::SYS_sched_setattr, 0, attributes, 0) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use rustix::process::getpriority_process;

    /// Policy, without the flag for what is started, and `nice`.
    fn own() -> (i32, i32) {
        // SAFETY: it takes no pointer; 0 is the calling thread.
        let policy = unsafe { libc::sched_getscheduler(0) } & !libc::SCHED_RESET_ON_FORK;
        (policy, getpriority_process(None).unwrap())
    }

    #[test]
    fn what_a_thread_starts_has_the_usual_priority() {
        thread::spawn(|| {
            super::raise();
            if own() != (libc::SCHED_OTHER, super::URGENT) {
                return eprintln!("not permitted here");
            }
            assert_eq!(thread::spawn(own).join().unwrap(), (libc::SCHED_OTHER, 0));
            super::immediate();
            let (policy, _) = own();
            assert!(policy == libc::SCHED_RR || policy == libc::SCHED_OTHER);
            assert_eq!(thread::spawn(own).join().unwrap(), (libc::SCHED_OTHER, 0));
            super::lower();
            assert_eq!(own(), (libc::SCHED_OTHER, 0));
        })
        .join()
        .unwrap();
    }
}
