//! Files that are named before anybody has them mapped: by the user, to capture or to leave out, and by the loader's cache.

use std::io;
use std::path::{Path, PathBuf};

use super::{Known, Registry};
use crate::model::target::ImageId;
use crate::target::cache::FileIdentity;
use crate::target::follow::looking::{identify, open_regular};
use crate::target::plan::Ways;
use crate::target::{loader_cache, mounts};
use crate::text::Foreign;

/// Why a file that the user named cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ImageError {
    /// It cannot be opened.
    #[error("{path}: {source}")]
    Open {
        /// The file.
        path: Foreign,
        /// What happened.
        source: io::Error,
    },
    /// It is a directory, a FIFO, a device.
    #[error("{0}: not a regular file; name the library or the executable itself")]
    NotAFile(Foreign),
    /// It is no image that can be planned.
    #[error("{path}: {reason}")]
    Plan {
        /// The file.
        path: Foreign,
        /// Why not.
        reason: String,
    },
    /// There is nothing in it that could be probed.
    #[error("{path}: {reason}; `tlskeytop scan` shows what can be captured")]
    NothingToProbe {
        /// The file.
        path: Foreign,
        /// Why not.
        reason: String,
    },
    /// Too many images.
    #[error("{path}: {max} images are in use already, and no more can be", max = super::LIMIT)]
    TooMany {
        /// The file.
        path: Foreign,
    },
}

/// A file that the user does not want.
#[derive(Debug)]
pub(super) struct ExcludedFile {
    path: PathBuf,
    /// Without symbolic links.
    real: PathBuf,
    /// As it was at the start; `None` when it was not there.
    identity: Option<FileIdentity>,
}

impl Registry {
    /// Leaves these files out, by whatever name they are mapped, and what stands under their paths later.
    pub fn exclude(&mut self, paths: &[PathBuf]) {
        for path in paths {
            // There nothing is captured anyway.
            let asked = Some(path).filter(|path| !mounts::is_on_fuse(path));
            let file = asked.and_then(|path| open_regular(path).ok());
            self.excluded.push(ExcludedFile {
                identity: file.and_then(|file| identify(self.watch.as_ref(), &file).ok()),
                real: asked
                    .and_then(|path| path.canonicalize().ok())
                    .unwrap_or_else(|| path.clone()),
                path: path.clone(),
            });
        }
    }

    /// Whether a file is one of those, or stands now under the path of one.
    pub(super) fn is_excluded(&self, path: &Path, identity: &FileIdentity) -> bool {
        let is_same = |known: &FileIdentity| known.is_same_inode(identity);
        let is_it = |excluded: &ExcludedFile| excluded.identity.as_ref().is_some_and(is_same);
        let has_path = |excluded: &ExcludedFile| path == excluded.path || path == excluded.real;
        // A process in a root of its own has other files under our paths. Where we have none, it is the one that is meant.
        let here = || match open_regular(path) {
            Ok(file) => identify(self.watch.as_ref(), &file).is_ok_and(|here| is_same(&here)),
            Err(error) => error.kind() == io::ErrorKind::NotFound,
        };
        self.excluded.iter().any(is_it)
            || self.excluded.iter().any(has_path) && !mounts::is_on_fuse(path) && here()
    }

    /// Adds the system's libraries from the loader's cache, so that they are ready before anybody uses
    /// them. One that cannot be used is left out, and nothing is missed: it has no code to probe.
    pub fn add_system_libraries(&mut self) {
        self.add_lasting(loader_cache::tls_libraries());
    }

    /// Adds files that are to be ready before anybody uses them, and stay: what has no TLS code is left out.
    pub fn add_lasting(&mut self, paths: impl IntoIterator<Item = PathBuf>) {
        for path in paths {
            if !mounts::is_on_fuse(&path)
                && let Ok(file) = open_regular(&path)
                && let Ok(Some(id)) = self.add(&path, file, path.parent())
                && let Some(known) = self.images.get_mut(&id)
            {
                known.system = true;
            }
        }
        self.keep_tokens();
    }

    /// Keeps those that have the keys of a library as long as the library.
    pub(super) fn keep_tokens(&mut self) {
        let kept = self.images.values().filter(|known| known.is_kept() && known.plan.wants_token());
        let libraries: Vec<_> = kept.map(|known| known.plan.library.clone()).collect();
        for known in self.images.values_mut().filter(|known| known.plan.is_token()) {
            known.system |= libraries.contains(&known.plan.library);
        }
    }

    /// Adds a file that the user named.
    ///
    /// # Errors
    ///
    /// [`ImageError`] says why it cannot be used.
    pub fn add_named(&mut self, path: &Path) -> Result<ImageId, ImageError> {
        let shown = Foreign::from(path.as_os_str());
        if mounts::is_on_fuse(path) {
            return Err(ImageError::Plan { path: shown, reason: mounts::FUSE.to_owned() });
        }
        let opened = open_regular(path).map_err(|source| match source.kind() {
            io::ErrorKind::InvalidInput => ImageError::NotAFile(shown.clone()),
            _ => ImageError::Open { path: shown.clone(), source },
        })?;
        let id = match self.add(path, opened, path.parent()) {
            Ok(Some(id)) => id,
            Ok(None) if self.images.len() >= self.limit => {
                return Err(ImageError::TooMany { path: shown });
            }
            Ok(None) => {
                let reason = "it has no TLS code that is known".to_owned();
                return Err(ImageError::NothingToProbe { path: shown, reason });
            }
            Err(reason) => return Err(ImageError::Plan { path: shown, reason }),
        };
        if let Some(Known { image, .. }) = self.images.get_mut(&id) {
            image.named = true;
            if !image.plan.is_captured(Ways::Auto) || image.plan.is_token() {
                let reason = image.plan.reason.clone();
                return Err(ImageError::NothingToProbe { path: shown, reason });
            }
        }
        self.keep_tokens();
        Ok(id)
    }
}
