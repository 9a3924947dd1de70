//! How a file looked when nothing was found in it, so that it need not be read again.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustix::fs::{AtFlags, CWD, StatxFlags, statx};

use super::looking::map_files;
use super::record::Mapped;
use crate::target::cache::FileIdentity;

/// A file that changed later than so long before it was read may have been written to again at the same time, as coarse as
/// the kernel's clock for files is.
const COARSE: Duration = Duration::from_secs(1);

/// Size and time of the last change of the inode: nobody can write to the file and choose that time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp {
    size: u64,
    /// Nanoseconds since 1970.
    changed: i64,
}

impl Stamp {
    /// Of a file that is about to be read; `None` of one that changed just now.
    pub fn of(identity: &FileIdentity) -> Option<Self> {
        Self::at(identity, SystemTime::now())
    }

    fn at(identity: &FileIdentity, now: SystemTime) -> Option<Self> {
        let changed = i64::try_from(identity.changed).ok()?;
        let then = UNIX_EPOCH + Duration::from_nanos(u64::try_from(changed).ok()?);
        let is_settled = now.duration_since(then).is_ok_and(|age| age > COARSE);
        is_settled.then_some(Self { size: identity.size, changed })
    }

    /// Whether the file that a process has mapped still looks like this. No server is asked, and nobody waited for.
    pub fn is_still_of(&self, pid: u32, mapped: &Mapped) -> bool {
        let wanted = StatxFlags::SIZE | StatxFlags::CTIME;
        let Ok(now) = statx(CWD, map_files(pid, mapped), AtFlags::STATX_DONT_SYNC, wanted) else {
            return false;
        };
        let nanoseconds = i64::from(now.stx_ctime.tv_nsec);
        let changed = now.stx_ctime.tv_sec.checked_mul(1_000_000_000);
        let changed = changed.and_then(|seconds| seconds.checked_add(nanoseconds));
        StatxFlags::from_bits_retain(now.stx_mask).contains(wanted)
            && (now.stx_size, changed) == (self.size, Some(self.changed))
    }
}

#[cfg(test)]
mod tests {
    use std::fs::Permissions;
    use std::os::unix::fs::PermissionsExt as _;
    use std::path::Path;
    use std::time::Instant;

    use super::*;
    use crate::target::maps::{self, Mapping};

    #[test]
    fn a_file_that_changed_just_now_has_none() {
        let seconds = |seconds: u64| i128::from(seconds) * 1_000_000_000;
        let identity = |changed| FileIdentity { changed, ..FileIdentity::unread() };
        let now = UNIX_EPOCH + Duration::from_secs(100);
        assert!(Stamp::at(&identity(seconds(98)), now).is_some());
        assert_eq!(Stamp::at(&identity(seconds(99)), now), None);
        assert_eq!(Stamp::at(&identity(seconds(200)), now), None, "the clock was set back");
        assert_eq!(Stamp::at(&identity(-1), now), None);
    }

    #[test]
    fn it_is_that_of_the_mapped_file_until_that_changes() {
        // Root alone may follow these links.
        if !rustix::process::geteuid().is_root() {
            return;
        }
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("sleep");
        std::fs::copy("/bin/sleep", &path).unwrap();
        let mut sleeping = std::process::Command::new(&path).arg("60").spawn().unwrap();
        let pid = sleeping.id();
        let of_file = |mapping: &&Mapping| Path::new(mapping.path.raw()) == path;
        let started = Instant::now();
        // The one who starts it goes on before its program is mapped.
        let mapped = loop {
            let mappings = maps::executable(pid, || ()).unwrap().mappings;
            if let Some(mapping) = mappings.iter().find(of_file) {
                break mapping.as_mapped();
            }
            assert!(started.elapsed() < Duration::from_secs(30), "{mappings:?}");
        };
        let identity = FileIdentity::of(&std::fs::metadata(&path).unwrap());
        let stamp = Stamp::at(&identity, SystemTime::now() + 2 * COARSE).unwrap();
        assert!(stamp.is_still_of(pid, &mapped));
        let elsewhere = Mapped { start: mapped.start + mapped.length, ..mapped.clone() };
        assert!(!stamp.is_still_of(pid, &elsewhere));
        std::fs::set_permissions(&path, Permissions::from_mode(0o500)).unwrap();
        assert!(!stamp.is_still_of(pid, &mapped));
        sleeping.kill().unwrap();
        sleeping.wait().unwrap();
    }
}
