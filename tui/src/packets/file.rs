//! The file that packets and secrets go to: private as the key log, made of whole blocks whatever the disk does, and
//! followed by another one when it is large or old enough.

use std::ffi::OsString;
use std::fs::{File, Metadata};
use std::io::{self, Write};
use std::os::unix::fs::{FileExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use zeroize::Zeroize as _;

use super::blocks::{Contents, PACKET, SECRETS, whole_blocks};
use crate::keylog::{
    KeyLogError, Owner, is_kept_apart, keep_apart, no_longer_apart, open_new_private, open_private,
};
use crate::text::Foreign;

/// Bytes that are gathered before they are written.
const GATHERED: usize = 256 << 10;
/// How long a disk that took nothing is left alone.
const RETRY: Duration = Duration::from_secs(1);
/// Names that are tried for a file that replaces none.
const NAMES: u32 = 1000;
/// How a pcapng file begins: the type of a section header, the same in both byte orders (draft-ietf-opsawg-pcapng, 4.1).
const MAGIC: [u8; 4] = [0x0a, 0x0d, 0x0d, 0x0a];
/// Why packets cannot be written to a file.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// It is not one that may be written.
    #[error(transparent)]
    Open(#[from] KeyLogError),
    /// It is not empty, and no pcapng file.
    #[error("{0}: has other contents than packets; name another path")]
    OtherContents(Foreign),
    /// So are all others of such a name.
    #[error("{0} and {NAMES} others are there already")]
    Exists(Foreign),
    /// The log or another part of this capture is written to it.
    #[error("{0} is written by this capture already; name another path")]
    InUse(Foreign),
    /// It cannot be read.
    #[error("{path}: {source}")]
    Io {
        /// The file.
        path: Foreign,
        /// What happened.
        source: io::Error,
    },
}

/// When another file follows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rotation {
    /// At so many bytes, or a little more.
    pub bytes: Option<u64>,
    /// After this time, with the next packet.
    pub age: Option<Duration>,
}

/// The file. Written to it is a block at a time: it reaches the disk with others, by [`Write::flush`] at the latest.
pub struct PacketFile {
    base: PathBuf,
    /// Where the present one is.
    path: PathBuf,
    owner: Owner,
    rotation: Rotation,
    /// Other captures in its place are replaced.
    replaces: bool,
    number: u32,
    file: File,
    /// When its first packet came.
    began: Instant,
    /// Bytes on the disk: whole blocks.
    written: u64,
    /// Something else is on the disk behind them: a part of a block, or an earlier capture.
    is_cut: bool,
    /// It has an earlier capture, which stays until there is a packet or a secret to replace it by.
    has_earlier: bool,
    /// Whole blocks that are not on the disk.
    pending: Vec<u8>,
    /// Some of them, or what was before in their place, are secrets.
    has_secrets: bool,
    /// The disk took nothing: not before then again.
    retry_at: Option<Instant>,
}

impl PacketFile {
    /// Opens or creates the file. An earlier capture in it is replaced by the first packet or secret, and not before.
    ///
    /// # Errors
    ///
    /// [`FileError`] when it is not private as [`open_private`] wants it, or has other contents.
    pub fn create(path: &Path, owner: Owner, rotation: Rotation) -> Result<Self, FileError> {
        let (file, is_cut) = open(path, owner)?;
        Ok(Self::of(path.to_owned(), file, is_cut, owner, rotation))
    }

    /// Creates the file, or another one beside it when that is there: `packets-2.pcapng` and so on. None is replaced, nor
    /// by those that follow.
    ///
    /// # Errors
    ///
    /// [`FileError`] when none can be created.
    pub fn create_new(path: &Path, owner: Owner, rotation: Rotation) -> Result<Self, FileError> {
        let names = std::iter::once(path.to_owned()).chain((2..).map(|n| numbered(path, n)));
        let (file, path, _) = open_new(names, owner)?;
        let mut file = Self::of(path, file, false, owner, rotation);
        file.replaces = false;
        Ok(file)
    }

