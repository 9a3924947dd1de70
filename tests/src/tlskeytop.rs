//! The program under test: started, waited for until it is ready, ended by a signal.

use std::borrow::Borrow;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use rustix::process::Signal;

use crate::keylog::{KeyLog, check_capture};
use crate::lab::Lab;
use crate::process::{Ended, Process};
use crate::programs::target_folder;
use crate::summary::Summary;

/// A running tlskeytop that is attached.
pub struct Tlskeytop {
    /// The process.
    pub process: Process,
    /// N of `tlskeytop: ready, N targets`.
    pub targets: usize,
    keylog: PathBuf,
}

impl Tlskeytop {
    /// The binary: `TLSKEYTOP_BIN`, or the one that cargo built beside this test.
    ///
    /// # Errors
    /// When there is none.
    pub fn binary() -> Result<PathBuf> {
        let binary = match std::env::var_os("TLSKEYTOP_BIN") {
            Some(path) => PathBuf::from(path),
            None => beside_this_test()?,
        };
        ensure!(
            binary.is_file(),
            "{} is missing: run cargo build, or set TLSKEYTOP_BIN",
            binary.display()
        );
        Ok(binary)
    }

    /// A command that runs it in the lab's folder, so that a default key log lands there.
    ///
    /// # Errors
    /// When there is no binary.
    pub fn command(lab: &Lab) -> Result<Command> {
        let mut command = Command::new(Self::binary()?);
        command.current_dir(lab.folder());
        Ok(command)
    }

    /// Starts `tlskeytop --mode keylog -k FILE ARGS` and waits until it is ready.
    ///
    /// # Errors
    /// When it ends before, or is not ready within the deadline.
    pub fn keylog<A: AsRef<OsStr>>(lab: &Lab, args: impl IntoIterator<Item = A>) -> Result<Self> {
        Self::keylog_to(lab, "captured.keylog", args)
    }

    /// The same, with a name for FILE: for several at a time.
    ///
    /// # Errors
    /// As [`Tlskeytop::keylog`].
    pub fn keylog_to<A: AsRef<OsStr>>(
        lab: &Lab,
        file: &str,
        args: impl IntoIterator<Item = A>,
    ) -> Result<Self> {
        let keylog = lab.path(file);
        let mut command = Self::command(lab)?;
        command.args(["--mode", "keylog", "-k"]).arg(&keylog).args(args);
        Self::start(command, keylog)
    }

    /// Starts `tlskeytop --mode json ARGS` and waits until it is ready.
    ///
    /// # Errors
    /// When it ends before, or is not ready within the deadline.
    pub fn json<A: AsRef<OsStr>>(lab: &Lab, args: impl IntoIterator<Item = A>) -> Result<Self> {
        let mut command = Self::command(lab)?;
        command.args(["--mode", "json"]).args(args);
        Self::start(command, lab.path("tlskeytop.keylog"))
    }

    /// Starts `command`, which writes its key log to `keylog`, and waits until it is ready.
    ///
    /// # Errors
    /// When it ends before, or is not ready within the deadline.
    pub fn start(mut command: Command, keylog: PathBuf) -> Result<Self> {
        let mut process = Process::start(&mut command)?;
        process.close_stdin();
        let targets = process.wait_stderr("ready line", |line| {
            let rest = line.strip_prefix("tlskeytop: ready, ")?;
            rest.split(' ').next()?.parse().ok()
        })?;
        Ok(Self { process, targets, keylog })
    }

    /// The key log that it writes.
    pub fn keylog_path(&self) -> &Path {
        &self.keylog
    }

    /// Ends it with SIGINT and waits for its end.
    ///
    /// # Errors
    /// When it does not end.
    pub fn interrupt(&mut self) -> Result<Ended> {
        self.process.signal(Signal::INT)?;
        self.process.wait()
    }

    /// Ends it: the file and the summary have the handshakes of `chosen`, on one end, and nothing else of this machine.
    ///
    /// # Errors
    /// When there are others, or lines differ.
    pub fn captured_only<K: Borrow<KeyLog>>(self, chosen: &[K]) -> Result<()> {
        let (ours, summary) = self.stop()?;
        let truths = || chosen.iter().map(Borrow::borrow);
        let mut expected: Vec<&str> = truths().flat_map(KeyLog::client_randoms).collect();
        expected.sort_unstable();
        let found = ours.client_randoms();
        ensure!(found == expected, "captured {found:?} and not {expected:?}: {summary:?}");
        ensure!(usize::try_from(summary.sessions)? == expected.len(), "{summary:?}");
        truths().try_for_each(|truth| check_capture(&ours, truth))
    }

    /// Ends it with SIGINT, insists on exit code 0 and nothing lost, and reads its key log strictly.
    ///
    /// # Errors
    /// When any of that is not so.
    pub fn stop(mut self) -> Result<(KeyLog, Summary)> {
        let ended = self.interrupt()?;
        ensure!(ended.code() == Some(0), "tlskeytop: {}", ended.status);
        let summary = Summary::parse(&ended.stderr).context("the summary on stderr")?;
        ensure!(summary.lost == 0, "lost events: {summary:?}");
        Ok((KeyLog::strict(&self.keylog)?, summary))
    }
}

fn beside_this_test() -> Result<PathBuf> {
    let test = std::env::current_exe()?;
    let profile = test.ancestors().nth(2).context("not in a target folder")?;
    let same_profile = profile.join("tlskeytop");
    if same_profile.is_file() {
        return Ok(same_profile);
    }
    Ok(target_folder()?.join("release/tlskeytop"))
}
