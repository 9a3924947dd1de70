//! The images of this machine: found once, planned once, and given a name for as long as we run.

use std::collections::{BTreeMap, HashMap};
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use super::cache::{FileIdentity, PlanCache};
use super::commands::Commands;
use super::layout::Forced;
use super::libcrypto::with_version;
use super::maps::{self, Mapping};
use super::plan::{ImagePlan, Ways};
use super::{loader_cache, process};
use crate::model::target::{Image, ImageId, ImageState, Scan, Target};
use crate::text::Foreign;

/// Images known at a time; each holds a file descriptor, and its probes hold more.
const LIMIT: usize = 1024;
/// Plans remembered; most are of files without TLS code and take a few hundred bytes.
const PLANS: usize = 16_384;

/// Where NSS has its softoken, seen from libssl3: Fedora and Debian 12, Debian before.
const TOKENS: [&str; 2] = ["libsoftokn3.so", "nss/libsoftokn3.so"];

/// Why a library without key logs is not tapped.
const NO_TOKEN: &str = "no tap: no key log built in, and the libsoftokn3.so that has its keys is not beside it, or the \
                        layout of its objects is not known";

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
    #[error("{path}: {max} images are in use already, and no more can be", max = LIMIT)]
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

    fn remove(&self, image: ImageId) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&image);
    }
}

/// An image, and how it is found again.
#[derive(Debug)]
struct Known {
    image: Image,
    /// As the file was last seen: its times change with each chmod and unlink.
    identity: FileIdentity,
    /// The plan of the file alone.
    plan: Arc<ImagePlan>,
    /// From the loader's cache: it stays also when nobody uses it.
    system: bool,
    /// The last scan in which a process had it mapped, or the one before which it was added.
    last_mapped: u64,
}

impl Known {
    fn is_kept(&self) -> bool {
        self.system || self.image.named
    }
}

/// What was found so far.
#[derive(Debug)]
pub struct Registry {
    plans: PlanCache,
    by_identity: HashMap<FileIdentity, ImageId>,
    images: BTreeMap<ImageId, Known>,
    next_id: u32,
    limit: usize,
    /// Number of the present scan.
    scan: u64,
    /// That there are too many images was told already.
    told_too_many: bool,
    warnings: Vec<String>,
    files: ImageFiles,
    /// The layout that the user says.
    forced: Option<Forced>,
    /// Where a thread for them could be started.
    commands: Option<Commands>,
    /// Our own executable: it has the labels and names of every library in it, and no TLS.
    own: Option<FileIdentity>,
}

impl Default for Registry {
    fn default() -> Self {
        Self {
            plans: PlanCache::new(PLANS),
            by_identity: HashMap::new(),
            images: BTreeMap::new(),
            next_id: 0,
            limit: LIMIT,
            scan: 0,
            told_too_many: false,
            warnings: Vec::new(),
            files: ImageFiles::default(),
            commands: Commands::start().ok(),
            forced: None,
            own: std::fs::metadata("/proc/self/exe").ok().map(|own| FileIdentity::of(&own)),
        }
    }
}

impl Registry {
    /// One that uses `forced` for every image of its library.
    pub fn with_layout(forced: Option<Forced>) -> Self {
        Self { forced, ..Self::default() }
    }

    /// The files and plans, for those who attach.
    pub fn files(&self) -> ImageFiles {
        self.files.clone()
    }

    /// Adds the system's libraries from the loader's cache, so that they are ready before anybody uses
    /// them. One that cannot be used is left out, and nothing is missed: it has no code to probe.
    pub fn add_system_libraries(&mut self) {
        for path in loader_cache::tls_libraries() {
            if let Ok(file) = open(&path)
                && let Ok(Some(id)) = self.add(&path, file, path.parent())
                && let Some(known) = self.images.get_mut(&id)
            {
                known.system = true;
            }
        }
        self.keep_tokens();
    }

