//! Where the configuration is, and reading it with the rights of its user.
//!
//! Under sudo that is the user behind it, never root: otherwise whoever may run tlskeytop with sudo could have
//! any file of the machine read, and be told what is wrong with its lines.

use std::env;
use std::fs::OpenOptions;
use std::io::{self, Read as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use super::{Config, ConfigError};
use crate::home::account;
use crate::keylog::Owner;
use crate::rights::Rights;
use crate::text::Foreign;

/// Most bytes of a configuration: the defaults with all their comments are 6 KiB.
const LARGEST: u64 = 256 * 1024;

/// Why there is no configuration.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// It cannot be opened or read.
    #[error("{path}: {source}{as_whom}")]
    Read {
        /// The file.
        path: Foreign,
        /// Why.
        source: io::Error,
        /// With whose rights, where that is a surprise.
        as_whom: &'static str,
    },
    /// It is a folder, a device, a pipe.
    #[error("{0}: is no regular file")]
    NotAFile(Foreign),
    /// It is not what it seems.
    #[error("{0}: is larger than 256 KiB")]
    TooLarge(Foreign),
    /// It is no UTF-8.
    #[error("{0}: is no UTF-8 text")]
    NotText(Foreign),
    /// Its text is wrong.
    #[error("{path}: {error}")]
    Text {
        /// The file.
        path: Foreign,
        /// The mistake.
        error: ConfigError,
    },
}

/// Whose configuration it is.
#[derive(Clone, Debug)]
struct User {
    home: Option<PathBuf>,
    /// The folder of configurations.
    folder: Option<PathBuf>,
    /// `None`: we are this user already.
    rights: Option<Rights>,
}

/// Reads the configuration: the named file, which must be there, or the user's own, which need not.
///
/// To be called while there is only one thread: the user's groups are asked of the C library.
///
/// # Errors
///
/// [`FileError`].
pub fn load(named: Option<&Path>) -> Result<Config, FileError> {
    let user = User::of_this_run();
    let usual = || Some(user.folder.as_ref()?.join("tlskeytop/config.toml"));
    let Some(path) = named.map(Path::to_owned).or_else(usual) else { return Ok(Config::default()) };
    let text = match read(&path, &user) {
        Err(FileError::Read { source, .. }) if named.is_none() && is_absence(&path, &source) => {
            return Ok(Config::default());
        }
        text => text?,
    };
    Config::parse(&text, user.home.as_deref())
        .map_err(|error| FileError::Text { path: Foreign::from(path.as_os_str()), error })
}

/// Whether there is no such file; or a folder on the way that is closed to us, as somebody else's home is.
fn is_absence(path: &Path, error: &io::Error) -> bool {
    match error.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => true,
        io::ErrorKind::PermissionDenied => path.symlink_metadata().is_err(),
        _ => false,
    }
}

impl User {
    fn of_this_run() -> Self {
        let owner = Owner::of_this_run();
        let rights = Rights::of(owner);
        if rights.is_some() {
            let (home, _) = account(owner);
            let folder = home.as_ref().map(|home| home.join(".config"));
            return Self { home, folder, rights };
        }
        // sudo leaves neither variable of another user. XDG's base directory specification: a relative path counts
        // for nothing.
        let absolute =
            |name| env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
        let home = absolute("HOME").or_else(|| account(owner).0);
        let folder = absolute("XDG_CONFIG_HOME").or_else(|| Some(home.as_ref()?.join(".config")));
        Self { home, folder, rights }
    }
}

fn read(path: &Path, user: &User) -> Result<String, FileError> {
    let shown = || Foreign::from(path.as_os_str());
    let as_whom = if user.rights.is_some() { " (it is read as the user behind sudo)" } else { "" };
    let failed = |source| FileError::Read { path: shown(), source, as_whom };
    let result = match &user.rights {
        Some(rights) => rights.lend(|| read_bounded(path)).and_then(|result| result),
        None => read_bounded(path),
    };
    match result.map_err(failed)? {
        Bytes::NotAFile => Err(FileError::NotAFile(shown())),
        Bytes::TooMany => Err(FileError::TooLarge(shown())),
        Bytes::All(bytes) => String::from_utf8(bytes).map_err(|_| FileError::NotText(shown())),
    }
}

