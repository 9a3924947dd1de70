//! What a process has printed so far, read by a thread and waited for by the test.

use std::io::Read;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// The growing output of one pipe.
#[derive(Clone, Default)]
pub(crate) struct Transcript {
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    grown: Condvar,
}

#[derive(Default)]
struct State {
    bytes: Vec<u8>,
    ended: bool,
}

impl Transcript {
    /// Starts a thread that reads `pipe` to its end.
    pub(crate) fn of(mut pipe: impl Read + Send + 'static) -> Self {
        let transcript = Self::default();
        let writer = transcript.clone();
        std::thread::spawn(move || {
            let mut buffer = [0; 8192];
            loop {
                let read = pipe.read(&mut buffer).unwrap_or(0);
                let mut state = writer.lock();
                state.bytes.extend_from_slice(&buffer[..read]);
                state.ended = read == 0;
                writer.shared.grown.notify_all();
                if read == 0 {
                    return;
                }
            }
        });
        transcript
    }

    /// Everything printed so far.
    pub(crate) fn bytes(&self) -> Vec<u8> {
        self.lock().bytes.clone()
    }

    /// Waits until `find` gives something for the whole lines printed so far (at the end of the pipe also for
    /// an unfinished one). None when the pipe ends or the time is over without it.
    pub(crate) fn wait_for<T>(
        &self,
        within: Duration,
        find: impl Fn(&str) -> Option<T>,
    ) -> Option<T> {
        let end = Instant::now() + within;
        let mut state = self.lock();
        loop {
            let whole = match state.bytes.iter().rposition(|&byte| byte == b'\n') {
                _ if state.ended => state.bytes.len(),
                Some(at) => at + 1,
                None => 0,
            };
            let found = String::from_utf8_lossy(&state.bytes[..whole]).lines().find_map(&find);
            if found.is_some() || state.ended {
                return found;
            }
            let left = end.checked_duration_since(Instant::now())?;
            state = self.wait(state, left);
        }
    }

    /// Waits until the pipe has ended. A grandchild that kept it open must not hang the test: false after `within`.
    pub(crate) fn wait_for_end(&self, within: Duration) -> bool {
        let end = Instant::now() + within;
        let mut state = self.lock();
        while !state.ended {
            let Some(left) = end.checked_duration_since(Instant::now()) else {
                return false;
            };
            state = self.wait(state, left);
        }
        true
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.shared.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wait<'a>(&self, state: MutexGuard<'a, State>, within: Duration) -> MutexGuard<'a, State> {
        self.shared.grown.wait_timeout(state, within).unwrap_or_else(PoisonError::into_inner).0
    }
}