    fn of(path: PathBuf, file: File, is_cut: bool, owner: Owner, rotation: Rotation) -> Self {
        Self {
            base: path.clone(),
            path,
            owner,
            rotation,
            replaces: true,
            number: 0,
            file,
            began: Instant::now(),
            written: 0,
            is_cut,
            has_earlier: is_cut,
            pending: Vec::with_capacity(2 * GATHERED),
            has_secrets: false,
            retry_at: None,
        }
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whether its path names it still.
    pub fn is_in_place(&self) -> bool {
        let named = |file: &Metadata| (file.dev(), file.ino());
        let (named_now, own) = (std::fs::symlink_metadata(&self.path), self.file.metadata());
        own.is_ok_and(|own| named_now.is_ok_and(|now| named(&now) == named(&own)))
    }

    /// Whether an earlier capture is still in it.
    pub fn has_earlier(&self) -> bool {
        self.has_earlier
    }

    /// Replaces an earlier capture, also by nothing.
    pub fn replace_earlier(&mut self) {
        self.has_earlier = false;
    }

    /// The first packet comes: its age counts from now on.
    pub fn begins(&mut self) {
        self.began = Instant::now();
    }

    /// Whether the next packet belongs in another file.
    pub fn is_full(&self) -> bool {
        let len = self.written + self.pending.len() as u64;
        len > 0
            && (self.rotation.bytes.is_some_and(|most| len >= most)
                || self.rotation.age.is_some_and(|most| self.began.elapsed() >= most))
    }

    /// Goes on with the next file, which begins empty.
    ///
    /// # Errors
    ///
    /// [`FileError`] when that cannot be had, or the last blocks of this one cannot be written: it is still this one then.
    pub fn rotate(&mut self) -> Result<(), FileError> {
        let flushed = self.flush();
        flushed.map_err(|source| FileError::Io { path: self.path.as_os_str().into(), source })?;
        let (base, number) = (&self.base, self.number);
        let following = (number + 1..).map(|number| numbered(base, number));
        let (next, path, passed, is_cut) = match self.replaces {
            true => {
                let path = numbered(base, number + 1);
                let (next, is_cut) = open(&path, self.owner)?;
                (next, path, 0, is_cut)
            }
            false => {
                let (next, path, passed) = open_new(following, self.owner)?;
                (next, path, passed, false)
            }
        };
        no_longer_apart(&std::mem::replace(&mut self.file, next));
        self.path = path;
        self.number += 1 + passed;
        self.written = 0;
        self.is_cut = is_cut;
        Ok(())
    }

    /// Whether it is time to write: the disk takes it, or may do so again.
    pub fn is_ready(&self) -> bool {
        self.retry_at.is_none_or(|at| Instant::now() >= at)
    }

    /// The disk did not take everything the last time.
    pub fn is_failing(&self) -> bool {
        self.retry_at.is_some()
    }

    /// What is gathered, and not on the disk.
    pub fn unwritten(&self) -> Contents {
        Contents::of(&self.pending)
    }

    /// Writes what is gathered, if it is enough.
    ///
    /// # Errors
    ///
    /// As [`Write::flush`].
    pub fn flush_if_full(&mut self) -> io::Result<()> {
        if self.pending.len() < GATHERED { Ok(()) } else { self.flush() }
    }

    /// Grows by hand: a `Vec` that grows frees the old memory with the secrets still in it.
    fn gather(&mut self, block: &[u8]) {
        let [is_packet, is_secrets] =
            [PACKET, SECRETS].map(|kind| block.starts_with(&kind.to_ne_bytes()));
        self.has_earlier &= !is_packet && !is_secrets;
        self.has_secrets |= is_secrets;
        let len = self.pending.len() + block.len();
        if len > self.pending.capacity() {
            let mut grown = Vec::with_capacity(2 * len);
            grown.extend_from_slice(&self.pending);
            self.pending.zeroize();
            self.pending = grown;
        }
        self.pending.extend_from_slice(block);
    }

    /// Forgets the first bytes of what is gathered, and leaves no secrets where they were. Packets are not wiped: that
    /// would cost more than to write them.
    fn taken(&mut self, bytes: usize) {
        self.pending.copy_within(bytes.., 0);
        let left = self.pending.len() - bytes;
        if self.has_secrets {
            self.pending[left..].zeroize();
            self.has_secrets = left > 0;
        }
        self.pending.truncate(left);
        self.written += bytes as u64;
    }

    /// Cuts what does not belong behind the whole blocks.
    fn cut(&mut self) -> io::Result<()> {
        if self.is_cut {
            self.file.set_len(self.written)?;
            self.is_cut = false;
        }
        Ok(())
    }

    fn write_pending(&mut self) -> io::Result<()> {
        self.cut()?;
        let mut done = 0;
        let result = loop {
            if done == self.pending.len() {
                break Ok(());
            }
            match self.file.write(&self.pending[done..]) {
                Ok(0) => break Err(io::ErrorKind::WriteZero.into()),
                Ok(bytes) => done += bytes,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => break Err(error),
            }
        };
        let whole = whole_blocks(&self.pending, done);
        self.is_cut = whole < done;
        self.taken(whole);
        // The file is to be readable even if nothing follows.
        result.or_else(|error| self.cut().and(Err(error)))
    }
}

impl Write for PacketFile {
    /// Takes one whole block.
    fn write(&mut self, block: &[u8]) -> io::Result<usize> {
        self.gather(block);
        Ok(block.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        if self.has_earlier {
            return Ok(());
        }
        let result = self.write_pending();
        self.retry_at = result.is_err().then(|| Instant::now() + RETRY);
        result
    }
}

impl Drop for PacketFile {
    fn drop(&mut self) {
        self.pending.zeroize();
        no_longer_apart(&self.file);
    }
}

/// `packets.pcapng`, `packets-1.pcapng`, `packets-2.pcapng`.
fn numbered(base: &Path, number: u32) -> PathBuf {
    let mut name = base.file_stem().map(OsString::from).unwrap_or_default();
    name.push(format!("-{number}"));
    if let Some(extension) = base.extension() {
        name.push(".");
        name.push(extension);
    }
    base.with_file_name(name)
}

/// Creates the first of these that is not there: where it is, and how many were.
fn open_new(
    mut names: impl Iterator<Item = PathBuf>,
    owner: Owner,
) -> Result<(File, PathBuf, u32), FileError> {
    let mut first = None;
    for passed in 0..NAMES {
        let Some(path) = names.next() else { break };
        if let Some(file) = open_new_private(&path, owner)? {
            keep_apart(&file);
            return Ok((file, path, passed));
        }
        first.get_or_insert(path);
    }
    Err(FileError::Exists(first.unwrap_or_default().as_os_str().into()))
}

/// The file, and whether there is an earlier capture in it.
fn open(path: &Path, owner: Owner) -> Result<(File, bool), FileError> {
    let shown = || Foreign::from(path.as_os_str());
    let failed = |source| FileError::Io { path: shown(), source };
    let file = open_private(path, owner)?;
    if is_kept_apart(&file) {
        return Err(FileError::InUse(shown()));
    }
    let mut start = [0; MAGIC.len()];
    let len = file.read_at(&mut start, 0).map_err(failed)?;
    if len > 0 && start != MAGIC {
        return Err(FileError::OtherContents(shown()));
    }
    keep_apart(&file);
    Ok((file, len > 0))
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::{PermissionsExt as _, symlink};

    use super::*;
    use crate::packets::blocks::tests::block;

    fn owner() -> Owner {
        Owner::of_this_run()
    }

    fn section() -> Vec<u8> {
        block(u32::from_ne_bytes(MAGIC), 28)
    }

    #[test]
    fn it_is_private_and_replaces_an_earlier_capture_only() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("p.pcapng");
        let mut file = PacketFile::create(&path, owner(), Rotation::default()).unwrap();
        file.write_all(&section()).unwrap();
        file.flush().unwrap();
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o7777, 0o600);
        assert_eq!(fs::read(&path).unwrap(), section());
        // Still written by this process.
        let again = PacketFile::create(&path, owner(), Rotation::default());
        assert!(matches!(again, Err(FileError::InUse(_))));

