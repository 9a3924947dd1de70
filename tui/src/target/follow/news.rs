//! What the thread that follows is told by those who read the records.

use std::sync::Arc;

use super::record::{FileKey, Mapped};
use super::stamp::Stamp;
use crate::model::target::Process;

/// A file that somebody has to look at, by a process that has it mapped.
#[derive(Clone, Debug)]
pub struct Look {
    /// Which process.
    pub pid: u32,
    /// Where, and what the kernel calls it.
    pub mapped: Mapped,
    /// It is the program of the process, and no library.
    pub is_program: bool,
    /// The user named the process.
    pub is_named: bool,
    /// When it was mapped (nanoseconds of `CLOCK_BOOTTIME`); `None` of one that was mapped before we looked.
    pub since: Option<u64>,
    /// How it looked when nothing was found in it.
    pub stamp: Option<Stamp>,
}

/// A process with TLS code, or with files that somebody looks at, which ended.
#[derive(Clone, Debug)]
pub struct Gone {
    /// The process.
    pub process: Arc<Process>,
    /// Its files.
    pub files: Arc<Vec<FileKey>>,
    /// Nanoseconds of `CLOCK_BOOTTIME`.
    pub at: u64,
}

/// What happened since the thread that follows asked last.
#[derive(Debug, Default)]
pub struct News {
    /// Files that nobody has looked at.
    pub looks: Vec<Look>,
    /// Who ended.
    pub gone: Vec<Gone>,
    /// Who has an image mapped is not the same as before.
    pub changed: bool,
    /// Records were lost, in the kernel or here: everything has to be looked at.
    pub incomplete: bool,
    /// Records that were taken.
    pub events: usize,
}
