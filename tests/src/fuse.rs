//! A file system of the test's own, which serves one file and can stop answering: the raw protocol of `linux/fuse.h`.

use std::ffi::OsStr;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use anyhow::{Context, Result, ensure};

use crate::lab::{Lab, skip};

const DEVICE: &str = "/dev/fuse";
/// The most that the kernel may ask at a time, with room for its header.
const REQUEST: usize = 256 << 10;
/// `struct fuse_in_header` and `struct fuse_out_header`.
const IN_HEADER: usize = 40;
const OUT_HEADER: usize = 16;
/// Inodes: 1 is the root by definition.
const ROOT: u64 = 1;
const SERVED: u64 = 2;
/// Seconds for which the kernel may remember names and attributes: none, so that it asks each time.
const VALID: u64 = 0;

// Operations: `enum fuse_opcode`.
const LOOKUP: u32 = 1;
const FORGET: u32 = 2;
const GETATTR: u32 = 3;
const OPEN: u32 = 14;
const READ: u32 = 15;
const STATFS: u32 = 17;
const RELEASE: u32 = 18;
const FLUSH: u32 = 25;
const INIT: u32 = 26;
const OPENDIR: u32 = 27;
const RELEASEDIR: u32 = 29;
const INTERRUPT: u32 = 36;
const BATCH_FORGET: u32 = 42;

/// Whom it answers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
enum Answers {
    #[default]
    Everybody,
    /// Threads with this name.
    Only(String),
}

/// The mount; unmounted, and whoever waits for it set free, when dropped.
pub struct Fuse {
    folder: PathBuf,
    name: String,
    answers: Arc<Mutex<Answers>>,
    unanswered: Arc<AtomicU64>,
    /// The connection ends with its last handle.
    _device: File,
}

impl Fuse {
    /// Mounts one in the lab that shows a copy of `file`; None, with the reason printed, where there is no FUSE.
    ///
    /// # Errors
    /// When it cannot be mounted, or there is none and live tests must not be skipped.
    pub fn mount(lab: &Lab, file: &Path) -> Result<Option<Self>> {
        let Ok(device) = OpenOptions::new().read(true).write(true).open(DEVICE) else {
            return skip(&format!("{DEVICE} cannot be opened"));
        };
        let folder = lab.path("fuse");
        fs::create_dir(&folder)?;
        let name = file.file_name().context("a file")?.to_string_lossy().into_owned();
        let contents = fs::read(file)?;
        let options = "fd=0,rootmode=40000,user_id=0,group_id=0,allow_other";
        let mut mount = Command::new("mount");
        mount.args(["-i", "-t", "fuse", "-o", options, "tlskeytop-test"]).arg(&folder);
        let status = mount.stdin(Stdio::from(device.try_clone()?)).status()?;
        ensure!(status.success(), "mount: {status}");
        let (answers, unanswered) = (Arc::default(), Arc::default());
        let server = Server {
            device: device.try_clone()?,
            name: name.clone(),
            contents,
            answers: Arc::clone(&answers),
            unanswered: Arc::clone(&unanswered),
        };
        thread::Builder::new().name("fuse".to_owned()).spawn(move || server.serve())?;
        Ok(Some(Self { folder, name, answers, unanswered, _device: device }))
    }

    /// Where it is mounted.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The file.
    pub fn file(&self) -> PathBuf {
        self.folder.join(&self.name)
    }

    /// From now on it takes the requests of everybody, and answers only those of threads with this name.
    pub fn answer_only(&self, thread: &str) {
        let mut answers = self.answers.lock().unwrap_or_else(PoisonError::into_inner);
        *answers = Answers::Only(thread.to_owned());
    }

    /// Requests that were taken and not answered.
    pub fn unanswered(&self) -> u64 {
        self.unanswered.load(Ordering::SeqCst)
    }
}

impl Drop for Fuse {
    fn drop(&mut self) {
        // By force: whoever waits gets an error. It must not look at what it unmounts.
        let mut umount = Command::new("umount");
        umount.args(["-i", "--no-canonicalize", "--lazy", "--force"]).arg(&self.folder);
        let _ = umount.status();
    }
}

/// What answers, in a thread of its own.
struct Server {
    device: File,
    name: String,
    contents: Vec<u8>,
    answers: Arc<Mutex<Answers>>,
    unanswered: Arc<AtomicU64>,
}

impl Server {
    fn serve(mut self) {
        let mut request = vec![0; REQUEST];
        loop {
            match self.device.read(&mut request) {
                Ok(length) if length >= IN_HEADER => self.take(&request[..length]),
                Err(error) if error.raw_os_error() == Some(4) => {}
                // It was unmounted.
                _ => return,
            }
        }
    }

