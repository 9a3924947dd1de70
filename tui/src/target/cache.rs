//! Plans that were made already, by the identity of the file.

use std::collections::HashMap;
use std::fs::{File, Metadata};
use std::os::unix::fs::{FileExt as _, MetadataExt};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use super::copies::{self, Contents, Copies, Copy};
use super::image::{PlanError, plan_image};
use super::plan::ImagePlan;
use super::window::ReadError;

/// What makes a file the same file as before: all of it from `fstat`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct FileIdentity {
    /// Device number.
    pub device: u64,
    /// Inode number.
    pub inode: u64,
    /// Bytes.
    pub size: u64,
    /// Time of the last change of the contents, in nanoseconds since 1970.
    pub modified: i128,
    /// Time of the last change of the inode, in nanoseconds since 1970.
    pub changed: i128,
}

impl FileIdentity {
    /// From what `fstat` says.
    pub fn of(metadata: &Metadata) -> Self {
        let nanoseconds =
            |seconds: i64, rest: i64| i128::from(seconds) * 1_000_000_000 + i128::from(rest);
        Self {
            device: metadata.dev(),
            inode: metadata.ino(),
            size: metadata.len(),
            modified: nanoseconds(metadata.mtime(), metadata.mtime_nsec()),
            changed: nanoseconds(metadata.ctime(), metadata.ctime_nsec()),
        }
    }

    /// Of a file that cannot be looked at.
    pub fn unread() -> Self {
        Self { device: 0, inode: 0, size: 0, modified: 0, changed: 0 }
    }

    /// The same, by what the kernel itself calls the inode: of an overlay, the one below.
    #[must_use]
    pub fn with_inode(self, (major, minor): (u32, u32), inode: u64) -> Self {
        Self { device: rustix::fs::makedev(major, minor), inode, ..self }
    }

    /// Major and minor number of the device.
    pub fn device_numbers(&self) -> (u32, u32) {
        (rustix::fs::major(self.device), rustix::fs::minor(self.device))
    }

    /// Whether it is the same inode, whatever was done to it meanwhile.
    pub fn is_same_inode(&self, other: &Self) -> bool {
        (self.device, self.inode) == (other.device, other.inode)
    }

    /// Whether the two are one file below two overlays, for all that can be told: since Linux 6.8 the overlay's own device is
    /// all that it shows to anybody, perf records included, but inode, size and both times to the nanosecond are those of
    /// the file below, and nobody can choose the time of the last change of an inode. Only of files for which
    /// [`is_honest`](super::mounts::is_honest) holds.
    pub fn is_same_below(&self, other: &Self) -> bool {
        let is_anonymous = |identity: &Self| rustix::fs::major(identity.device) == 0;
        let on_device = Self { device: self.device, ..*other };
        (is_anonymous(self) || is_anonymous(other)) && *self == on_device
    }

    /// Whether something was written to the file after the other was taken, by its size and the time of it: a chmod, link
    /// or unlink changes nothing that is in it.
    pub fn has_other_contents(&self, other: &Self) -> bool {
        (self.size, self.modified) != (other.size, other.modified)
    }

    fn of_file(file: &File) -> Result<Self, Arc<PlanError>> {
        let failed = |source| ReadError::Io { offset: 0, length: 0, source };
        let metadata = file.metadata().map_err(|error| Arc::new(failed(error).into()))?;
        Ok(Self::of(&metadata))
    }
}

/// A plan, or why there is none.
pub type Planned = Result<Arc<ImagePlan>, Arc<PlanError>>;

/// The contents of a small file as they were at one moment, which nobody can change while they are planned.
fn snapshot(file: &File, size: u64) -> Option<File> {
    let mut bytes = vec![0; usize::try_from(size).ok()?];
    file.read_exact_at(&mut bytes, 0).ok()?;
    let memory = rustix::fs::memfd_create("plan", rustix::fs::MemfdFlags::CLOEXEC).ok()?;
    let memory = File::from(memory);
    memory.write_all_at(&bytes, 0).ok()?;
    Some(memory)
}

