//! The client that most tests use.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use crate::bench::Bench;
use crate::lab::Lab;
use crate::process::Process;
use crate::screen::Screen;
use crate::wait::until;

/// Debian's curl; another may be earlier in the path.
pub const CURL: &str = "/usr/bin/curl";

/// One request for `https://localhost:PORT/PATH`, that verifies the lab's certificate.
pub fn curl(lab: &Lab, port: u16, path: &str) -> Command {
    request(lab, CURL.into(), port, path)
}

/// curl under a name that no other process has, so that `--name` chooses this test's alone.
pub struct OwnCurl {
    program: PathBuf,
    /// The name.
    pub name: String,
}

impl OwnCurl {
    /// Copies curl into the lab.
    ///
    /// # Errors
    /// When it cannot be copied.
    pub fn copy(lab: &Lab) -> Result<Self> {
        Self::copy_as(lab, "curl")
    }

    /// Copies curl into the lab, under a name with this start of a few letters: a second one.
    ///
    /// # Errors
    /// When it cannot be copied.
    pub fn copy_as(lab: &Lab, prefix: &str) -> Result<Self> {
        let name = format!("{prefix}-{}", std::process::id());
        let program = lab.path(&name);
        std::fs::copy(CURL, &program)?;
        Ok(Self { program, name })
    }

    /// Where it is.
    pub fn program(&self) -> &Path {
        &self.program
    }

    /// As [`curl`].
    pub fn request(&self, lab: &Lab, port: u16, path: &str) -> Command {
        request(lab, self.program.clone(), port, path)
    }

    /// Shakes hands with the first peer until the screen has a session of this curl. How often that was: an attach may
    /// come after the first.
    ///
    /// # Errors
    /// When there is none in time: with what is on the screen.
    pub fn shown_on(&self, bench: &Bench, screen: &Screen) -> Result<usize> {
        let mut handshakes = 0;
        let shown = until("a session of curl on the screen", || {
            Process::run_ok(&mut self.request(&bench.lab, bench.peers[0].port(), ""))?;
            handshakes += 1;
            Ok(screen.text()?.lines().any(|line| self.is_session(line)).then_some(()))
        });
        shown.with_context(|| screen.text().unwrap_or_default())?;
        Ok(handshakes)
    }

    /// Whether this line of the table is a complete session of this curl.
    pub fn is_session(&self, line: &str) -> bool {
        line.contains(&self.name) && line.contains("complete")
    }
}

fn request(lab: &Lab, program: PathBuf, port: u16, path: &str) -> Command {
    let mut command = Command::new(program);
    command
        .args(["--silent", "--show-error", "--max-time", "20", "--http1.1", "--cacert"])
        .arg(&lab.certificate.certificate)
        .arg(format!("https://localhost:{port}/{path}"));
    command
}
