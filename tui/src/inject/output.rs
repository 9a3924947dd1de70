//! The file that is made: private, and gone again when it does not become whole.

use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use zeroize::{Zeroize as _, Zeroizing};

use crate::keylog::create_private;

/// Bytes that are collected for one `write`.
const AT_ONCE: usize = 256 << 10;

/// A buffered file, whose buffer is wiped: there are secrets in it.
#[derive(Debug)]
pub(super) struct Output {
    path: PathBuf,
    file: File,
    buffer: Zeroizing<Vec<u8>>,
    is_whole: bool,
}

impl Output {
    /// Creates it. What is there already is not touched.
    pub fn create(path: &Path) -> io::Result<Self> {
        let file = create_private(path)?;
        let buffer = Zeroizing::new(Vec::with_capacity(AT_ONCE));
        Ok(Self { path: path.to_owned(), file, buffer, is_whole: false })
    }

    /// Writes what is left: it is whole now.
    pub fn finish(mut self) -> io::Result<()> {
        self.flush()?;
        self.is_whole = true;
        Ok(())
    }
}

impl Write for Output {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.buffer.len() + bytes.len() > AT_ONCE {
            self.flush()?;
        }
        if bytes.len() > AT_ONCE {
            self.file.write_all(bytes)?;
        } else {
            self.buffer.extend_from_slice(bytes);
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.write_all(&self.buffer)?;
        self.buffer.zeroize();
        Ok(())
    }
}

impl Drop for Output {
    fn drop(&mut self) {
        if self.is_whole {
            return;
        }
        // Only while the path still names it.
        let named = fs::symlink_metadata(&self.path).ok();
        let own = self.file.metadata().ok();
        let identity = |file: fs::Metadata| (file.dev(), file.ino());
        if own.is_some() && named.map(identity) == own.map(identity) {
            let _ = fs::remove_file(&self.path);
        }
    }
}