/// A bounded cache of plans. When it is full, the plan that was not asked for the longest goes.
#[derive(Debug)]
pub struct PlanCache {
    limit: usize,
    plans: HashMap<FileIdentity, (u64, Planned)>,
    /// What is known by its contents.
    copies: Copies,
    /// Counts questions: the plan with the lowest number was not asked for the longest.
    clock: u64,
}

impl PlanCache {
    /// A cache of at most `limit` plans (at least one).
    pub fn new(limit: usize) -> Self {
        Self { limit: limit.max(1), plans: HashMap::new(), copies: Copies::default(), clock: 0 }
    }

    /// The plan of `file`, from the cache or made now. A plan that failed because of an I/O error, or of a file that
    /// changed meanwhile, is not kept.
    ///
    /// # Errors
    /// Those of [`plan_image`].
    pub fn plan(&mut self, file: &File, path_hint: &Path) -> Planned {
        let before = FileIdentity::of_file(file)?;
        if let Some(planned) = self.known(&before) {
            return planned;
        }
        let planned = plan_image(file, path_hint).map(Arc::new).map_err(Arc::new);
        let lasting = !matches!(&planned, Err(error) if error.is_io());
        if lasting && FileIdentity::of_file(file)? == before {
            self.insert(before, planned.clone());
        }
        planned
    }

    /// The same for several threads, of which each plans another file. `identity` is that of the file as it is now.
    ///
    /// # Errors
    /// Those of [`plan_image`].
    pub fn plan_beside(
        cache: &Mutex<Self>,
        file: &Arc<File>,
        identity: FileIdentity,
        path_hint: &Path,
    ) -> Planned {
        let lock = || cache.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(planned) = lock().known(&identity) {
            return planned;
        }
        let contents = Contents::of(file, identity.size, path_hint);
        // The lock must be free again before the next line takes it.
        let copied = contents.as_ref().and_then(|contents| lock().copies.get(contents));
        if let Some(plan) = copied {
            lock().insert(identity, Ok(Arc::clone(&plan)));
            return Ok(plan);
        }
        let snapshot = contents.as_ref().and_then(|_| snapshot(file, identity.size));
        let read = snapshot.as_ref().unwrap_or(file);
        let planned = plan_image(read, path_hint).map(Arc::new).map_err(Arc::new);
        let now = FileIdentity::of_file(file)?;
        let now = Self::same_device(now, &identity);
        if !matches!(&planned, Err(error) if error.is_io()) && now == identity {
            lock().insert(identity, planned.clone());
        }
        if let (Some(memory), Ok(plan)) = (&snapshot, &planned)
            && plan.is_tls()
            && let Some(contents) = Contents::of(memory, identity.size, path_hint)
            && let Ok(sample) = copies::sample(memory, plan)
        {
            lock().copies.insert(contents, sample, plan);
        }
        planned
    }

    /// What a file that is not known looks like.
    pub fn copy_of(
        cache: &Mutex<Self>,
        file: &File,
        identity: &FileIdentity,
        path_hint: &Path,
    ) -> Option<Copy> {
        let lock = || cache.lock().unwrap_or_else(PoisonError::into_inner);
        if lock().known(identity).is_some() {
            return None;
        }
        let head = copies::head(file, identity.size, path_hint)?;
        let candidates = lock().copies.candidates(&head);
        candidates.into_iter().find(|copy| copy.looks_like(file))
    }

    /// Whether a file is what it looked like; it is read whole.
    pub fn is_copy(cache: &Mutex<Self>, file: &File, identity: FileIdentity, copy: &Copy) -> bool {
        let lock = || cache.lock().unwrap_or_else(PoisonError::into_inner);
        let is_it = copy.is_in(file, identity.size).unwrap_or(false);
        match is_it {
            true => lock().insert(identity, Ok(Arc::clone(&copy.plan))),
            false => lock().copies.mistaken(copy),
        }
        is_it
    }

    /// By the inode's numbers in `like`: the file is the same, and only the rest may have changed.
    fn same_device(identity: FileIdentity, like: &FileIdentity) -> FileIdentity {
        FileIdentity { device: like.device, inode: like.inode, ..identity }
    }

    /// [`PlanCache::known`], of one that is shared.
    pub fn known_of(cache: &Mutex<Self>, identity: &FileIdentity) -> Option<Planned> {
        cache.lock().unwrap_or_else(PoisonError::into_inner).known(identity)
    }

