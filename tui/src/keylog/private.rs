//! Opening files that are private to the user behind sudo: key log, log, and whatever else is written for that user.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::Path;

use crate::rights::Rights;
use crate::text::Foreign;

/// Why a file is not written to.
#[derive(Debug, thiserror::Error)]
pub enum KeyLogError {
    /// It has lines, and none is a key log's.
    #[error("{0}: has other contents than a key log; name another path")]
    OtherContents(Foreign),
    /// It is the file of `--log-file` or `--pcap-file`.
    #[error("{0} is the log, or has packets: give the key log another file")]
    IsAnother(Foreign),
    /// It cannot be opened or created.
    #[error("{path}: {source}")]
    Open {
        /// The file.
        path: Foreign,
        /// What happened.
        source: io::Error,
    },
    /// We could, but the user behind sudo may not.
    #[error("{0}: not permitted to the user behind sudo, who opens it; name another path")]
    NotPermitted(Foreign),
    /// The last part of the path is a symbolic link.
    #[error("{0}: is a symbolic link; name the file itself")]
    Symlink(Foreign),
    /// It is a directory, a FIFO, a device.
    #[error("{0}: not a regular file; name another path")]
    NotAFile(Foreign),
    /// It has a second name.
    #[error("{path}: has {links} hard links; name a file of its own")]
    Links {
        /// The file.
        path: Foreign,
        /// How many names.
        links: u64,
    },
    /// It belongs to somebody else.
    #[error("{path}: belongs to user {owner}, not to you or root; name another path")]
    Owner {
        /// The file.
        path: Foreign,
        /// Its owner.
        owner: u32,
    },
    /// Others can read or write it.
    #[error("{path}: mode {mode:04o} lets others in; run `chmod 600` on it or name another path")]
    Mode {
        /// The file.
        path: Foreign,
        /// Its permission bits.
        mode: u32,
    },
}

/// Whose the files are that we create: the user behind sudo, or ourselves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Owner {
    /// User id.
    pub uid: u32,
    /// Group id.
    pub gid: u32,
}

impl Owner {
    /// The user behind sudo (sudo(8): `SUDO_UID`, `SUDO_GID`, which only count for root), or who we are.
    pub fn of_this_run() -> Self {
        let own = Self {
            uid: rustix::process::geteuid().as_raw(),
            gid: rustix::process::getegid().as_raw(),
        };
        // -1 stands for "as it is" (setresuid(2)).
        let variable = |name| std::env::var(name).ok()?.parse().ok().filter(|id| *id != u32::MAX);
        match (variable("SUDO_UID"), variable("SUDO_GID")) {
            (Some(uid), Some(gid)) if own.uid == 0 => Self { uid, gid },
            _ => own,
        }
    }
}

/// Creates a file for appending that nobody else can read. It belongs to whoever asks.
///
/// # Errors
///
/// `AlreadyExists` when the path names anything, a symbolic link too; or what the system says.
pub fn create_private(path: &Path) -> io::Result<File> {
    private().create_new(true).open(path)
}

/// How such a file is opened.
fn private() -> OpenOptions {
    let mut options = OpenOptions::new();
    options
        .read(true)
        .append(true)
        .mode(0o600)
        .custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK | libc::O_NOCTTY | libc::O_CLOEXEC);
    options
}

/// Opens a file for appending that nobody else can read or has prepared for us, or creates it. Behind sudo with the rights
/// of `owner`, and so only where that user could have done it; whoever is root alone names it with root's rights.
///
/// # Errors
///
/// [`KeyLogError`] when it is not a regular file with one name, of mode 0600 or stricter, that belongs
/// to `owner` or root.
pub fn open_private(path: &Path, owner: Owner) -> Result<File, KeyLogError> {
    with_rights_of(owner, path, || open_as_we_are(path, owner))
}

