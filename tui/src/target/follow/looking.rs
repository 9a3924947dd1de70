//! A look at one file that a process has mapped: which one is it, and what is in it.

use std::collections::HashMap;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::ptr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rustix::mm::{MapFlags, ProtFlags, mmap, munmap};

use super::news::Look;
use super::planners::{Job, Progress, Stage};
use super::record::{FileKey, Mapped};
use super::stamp::Stamp;
use super::watch::Watch;
use crate::priority;
use crate::target::cache::{FileIdentity, PlanCache};
use crate::target::copies::{self, Copy, Head};
use crate::target::libcrypto::{self, with_version};
use crate::target::plan::ImagePlan;
use crate::target::tokens::with_tokens;
use crate::target::{loader_cache, mounts};

/// Bytes of which a mapping is made to learn the inode; they are never read.
const PAGE: usize = 4096;
/// What is planned for so long does not keep others waiting any more: 16 MiB take 0.2 s, unoptimised 2 s.
pub const PATIENCE: Duration = Duration::from_secs(3);

/// An image that was found.
#[derive(Debug)]
pub struct Found {
    /// The file.
    pub file: Arc<File>,
    /// Which one it is.
    pub identity: FileIdentity,
    /// The plan of the file alone.
    pub plan: Arc<ImagePlan>,
    /// The plan with what the files beside it say.
    pub used: Arc<ImagePlan>,
    /// The softokens that have its keys, and their paths.
    pub tokens: Vec<(PathBuf, Found)>,
    /// What its file system says of it is what the kernel says.
    pub is_honest: bool,
}

/// What a look found.
#[derive(Debug)]
pub enum Seen {
    /// TLS code.
    Image(Found),
    /// What looks like TLS code that is known, of which the whole contents have to be compared.
    Copy(Found, Copy),
    /// It is what it looked like.
    Same,
    /// It only looked like it.
    Other,
    /// Nothing is known of it: it has to be planned.
    New(Arc<File>),
    /// Another thread plans what looks like it: later it may be known.
    Later,
    /// No TLS code, as long as the file looks like this.
    Nothing(Option<Stamp>),
    /// It is not looked at, for this reason.
    Refused(&'static str),
    /// The file cannot be reached: whoever had it mapped is gone, and its path names another one.
    Unreachable,
}

/// What is needed for a look.
#[derive(Debug)]
pub struct Looker {
    /// To learn what the kernel calls a file.
    pub watch: Watch,
    /// The plans that were made.
    pub plans: Arc<Mutex<PlanCache>>,
    /// Our own executable: it has the labels and names of every library in it, and no TLS.
    pub own: Option<FileIdentity>,
    /// What is being planned.
    pub planning: Planning,
}

/// What is being planned, so that of copies only one is.
#[derive(Clone, Debug, Default)]
pub struct Planning(Arc<Mutex<HashMap<Head, Instant>>>);

impl Planning {
    fn lock(&self) -> MutexGuard<'_, HashMap<Head, Instant>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Begins to plan a file; `None` when one that looks like it is being planned.
    fn begin(&self, head: Head) -> Option<Plans<'_>> {
        let mut planning = self.lock();
        if planning.get(&head).is_some_and(|began| began.elapsed() < PATIENCE) {
            return None;
        }
        planning.insert(head.clone(), Instant::now());
        Some(Plans(self, head))
    }

    /// Whether nothing is being planned.
    pub fn is_empty(&self) -> bool {
        self.lock().is_empty()
    }
}

/// Being planned until it is dropped.
struct Plans<'p>(&'p Planning, Head);

impl Drop for Plans<'_> {
    fn drop(&mut self) {
        self.0.lock().remove(&self.1);
    }
}

