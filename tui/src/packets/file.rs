//! The file that packets and secrets go to: private as the key log, made of whole blocks whatever the disk does, and
//! followed by another one when it is large or old enough.

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use zeroize::Zeroize as _;

use crate::keylog::{KeyLogError, Owner, is_kept_apart, keep_apart, no_longer_apart, open_private};
use crate::text::Foreign;

/// Bytes that are gathered before they are written.
const GATHERED: usize = 256 << 10;
/// How long a disk that took nothing is left alone.
const RETRY: Duration = Duration::from_secs(1);
/// How a pcapng file begins: the type of a section header, the same in both byte orders (draft-ietf-opsawg-pcapng, 4.1).
const MAGIC: [u8; 4] = [0x0a, 0x0d, 0x0d, 0x0a];
/// The types of blocks with a packet, and with secrets.
const PACKET: u32 = 6;
const SECRETS: u32 = 10;
/// Where in a block with a packet its captured length is.
const CAPTURED: usize = 20;
/// Where in a block with secrets these are, behind their length.
const LINES: usize = 16;
/// Type and length of a block.
const HEADER: usize = 8;

/// Why packets cannot be written to a file.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// It is not one that may be written.
    #[error(transparent)]
    Open(#[from] KeyLogError),
    /// It is not empty, and no pcapng file.
    #[error("{0}: has other contents than packets; name another path")]
    OtherContents(Foreign),
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

/// What is gathered, and not on the disk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Unwritten {
    /// Packets.
    pub packets: u64,
    /// Bytes of them.
    pub bytes: u64,
    /// Secrets.
    pub secrets: u64,
}

/// The file. Written to it is a block at a time: it reaches the disk with others, by [`Write::flush`] at the latest.
pub struct PacketFile {
    base: PathBuf,
    owner: Owner,
    rotation: Rotation,
    number: u32,
    file: File,
    /// When its first packet came.
    began: Instant,
    /// Bytes on the disk: whole blocks.
    written: u64,
    /// Something else is on the disk behind them: a part of a block, or an earlier capture.
    is_cut: bool,
    /// Whole blocks that are not on the disk.
    pending: Vec<u8>,
    /// Some of them, or what was before in their place, are secrets.
    has_secrets: bool,
    /// The disk took nothing: not before then again.
    retry_at: Option<Instant>,
}

impl PacketFile {
    /// Opens or creates the file. An earlier capture in it is replaced by what is written first, and not before.
    ///
    /// # Errors
    ///
    /// [`FileError`] when it is not private as [`open_private`] wants it, or has other contents.
    pub fn create(path: &Path, owner: Owner, rotation: Rotation) -> Result<Self, FileError> {
        let (file, is_cut) = open(path, owner)?;
        Ok(Self {
            base: path.to_owned(),
            owner,
            rotation,
            number: 0,
            file,
            began: Instant::now(),
            written: 0,
            is_cut,
            pending: Vec::with_capacity(2 * GATHERED),
            has_secrets: false,
            retry_at: None,
        })
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
        let named = |path: &Path| Foreign::from(path.as_os_str());
        let path = numbered(&self.base, self.number + 1);
        self.flush().map_err(|source| FileError::Io { path: named(&self.base), source })?;
        let (next, is_cut) = open(&path, self.owner)?;
        no_longer_apart(&std::mem::replace(&mut self.file, next));
        self.number += 1;
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
    pub fn unwritten(&self) -> Unwritten {
        let mut unwritten = Unwritten::default();
        for block in blocks(&self.pending) {
            match number(block, 0) {
                Some(PACKET) => {
                    unwritten.packets += 1;
                    unwritten.bytes += u64::from(number(block, CAPTURED).unwrap_or(0));
                }
                Some(SECRETS) => {
                    let length = number(block, LINES - 4).unwrap_or(0) as usize;
                    let lines = block.get(LINES..).and_then(|lines| lines.get(..length));
                    let ends = lines.unwrap_or_default().iter().filter(|&&byte| byte == b'\n');
                    unwritten.secrets += ends.count() as u64;
                }
                _ => {}
            }
        }
        unwritten
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
        self.has_secrets |= block.starts_with(&SECRETS.to_ne_bytes());
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

/// How many of the first `len` bytes are whole blocks.
fn whole_blocks(bytes: &[u8], len: usize) -> usize {
    blocks(&bytes[..len.min(bytes.len())]).map(<[u8]>::len).sum()
}

/// The whole blocks at the beginning of these bytes.
fn blocks(mut bytes: &[u8]) -> impl Iterator<Item = &[u8]> {
    std::iter::from_fn(move || {
        let length = number(bytes, 4).filter(|length| *length as usize >= HEADER)?;
        let (block, rest) = bytes.split_at_checked(length as usize)?;
        bytes = rest;
        Some(block)
    })
}

/// The number at this place of a block.
fn number(block: &[u8], at: usize) -> Option<u32> {
    let four = block.get(at..)?.first_chunk()?;
    Some(u32::from_ne_bytes(*four))
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
    use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};

    use super::*;

    fn owner() -> Owner {
        Owner::of_this_run()
    }

    fn block(kind: u32, len: u32) -> Vec<u8> {
        let mut block = vec![0x5a; len as usize];
        block[..4].copy_from_slice(&kind.to_ne_bytes());
        block[4..8].copy_from_slice(&len.to_ne_bytes());
        block
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
        assert_eq!(fs::read(&before).unwrap(), section());
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
    fn whole_blocks_are_counted_and_lies_are_not() {
        let blocks = [block(1, 12), block(2, 20)].concat();
        for (len, whole) in [(0, 0), (11, 0), (12, 12), (31, 12), (32, 32)] {
            assert_eq!(whole_blocks(&blocks, len), whole);
        }
        assert_eq!(whole_blocks(&block(1, 12)[..6], 6), 0);
        assert_eq!(whole_blocks(&blocks[..31], 32), 12);
        let mut lie = block(1, 12);
        lie[4..8].fill(0);
        assert_eq!(whole_blocks(&lie, 12), 0);
    }
}