    fn take(&mut self, request: &[u8]) {
        let (operation, unique, inode) =
            (u32_at(request, 4), u64_at(request, 8), u64_at(request, 16));
        let thread = u32_at(request, 32);
        let body = &request[IN_HEADER..];
        if matches!(operation, FORGET | BATCH_FORGET | INTERRUPT) {
            return;
        }
        if operation != INIT && !self.is_answered(thread) {
            // For that nobody waits, and the kernel does not say whose it is.
            if operation != RELEASE {
                let name = fs::read_to_string(format!("/proc/{thread}/comm"));
                eprintln!("not answered: operation {operation} of {thread} ({name:?})");
                self.unanswered.fetch_add(1, Ordering::SeqCst);
            }
            return;
        }
        let result = match operation {
            INIT => Ok(init()),
            LOOKUP => self.lookup(inode, body),
            GETATTR => Ok([&VALID.to_le_bytes()[..], &[0; 8], &self.attributes(inode)].concat()),
            // A handle that nobody asks for again.
            OPEN | OPENDIR => Ok(vec![0; 16]),
            READ => Ok(self.read(u64_at(body, 8), u32_at(body, 16))),
            STATFS => Ok(vec![0; 80]),
            RELEASE | RELEASEDIR | FLUSH => Ok(Vec::new()),
            _ => Err(rustix::io::Errno::NOSYS),
        };
        let (error, body) = match result {
            Ok(body) => (0, body),
            Err(error) => (-error.raw_os_error(), Vec::new()),
        };
        let mut answer = Vec::with_capacity(OUT_HEADER + body.len());
        answer.extend(((OUT_HEADER + body.len()) as u32).to_le_bytes());
        answer.extend(error.to_le_bytes());
        answer.extend(unique.to_le_bytes());
        answer.extend(body);
        // Whoever asked may be gone.
        let _: io::Result<usize> = self.device.write(&answer);
    }

    fn is_answered(&self, thread: u32) -> bool {
        match &*self.answers.lock().unwrap_or_else(PoisonError::into_inner) {
            Answers::Everybody => true,
            Answers::Only(name) => {
                let comm = fs::read_to_string(format!("/proc/{thread}/comm"));
                comm.is_ok_and(|comm| comm.trim_end() == name)
            }
        }
    }

    /// `struct fuse_entry_out`.
    fn lookup(&self, inode: u64, body: &[u8]) -> Result<Vec<u8>, rustix::io::Errno> {
        let name = OsStr::from_bytes(body.strip_suffix(b"\0").unwrap_or(body));
        if inode != ROOT || name != OsStr::new(&self.name) {
            return Err(rustix::io::Errno::NOENT);
        }
        let mut entry = SERVED.to_le_bytes().to_vec();
        // Generation, and for how long name and attributes are valid.
        entry.extend([0; 8]);
        entry.extend(VALID.to_le_bytes());
        entry.extend(VALID.to_le_bytes());
        entry.extend([0; 8]);
        entry.extend(self.attributes(SERVED));
        Ok(entry)
    }

    /// `struct fuse_attr`.
    fn attributes(&self, inode: u64) -> Vec<u8> {
        let (size, mode) = match inode {
            ROOT => (0, 0o40_755u32),
            _ => (self.contents.len() as u64, 0o100_755),
        };
        let mut attributes = Vec::with_capacity(88);
        // Inode, size, blocks, the three times.
        for number in [inode, size, size.div_ceil(512), 0, 0, 0] {
            attributes.extend(number.to_le_bytes());
        }
        // The times' nanoseconds, mode, links, owner, group, device, block size, flags.
        for number in [0, 0, 0, mode, 1, 0, 0, 0, 4096, 0] {
            attributes.extend(number.to_le_bytes());
        }
        attributes
    }

    fn read(&self, offset: u64, size: u32) -> Vec<u8> {
        let start = usize::try_from(offset).unwrap_or(usize::MAX).min(self.contents.len());
        let end = start.saturating_add(size as usize).min(self.contents.len());
        self.contents[start..end].to_vec()
    }
}

/// `struct fuse_init_out` of protocol 7.31, with nothing that has to be agreed on.
fn init() -> Vec<u8> {
    let mut body = Vec::with_capacity(64);
    // Version, read-ahead, flags, requests in the background and when that is too many, and the largest write.
    body.extend(7u32.to_le_bytes());
    body.extend(31u32.to_le_bytes());
    body.extend((128u32 << 10).to_le_bytes());
    body.extend(0u32.to_le_bytes());
    body.extend(12u16.to_le_bytes());
    body.extend(9u16.to_le_bytes());
    body.extend((128u32 << 10).to_le_bytes());
    // Granularity of times, pages, alignment, and what is not used.
    body.extend(1u32.to_le_bytes());
    body.resize(64, 0);
    body
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    bytes.get(at..at + 4).map_or(0, |field| u32::from_le_bytes(field.try_into().expect("4 bytes")))
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    bytes.get(at..at + 8).map_or(0, |field| u64::from_le_bytes(field.try_into().expect("8 bytes")))
}
