//! The running command: started as its user, watched, signalled, and reaped once what it sent is read.

use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt as _;
use std::process::Stdio;

use rustix::io::Errno;
use rustix::process::{
    Pid, PidfdFlags, Resource, Rlimit, Signal, WaitOptions, WaitStatus, pidfd_open,
    pidfd_send_signal, set_child_subreaper, setrlimit, setsid, wait,
};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use super::{Command, CommandError};
use crate::model::Ending;
use crate::signals::{is_ignored, set_ignored};
use crate::text::Foreign;

/// The exit code of a command whose own is not known: that of a failure.
const UNKNOWN: u8 = 1;

/// What the command reads and writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Streams {
    /// The same as we.
    Ours,
    /// Nothing: the terminal is ours alone. Standard error goes on to where it was sent, unless that is the terminal.
    Apart,
}

/// A command that runs.
#[derive(Debug)]
pub struct Child {
    pid: Pid,
    /// Becomes readable when it ends; it can be signalled by it without meeting another process.
    pidfd: AsyncFd<OwnedFd>,
    has_ended: bool,
}

impl Command {
    /// Starts it, with `files` as its limit of open files: ours was raised. To be called within a tokio runtime.
    ///
    /// # Errors
    ///
    /// [`CommandError`] when it cannot be started.
    pub fn start(&self, streams: Streams, files: Rlimit) -> Result<Child, CommandError> {
        self.spawn(streams, files).map_err(|error| {
            let program = Foreign::from(self.program.as_os_str());
            match error.kind() {
                io::ErrorKind::NotFound => CommandError::NotFound(program),
                _ => {
                    let (as_whom, reason) = (self.user.as_whom(), error.to_string());
                    CommandError::NotExecutable { program, as_whom, reason }
                }
            }
        })
    }

    fn spawn(&self, streams: Streams, files: Rlimit) -> io::Result<Child> {
        // Whoever is orphaned among its descendants becomes our child: so all of them are below us until we end.
        set_child_subreaper(Some(rustix::process::getpid()))?;
        let mut command = std::process::Command::new(&self.program);
        command.env_clear().envs(self.user.environment().iter().cloned());
        let mut arguments = self.arguments.iter();
        if let Some(typed) = arguments.next() {
            command.arg0(typed);
        }
        command.args(arguments);
        if streams == Streams::Apart {
            command.stdin(Stdio::null()).stdout(Stdio::null());
            if io::IsTerminal::is_terminal(&io::stderr()) {
                command.stderr(Stdio::null());
            }
        }
        // Ignored, as we may have been started, the kernel reaps children by itself, and nobody learns how they ended.
        let was_ignored = is_ignored(libc::SIGCHLD);
        if was_ignored {
            set_ignored(libc::SIGCHLD, false)?;
        }
        let rights = self.user.rights().cloned();
        let prepare = move || {
            setrlimit(Resource::Nofile, files)?;
            if was_ignored {
                set_ignored(libc::SIGCHLD, true)?;
            }
            if streams == Streams::Apart {
                // Without it, it could ask for a password on our terminal.
                setsid()?;
            }
            rights.as_ref().map_or(Ok(()), |rights| rights.take_on())
        };
        // SAFETY: between fork and exec only async-signal-safe functions may be called, since a lock of another thread
        // may be held for ever. `prepare` makes system calls and nothing else: it allocates nothing, not even for an
        // error, which is a number.
        unsafe { command.pre_exec(prepare) };
        // The standard library empties the signal mask and resets SIGPIPE, and its file descriptors and ours are closed
        // by exec.
        let mut child = command.spawn()?;
        let pid = Pid::from_child(&child);
        // Whoever cannot be watched must not run.
        let pidfd = watch(pid).inspect_err(|_| drop(child.kill()))?;
        Ok(Child { pid, pidfd, has_ended: false })
    }
}

fn watch(pid: Pid) -> io::Result<AsyncFd<OwnedFd>> {
    let pidfd = pidfd_open(pid, PidfdFlags::empty())?;
    // SAFETY: it owns its file descriptor, which stays open and the same as long as it.
    unsafe { AsyncFd::register_with_interest(pidfd, Interest::READABLE) }
        .map_err(|error| error.into_parts().1)
}

impl Child {
    /// Waits until it has ended, or for ever when that was taken notice of. Cancel-safe. It is reaped by
    /// [`Child::reap`].
    pub async fn ended(&self) {
        if self.has_ended || self.pidfd.readable().await.is_err() {
            std::future::pending().await
        }
    }

    /// Reaps what has ended: the command, which is then told, and orphans of its descendants. Before, all events that
    /// they sent have to be read: afterwards nobody can tell whose they were.
    pub fn reap(&mut self) -> Option<Ending> {
        let mut ending = None;
        loop {
            match wait(WaitOptions::NOHANG) {
                Ok(Some((pid, status))) if pid == self.pid && !self.has_ended => {
                    self.has_ended = true;
                    ending = Some(ending_of(status));
                }
                Ok(Some(_)) => {}
                // There is no child, and so it has ended, with a code that nobody knows: somebody else reaped it.
                Err(Errno::CHILD) if !self.has_ended => {
                    self.has_ended = true;
                    return Some(Ending::Exited(UNKNOWN));
                }
                Ok(None) | Err(_) => return ending,
            }
        }
    }

    /// Sends it a signal, if it has not ended.
    pub fn signal(&self, signal: Signal) {
        if !self.has_ended {
            let _ = pidfd_send_signal(self.pidfd.get_ref(), signal);
        }
    }
}

fn ending_of(status: WaitStatus) -> Ending {
    let byte = |number: i32| u8::try_from(number).unwrap_or(u8::MAX);
    match (status.exit_status(), status.terminating_signal()) {
        (Some(code), _) => Ending::Exited(byte(code)),
        (None, signal) => Ending::Killed(byte(signal.unwrap_or(0))),
    }
}

#[cfg(test)]
mod tests {
    use rustix::process::{getrlimit, waitpid};

    use super::*;

    /// Alone in its process, as nextest runs it: whoever reaps, reaps everybody's children.
    #[tokio::test]
    async fn an_ignored_sigchld_loses_no_exit_code() {
        let files = getrlimit(Resource::Nofile);
        let start = |arguments: [&str; 4]| {
            let arguments = arguments.map(Into::into).to_vec();
            Command::prepare(arguments).unwrap().start(Streams::Apart, files).unwrap()
        };
        set_ignored(libc::SIGCHLD, true).unwrap();
        let mut child = start(["sh", "-c", "exit 7", ""]);
        child.ended().await;
        assert_eq!(child.reap(), Some(Ending::Exited(7)));
        assert_eq!(child.reap(), None);
        assert!(!is_ignored(libc::SIGCHLD));
        set_ignored(libc::SIGCHLD, true).unwrap();
        // The command has it as we had it: in `SigIgn`, bit 16 is that of SIGCHLD, 17.
        // Not in a shell, which sets its own.
        let ignored = "^SigIgn:.*[13579bdf].{4}$";
        let mut child = start(["grep", "-Eq", ignored, "/proc/self/status"]);
        child.ended().await;
        assert_eq!(child.reap(), Some(Ending::Exited(0)));
        let mut child = start(["sh", "-c", "exit 3", ""]);
        child.ended().await;
        waitpid(Some(child.pid), WaitOptions::empty()).unwrap();
        assert_eq!(child.reap(), Some(Ending::Exited(UNKNOWN)), "somebody else was faster");
    }
}
