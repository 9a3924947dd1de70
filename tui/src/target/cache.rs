//! Plans that were made already, by the identity of the file.

use std::collections::HashMap;
use std::fs::{File, Metadata};
use std::os::unix::fs::{FileExt as _, MetadataExt};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError, Weak};

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

    /// Whether it is the same inode, whatever was done to it meanwhile.
    pub fn is_same_inode(&self, other: &Self) -> bool {
        (self.device, self.inode) == (other.device, other.inode)
    }

    fn of_file(file: &File) -> Result<Self, Arc<PlanError>> {
        let failed = |source| ReadError::Io { offset: 0, length: 0, source };
        let metadata = file.metadata().map_err(|error| Arc::new(failed(error).into()))?;
        Ok(Self::of(&metadata))
    }
}

/// A plan, or why there is none.
pub type Planned = Result<Arc<ImagePlan>, Arc<PlanError>>;

/// Images whose bytes a new file is compared with.
const TWINS: usize = 64;
/// Bytes that are compared at a time.
const CHUNK: usize = 128 << 10;

/// A file with TLS code that was planned, for others that have the same bytes: copies, and one layer of many containers.
#[derive(Clone, Debug)]
struct Twin {
    identity: FileIdentity,
    /// `None` once nobody uses the image any more.
    file: Weak<File>,
    linkage_path: std::path::PathBuf,
    plan: Arc<ImagePlan>,
}

impl Twin {
    /// Whether the two have the same bytes now. Each byte is compared: a hash would take longer.
    fn has_bytes_of(&self, file: &File, identity: &FileIdentity, path: &Path) -> bool {
        // The linkage is judged by the name.
        if self.identity.size != identity.size || self.linkage_path.extension() != path.extension()
        {
            return false;
        }
        let Some(mine) = self.file.upgrade() else { return false };
        let mut chunks = [vec![0; CHUNK], vec![0; CHUNK]];
        let mut at = 0;
        while at < identity.size {
            let length = CHUNK.min(usize::try_from(identity.size - at).unwrap_or(CHUNK));
            let [a, b] = &mut chunks;
            let read = |file: &File, into: &mut [u8]| file.read_exact_at(into, at).is_ok();
            if !read(&mine, &mut a[..length]) || !read(file, &mut b[..length]) {
                return false;
            }
            if a[..length] != b[..length] {
                return false;
            }
            at += length as u64;
        }
        // Nobody wrote to it since it was planned.
        let now = FileIdentity::of_file(&mine);
        now.is_ok_and(|now| {
            (now.size, now.modified) == (self.identity.size, self.identity.modified)
        })
    }
}

/// A bounded cache of plans. When it is full, the plan that was not asked for the longest goes.
#[derive(Debug)]
pub struct PlanCache {
    limit: usize,
    plans: HashMap<FileIdentity, (u64, Planned)>,
    twins: Vec<Twin>,
    /// Counts questions: the plan with the lowest number was not asked for the longest.
    clock: u64,
}

impl PlanCache {
    /// A cache of at most `limit` plans (at least one).
    pub fn new(limit: usize) -> Self {
        Self { limit: limit.max(1), plans: HashMap::new(), twins: Vec::new(), clock: 0 }
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
        let twins = lock().twins.clone();
        let mut twins = twins.iter().rev();
        let planned = match twins.find(|twin| twin.has_bytes_of(file, &identity, path_hint)) {
            Some(twin) => Ok(Arc::clone(&twin.plan)),
            None => plan_image(file, path_hint).map(Arc::new).map_err(Arc::new),
        };
        let now = FileIdentity::of_file(file)?;
        let now = Self::same_device(now, &identity);
        if !matches!(&planned, Err(error) if error.is_io()) && now == identity {
            let mut cache = lock();
            cache.insert(identity, planned.clone());
            if let Ok(plan) = &planned
                && plan.is_tls()
            {
                cache.add_twin(file, identity, path_hint, plan);
            }
        }
        planned
    }

    fn add_twin(
        &mut self,
        file: &Arc<File>,
        identity: FileIdentity,
        path: &Path,
        plan: &Arc<ImagePlan>,
    ) {
        // Of copies, the last one is enough.
        self.twins.retain(|twin| {
            let is_copy = twin.identity.size == identity.size && *twin.plan == **plan;
            !is_copy && twin.file.strong_count() > 0
        });
        if self.twins.len() >= TWINS {
            self.twins.remove(0);
        }
        let (file, linkage_path) = (Arc::downgrade(file), path.to_owned());
        self.twins.push(Twin { identity, file, linkage_path, plan: Arc::clone(plan) });
    }

    /// By the inode's numbers in `like`: the file is the same, and only the rest may have changed.
    fn same_device(identity: FileIdentity, like: &FileIdentity) -> FileIdentity {
        FileIdentity { device: like.device, inode: like.inode, ..identity }
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
    use std::io::Write;

    fn file_of(bytes: &[u8]) -> File {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(bytes).unwrap();
        file
    }

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
    fn a_copy_has_the_plan_of_its_twin_while_that_has_these_bytes() {
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
        // The last byte of its twin is another one.
        let end = files[1].metadata().unwrap().len() - 1;
        files[1].write_all_at(b"x", end).unwrap();
        assert!(!Arc::ptr_eq(&first, &plan(2)));
        assert_eq!(cache.lock().unwrap().twins.len(), 1);
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