impl Looker {
    /// Looks at a file.
    pub fn look_at(&self, job: &Job, progress: &Progress<'_>) -> Seen {
        if job.file.is_none()
            && let Some(why) = mounts::refusal(job.look.pid, job.look.mapped.file.device)
        {
            return refused(&job.look, why);
        }
        let opened = match &job.file {
            Some(file) => self.identify(file, &job.look.mapped).map(|id| (Arc::clone(file), id.0)),
            None => self.open(&job.look),
        };
        let Ok((file, identity)) = opened else { return Seen::Unreachable };
        // Before it is read.
        let stamp = Stamp::of(&identity);
        if self.own.is_some_and(|own| own.is_same_inode(&identity)) {
            return Seen::Nothing(stamp);
        }
        let path = Path::new(job.look.mapped.path.raw());
        // The first read, after which the file system is known to answer.
        let _ = std::os::unix::fs::FileExt::read_at(&*file, &mut [0; 64], 0);
        progress.opened();
        if let Stage::Check(copy) = &job.stage {
            priority::lower();
            let is_copy = PlanCache::is_copy(&self.plans, &file, identity, copy);
            return if is_copy { Seen::Same } else { Seen::Other };
        }
        if let Some(copy) = PlanCache::copy_of(&self.plans, &file, &identity, path) {
            let found = self.found(&job.look, file, identity, Arc::clone(&copy.plan));
            return Seen::Copy(found, copy);
        }
        let known = PlanCache::known_of(&self.plans, &identity);
        if known.is_none() && matches!(job.stage, Stage::First) {
            return Seen::New(file);
        }
        let planned = match known {
            Some(planned) => planned,
            None => {
                let head = copies::head(&file, identity.size, path);
                let is_small = head.is_some();
                let _plans = match head.map(|head| self.planning.begin(head)) {
                    Some(None) => return Seen::Later,
                    plans => plans,
                };
                // Of what is small others may be waiting for the plan: copies of it that run once.
                if is_small {
                    priority::raise()
                } else {
                    priority::lower()
                }
                PlanCache::plan_beside(&self.plans, &file, identity, path)
            }
        };
        match planned {
            Ok(plan) if plan.is_tls() => Seen::Image(self.found(&job.look, file, identity, plan)),
            Err(error) if error.is_io() => Seen::Unreachable,
            _ => Seen::Nothing(stamp),
        }
    }

    /// With what the files beside it say.
    fn found(
        &self,
        look: &Look,
        file: Arc<File>,
        identity: FileIdentity,
        plan: Arc<ImagePlan>,
    ) -> Found {
        let device = look.mapped.file.device;
        let is_honest = mounts::is_honest(look.pid, device);
        let path = Path::new(look.mapped.path.raw());
        let folder = path.parent().and_then(|folder| folder.strip_prefix("/").ok());
        let root = PathBuf::from(format!("/proc/{}/root", look.pid));
        let is_asked =
            |folder: &&Path| !mounts::is_folder_on_fuse(look.pid, &Path::new("/").join(folder));
        let folder = folder.filter(is_asked).map(|folder| root.join(folder));
        let folder = folder.as_deref();
        if plan.wants_token() || libcrypto::is_needed(&plan, path) {
            // To look at other files takes longer.
            priority::raise();
        }
        let used = with_version(Arc::clone(&plan), path, folder);
        let (used, tokens) = with_tokens(used, path, folder, &self.plans, Some(&self.watch));
        Found { file, identity, plan, used, tokens, is_honest }
    }

