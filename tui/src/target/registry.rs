//! The images of this machine: found once, planned once, and given a name for as long as we run.

use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::cache::{FileIdentity, PlanCache};
use super::commands::Commands;
use super::follow::looking::{Found, Looker, Planning, identify};
use super::follow::record::FileKey;
use super::follow::watch::Watch;
use super::layout::Forced;
use super::libcrypto::with_version;
use super::mounts;
use super::plan::{ImagePlan, Ways};
use super::tokens::with_tokens;
use crate::model::target::{Image, ImageId, ImageState, Scan, Target};
use crate::text::Foreign;

mod files;
mod named;

pub use files::ImageFiles;
use named::ExcludedFile;
pub use named::ImageError;

/// Images known at a time; each holds a file descriptor, and its probes hold more.
const LIMIT: usize = 1024;
/// Plans remembered; most are of files without TLS code and take a few hundred bytes.
const PLANS: usize = 16_384;

/// How long one scan waits for the command lines of new processes.
pub const COMMANDS: Duration = Duration::from_millis(50);

/// An image, and how it is found again.
#[derive(Debug)]
struct Known {
    image: Image,
    /// As the file was last seen: its times change with each chmod and unlink.
    identity: FileIdentity,
    /// [`Found::is_honest`].
    is_honest: bool,
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
    plans: Arc<Mutex<PlanCache>>,
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
    /// Files that the user does not want, by `--exclude-image`.
    excluded: Vec<ExcludedFile>,
    /// Our own executable: it has the labels and names of every library in it, and no TLS.
    own: Option<FileIdentity>,
    /// Tells what the kernel calls a file.
    watch: Option<Watch>,
    /// Images that stay also when nobody uses them, and are looked at again: whether each was named, and is the
    /// system's.
    written: Vec<(FileIdentity, bool, bool)>,
}

impl Default for Registry {
    fn default() -> Self {
        Self {
            plans: Arc::new(Mutex::new(PlanCache::new(PLANS))),
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
            excluded: Vec::new(),
            own: std::fs::metadata("/proc/self/exe").ok().map(|own| FileIdentity::of(&own)),
            watch: None,
            written: Vec::new(),
        }
    }
}

impl Registry {
    /// One that uses `forced` for every image of its library.
    pub fn with_layout(forced: Option<Forced>) -> Self {
        Self { forced, ..Self::default() }
    }

    /// One for [`Follower`](super::follow::follower::Follower): it knows files by what the kernel calls them.
    pub fn watching(forced: Option<Forced>, watch: Watch) -> Self {
        let own = File::open("/proc/self/exe");
        let own = own.and_then(|own| identify(Some(&watch), &own)).ok();
        Self { own, watch: Some(watch), ..Self::with_layout(forced) }
    }

    /// The files and plans, for those who attach.
    pub fn files(&self) -> ImageFiles {
        self.files.clone()
    }

    /// Whether these are no TLS code by themselves: NSS's softoken is also in programs that have no TLS.
    pub fn are_tokens(&self, images: &[ImageId]) -> bool {
        let is_token = |id| self.images.get(id).is_some_and(|known| known.plan.is_token());
        !images.is_empty() && images.iter().all(is_token)
    }

    fn images(&self) -> Vec<Image> {
        self.images.values().map(|known| known.image.clone()).collect()
    }

    /// Plans a file and gives it a name; `None` when it has no TLS code, or there are too many images. `folder`
    /// is where its neighbours are.
    fn add(
        &mut self,
        path: &Path,
        file: File,
        folder: Option<&Path>,
    ) -> Result<Option<ImageId>, String> {
        let file = Arc::new(file);
        let identity = identify(self.watch.as_ref(), &file).map_err(|error| error.to_string())?;
        let plan = PlanCache::plan_beside(&self.plans, &file, identity, path)
            .map_err(|error| error.to_string())?;
        if let Some(known) = self.by_identity.get(&identity) {
            return Ok(Some(*known));
        }
        if !plan.is_tls() {
            return Ok(None);
        }
        let is_honest = mounts::is_honest(std::process::id(), identity.device_numbers());
        if let Some(known) = self.find(&identity, &plan, is_honest) {
            return Ok(Some(known));
        }
        let used = with_version(Arc::clone(&plan), path, folder);
        let watch = self.watch.as_ref();
        let (used, tokens) = with_tokens(used, path, folder, &self.plans, watch);
        Ok(self.insert(path, Found { file, identity, plan, used, tokens, is_honest }))
    }

    /// Gives an image that a planner found a name; `None` when there are too many. Whether it is new.
    pub fn found(&mut self, path: &Path, found: Found) -> Option<(ImageId, bool)> {
        if let Some(known) = self.by_identity.get(&found.identity) {
            return Some((*known, false));
        }
        if let Some(known) = self.find(&found.identity, &found.plan, found.is_honest) {
            return Some((known, false));
        }
        self.insert(path, found).map(|id| (id, true))
    }

    fn insert(&mut self, path: &Path, found: Found) -> Option<ImageId> {
        let Found { file, identity, plan, mut used, tokens, is_honest } = found;
        if let Some(forced) = &self.forced {
            Arc::make_mut(&mut used).force_layout(forced);
        }
        let path = Foreign::from(path.as_os_str());
        let id = self.insert_plan(&path, identity, plan, Arc::clone(&used))?;
        if let Some(known) = self.images.get_mut(&id) {
            known.is_honest = is_honest;
        }
        self.files.insert(id, file, used);
        for (path, token) in tokens {
            self.found(&path, token);
        }
        Some(id)
    }

