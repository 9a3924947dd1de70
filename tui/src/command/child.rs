//! The running command: started as its user, watched, signalled, and reaped once what it sent is read.

use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt as _;
use std::process::Stdio;

use rustix::process::{
    Pid, PidfdFlags, Resource, Rlimit, Signal, WaitOptions, WaitStatus, pidfd_open,
    pidfd_send_signal, set_child_subreaper, setrlimit, setsid, wait,
};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use super::{Command, CommandError};
use crate::model::Ending;
use crate::text::Foreign;

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
        let rights = self.user.rights().cloned();
        let prepare = move || {
            setrlimit(Resource::Nofile, files)?;
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
        while let Ok(Some((pid, status))) = wait(WaitOptions::NOHANG) {
            if pid == self.pid && !self.has_ended {
                self.has_ended = true;
                ending = Some(ending_of(status));
            }
        }
        ending
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
