//! The key log's file: private, append-only, one `write` a line (RFC 9850, the SSLKEYLOGFILE format).

mod lines;
mod private;
mod wiped;

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use zeroize::{Zeroize as _, Zeroizing};

pub use self::lines::keys;
use self::lines::{Lines, read_lines};
pub use self::private::{KeyLogError, Owner, create_private, open_new_private, open_private};
use crate::hidden::Hidden;
use crate::model::{KnownLine, PendingLine};
use crate::text::Foreign;

/// What happened to a batch of lines.
#[derive(Debug)]
pub enum Written {
    /// So many were written; the others were not, for this reason.
    Lines {
        /// Lines that are in the file now.
        count: usize,
        /// Why not all.
        error: Option<io::Error>,
    },
    /// The path no longer named the open file. It was created again, these lines are in it, and none
    /// of the batch is.
    Replaced(Vec<KnownLine>),
}

/// An open key log.
#[derive(Debug)]
pub struct KeyLog {
    path: PathBuf,
    owner: Owner,
    file: File,
    /// What is left of a line of which the disk took only a part, and which line that is.
    rest: Option<(Hidden<Vec<u8>>, KnownLine)>,
    needs_newline: bool,
}

/// Device and inode of the log and of the packets' files, none of which must become the key log: it would spoil both.
static APART: Mutex<Vec<(u64, u64)>> = Mutex::new(Vec::new());

/// Notes that this file is the log, or has packets.
pub fn keep_apart(file: &File) {
    APART.lock().unwrap_or_else(PoisonError::into_inner).extend(identity(file));
}

/// Forgets a file that is not written any more.
pub fn no_longer_apart(file: &File) {
    let file = identity(file);
    APART.lock().unwrap_or_else(PoisonError::into_inner).retain(|apart| Some(*apart) != file);
}

/// Whether [`keep_apart`] was told of this file.
pub fn is_kept_apart(file: &File) -> bool {
    let apart = APART.lock().unwrap_or_else(PoisonError::into_inner);
    identity(file).is_some_and(|file| apart.contains(&file))
}

fn identity(file: &File) -> Option<(u64, u64)> {
    file.metadata().ok().map(|metadata| (metadata.dev(), metadata.ino()))
}

impl KeyLog {
    /// Opens or creates the file, and says which lines are in it.
    ///
    /// # Errors
    ///
    /// [`KeyLogError`]; see [`open_private`].
    pub fn open(path: &Path, owner: Owner) -> Result<(Self, Vec<KnownLine>), KeyLogError> {
        let file = open_private(path, owner)?;
        if is_kept_apart(&file) {
            return Err(KeyLogError::IsAnother(Foreign::from(path.as_os_str())));
        }
        let Lines { known, needs_newline, is_other } = read_lines(&file).map_err(|source| {
            KeyLogError::Open { path: Foreign::from(path.as_os_str()), source }
        })?;
        if is_other {
            return Err(KeyLogError::OtherContents(Foreign::from(path.as_os_str())));
        }
        let keylog = Self { path: path.to_owned(), owner, file, rest: None, needs_newline };
        Ok((keylog, known))
    }

    /// Where it is.
    pub fn path(&self) -> Foreign {
        Foreign::from(self.path.as_os_str())
    }

    /// Writes each line with one `write`.
    ///
    /// # Errors
    ///
    /// [`KeyLogError`] when the path names no file that may be written any more.
    pub fn write(&mut self, lines: &[PendingLine]) -> Result<Written, KeyLogError> {
        if let Some(known) = self.reopen_if_replaced()? {
            return Ok(Written::Replaced(known));
        }
        for (count, pending) in lines.iter().enumerate() {
            if let Err(error) = self.write_line(pending) {
                return Ok(Written::Lines { count, error: Some(error) });
            }
        }
        Ok(Written::Lines { count: lines.len(), error: None })
    }

    /// Creates the file again when the path no longer names it: deleted, moved away, rotated.
    ///
    /// # Errors
    ///
    /// [`KeyLogError`] when that cannot be done.
    pub fn reopen_if_replaced(&mut self) -> Result<Option<Vec<KnownLine>>, KeyLogError> {
        let named = fs::symlink_metadata(&self.path);
        let same = match (&named, self.file.metadata()) {
            (Ok(named), Ok(open)) => (named.dev(), named.ino()) == (open.dev(), open.ino()),
            _ => false,
        };
        if same {
            return Ok(None);
        }
        let (new, known) = Self::open(&self.path, self.owner)?;
        *self = new;
        Ok(Some(known))
    }

    fn write_line(&mut self, pending: &PendingLine) -> io::Result<()> {
        let line = &pending.line;
        if let Some((rest, begun)) = self.rest.take() {
            self.append(rest, || begun, true)?;
            if begun == line.name() {
                return Ok(());
            }
        }
        if self.needs_newline {
            self.file.write_all(b"\n")?;
            self.needs_newline = false;
        }
        self.append(
            Zeroizing::new(line.to_text().as_bytes().to_vec()).into(),
            || line.name(),
            false,
        )
    }

