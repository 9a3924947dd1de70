//! A file that says what a folder was filled with, so that a second setup has nothing to do.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

/// The note in one folder.
pub struct Stamp {
    path: PathBuf,
    text: String,
}

impl Stamp {
    /// A stamp for `folder` with these contents.
    pub fn new(folder: &Path, contents: &[String]) -> Self {
        Self { path: folder.join(".setup"), text: contents.join("\n") }
    }

    /// True when the folder was filled with the same.
    pub fn is_there(&self) -> bool {
        std::fs::read_to_string(&self.path).is_ok_and(|text| text == self.text)
    }

    /// Notes that it is filled.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn set(&self) -> Result<()> {
        std::fs::write(&self.path, &self.text)
            .with_context(|| format!("cannot write {}", self.path.display()))
    }
}