enum Bytes {
    All(Vec<u8>),
    NotAFile,
    TooMany,
}

/// A symbolic link is followed: that is how people keep their configurations.
fn read_bounded(path: &Path) -> io::Result<Bytes> {
    let flags = libc::O_NONBLOCK | libc::O_NOCTTY | libc::O_CLOEXEC;
    let file = OpenOptions::new().read(true).custom_flags(flags).open(path)?;
    if !file.metadata()?.is_file() {
        return Ok(Bytes::NotAFile);
    }
    let mut bytes = Vec::new();
    file.take(LARGEST + 1).read_to_end(&mut bytes)?;
    Ok(if bytes.len() as u64 > LARGEST { Bytes::TooMany } else { Bytes::All(bytes) })
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::{PermissionsExt as _, symlink};

    use super::*;

    /// `nobody` of Debian and Fedora; it needs no entry in the databases.
    const NOBODY: u32 = 65534;

    fn ourselves() -> User {
        User { home: None, folder: None, rights: None }
    }

    #[test]
    fn only_regular_files_of_a_reasonable_size_are_read() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        fs::write(path("config"), "mouse = true").unwrap();
        symlink("config", path("link")).unwrap();
        fs::write(path("large"), vec![b'#'; 256 * 1024 + 1]).unwrap();
        fs::write(path("just"), vec![b'#'; 256 * 1024]).unwrap();
        fs::write(path("bytes"), b"\xff").unwrap();
        rustix::fs::mknodat(
            rustix::fs::CWD,
            path("fifo"),
            rustix::fs::FileType::Fifo,
            0o600.into(),
            0,
        )
        .unwrap();
        let read = |name: &str| read(&path(name), &ourselves());
        assert_eq!(read("link").unwrap(), "mouse = true");
        assert!(read("just").is_ok());
        assert!(matches!(read("large"), Err(FileError::TooLarge(_))));
        assert!(matches!(read("bytes"), Err(FileError::NotText(_))));
        assert!(matches!(read("fifo"), Err(FileError::NotAFile(_))));
        assert!(matches!(read(""), Err(FileError::NotAFile(_))));
        assert!(matches!(read("missing"), Err(FileError::Read { .. })));
    }

    #[test]
    fn a_named_file_must_be_there_and_its_mistakes_name_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("c\u{1b}.toml");
        let error = load(Some(&path)).unwrap_err().to_string();
        assert!(error.contains("c\\x1b.toml: No such file"), "{error}");
        fs::write(&path, "mouse = true\nfollow = 1\n").unwrap();
        let error = load(Some(&path)).unwrap_err().to_string();
        assert!(error.contains("c\\x1b.toml: line 2: follow: "), "{error}");
        fs::write(&path, "mouse = true\n").unwrap();
        assert!(load(Some(&path)).unwrap().mouse);
    }

    /// What root could read, and the user behind sudo could not.
    #[test]
    fn it_is_read_with_the_rights_of_the_user() {
        if rustix::process::geteuid().as_raw() != 0 {
            eprintln!("skipped: not root");
            return;
        }
        let folder = tempfile::tempdir().unwrap();
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let owner = Owner { uid: NOBODY, gid: NOBODY };
        let user = User { rights: Rights::of(owner), ..ourselves() };
        let path = folder.path().join("config");
        fs::write(&path, "secret").unwrap();
        symlink(&path, folder.path().join("link")).unwrap();
        let try_mode = |mode| {
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            let link = read(&folder.path().join("link"), &user);
            assert_eq!(read(&path, &user).is_ok(), link.is_ok());
            link.map_err(|error| error.to_string())
        };
        assert_eq!(try_mode(0o644), Ok("secret".to_owned()));
        for mode in [0o600, 0o640] {
            let error = try_mode(mode).unwrap_err();
            assert!(
                error.contains("Permission denied") && error.contains("behind sudo"),
                "{error}"
            );
        }
        // This thread, and those that it starts, are what they were.
        assert_eq!(rustix::process::geteuid().as_raw(), 0);
        assert_eq!(fs::read_to_string(&path).unwrap(), "secret");
    }
}