    /// One `write`; what the disk did not take is tried at once, and kept when that fails.
    fn append(
        &mut self,
        mut bytes: Hidden<Vec<u8>>,
        name: impl Fn() -> KnownLine,
        mut begun: bool,
    ) -> io::Result<()> {
        while !bytes.is_empty() {
            match self.file.write(&bytes) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(count) => {
                    begun = true;
                    bytes.copy_within(count.., 0);
                    let left = bytes.len() - count;
                    bytes[left..].zeroize();
                    bytes.truncate(left);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => {
                    self.rest = begun.then(|| (bytes, name()));
                    return Err(error);
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt as _, symlink};

    use super::*;
    use crate::tls::{ClientRandom, KeyLine, Label, Secret};

    fn us() -> Owner {
        Owner::of_this_run()
    }

    fn line(random: u8) -> PendingLine {
        let secret = Secret::new(&Label::Exporter, &[random ^ 0xff; 32], 32).unwrap();
        let client_random = ClientRandom([random; 32]);
        PendingLine {
            line: KeyLine { label: Label::Exporter, client_random, secret },
            version: None,
        }
    }

    fn write(keylog: &mut KeyLog, lines: &[PendingLine]) -> usize {
        match keylog.write(lines).unwrap() {
            Written::Lines { count, error: None } => count,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_new_file_is_private_and_ours() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("k");
        let (mut keylog, known) = KeyLog::open(&path, us()).unwrap();
        assert!(known.is_empty());
        assert_eq!(write(&mut keylog, &[line(1), line(2)]), 2);
        let metadata = fs::metadata(&path).unwrap();
        assert_eq!(metadata.mode() & 0o7777, 0o600);
        assert_eq!(metadata.uid(), us().uid);
        let text = fs::read_to_string(&path).unwrap();
        assert_eq!(text, format!("{}{}", *line(1).line.to_text(), *line(2).line.to_text()));
    }

    #[test]
    fn what_others_prepared_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        fs::write(path("open"), "").unwrap();
        fs::set_permissions(path("open"), fs::Permissions::from_mode(0o644)).unwrap();
        symlink(path("open"), path("link")).unwrap();
        fs::create_dir(path("folder")).unwrap();
        let fifo = std::ffi::CString::new(path("fifo").to_str().unwrap()).unwrap();
        rustix::fs::mknodat(rustix::fs::CWD, &fifo, rustix::fs::FileType::Fifo, 0o600.into(), 0)
            .unwrap();
        fs::write(path("two"), "").unwrap();
        fs::set_permissions(path("two"), fs::Permissions::from_mode(0o600)).unwrap();
        fs::hard_link(path("two"), path("names")).unwrap();

        let refused = |name: &str| KeyLog::open(&path(name), us()).unwrap_err();
        assert!(matches!(refused("open"), KeyLogError::Mode { mode: 0o644, .. }));
        assert!(matches!(refused("link"), KeyLogError::Symlink(_)));
        assert!(matches!(refused("folder"), KeyLogError::NotAFile(_)));
        assert!(matches!(refused("fifo"), KeyLogError::NotAFile(_)));
        assert!(matches!(refused("two"), KeyLogError::Links { links: 2, .. }));
        assert!(matches!(refused("missing/k"), KeyLogError::Open { .. }));
    }

    #[test]
    fn an_existing_file_is_read_and_gets_its_newline() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("k");
        let whole = line(1).line.to_text();
        let cut = line(2).line.to_text();
        fs::write(&path, format!("# comment\n{}{}", *whole, &cut[..cut.len() - 1])).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        let (mut keylog, known) = KeyLog::open(&path, us()).unwrap();
        assert_eq!(known.len(), 1);
        assert_eq!(known[0].0, line(1).line.id());
        write(&mut keylog, &[line(3)]);
        let text = fs::read_to_string(&path).unwrap();
        assert_eq!(text, format!("# comment\n{}{}{}", *whole, *cut, *line(3).line.to_text()));
    }

    #[test]
    fn a_file_that_was_moved_away_is_made_again() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("k");
        let (mut keylog, _) = KeyLog::open(&path, us()).unwrap();
        write(&mut keylog, &[line(1)]);
        fs::rename(&path, folder.path().join("k.1")).unwrap();
        assert!(
            matches!(keylog.write(&[line(2)]).unwrap(), Written::Replaced(known) if known.is_empty())
        );
        write(&mut keylog, &[line(1), line(2)]);
        assert_eq!(fs::read_to_string(&path).unwrap().lines().count(), 2);
        fs::remove_file(&path).unwrap();
        symlink("/dev/null", &path).unwrap();
        assert!(matches!(keylog.write(&[line(3)]), Err(KeyLogError::Symlink(_))));
    }

    #[test]
    fn a_file_of_something_else_is_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key.pem");
        let opened = |text: &str| {
            fs::write(&path, text).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
            KeyLog::open(&path, us()).map(|_| ())
        };
        let key = line(1).line.to_text();
        for other in ["-----BEGIN PRIVATE KEY-----\nMIGHAgEA\n", "one\n\n", "one\ntwo"] {
            assert!(matches!(opened(other), Err(KeyLogError::OtherContents(_))), "{other}");
        }
        let cut = &key[..20];
        for ours in ["", "\n", "# SSL/TLS secrets\nother\n", cut, &*format!("other\n{}", *key)] {
            opened(ours).unwrap();
        }
    }

    #[test]
    fn a_very_long_line_is_no_danger() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("k");
        let key = line(1).line.to_text();
        fs::write(&path, format!("{}{}\n{}", "A".repeat(4096), *key, *key)).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        let (_, known) = KeyLog::open(&path, us()).unwrap();
        assert_eq!(known.len(), 1, "a key line is only what begins a line");
    }
}
