//! The client that most tests use.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Result;

use crate::lab::Lab;

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
}

fn request(lab: &Lab, program: PathBuf, port: u16, path: &str) -> Command {
    let mut command = Command::new(program);
    command
        .args(["--silent", "--show-error", "--max-time", "20", "--http1.1", "--cacert"])
        .arg(&lab.certificate.certificate)
        .arg(format!("https://localhost:{port}/{path}"));
    command
}
