//! Plans that were made already, by what names a file's bytes.

use std::collections::HashMap;
use std::fs::{File, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::sync::Arc;

use super::image::{PlanError, plan_image};
use super::plan::ImagePlan;

/// Plans kept at a time; most are of files without TLS and take a few hundred bytes.
const LIMIT: usize = 16_384;

/// Names the bytes of a file, as far as the file system tells: any write changes the times.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct FileKey {
    device: u64,
    inode: u64,
    size: u64,
    /// Seconds and nanoseconds.
    modified: (i64, i64),
    /// Seconds and nanoseconds.
    changed: (i64, i64),
}

impl FileKey {
    /// From what `fstat` says.
    pub fn of(metadata: &Metadata) -> Self {
        Self {
            device: metadata.dev(),
            inode: metadata.ino(),
            size: metadata.size(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        }
    }
}

/// A plan, or why there is none; both are remembered.
pub type Planned = Result<Arc<ImagePlan>, Arc<PlanError>>;

/// Remembers plans.
#[derive(Debug, Default)]
pub struct PlanCache {
    plans: HashMap<FileKey, Planned>,
}

impl PlanCache {
    /// The plan for an open file, made now or before.
    ///
    /// # Errors
    ///
    /// When the file's metadata cannot be read.
    pub fn plan(&mut self, file: &File, path_hint: &Path) -> io::Result<(FileKey, Planned)> {
        let key = FileKey::of(&file.metadata()?);
        if let Some(known) = self.plans.get(&key) {
            return Ok((key, known.clone()));
        }
        let planned = plan_image(file, path_hint).map(Arc::new).map_err(Arc::new);
        if self.plans.len() >= LIMIT {
            self.plans.clear();
        }
        self.plans.insert(key, planned.clone());
        Ok((key, planned))
    }

    /// Whether a file was found before to have no TLS code, so that it need not even be opened.
    pub fn is_known_without_tls(&self, key: &FileKey) -> bool {
        self.plans.get(key).is_some_and(|plan| plan.as_ref().map_or(true, |plan| !plan.is_tls()))
    }
}
