//! An X display without a screen (Xvfb), for the clipboard.

use std::process::Command;

use anyhow::Result;

use crate::process::Process;

/// A display; ended when dropped.
pub struct Display {
    _server: Process,
    name: String,
}

impl Display {
    /// Starts one on a free number.
    ///
    /// # Errors
    /// When Xvfb is missing or does not start.
    pub fn open() -> Result<Self> {
        let mut command = Command::new("Xvfb");
        command.args(["-displayfd", "1", "-screen", "0", "320x200x24", "-nolisten", "tcp"]);
        let server = Process::start(&mut command)?;
        let number: u32 = server.wait_stdout("the display's number", |line| line.parse().ok())?;
        Ok(Self { _server: server, name: format!(":{number}") })
    }

    /// As it stands in `DISPLAY`.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What is on the clipboard; None while nothing is.
    ///
    /// # Errors
    /// When xclip is missing.
    pub fn clipboard(&self) -> Result<Option<String>> {
        let mut command = Command::new("xclip");
        command.args(["-o", "-selection", "clipboard", "-display", &self.name]);
        let ended = Process::run(&mut command)?;
        Ok(ended.status.success().then_some(ended.stdout))
    }
}