    /// Keeps those that have the keys of a library as long as the library.
    fn keep_tokens(&mut self) {
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
        let opened =
            open(path).map_err(|source| ImageError::Open { path: shown.clone(), source })?;
        let is_file = opened.metadata().is_ok_and(|metadata| metadata.is_file());
        if !is_file {
            return Err(ImageError::NotAFile(shown));
        }
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

    /// Looks at every process, and at every executable file that one of them has mapped.
    pub fn scan(&mut self) -> Scan {
        self.scan += 1;
        let began = process::ticks_since_boot();
        let own = std::process::id();
        // By the kernel's numbers of a mapping, so that each file is looked at once in a scan.
        let mut seen = HashMap::new();
        let mut targets = Vec::new();
        let pids = process::all_pids().ok();
        for &pid in pids.iter().flatten() {
            if pid == own {
                continue;
            }
            // Kernel threads have no maps, and a process may end at any moment.
            let Ok(mappings) = maps::executable(pid) else { continue };
            let mut images: Vec<ImageId> = mappings
                .iter()
                .filter_map(|mapping| {
                    look_once(&mut seen, mapping.file, || self.mapped(pid, mapping))
                })
                .collect();
            images.sort_unstable();
            images.dedup();
            if images.is_empty() {
                continue;
            }
            for id in &images {
                if let Some(known) = self.images.get_mut(id) {
                    known.last_mapped = self.scan;
                }
            }
            // NSS's softoken is also in programs that have no TLS.
            if self.are_tokens(&images) {
                continue;
            }
            if let Ok(process) = process::read(pid) {
                targets.push(Target { process: Arc::new(process), images, command: None });
            }
        }
        self.drop_overwritten();
        if let Some(commands) = &mut self.commands {
            commands.fill_in(&mut targets);
        }
        Scan {
            ancestors: process::ancestors(&targets),
            targets,
            images: self.images.values().map(|known| known.image.clone()).collect(),
            pids: pids.map(|pids| pids.into_iter().collect()),
            warnings: std::mem::take(&mut self.warnings),
            began,
        }
    }

    fn are_tokens(&self, images: &[ImageId]) -> bool {
        let is_token = |id| self.images.get(id).is_some_and(|known| known.plan.is_token());
        images.iter().all(is_token)
    }

    /// The image that a process has mapped, if it has TLS code. An error says nothing of the file: the process
    /// may have ended meanwhile.
    fn mapped(&mut self, pid: u32, mapping: &Mapping) -> io::Result<Option<ImageId>> {
        // Through map_files it is the mapped file itself, also when it was deleted or replaced.
        let link = format!("/proc/{pid}/map_files/{:x}-{:x}", mapping.start, mapping.end);
        let link = PathBuf::from(link);
        let metadata = std::fs::metadata(&link)?;
        // A device must not even be opened.
        if !metadata.is_file() {
            return Ok(None);
        }
        let identity = FileIdentity::of(&metadata);
        if let Some(known) = self.by_identity.get(&identity) {
            return Ok(Some(*known));
        }
        if self.own.is_some_and(|own| own.is_same_inode(&identity)) {
            return Ok(None);
        }
        // Known to have no TLS code: it need not even be opened.
        if self.plans.known(&identity).is_some_and(|plan| !plan.is_ok_and(|plan| plan.is_tls())) {
            return Ok(None);
        }
        let file = open(&link)?;
        let path = Path::new(mapping.path.raw());
        let folder = path.parent().and_then(|folder| folder.strip_prefix("/").ok());
        let folder = folder.map(|folder| PathBuf::from(format!("/proc/{pid}/root")).join(folder));
        self.add(path, file, folder.as_deref()).map_err(io::Error::other)
    }

    /// Plans a file and gives it a name; `None` when it has no TLS code, or there are too many images. `folder`
    /// is where its neighbours are.
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
        if !plan.is_tls() {
            return Ok(None);
        }
        if let Some(known) = self.find(&identity, &plan) {
            return Ok(Some(known));
        }
        if !self.make_room(path) {
            return Ok(None);
        }
        let id = ImageId(self.next_id);
        self.next_id += 1;
        let mut used = with_version(Arc::clone(&plan), path, folder);
        if used.wants_token() && folder.is_some_and(|folder| !self.has_token(folder, &used)) {
            let used = Arc::make_mut(&mut used);
            used.taps.clear();
            used.reason = NO_TOKEN.to_owned();
        }
        if let Some(forced) = &self.forced {
            Arc::make_mut(&mut used).force_layout(forced);
        }
        let wants_token = used.wants_token();
        self.files.insert(id, Arc::new(file), Arc::clone(&used));
        let image = Image {
            id,
            path: Foreign::from(path.as_os_str()),
            plan: used,
            state: ImageState::Idle,
            named: false,
        };
        let known = Known { image, identity, plan, system: false, last_mapped: self.scan };
        self.images.insert(id, known);
        self.by_identity.insert(identity, id);
        if let (true, Some(folder), Some(near)) = (wants_token, folder, path.parent()) {
            self.add_tokens(near, folder);
        }
        Ok(Some(id))
    }

