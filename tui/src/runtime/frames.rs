//! What goes to the terminal, written by a thread of its own: a terminal that does not read (a stalled ssh, a stopped
//! emulator) must hold up neither capture nor saving nor the end.

use std::io::{self, Write};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use zeroize::Zeroize as _;

use crate::hidden::Hidden;

/// Of this process's terminal; there is one.
static FRAMES: OnceLock<Frames> = OnceLock::new();

/// A handle; what is written through it comes out in order.
#[derive(Clone, Debug)]
pub(super) struct Frames {
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    waiting: Hidden<Vec<u8>>,
    writing: bool,
    failed: Option<io::ErrorKind>,
}

impl Frames {
    /// The handle; the thread is started the first time.
    ///
    /// # Errors
    ///
    /// When it cannot be started.
    pub fn start() -> io::Result<Self> {
        if let Some(frames) = FRAMES.get() {
            return Ok(frames.clone());
        }
        let frames = Self { shared: Arc::default() };
        let shared = Arc::clone(&frames.shared);
        thread::Builder::new().name("frames".to_owned()).spawn(move || shared.serve())?;
        Ok(FRAMES.get_or_init(|| frames).clone())
    }

    /// Hands bytes over, and does not wait until they are written.
    ///
    /// # Errors
    ///
    /// When bytes before them could not be written.
    pub fn send(&self, bytes: &[u8]) -> io::Result<()> {
        let mut state = self.shared.lock();
        if let Some(error) = state.failed {
            return Err(error.into());
        }
        state.waiting.extend_from_slice(bytes);
        self.shared.changed.notify_all();
        Ok(())
    }

    /// Whether the terminal has not taken everything yet. As long as it has not, nothing is drawn.
    pub fn is_busy(&self) -> bool {
        self.shared.lock().is_busy()
    }
}

/// Waits until everything is written, but no longer than `limit`; tells whether it is.
pub(super) fn wait_until_written(limit: Duration) -> bool {
    let Some(frames) = FRAMES.get() else { return true };
    let end = Instant::now() + limit;
    let mut state = frames.shared.lock();
    while state.is_busy() {
        let left = end.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return false;
        }
        let waited = frames.shared.changed.wait_timeout(state, left);
        state = waited.unwrap_or_else(PoisonError::into_inner).0;
    }
    true
}

impl State {
    fn is_busy(&self) -> bool {
        self.failed.is_none() && (self.writing || !self.waiting.is_empty())
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn serve(&self) {
        let mut state = self.lock();
        loop {
            if state.waiting.is_empty() {
                state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
                continue;
            }
            let mut bytes = std::mem::take(&mut state.waiting);
            state.writing = true;
            drop(state);
            let written = write_unbuffered(&bytes);
            bytes.zeroize();
            state = self.lock();
            state.writing = false;
            state.failed = written.err().map(|error| error.kind());
            self.changed.notify_all();
        }
    }
}

/// Collects a frame, and hands it over when it is complete.
#[derive(Debug)]
pub(super) struct FrameWriter {
    frames: Frames,
    frame: Hidden<Vec<u8>>,
}

impl FrameWriter {
    pub fn new(frames: Frames) -> Self {
        Self { frames, frame: Hidden::default() }
    }
}

impl Write for FrameWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.frame.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        let result = self.frames.send(&self.frame);
        self.frame.clear();
        result
    }
}

/// Writes bytes to the terminal without a buffer that would keep them.
fn write_unbuffered(bytes: &[u8]) -> io::Result<()> {
    let mut left = bytes;
    while !left.is_empty() {
        // Not through `Stdout`, whose lock a thread that waits for the terminal would hold.
        match rustix::io::retry_on_intr(|| rustix::io::write(rustix::stdio::stdout(), left))? {
            0 => return Err(io::ErrorKind::WriteZero.into()),
            written => left = &left[written..],
        }
    }
    Ok(())
}
