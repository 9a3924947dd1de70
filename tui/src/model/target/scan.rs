//! What a look at the machine found.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::{Birth, Image, ImageId, Process};
use crate::model::Time;
use crate::text::Foreign;

/// A process that has images mapped.
#[derive(Clone, Debug)]
pub struct Target {
    /// The process.
    pub process: Arc<Process>,
    /// The images with TLS code that it has mapped.
    pub images: Vec<ImageId>,
    /// Its command line, as it was when it was looked at; `None` when it could not be read.
    pub command: Option<Foreign>,
}

/// What a look at the machine found.
#[derive(Clone, Debug, Default)]
pub struct Scan {
    /// Every process with TLS code.
    pub targets: Vec<Target>,
    /// The parents of processes without TLS code that are above those with it.
    pub ancestors: BTreeMap<u32, u32>,
    /// Every image with TLS code that is known: mapped, in the loader's cache, or named.
    pub images: Vec<Image>,
    /// Every process there is; `None` when that could not be read.
    pub pids: Option<BTreeSet<u32>>,
    /// From whom each of them was born; of one that ended meanwhile there is nothing.
    pub births: BTreeMap<u32, Birth>,
    /// What the user should know.
    pub warnings: Vec<String>,
    /// When the look began: clock ticks since boot, as in [`Process::start_ticks`].
    pub began: u64,
    /// Those that had an image mapped and ended since the last look.
    pub ended: Vec<Ended>,
    /// Those that ended before a file that they had mapped could be opened: what was in it is not known.
    pub unread: Vec<Arc<Process>>,
}

/// A process with TLS code that ended.
#[derive(Clone, Debug)]
pub struct Ended {
    /// The process.
    pub process: Arc<Process>,
    /// The images with TLS code that it had mapped.
    pub images: Vec<ImageId>,
    /// When.
    pub at: Time,
}
