//! The images of this machine: found once, planned once, and given a name for as long as we run.

use std::collections::{BTreeMap, HashMap};
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use super::cache::{FileIdentity, PlanCache};
use super::maps::{self, Mapping};
use super::plan::ImagePlan;
use super::{library, loader_cache, process};
use crate::model::target::{Image, ImageId, ImageState, Scan, Target};
use crate::text::Foreign;

/// Images known at a time; each holds a file descriptor.
const LIMIT: usize = 4096;
/// Files of a folder that are looked at for a libcrypto.
const NEIGHBOURS: usize = 20_000;
/// Plans remembered; most are of files without TLS code and take a few hundred bytes.
const PLANS: usize = 16_384;

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
    #[error("{path}: more than {max} images are known already", max = LIMIT)]
    TooMany {
        /// The file.
        path: Foreign,
    },
}

/// An open file and its plan.
type Planned = (Arc<File>, Arc<ImagePlan>);

/// The files and plans of the images, for those who attach.
#[derive(Clone, Debug, Default)]
pub struct ImageFiles(Arc<Mutex<HashMap<ImageId, Planned>>>);

impl ImageFiles {
    /// The open file of an image, and its plan.
    pub fn get(&self, image: ImageId) -> Option<Planned> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(&image).cloned()
    }

    fn insert(&self, image: ImageId, file: Arc<File>, plan: Arc<ImagePlan>) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(image, (file, plan));
    }
}

/// What was found so far.
#[derive(Debug)]
pub struct Registry {
    plans: PlanCache,
    by_identity: HashMap<FileIdentity, ImageId>,
    images: BTreeMap<ImageId, Image>,
    files: ImageFiles,
}

impl Default for Registry {
    fn default() -> Self {
        Self {
            plans: PlanCache::new(PLANS),
            by_identity: HashMap::new(),
            images: BTreeMap::new(),
            files: ImageFiles::default(),
        }
    }
}

impl Registry {
    /// The files and plans, for those who attach.
    pub fn files(&self) -> ImageFiles {
        self.files.clone()
    }

    /// Adds the system's libraries from the loader's cache, so that they are ready before anybody uses
    /// them. One that cannot be used is left out, and nothing is missed: it has no code to probe.
    pub fn add_system_libraries(&mut self) {
        for path in loader_cache::tls_libraries() {
            if let Ok(file) = open(&path) {
                let _ = self.add(&path, file, path.parent());
            }
        }
    }

    /// Adds a file that the user named.
    ///
    /// # Errors
    ///
    /// [`ImageError`] says why it cannot be used.
    pub fn add_named(&mut self, path: &Path) -> Result<ImageId, ImageError> {
        let shown = Foreign::from(path.as_os_str());
        let opened =
            open(path).map_err(|source| ImageError::Open { path: shown.clone(), source })?;
        let is_file = opened.metadata().is_ok_and(|metadata| metadata.is_file());
        if !is_file {
            return Err(ImageError::NotAFile(shown));
        }
        let id = match self.add(path, opened, path.parent()) {
            Ok(Some(id)) => id,
            Ok(None) if self.images.len() >= LIMIT => {
                return Err(ImageError::TooMany { path: shown });
            }
            Ok(None) => {
                let reason = "it has no TLS code that is known".to_owned();
                return Err(ImageError::NothingToProbe { path: shown, reason });
            }
            Err(reason) => return Err(ImageError::Plan { path: shown, reason }),
        };
        if let Some(image) = self.images.get_mut(&id) {
            image.named = true;
            if image.plan.taps.is_empty() {
                let reason = image.plan.reason.clone();
                return Err(ImageError::NothingToProbe { path: shown, reason });
            }
        }
        Ok(id)
    }

    /// Looks at every process, and at every executable file that one of them has mapped.
    pub fn scan(&mut self) -> Scan {
        let own = std::process::id();
        // By the kernel's numbers of a mapping, so that each file is looked at once in a scan.
        let mut seen = HashMap::new();
        let mut targets = Vec::new();
        for pid in process::all_pids().unwrap_or_default() {
            if pid == own {
                continue;
            }
            // Kernel threads have no maps, and a process may end at any moment.
            let Ok(mappings) = maps::executable(pid) else { continue };
            let mut images: Vec<ImageId> = mappings
                .iter()
                .filter_map(|mapping| {
                    *seen.entry(mapping.file).or_insert_with(|| self.mapped(pid, mapping))
                })
                .collect();
            images.sort_unstable();
            images.dedup();
            if images.is_empty() {
                continue;
            }
            if let Ok(process) = process::read(pid) {
                targets.push(Target { process: Arc::new(process), images });
            }
        }
        Scan { targets, images: self.images.values().cloned().collect() }
    }

