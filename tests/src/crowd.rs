//! tests/peers/crowd.c: many processes at once, or one with very many mappings.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use crate::lab::Lab;
use crate::process::Process;
use crate::programs::peer_script;

/// The program.
pub struct Crowd(PathBuf);

impl Crowd {
    /// Builds it in the lab: static, so that a process of it is as small as one can be.
    ///
    /// # Errors
    /// When it does not compile.
    pub fn build(lab: &Lab) -> Result<Self> {
        let program = lab.path("crowd");
        let mut gcc = Command::new("gcc");
        gcc.args(["-O2", "-static", "-o"]).arg(&program).arg(peer_script("crowd.c"));
        Process::run_ok(&mut gcc)?;
        Ok(Self(program))
    }

    /// So many processes that do nothing.
    ///
    /// # Errors
    /// When they cannot be started.
    pub fn sleepers(&self, count: usize) -> Result<Process> {
        self.running(count, &[])
    }

    /// So many processes that are this program, with these arguments.
    ///
    /// # Errors
    /// When they cannot be started.
    pub fn running(&self, count: usize, program: &[&str]) -> Result<Process> {
        self.start(&["sleep", &count.to_string()], program, None)
    }

    /// One that forks, and whose children do the same, once its standard input ends: for so many seconds, and never
    /// more than `limit` at a time.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn fork_bomb(&self, seconds: u32, limit: usize) -> Result<Process> {
        self.start(&["fork", &seconds.to_string(), &limit.to_string()], &[], None)
    }

    /// One whose maps have so many lines, of which the last are those of this library.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn with_maps(lab: &Lab, lines: usize, library: &Path) -> Result<Process> {
        let program = lab.path("maps");
        let mut gcc = Command::new("gcc");
        gcc.args(["-O2", "-o"]).arg(&program).arg(peer_script("crowd.c"));
        Process::run_ok(&mut gcc)?;
        Self(program).start(&["maps", &lines.to_string()], &[], Some(library))
    }

    fn start(&self, what: &[&str], program: &[&str], library: Option<&Path>) -> Result<Process> {
        let mut command = Command::new(&self.0);
        command.args(what).args(program);
        if let Some(library) = library {
            command.env("LD_PRELOAD", library);
        }
        let crowd = Process::start(&mut command)?;
        crowd.wait_stdout("ready", |line| (line == "ready").then_some(())).context("the crowd")?;
        Ok(crowd)
    }
}