/// Creates such a file, with the same rights; `None` when the path names anything.
///
/// # Errors
///
/// [`KeyLogError`] when it cannot be created.
pub fn open_new_private(path: &Path, owner: Owner) -> Result<Option<File>, KeyLogError> {
    with_rights_of(owner, path, || match create_private(path) {
        Ok(file) => Ok(Some(file)),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(None),
        Err(source) => Err(KeyLogError::Open { path: path.as_os_str().into(), source }),
    })
}

fn with_rights_of<T: Send>(
    owner: Owner,
    path: &Path,
    open: impl FnOnce() -> Result<T, KeyLogError> + Send,
) -> Result<T, KeyLogError> {
    let Some(rights) = Rights::of(owner) else { return open() };
    let opened = rights.lend(open);
    let failed = |source| KeyLogError::Open { path: path.as_os_str().into(), source };
    opened.map_err(failed)?.map_err(|error| match error {
        KeyLogError::Open { path, source } if source.kind() == io::ErrorKind::PermissionDenied => {
            KeyLogError::NotPermitted(path)
        }
        other => other,
    })
}

fn open_as_we_are(path: &Path, owner: Owner) -> Result<File, KeyLogError> {
    let shown = || Foreign::from(path.as_os_str());
    let failed = |source: io::Error| match source.raw_os_error() {
        Some(libc::ELOOP) => KeyLogError::Symlink(shown()),
        // What open(2) says of a directory, and of a FIFO or socket that nobody holds.
        Some(libc::EISDIR | libc::ENXIO) => KeyLogError::NotAFile(shown()),
        _ => KeyLogError::Open { path: shown(), source },
    };
    let file = match create_private(path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => private().open(path),
        result => result,
    };
    let file = file.map_err(failed)?;
    let metadata = file.metadata().map_err(failed)?;
    if !metadata.is_file() {
        return Err(KeyLogError::NotAFile(shown()));
    }
    if metadata.nlink() != 1 {
        return Err(KeyLogError::Links { path: shown(), links: metadata.nlink() });
    }
    if metadata.uid() != 0 && metadata.uid() != owner.uid {
        return Err(KeyLogError::Owner { path: shown(), owner: metadata.uid() });
    }
    let mode = metadata.mode() & 0o7777;
    if mode & 0o077 != 0 {
        return Err(KeyLogError::Mode { path: shown(), mode });
    }
    Ok(file)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::{PermissionsExt as _, symlink};

    use super::*;

    /// As from sudo: nothing is made, and nothing written, but what the user could make and write.
    #[test]
    fn behind_sudo_the_rights_are_the_users() {
        if !rustix::process::geteuid().is_root() {
            return eprintln!("skipped: not root");
        }
        let nobody = Owner { uid: 65534, gid: 65534 };
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        let allow = |path: &Path, mode| {
            fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
        };
        allow(folder.path(), 0o755);
        for (name, mode) in [("roots", 0o755), ("users", 0o777)] {
            fs::create_dir(path(name)).unwrap();
            allow(&path(name), mode);
        }
        symlink("../roots", path("users/link")).unwrap();
        let file = open_private(&path("users/k"), nobody).unwrap().metadata().unwrap();
        assert_eq!((file.uid(), file.gid(), file.mode() & 0o7777), (65534, 65534, 0o600));
        let refused = |name: &str| open_private(&path(name), nobody).unwrap_err();
        for name in ["roots/k", "users/link/k"] {
            assert!(matches!(refused(name), KeyLogError::NotPermitted(_)), "{name}");
        }
        assert_eq!(fs::read_dir(path("roots")).unwrap().count(), 0);
        drop(open_private(&path("users/root"), Owner::of_this_run()).unwrap());
        assert!(matches!(refused("users/root"), KeyLogError::NotPermitted(_)));
        allow(&path("users"), 0o700);
        assert!(matches!(refused("users/k"), KeyLogError::NotPermitted(_)));
        // Root alone reaches all of them.
        for name in ["roots/k", "users/root", "users/link/k2"] {
            open_private(&path(name), Owner { uid: 0, gid: 0 }).unwrap();
        }
    }
}
