//! A process that the test started: watched, spoken to, and always ended by its id.

use std::io::Write;
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, kill_process};

use crate::transcript::Transcript;
use crate::wait::{DEADLINE, until_within};

/// A child with its output; killed and reaped when dropped.
///
/// Dropping one that had not ended well prints what it said: the test runner shows that only for a failed test.
pub struct Process {
    name: String,
    child: Child,
    stdin: Option<ChildStdin>,
    stdout: Transcript,
    stderr: Transcript,
}

/// How a process ended, and all it printed.
pub struct Ended {
    /// The exit status.
    pub status: ExitStatus,
    /// Everything on standard output.
    pub stdout: String,
    /// Everything on standard error.
    pub stderr: String,
}

impl Ended {
    /// The exit code; None when a signal ended it.
    pub fn code(&self) -> Option<i32> {
        self.status.code()
    }

    /// The signal that ended it, if one did.
    pub fn signal(&self) -> Option<i32> {
        self.status.signal()
    }
}

impl Process {
    /// Starts `command` with pipes on all three standard streams.
    ///
    /// # Errors
    /// When it cannot be started: the program is named.
    pub fn start(command: &mut Command) -> Result<Self> {
        Self::start_with_stdout(command, Stdio::piped())
    }

    /// As [`Process::start`], with standard output to where the test wants it: then none of it is read here.
    ///
    /// # Errors
    /// As [`Process::start`].
    pub fn start_with_stdout(command: &mut Command, stdout: Stdio) -> Result<Self> {
        let name = command.get_program().to_string_lossy().into_owned();
        let spawned = command.stdin(Stdio::piped()).stdout(stdout).stderr(Stdio::piped()).spawn();
        // The command would keep its end of a pipe open, and nobody would see that the process has closed it.
        command.stdout(Stdio::null());
        let mut child = spawned.with_context(|| format!("cannot start {name}"))?;
        let stdout = match child.stdout.take() {
            Some(pipe) => Transcript::of(pipe),
            None => Transcript::of(std::io::empty()),
        };
        let stderr = child.stderr.take().context("no pipe for stderr")?;
        Ok(Self { name, stdin: child.stdin.take(), child, stdout, stderr: Transcript::of(stderr) })
    }

    /// Starts `command` with nothing on standard input and waits for it to end.
    ///
    /// # Errors
    /// When it cannot be started or does not end within the deadline.
    pub fn run(command: &mut Command) -> Result<Ended> {
        let mut process = Self::start(command)?;
        process.close_stdin();
        process.wait()
    }

    /// Runs `command` to its end and insists on success.
    ///
    /// # Errors
    /// As [`Process::run`], and when the exit code is not 0: with all it printed.
    pub fn run_ok(command: &mut Command) -> Result<Ended> {
        let ended = Self::run(command)?;
        if !ended.status.success() {
            bail!("{command:?}: {}\n{}{}", ended.status, ended.stdout, ended.stderr);
        }
        Ok(ended)
    }

    /// The process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Waits for a line of standard output for which `find` gives something.
    ///
    /// # Errors
    /// When the output ends or the deadline passes without it.
    pub fn wait_stdout<T>(&self, what: &str, find: impl Fn(&str) -> Option<T>) -> Result<T> {
        self.stdout
            .wait_for(DEADLINE, find)
            .with_context(|| self.story(&format!("no {what} on stdout")))
    }

    /// Waits for a line of standard error for which `find` gives something.
    ///
    /// # Errors
    /// When the output ends or the deadline passes without it.
    pub fn wait_stderr<T>(&self, what: &str, find: impl Fn(&str) -> Option<T>) -> Result<T> {
        self.stderr
            .wait_for(DEADLINE, find)
            .with_context(|| self.story(&format!("no {what} on stderr")))
    }

    /// Writes one line to its standard input.
    ///
    /// # Errors
    /// When the pipe is closed.
    pub fn say(&mut self, line: &str) -> Result<()> {
        self.feed(format!("{line}\n").as_bytes())
    }

    /// Writes bytes to its standard input.
    ///
    /// # Errors
    /// When the pipe is closed.
    pub fn feed(&mut self, bytes: &[u8]) -> Result<()> {
        let stdin = self.stdin.as_mut().context("stdin was closed")?;
        stdin.write_all(bytes)?;
        Ok(stdin.flush()?)
    }

    /// Closes its standard input.
    pub fn close_stdin(&mut self) {
        self.stdin = None;
    }

    /// Sends a signal to this process alone.
    ///
    /// # Errors
    /// When the process is gone.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        kill_process(Pid::from_child(&self.child), signal)
            .with_context(|| format!("{}: cannot signal", self.name))
    }

    /// True while it has not ended.
    ///
    /// # Errors
    /// When its state cannot be read.
    pub fn is_running(&mut self) -> Result<bool> {
        Ok(self.child.try_wait()?.is_none())
    }

    /// Waits for its end.
    ///
    /// # Errors
    /// When it does not end within the deadline: with all it printed.
    pub fn wait(&mut self) -> Result<Ended> {
        self.wait_within(DEADLINE)
    }

    /// As [`Process::wait`], for an end that has a deadline of its own.
    ///
    /// # Errors
    /// As [`Process::wait`].
    pub fn wait_within(&mut self, within: Duration) -> Result<Ended> {
        let what = format!("{}: end", self.name);
        let status = until_within(within, &what, || Ok(self.child.try_wait()?))
            .with_context(|| self.story("still running"))?;
        self.stdout.wait_for_end(DEADLINE);
        self.stderr.wait_for_end(DEADLINE);
        Ok(Ended { status, stdout: self.stdout(), stderr: self.stderr() })
    }

    /// What it has printed on standard output so far.
    pub fn stdout(&self) -> String {
        String::from_utf8_lossy(&self.stdout.bytes()).into_owned()
    }

    /// What it has printed on standard error so far.
    pub fn stderr(&self) -> String {
        String::from_utf8_lossy(&self.stderr.bytes()).into_owned()
    }

    fn story(&self, what: &str) -> String {
        format!(
            "{} ({}): {what}\n--- stdout\n{}--- stderr\n{}",
            self.name,
            self.pid(),
            tail(&self.stdout()),
            tail(&self.stderr())
        )
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        match self.child.try_wait() {
            // It did what it should: nothing to tell.
            Ok(Some(status)) if status.success() => return,
            Ok(None) => {
                let _ = self.child.kill();
                let _ = self.child.wait();
            }
            Ok(Some(_)) | Err(_) => (),
        }
        eprintln!("{}", self.story("ended"));
    }
}

/// The end of a long text: what matters is there.
fn tail(text: &str) -> &str {
    const KEPT: usize = 2000;
    let mut start = text.len().saturating_sub(KEPT);
    while !text.is_char_boundary(start) {
        start += 1;
    }
    &text[start..]
}