    /// The image that a process has mapped, if it has TLS code.
    fn mapped(&mut self, pid: u32, mapping: &Mapping) -> Option<ImageId> {
        // Through map_files it is the mapped file itself, also when it was deleted or replaced.
        let link = format!("/proc/{pid}/map_files/{:x}-{:x}", mapping.start, mapping.end);
        let link = PathBuf::from(link);
        let metadata = std::fs::metadata(&link).ok()?;
        // A device must not even be opened.
        if !metadata.is_file() {
            return None;
        }
        let identity = FileIdentity::of(&metadata);
        if let Some(known) = self.by_identity.get(&identity) {
            return Some(*known);
        }
        // Known to have no TLS code: it need not even be opened.
        if self.plans.known(&identity).is_some_and(|plan| !plan.is_ok_and(|plan| plan.is_tls())) {
            return None;
        }
        let file = open(&link).ok()?;
        let path = Path::new(mapping.path.raw());
        let folder = path.parent().and_then(|folder| folder.strip_prefix("/").ok());
        let folder = folder.map(|folder| PathBuf::from(format!("/proc/{pid}/root")).join(folder));
        self.add(path, file, folder.as_deref()).ok().flatten()
    }

    /// Plans a file and gives it a name; `None` when it has no TLS code. `folder` is where its neighbours are.
    fn add(
        &mut self,
        path: &Path,
        file: File,
        folder: Option<&Path>,
    ) -> Result<Option<ImageId>, String> {
        let metadata = file.metadata().map_err(|error| error.to_string())?;
        let identity = FileIdentity::of(&metadata);
        let plan = self.plans.plan(&file, path).map_err(|error| error.to_string())?;
        if let Some(known) = self.by_identity.get(&identity) {
            return Ok(Some(*known));
        }
        if !plan.is_tls() || self.images.len() >= LIMIT {
            return Ok(None);
        }
        let plan = with_version(plan, path, folder);
        let id = ImageId(self.images.len() as u32);
        self.files.insert(id, Arc::new(file), Arc::clone(&plan));
        let path = Foreign::from(path.as_os_str());
        let image = Image { id, path, plan, state: ImageState::Idle, named: false };
        self.images.insert(id, image);
        self.by_identity.insert(identity, id);
        Ok(Some(id))
    }
}

/// Adds the version to the plan of an OpenSSL libssl that does not say it: its libcrypto does, which is built
/// from the same sources and stands beside it. Where several do, none is believed.
fn with_version(plan: Arc<ImagePlan>, path: &Path, folder: Option<&Path>) -> Arc<ImagePlan> {
    let unknown = plan.library.as_ref().is_some_and(|library| {
        matches!(library.name, "OpenSSL" | "quictls") && library.version.is_none()
    });
    let (true, Some(folder), Some(name)) = (unknown, folder, path.file_name()) else { return plan };
    let name = name.to_string_lossy();
    let Some((_, suffix)) = name.split_once(".so") else { return plan };
    let entries = std::fs::read_dir(folder).into_iter().flatten().take(NEIGHBOURS).flatten();
    let mut libcryptos = entries.filter(|entry| {
        let name = entry.file_name();
        let name = name.to_string_lossy();
        name.starts_with("libcrypto")
            && name.split_once(".so").is_some_and(|(_, other)| other == suffix)
    });
    let (Some(libcrypto), None) = (libcryptos.next(), libcryptos.next()) else { return plan };
    let regular = libcrypto.metadata().is_ok_and(|metadata| metadata.is_file());
    let version = regular
        .then(|| open(&libcrypto.path()).ok())
        .flatten()
        .and_then(|file| library::openssl_version(&file));
    let mut plan = Arc::unwrap_or_clone(plan);
    if let Some(library) = &mut plan.library {
        library.version = version;
    }
    plan.prove_layout();
    Arc::new(plan)
}

/// Opens without waiting for the writer of a FIFO.
fn open(path: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY).open(path)
}
