//! The priority of the threads between the exec of a program that was never seen and the probes in it: they have 4 ms,
//! and each of them works for less than one.

use std::io;

/// `nice` of those threads: on a busy machine they run before others, which they hardly delay.
const URGENT: i32 = -15;

/// The calling thread goes before others. Threads and processes that it starts do not.
pub fn raise() {
    // A machine that does not allow it is only slower.
    let _ = reset_on_fork().and_then(|()| Ok(rustix::process::setpriority_process(None, URGENT)?));
}

/// The calling thread does what takes long.
pub fn lower() {
    let _ = rustix::process::setpriority_process(None, 0);
}

fn reset_on_fork() -> io::Result<()> {
    let parameters = libc::sched_param { sched_priority: 0 };
    let policy = libc::SCHED_OTHER | libc::SCHED_RESET_ON_FORK;
    // SAFETY: it reads the parameters, which live until it returns; 0 is the calling thread.
    match unsafe { libc::sched_setscheduler(0, policy, &parameters) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use rustix::process::getpriority_process;

    #[test]
    fn what_a_thread_starts_has_the_usual_priority() {
        thread::spawn(|| {
            super::raise();
            let own = getpriority_process(None).unwrap();
            if own != super::URGENT {
                return eprintln!("not permitted here");
            }
            let started = thread::spawn(|| getpriority_process(None).unwrap());
            assert_eq!(started.join().unwrap(), 0);
            super::lower();
            assert_eq!(getpriority_process(None).unwrap(), 0);
        })
        .join()
        .unwrap();
    }
}