        let other = folder.path().join("key.pem");
        fs::write(&other, "-----BEGIN PRIVATE KEY-----").unwrap();
        fs::set_permissions(&other, fs::Permissions::from_mode(0o600)).unwrap();
        let refused = PacketFile::create(&other, owner(), Rotation::default());
        assert!(matches!(refused, Err(FileError::OtherContents(_))));
        fs::set_permissions(&other, fs::Permissions::from_mode(0o644)).unwrap();
        let link = folder.path().join("link");
        symlink(&path, &link).unwrap();
        for refused in [other, link, folder.path().to_owned()] {
            let error = PacketFile::create(&refused, owner(), Rotation::default()).err().unwrap();
            assert!(matches!(error, FileError::Open(_)), "{error}");
        }
        let before = folder.path().join("before");
        fs::write(&before, [section(), block(6, 400)].concat()).unwrap();
        fs::set_permissions(&before, fs::Permissions::from_mode(0o600)).unwrap();
        let mut file = PacketFile::create(&before, owner(), Rotation::default()).unwrap();
        assert_eq!(fs::metadata(&before).unwrap().len(), 428, "nothing was written yet");
        file.write_all(&section()).unwrap();
        file.flush().unwrap();
        assert_eq!(fs::metadata(&before).unwrap().len(), 428, "that is nothing yet");
        file.write_all(&block(6, 40)).unwrap();
        file.flush().unwrap();
        assert_eq!(fs::read(&before).unwrap(), [section(), block(6, 40)].concat());
    }

