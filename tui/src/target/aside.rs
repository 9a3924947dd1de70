//! Reading a file of a FUSE mount by a process of its own.
//!
//! Whoever waits for a FUSE server cannot be killed once the server has taken the request, and a process of which one
//! thread waits cannot end. So another process waits: ourselves, run anew under another name, which copies the file into
//! memory that we share with it. When it does not come back, it is left behind.

use std::ffi::{CStr, CString, OsStr, OsString};
use std::fs::{File, FileTimes};
use std::io::{self, Read as _};
use std::os::fd::{AsFd as _, AsRawFd as _};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, Command, ExitCode, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, fcntl_get_seals, memfd_create};
use rustix::process::{Pid, PidfdFlags, pidfd_open};

/// The name under which we copy, as the first argument.
const NAME: &CStr = c"tlskeytop-copy";
/// The path of what is run: none, but its descriptor. [`crate::harden`] allows this one address.
pub const NO_PATH: &CStr = c"";
/// Most bytes that are copied. The largest programs have 300 MiB.
const LIMIT: u64 = 512 << 20;
/// How long nothing may come before a server counts as one that does not answer.
const PATIENCE: Duration = Duration::from_millis(1500);
/// How often it is looked whether more has come.
const GLANCE: Duration = Duration::from_millis(50);
/// What says that a copy is whole: its process can do no more to it.
const WHOLE: SealFlags = SealFlags::WRITE.union(SealFlags::SHRINK).union(SealFlags::GROW);

/// Our own executable: all that is ever run anew.
///
/// # Errors
///
/// When it cannot be opened.
pub fn own_executable() -> io::Result<&'static File> {
    static OWN: OnceLock<Option<File>> = OnceLock::new();
    let open = || File::open("/proc/self/exe").ok();
    OWN.get_or_init(open).as_ref().ok_or_else(|| io::ErrorKind::NotFound.into())
}

/// A copy of a file, in memory, which nobody can change; it has the time of the file's last change. Of a folder it is
/// empty: it answers. `more` is told when there is something of it.
///
/// # Errors
///
/// [`io::ErrorKind::TimedOut`] when the file system does not answer, [`io::ErrorKind::Other`] when the file cannot be
/// read.
pub fn copy(path: &Path, more: impl Fn()) -> io::Result<File> {
    let memory = memfd_create("copy", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING)?;
    let memory = File::from(memory);
    let mut command = Command::new("/proc/self/exe");
    command.env_clear().current_dir("/");
    run_anew(&mut command, path)?;
    command.stdin(Stdio::null()).stdout(memory.try_clone()?).stderr(Stdio::null());
    let mut child = command.spawn()?;
    let ended = wait(&child, &memory, more);
    if !ended? {
        // It may be that only we are given up, and not the server.
        let _ = child.kill();
        let _ = child.try_wait();
        return Err(io::ErrorKind::TimedOut.into());
    }
    // Somebody else may have waited for it, so that its exit code is not known.
    let _ = child.try_wait();
    match fcntl_get_seals(&memory)?.contains(WHOLE) {
        true => Ok(memory),
        false => Err(io::Error::other("it cannot be read")),
    }
}

/// Lets the command run our executable by its descriptor, which is not forbidden.
fn run_anew(command: &mut Command, path: &Path) -> io::Result<()> {
    let own = own_executable()?.as_raw_fd();
    let path = CString::new(path.as_os_str().as_bytes())?;
    let run = move || {
        let arguments = [NAME.as_ptr(), path.as_ptr(), std::ptr::null()];
        let environment = [std::ptr::null::<libc::c_char>()];
        // SAFETY: a descriptor that is never closed, and arrays of C strings that end with a null pointer.
        unsafe {
            libc::syscall(
                libc::SYS_execveat,
                own,
                NO_PATH.as_ptr(),
                arguments.as_ptr(),
                environment.as_ptr(),
                libc::AT_EMPTY_PATH,
            )
        };
        Err(io::Error::last_os_error())
    };
    // SAFETY: between fork and exec it allocates nothing and takes no lock.
    unsafe { command.pre_exec(run) };
    Ok(())
}

/// Whether the process ended, as long as the copy goes on growing.
fn wait(child: &Child, memory: &File, more: impl Fn()) -> io::Result<bool> {
    let pid = Pid::from_child(child);
    let pidfd = pidfd_open(pid, PidfdFlags::empty())?;
    let (mut size, mut grew) = (0, Instant::now());
    let glance = Timespec::try_from(GLANCE).map_err(io::Error::other)?;
    while grew.elapsed() < PATIENCE {
        let mut files = [PollFd::from_borrowed_fd(pidfd.as_fd(), PollFlags::IN)];
        // An interruption is as good as an event.
        if poll(&mut files, Some(&glance)).unwrap_or(0) > 0 {
            return Ok(true);
        }
        let now = memory.metadata()?.len();
        if now > size {
            more();
            (size, grew) = (now, Instant::now());
        }
    }
    Ok(false)
}

/// Copies, if that is what we were started for, by these arguments.
pub fn copy_by_name(mut arguments: impl Iterator<Item = OsString>) -> Option<ExitCode> {
    if arguments.next().as_deref() != Some(OsStr::from_bytes(NAME.to_bytes())) {
        return None;
    }
    let copied = arguments.next().map(|path| copy_to_stdout(Path::new(&path)));
    Some(if let Some(Ok(())) = copied { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn copy_to_stdout(path: &Path) -> io::Result<()> {
    let file = File::open(path)?;
    let memory = File::from(io::stdout().as_fd().try_clone_to_owned()?);
    let metadata = file.metadata()?;
    if metadata.is_file() {
        let copied = io::copy(&mut file.take(LIMIT), &mut &memory)?;
        if copied == LIMIT {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        memory.set_times(FileTimes::new().set_modified(metadata.modified()?))?;
    } else if !metadata.is_dir() {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    fcntl_add_seals(&memory, WHOLE)?;
    Ok(())
}
