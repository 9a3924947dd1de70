//! The terminal: taken over at the start, and given back in every way out: quit, error, panic, signal,
//! suspension.

use std::fmt;
use std::fs::File;
use std::io::{self, IsTerminal as _, Write as _};
use std::os::fd::{AsFd as _, OwnedFd};
use std::sync::Once;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, ThreadId};
use std::time::Duration;

use crossterm::cursor::{Hide, Show};
use crossterm::event::{DisableBracketedPaste, EnableBracketedPaste};
use crossterm::terminal::{
    EnterAlternateScreen, LeaveAlternateScreen, disable_raw_mode, enable_raw_mode,
};
use crossterm::{Command, execute};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::process::{Signal, kill_current_process_group};
use tokio::sync::oneshot;

use super::frames::wait_until_written;

/// How long the terminal may take for the last frame.
const PATIENCE: Duration = Duration::from_secs(1);
/// Whether the terminal is taken over at the moment.
static TAKEN: AtomicBool = AtomicBool::new(false);
/// Whether the mouse is, with it.
static MOUSE: AtomicBool = AtomicBool::new(false);

/// Has the terminal report clicks and the wheel (xterm's ctlseqs: 1000), with coordinates in decimal (1006). Not
/// crossterm's command: that one asks for every movement too.
struct EnableMouse;
/// Undoes [`EnableMouse`].
struct DisableMouse;

impl Command for EnableMouse {
    fn write_ansi(&self, f: &mut impl fmt::Write) -> fmt::Result {
        f.write_str("\x1b[?1000h\x1b[?1006h")
    }
}

impl Command for DisableMouse {
    fn write_ansi(&self, f: &mut impl fmt::Write) -> fmt::Result {
        f.write_str("\x1b[?1006l\x1b[?1000l")
    }
}

/// Holds the terminal in raw mode, on its alternate screen, without a cursor, maybe with the mouse; gives it back
/// when dropped.
#[derive(Debug)]
pub(super) struct TerminalGuard {
    mouse: bool,
}

impl TerminalGuard {
    /// Takes the terminal over. The panic hook gives it back before it prints.
    pub fn new(mouse: bool) -> io::Result<Self> {
        install_panic_hook();
        let guard = Self { mouse };
        guard.enter()?;
        Ok(guard)
    }

    /// Takes it over again after a suspension.
    pub fn enter(&self) -> io::Result<()> {
        // First, so that a start that fails half-way is undone.
        TAKEN.store(true, Ordering::SeqCst);
        enable_raw_mode()?;
        // A paste is one event, and not a row of keys.
        execute!(io::stdout(), EnterAlternateScreen, Hide, EnableBracketedPaste)?;
        if self.mouse {
            MOUSE.store(true, Ordering::SeqCst);
            execute!(io::stdout(), EnableMouse)?;
        }
        Ok(())
    }

    /// Gives the terminal back and stops the whole process group until the shell resumes it (SIGCONT).
    ///
    /// The group, as the terminal's Ctrl-Z does: a parent in it (`cargo`, `sudo`, a script) that went on would
    /// stay in the foreground, and the shell would never have its prompt.
    pub fn suspend(&self) -> io::Result<()> {
        give_back();
        Ok(kill_current_process_group(Signal::STOP)?)
    }
}

impl Drop for TerminalGuard {
    fn drop(&mut self) {
        give_back();
    }
}

/// Undoes everything, as far as it can be; without effect when it is undone already.
fn give_back() {
    if TAKEN.swap(false, Ordering::SeqCst) {
        // One that does not read would hold us up for ever.
        if !wait_until_written(PATIENCE) {
            let _ = disable_raw_mode();
            return;
        }
        let _ = execute!(io::stdout(), DisableBracketedPaste);
        // The terminal may be gone, and there is nobody left to tell.
        if MOUSE.swap(false, Ordering::SeqCst) {
            let _ = execute!(io::stdout(), DisableMouse);
        }
        let _ = execute!(io::stdout(), Show, LeaveAlternateScreen);
        let _ = disable_raw_mode();
        let _ = io::stdout().flush();
    }
}

/// A panic of the thread that draws ends the program, so its message needs the terminal. One of
/// another thread would be printed over the screen; it goes to the log.
fn install_panic_hook() {
    static INSTALLED: Once = Once::new();
    let drawing: ThreadId = thread::current().id();
    INSTALLED.call_once(|| {
        let print = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            if thread::current().id() == drawing {
                give_back();
            }
            if TAKEN.load(Ordering::SeqCst) {
                tracing::error!("a thread panicked: {panic}");
            } else {
                print(panic);
            }
        }));
    });
}

/// Waits in a thread of its own until the terminal that keys come from is gone, and then says so.
///
/// crossterm cannot tell: when a read gives end of file or EIO, it tries again without end (0.29,
/// `event/source/unix/mio.rs`).
pub(super) fn watch_hang_up() -> io::Result<oneshot::Receiver<()>> {
    let stdin = io::stdin();
    // What crossterm reads: standard input, or else the controlling terminal.
    let fd: OwnedFd = match stdin.is_terminal() {
        true => stdin.as_fd().try_clone_to_owned()?,
        false => File::open("/dev/tty")?.into(),
    };
    let (gone, receiver) = oneshot::channel();
    thread::Builder::new().name("hang-up".to_owned()).spawn(move || {
        // Without events to wait for, only an error or a hang-up ends the call (poll(2)).
        let mut fds = [PollFd::new(&fd, PollFlags::empty())];
        while poll(&mut fds, None) == Err(rustix::io::Errno::INTR) {}
        // Nobody listens when the loop has ended.
        let _ = gone.send(());
    })?;
    Ok(receiver)
}