    #[test]
    fn files_follow_each_other() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("p.pcapng");
        let rotation = Rotation { bytes: Some(100), age: None };
        let mut file = PacketFile::create(&path, owner(), rotation).unwrap();
        for (number, len) in [(1, 28), (2, 28)] {
            file.write_all(&section()).unwrap();
            assert!(!file.is_full());
            file.write_all(&block(6, 100 - len)).unwrap();
            assert!(file.is_full());
            file.rotate().unwrap();
            assert!(!file.is_full());
            let next = folder.path().join(format!("p-{number}.pcapng"));
            assert_eq!(fs::metadata(&next).unwrap().len(), 0);
        }
        assert_eq!(fs::metadata(&path).unwrap().len(), 100);
        assert_eq!(numbered(Path::new("/a.b/c"), 3), Path::new("/a.b/c-3"));
    }

    #[test]
    fn one_that_replaces_none_takes_another_name() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        let rotation = Rotation { bytes: Some(1), age: None };
        let new = || {
            let mut file = PacketFile::create_new(&path("p.pcapng"), owner(), rotation).unwrap();
            file.write_all(&section()).unwrap();
            file.flush().unwrap();
            file
        };
        let mut files = [new(), new(), new()];
        let paths = [0, 1, 2].map(|at: usize| files[at].path().to_owned());
        assert_eq!(paths, ["p.pcapng", "p-2.pcapng", "p-3.pcapng"].map(path));
        files[0].rotate().unwrap();
        assert_eq!(files[0].path(), path("p-1.pcapng"));
        files[0].write_all(&section()).unwrap();
        files[0].rotate().unwrap();
        assert_eq!(files[0].path(), path("p-4.pcapng"));
        assert_eq!(fs::read(path("p-2.pcapng")).unwrap(), section());
        assert!(files[1].is_in_place());
        fs::rename(path("p-2.pcapng"), path("moved")).unwrap();
        assert!(!files[1].is_in_place());
        fs::copy(path("moved"), path("p-2.pcapng")).unwrap();
        assert!(!files[1].is_in_place());
    }
}
