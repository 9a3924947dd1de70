//! A terminal that a test types into and reads: tmux, on a socket of its own.

use std::process::Command;

use anyhow::{Context, Result};

use crate::lab::Lab;
use crate::process::Process;
use crate::wait::until;

/// A shell in a terminal; ended when dropped.
pub struct Screen {
    socket: String,
}

impl Screen {
    /// A terminal of this size that runs `sh` in the lab's folder.
    ///
    /// # Errors
    /// When tmux is missing or fails.
    pub fn open(lab: &Lab, columns: u16, rows: u16) -> Result<Self> {
        let screen = Self { socket: lab.path("tmux").to_string_lossy().into_owned() };
        let (columns, rows) = (columns.to_string(), rows.to_string());
        let folder = lab.folder().to_string_lossy();
        screen.tmux(&[
            "-f",
            "/dev/null",
            "new-session",
            "-d",
            "-x",
            &columns,
            "-y",
            &rows,
            "-c",
            &folder,
            "env",
            "PS1=$ ",
            "sh",
        ])?;
        Ok(screen)
    }

    /// Types text and a carriage return.
    ///
    /// # Errors
    /// When the terminal is gone.
    pub fn type_line(&self, text: &str) -> Result<()> {
        self.tmux(&["send-keys", "-l", text])?;
        self.press("Enter")
    }

    /// Presses one key, by tmux's name for it.
    ///
    /// # Errors
    /// When the terminal is gone.
    pub fn press(&self, key: &str) -> Result<()> {
        self.tmux(&["send-keys", key]).map(drop)
    }

    /// What is on the screen.
    ///
    /// # Errors
    /// When the terminal is gone.
    pub fn text(&self) -> Result<String> {
        self.tmux(&["capture-pane", "-p"])
    }

    /// Waits for a line on the screen for which `find` gives something.
    ///
    /// # Errors
    /// When it does not come within the deadline: with the screen.
    pub fn wait_for<T>(&self, what: &str, find: impl Fn(&str) -> Option<T>) -> Result<T> {
        let mut last = String::new();
        let found = until(what, || {
            last = self.text()?;
            Ok(last.lines().find_map(&find))
        });
        found.with_context(|| format!("the screen was\n{last}"))
    }

    /// Waits for the exit code that a command line ending with `echo exit=$?` prints. The line itself stands on the screen too,
    /// and may be broken right before that.
    ///
    /// # Errors
    /// As for [`Self::wait_for`].
    pub fn exit_code(&self) -> Result<u8> {
        self.wait_for("exit code", |line| line.strip_prefix("exit=")?.trim().parse().ok())
    }

    /// Types text as it is.
    ///
    /// # Errors
    /// When the terminal is gone.
    pub fn type_text(&self, text: &str) -> Result<()> {
        self.tmux(&["send-keys", "-l", text]).map(drop)
    }

    /// Takes what programs send to the clipboard (OSC 52) into the terminal's own.
    ///
    /// # Errors
    /// When the terminal is gone.
    pub fn take_clipboard(&self) -> Result<()> {
        self.tmux(&["set", "-g", "set-clipboard", "on"]).map(drop)
    }

    /// The text that a program sent to the clipboard last, if any did.
    ///
    /// # Errors
    /// When the terminal is gone.
    pub fn clipboard(&self) -> Result<Option<String>> {
        let buffers = self.tmux(&["list-buffers"])?;
        if buffers.trim().is_empty() {
            return Ok(None);
        }
        self.tmux(&["show-buffer"]).map(Some)
    }

    /// Gives the terminal another size.
    ///
    /// # Errors
    /// When the terminal is gone.
    pub fn resize(&self, columns: u16, rows: u16) -> Result<()> {
        let (columns, rows) = (columns.to_string(), rows.to_string());
        self.tmux(&["resize-window", "-x", &columns, "-y", &rows]).map(drop)
    }

    /// Closes the terminal under what runs in it.
    ///
    /// # Errors
    /// When it is gone.
    pub fn close(&self) -> Result<()> {
        self.tmux(&["kill-server"]).map(drop)
    }

    /// True when the program has the mouse.
    ///
    /// # Errors
    /// When the terminal is gone.
    pub fn has_mouse(&self) -> Result<bool> {
        Ok(self.tmux(&["display-message", "-p", "#{mouse_any_flag}"])?.trim() == "1")
    }

    /// True when the program has left the alternate screen, shows the cursor and leaves the mouse alone.
    ///
    /// # Errors
    /// When the terminal is gone.
    pub fn is_restored(&self) -> Result<bool> {
        let flags = self.tmux(&[
            "display-message",
            "-p",
            "#{alternate_on} #{cursor_flag} #{mouse_any_flag}",
        ])?;
        Ok(flags.trim() == "0 1 0")
    }

    fn tmux(&self, args: &[&str]) -> Result<String> {
        let mut command = Command::new("tmux");
        command.args(["-S", &self.socket]).args(args);
        Ok(Process::run_ok(&mut command)?.stdout)
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        let _ = self.close();
    }
}