    /// The plan that was made for this file before.
    pub fn known(&mut self, identity: &FileIdentity) -> Option<Planned> {
        self.clock += 1;
        let (asked, planned) = self.plans.get_mut(identity)?;
        *asked = self.clock;
        Some(planned.clone())
    }

    fn insert(&mut self, identity: FileIdentity, planned: Planned) {
        if self.plans.len() >= self.limit && !self.plans.contains_key(&identity) {
            let oldest = self.plans.iter().min_by_key(|(_, (asked, _))| *asked);
            if let Some((&oldest, _)) = oldest {
                self.plans.remove(&oldest);
            }
        }
        self.clock += 1;
        self.plans.insert(identity, (self.clock, planned));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::target::sample::file_of;
    use std::io::Write as _;

    #[test]
    fn the_same_file_is_planned_once_and_a_changed_one_again() {
        let mut cache = PlanCache::new(4);
        let mut file = file_of(b"no ELF");
        let path = Path::new("x");
        let first = cache.plan(&file, path).unwrap_err();
        let second = cache.plan(&file, path).unwrap_err();
        assert!(Arc::ptr_eq(&first, &second));
        file.write_all(b", and longer").unwrap();
        let third = cache.plan(&file, path).unwrap_err();
        assert!(!Arc::ptr_eq(&first, &third));
    }

    #[test]
    fn what_was_written_to_is_told_from_what_was_unlinked() {
        use std::os::unix::fs::PermissionsExt as _;
        let mut file = file_of(b"old");
        let identity = |file: &File| FileIdentity::of(&file.metadata().unwrap());
        let before = identity(&file);
        file.set_permissions(std::fs::Permissions::from_mode(0o700)).unwrap();
        assert!(!identity(&file).has_other_contents(&before));
        file.write_all(b", and new").unwrap();
        assert!(identity(&file).has_other_contents(&before));
    }

    #[test]
    fn a_copy_has_the_same_plan() {
        use crate::target::sample::{CLIENT_RANDOM, EXPORTER, FUNCTION, Sample};
        let mut sample = Sample::new();
        sample.lea_rsi(CLIENT_RANDOM).call(FUNCTION).raw(&[0xc3]);
        sample.lea_rsi(EXPORTER).call(FUNCTION).raw(&[0xc3]);
        sample.at(FUNCTION).raw(&[
            0x53, 0x48, 0x8b, 0x57, 0x30, 0x48, 0x83, 0xc2, 0x30, 0xb9, 0x20, 0, 0, 0, 0xe8, 0, 0,
            0, 0, 0x5b, 0xc3,
        ]);
        let cache = Mutex::new(PlanCache::new(9));
        let files: Vec<_> = (0..3).map(|_| Arc::new(file_of(&sample.bytes()))).collect();
        let plan = |n: usize| {
            let identity = FileIdentity::of_file(&files[n]).unwrap();
            PlanCache::plan_beside(&cache, &files[n], identity, Path::new("/x/libssl.so")).unwrap()
        };
        let first = plan(0);
        assert!(first.is_tls());
        assert!(Arc::ptr_eq(&first, &plan(1)));
        let end = files[2].metadata().unwrap().len() - 1;
        files[2].write_all_at(b"x", end).unwrap();
        assert!(!Arc::ptr_eq(&first, &plan(2)), "one byte is another one");
    }

    #[test]
    fn the_number_of_plans_is_bounded() {
        let mut cache = PlanCache::new(2);
        let files: Vec<_> = (0..3).map(|_| file_of(b"no ELF")).collect();
        let path = Path::new("x");
        let first = cache.plan(&files[0], path).unwrap_err();
        let second = cache.plan(&files[1], path).unwrap_err();
        let _ = cache.plan(&files[0], path);
        let _ = cache.plan(&files[2], path);
        assert_eq!(cache.plans.len(), 2);
        assert!(Arc::ptr_eq(&first, &cache.plan(&files[0], path).unwrap_err()));
        assert!(!Arc::ptr_eq(&second, &cache.plan(&files[1], path).unwrap_err()));
    }
}