    fn insert_plan(
        &mut self,
        path: &Foreign,
        identity: FileIdentity,
        plan: Arc<ImagePlan>,
        used: Arc<ImagePlan>,
    ) -> Option<ImageId> {
        if !self.make_room(path) {
            return None;
        }
        let id = ImageId(self.next_id);
        self.next_id += 1;
        let image = Image {
            id,
            path: path.clone(),
            plan: used,
            state: ImageState::Idle,
            named: false,
            excluded: self.is_excluded(Path::new(path.raw()), &identity),
        };
        let (is_honest, system, last_mapped) = (false, false, self.scan);
        let mut known = Known { image, identity, is_honest, plan, system, last_mapped };
        self.written.retain(|(written, named, system)| {
            let is_it = written.is_same_inode(&identity);
            known.image.named |= is_it && *named;
            known.system |= is_it && *system;
            !is_it
        });
        self.images.insert(id, known);
        self.by_identity.insert(identity, id);
        Some(id)
    }

    /// What planners need of it.
    pub fn looker(&self, watch: &Watch) -> Looker {
        Looker {
            watch: watch.clone(),
            plans: Arc::clone(&self.plans),
            own: self.own,
            planning: Planning::default(),
        }
    }

    /// An image of which nothing is known, for a reason; `None` when there are too many. Whether it is new.
    pub fn unread(
        &mut self,
        path: &Foreign,
        key: FileKey,
        why: &'static str,
    ) -> (Option<ImageId>, bool) {
        let identity = FileIdentity::unread().with_inode(key.device, key.inode);
        if let Some(known) = self.by_identity.get(&identity) {
            return (Some(*known), false);
        }
        let plan = Arc::new(ImagePlan::nothing(why));
        let id = self.insert_plan(path, identity, Arc::clone(&plan), plan);
        (id, id.is_some())
    }

    /// Forgets the images of which nothing is known.
    pub fn take_unread(&mut self) -> Vec<ImageId> {
        let unread = FileIdentity::unread();
        let is_unread =
            |known: &Known| unread.with_inode((0, 0), 0) == known.identity.with_inode((0, 0), 0);
        let ids: Vec<ImageId> =
            self.images.values().filter(|known| is_unread(known)).map(|k| k.image.id).collect();
        for id in &ids {
            self.remove(*id);
        }
        ids
    }

    /// What is reported of these targets, and of every image that is known; and whether command lines are still
    /// being read.
    pub fn report(&mut self, mut targets: Vec<Target>, patience: Duration) -> (Scan, bool) {
        self.scan += 1;
        for id in targets.iter().flat_map(|target| &target.images) {
            if let Some(known) = self.images.get_mut(id) {
                known.last_mapped = self.scan;
            }
        }
        self.drop_overwritten();
        let waits = match &mut self.commands {
            Some(commands) => commands.fill_in(&mut targets, patience),
            None => false,
        };
        let scan = Scan {
            targets,
            images: self.images(),
            warnings: std::mem::take(&mut self.warnings),
            ..Scan::default()
        };
        (scan, waits)
    }

    /// An image.
    pub fn image(&self, id: ImageId) -> Option<Image> {
        self.images.get(&id).map(|known| known.image.clone())
    }

    /// The images that have something to attach, with their files.
    pub fn probed(&self) -> Vec<(ImageId, Arc<File>)> {
        let probed = self.images.values().filter(|known| known.image.plan.is_captured(Ways::Auto));
        let files = probed.filter_map(|known| {
            let (file, _) = self.files.get(known.image.id)?;
            Some((known.image.id, file))
        });
        files.collect()
    }

    /// The file of an image was written to: what was known of it is worth nothing. Its path and file, if it is one that
    /// has to be looked at again.
    pub fn written_to(&mut self, id: ImageId) -> Option<(Foreign, Arc<File>)> {
        let (file, _) = self.files.get(id)?;
        let known = self.remove(id)?;
        let path = known.image.path.clone();
        if known.is_kept() {
            self.written.push((known.identity, known.image.named, known.system));
        }
        Some((path, file))
    }

    /// The image that this file is, when only its times have changed since it was last seen.
    fn find(
        &mut self,
        identity: &FileIdentity,
        plan: &ImagePlan,
        is_honest: bool,
    ) -> Option<ImageId> {
        // A server can say of its own file what another one's inode and times are, so that it is not looked at.
        let is_below =
            |known: &&Known| is_honest && known.is_honest && known.identity.is_same_below(identity);
        let mut below = self.images.values().filter(is_below);
        let below = below.find(|known| known.plan.attaches_as(plan));
        if let Some(id) = below.map(|known| known.image.id) {
            self.by_identity.insert(*identity, id);
            return Some(id);
        }
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
    fn make_room(&mut self, path: &Foreign) -> bool {
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
        self.by_identity.retain(|_, image| *image != id);
        self.files.remove(id);
        Some(known)
    }
}

#[cfg(test)]
mod tests;