    /// Opens the file itself. A process that ended is no hindrance while the path names the same file.
    fn open(&self, look: &Look) -> io::Result<(Arc<File>, FileIdentity)> {
        let Look { pid, mapped, .. } = look;
        let path = mapped.path.raw();
        let ways = [
            map_files(*pid, mapped),
            format!("/proc/{pid}/root{path}"),
            path.to_owned(),
            format!("/proc/{pid}/exe"),
        ];
        let mut last = io::Error::from(io::ErrorKind::NotFound);
        // Without a generation it comes from the maps, whose numbers may be other ones than those that are learnt.
        let ways = if mapped.file.generation.is_some() { &ways[..] } else { &ways[..1] };
        for way in ways {
            match self.open_if_same(Path::new(way), mapped) {
                Ok(found) => return Ok(found),
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    fn open_if_same(&self, path: &Path, mapped: &Mapped) -> io::Result<(Arc<File>, FileIdentity)> {
        let file = open_regular(path)?;
        let (identity, key) = self.identify(&file, mapped)?;
        if mapped.file.generation.is_some() && !is_mapped(mapped.file, key, &identity) {
            return Err(io::ErrorKind::NotFound.into());
        }
        Ok((Arc::new(file), identity))
    }

    /// [`identify`], but one that shows the numbers of the record is not asked for again what the kernel calls it.
    fn identify(
        &self,
        file: &File,
        mapped: &Mapped,
    ) -> io::Result<(FileIdentity, Option<FileKey>)> {
        let identity = FileIdentity::of(&file.metadata()?);
        match mapped.file.generation {
            Some(_) if is_mapped(mapped.file, None, &identity) => Ok((identity, Some(mapped.file))),
            _ => identify_with_key(Some(&self.watch), file),
        }
    }
}

/// Of what is not looked at, only the programs and what is called as TLS libraries are is told.
fn refused(look: &Look, why: &'static str) -> Seen {
    let name = look.mapped.path.raw().rsplit('/').next().unwrap_or_default();
    match look.is_program || loader_cache::may_contain_tls(name.as_bytes()) {
        true => Seen::Refused(why),
        false => Seen::Nothing(None),
    }
}

/// Whether an opened file is the one of a record. What the kernel calls it may not have been learnt: then it is only
/// believed when it shows the same numbers, for a path names another file by now where a process was replaced.
fn is_mapped(record: FileKey, learnt: Option<FileKey>, identity: &FileIdentity) -> bool {
    match learnt {
        Some(key) => key == record,
        None => identity.is_same_inode(&identity.with_inode(record.device, record.inode)),
    }
}

/// The link to what a process has mapped, whatever the path of it names by now.
pub fn map_files(pid: u32, mapped: &Mapped) -> String {
    let end = mapped.start.saturating_add(mapped.length);
    format!("/proc/{pid}/map_files/{:x}-{end:x}", mapped.start)
}

/// Opens a regular file, and never anything else: opening a device does something.
///
/// # Errors
///
/// [`io::ErrorKind::InvalidInput`] when it is something else.
pub fn open_regular(path: &Path) -> io::Result<File> {
    let seen = OpenOptions::new().read(true).custom_flags(libc::O_PATH).open(path)?;
    if !seen.metadata()?.is_file() {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    // The same file, whatever the path names by now.
    File::open(format!("/proc/self/fd/{}", seen.as_raw_fd()))
}

/// Which file it is: by what the kernel calls it where that can be learnt, and else by what `fstat` says.
///
/// # Errors
///
/// When it cannot be looked at.
pub fn identify(watch: Option<&Watch>, file: &File) -> io::Result<FileIdentity> {
    identify_with_key(watch, file).map(|(identity, _)| identity)
}

fn identify_with_key(
    watch: Option<&Watch>,
    file: &File,
) -> io::Result<(FileIdentity, Option<FileKey>)> {
    let identity = FileIdentity::of(&file.metadata()?);
    let key = watch.and_then(|watch| learn(watch, file));
    let by_key = key.map(|key| identity.with_inode(key.device, key.inode));
    Ok((by_key.unwrap_or(identity), key))
}

/// File systems for which mapping a file asks a server: while it does not answer, our whole address space is locked. What
/// they show is what the kernel calls the file. Numbers of statfs(2).
const SERVED: [u32; 8] = [
    0x6969,      // NFS
    0x6573_5546, // FUSE
    0xff53_4d42, // CIFS
    0xfe53_4d42, // SMB2
    0x0102_1997, // 9P
    0x00c3_6400, // Ceph
    0x6b41_4653, // AFS
    0x7375_7245, // Coda
];

fn is_served(file: &File) -> bool {
    let kind = rustix::fs::fstatfs(file).map(|stat| stat.f_type as u32);
    kind.map_or(true, |kind| SERVED.contains(&kind))
}

/// What the kernel calls a file: we map it as code, and see our own record. An overlay shows numbers of its own to
/// everybody who asks, but probes and records are about the file below.
fn learn(watch: &Watch, file: &File) -> Option<FileKey> {
    if !watch.is_live() || is_served(file) {
        return None;
    }
    let protection = ProtFlags::READ | ProtFlags::EXEC;
    // SAFETY: the kernel chooses an address where nothing is; nothing is ever read or run there.
    let start =
        unsafe { mmap(ptr::null_mut(), PAGE, protection, MapFlags::PRIVATE, file, 0) }.ok()?;
    let key = watch.own_mapping(start as u64);
    // SAFETY: it was mapped above with this length, and nobody has a reference into it.
    let _ = unsafe { munmap(start, PAGE) };
    key
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_cannot_be_learnt_is_not_taken_for_the_mapped_one() {
        let file = tempfile::tempfile().unwrap();
        let identity = FileIdentity::of(&file.metadata().unwrap());
        let device = (rustix::fs::major(identity.device), rustix::fs::minor(identity.device));
        let key = |inode| FileKey { device, inode, generation: Some(7) };
        assert!(is_mapped(key(identity.inode), None, &identity));
        assert!(!is_mapped(key(identity.inode + 1), None, &identity));
        assert!(is_mapped(key(5), Some(key(5)), &identity), "an overlay shows other numbers");
        assert!(!is_mapped(key(5), Some(key(6)), &identity));
    }
}
