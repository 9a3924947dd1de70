//! Files that are only in memory, for readers that want a file.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;

use rustix::fs::{MemfdFlags, memfd_create};

/// A file of these bytes.
///
/// # Errors
/// When the system has no memory for it.
pub fn file_of(bytes: &[u8]) -> io::Result<File> {
    let file = File::from(memfd_create("input", MemfdFlags::CLOEXEC)?);
    file.write_all_at(bytes, 0)?;
    Ok(file)
}