    /// Whether what has the keys of a library is beside it.
    fn has_token(&mut self, folder: &Path, plan: &ImagePlan) -> bool {
        tokens_in(folder).any(|(name, file)| {
            let token = self.plans.plan(&file, Path::new(name));
            token.is_ok_and(|token| token.is_token() && token.library == plan.library)
        })
    }

    /// Adds what has the keys of a library in the same folder, before a process maps it: it comes late, with the
    /// library's first use. One that cannot be used is left out; it is looked at again when it is mapped.
    fn add_tokens(&mut self, path: &Path, folder: &Path) {
        for (name, file) in tokens_in(folder) {
            let _ = self.add(&path.join(name), file, None);
        }
    }

    /// The image that this file is, when only its times have changed since it was last seen.
    fn find(&mut self, identity: &FileIdentity, plan: &ImagePlan) -> Option<ImageId> {
        let known = self
            .images
            .values_mut()
            .find(|known| known.identity.is_same_inode(identity) && known.plan.attaches_as(plan))?;
        self.by_identity.remove(&known.identity);
        known.identity = *identity;
        self.by_identity.insert(*identity, known.image.id);
        Some(known.image.id)
    }

    /// Makes room for an image: the one that nobody has mapped for the longest goes. `false`: all are in use.
    fn make_room(&mut self, path: &Path) -> bool {
        if self.images.len() < self.limit {
            return true;
        }
        // One of the last scan may be seen again in the present one, which is not over.
        let unused =
            |known: &&Known| !known.is_kept() && known.last_mapped.saturating_add(1) < self.scan;
        let oldest = self.images.values().filter(unused).min_by_key(|known| known.last_mapped);
        if let Some(oldest) = oldest.map(|known| known.image.id) {
            self.remove(oldest);
            return true;
        }
        if !std::mem::replace(&mut self.told_too_many, true) {
            let path = Foreign::from(path.as_os_str());
            self.warnings.push(format!(
                "{} images are in use, and there is no room for {path}: it and further ones are not captured",
                self.limit
            ));
        }
        false
    }

    /// Drops images whose file was overwritten in place: nobody has them mapped, but another one of the same
    /// inode. The probes would stand somewhere in the new code.
    fn drop_overwritten(&mut self) {
        let is_mapped = |known: &Known| known.last_mapped == self.scan;
        let overwritten: Vec<(ImageId, ImageId)> = self
            .images
            .values()
            .filter(|old| !is_mapped(old))
            .filter_map(|old| {
                let mut others = self.images.values();
                let new = others
                    .find(|new| is_mapped(new) && new.identity.is_same_inode(&old.identity))?;
                Some((old.image.id, new.image.id))
            })
            .collect();
        for (old, new) in overwritten {
            let Some(old) = self.remove(old) else { continue };
            if let Some(new) = self.images.get_mut(&new) {
                new.image.named |= old.image.named;
                new.system |= old.system;
            }
        }
    }

    fn remove(&mut self, id: ImageId) -> Option<Known> {
        let known = self.images.remove(&id)?;
        self.by_identity.remove(&known.identity);
        self.files.remove(id);
        Some(known)
    }
}

/// The softokens in a folder.
fn tokens_in(folder: &Path) -> impl Iterator<Item = (&'static str, File)> {
    TOKENS.into_iter().filter_map(move |name| {
        let path = folder.join(name);
        let is_file = std::fs::metadata(&path).is_ok_and(|metadata| metadata.is_file());
        Some((name, is_file.then(|| open(&path).ok())??))
    })
}

/// What `look` finds in a file, and looked up only once. What failed is not remembered: it is the one
/// process that may have ended, and others have the same file mapped.
fn look_once<K: Eq + std::hash::Hash>(
    seen: &mut HashMap<K, Option<ImageId>>,
    file: K,
    look: impl FnOnce() -> io::Result<Option<ImageId>>,
) -> Option<ImageId> {
    if let Some(known) = seen.get(&file) {
        return *known;
    }
    let found = look().ok()?;
    seen.insert(file, found);
    found
}

/// Opens without waiting for the writer of a FIFO.
pub(super) fn open(path: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY).open(path)
}

#[cfg(test)]
mod tests;
