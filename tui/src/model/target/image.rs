//! Files with TLS code, and what is attached to them.

use std::sync::Arc;

use crate::target::plan::{ImagePlan, Library};
use crate::text::Foreign;

/// Names an image while the program runs; never used again for another file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ImageId(pub u32);

impl ImageId {
    /// That of no image.
    pub const NONE: Self = Self(u32::MAX);
}

/// What is attached to an image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ImageState {
    /// Nothing, since no chosen process needs it.
    Idle,
    /// Asked for.
    Attaching,
    /// Probes are in place.
    Attached {
        /// Their number.
        probes: usize,
    },
    /// The kernel refused.
    Failed(String),
}

/// One file with TLS code.
#[derive(Clone, Debug)]
pub struct Image {
    /// Its name while the program runs.
    pub id: ImageId,
    /// Its path as the first target sees it.
    pub path: Foreign,
    /// What can be attached.
    pub plan: Arc<ImagePlan>,
    /// What is attached.
    pub state: ImageState,
    /// Named with `--image`.
    pub named: bool,
    /// Named with `--exclude-image`.
    pub excluded: bool,
}

impl Image {
    /// Whether it has secrets of its own that somebody may want.
    pub fn may_be_attached(&self) -> bool {
        !self.plan.is_token() && !self.excluded
    }

    /// `OpenSSL 3.0.17`, `BoringSSL`, `Go 1.22.3 + rustls 0.23.46`, `unknown`, `unknown + Go 1.27.3`.
    pub fn library(&self) -> String {
        let name = |library: &Library| match &library.version {
            Some(version) => format!("{} {}", library.name, crate::text::sanitize(version)),
            None => library.name.to_owned(),
        };
        let first = self.plan.library.as_ref().map_or_else(|| "unknown".to_owned(), name);
        let others = self.plan.others.iter().map(name);
        std::iter::once(first).chain(others).collect::<Vec<_>>().join(" + ")
    }
}
