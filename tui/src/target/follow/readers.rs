//! A thread that reads which files processes have mapped. The kernel waits for the process's memory, which it may not let
//! go of for as long as it likes: then the thread is given up, and another one goes on with the next process.

use std::collections::{HashSet, VecDeque};
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use tracing::warn;

use crate::bell::Bell;
use crate::clock::boot_time;
use crate::priority;
use crate::text::Foreign;

/// How long a process may let us wait for its first or next mappings.
const PATIENCE: Duration = Duration::from_secs(1);
/// Threads that are given up at the most; then no more processes are read.
const STUCK: usize = 8;

/// A process that is to be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asked {
    /// Its id.
    pub pid: u32,
    /// Clock ticks from boot to its start: with the id, a unique name.
    pub start_ticks: u64,
    /// Its program.
    pub exe: Option<Foreign>,
}

impl Asked {
    fn key(&self) -> (u32, u64) {
        (self.pid, self.start_ticks)
    }
}

/// What was read of a process, or why not.
#[derive(Debug)]
pub enum Answer<T> {
    /// What was read, and from when on (nanoseconds of `CLOCK_BOOTTIME`).
    Read(T, u64),
    /// It lets us wait.
    Stuck,
}

/// Tells that more was read.
pub struct Progress<'a>(&'a dyn Fn());

impl Progress<'_> {
    /// The process does let us read.
    pub fn more(&self) {
        (self.0)();
    }
}

struct Busy {
    process: Asked,
    until: Instant,
}

struct State<T> {
    queue: VecDeque<Asked>,
    /// What the present thread is at.
    busy: Option<Busy>,
    /// The number of the present thread; there is none until there is something to read.
    present: u64,
    has_thread: bool,
    done: Vec<(Asked, Answer<T>)>,
    /// Processes at which a thread still waits, by their ids and starts.
    stuck: HashSet<(u32, u64)>,
}

struct Shared<T> {
    state: Mutex<State<T>>,
    answers: Bell,
    patience: Duration,
}

impl<T> Shared<T> {
    fn lock(&self) -> MutexGuard<'_, State<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

type ReadOne<T> = dyn Fn(u32, &Progress<'_>) -> io::Result<T> + Send + Sync;

/// The thread, and those that were given up.
pub struct Readers<T> {
    shared: Arc<Shared<T>>,
    read: Arc<ReadOne<T>>,
}

impl<T: Send + 'static> Readers<T> {
    /// Reads processes by `read`; what fails of one is not told, since it has ended.
    ///
    /// # Errors
    ///
    /// When the kernel gives no eventfd.
    pub fn new(
        read: impl Fn(u32, &Progress<'_>) -> io::Result<T> + Send + Sync + 'static,
    ) -> io::Result<Self> {
        Self::with_patience(read, PATIENCE)
    }

    fn with_patience(
        read: impl Fn(u32, &Progress<'_>) -> io::Result<T> + Send + Sync + 'static,
        patience: Duration,
    ) -> io::Result<Self> {
        let state = State {
            queue: VecDeque::new(),
            busy: None,
            present: 0,
            has_thread: false,
            done: Vec::new(),
            stuck: HashSet::new(),
        };
        let answers = Bell::new()?;
        let shared = Shared { state: Mutex::new(state), answers, patience };
        Ok(Self { shared: Arc::new(shared), read: Arc::new(read) })
    }

    /// Asks for these processes. Those at which a thread still waits are left out.
    pub fn submit(&self, processes: impl IntoIterator<Item = Asked>) {
        let mut state = self.shared.lock();
        let State { queue, stuck, .. } = &mut *state;
        queue.extend(processes.into_iter().filter(|process| !stuck.contains(&process.key())));
        self.go_on(&mut state);
    }

    /// Starts a thread, if one is needed and may be had.
    fn go_on(&self, state: &mut State<T>) {
        if state.has_thread || state.queue.is_empty() {
            return;
        }
        if state.stuck.len() >= STUCK {
            warn!(
                left = state.queue.len(),
                "too many processes wait for their memory: the others are not looked at"
            );
            state.queue.clear();
            return;
        }
        state.present += 1;
        let (shared, read, id) = (Arc::clone(&self.shared), Arc::clone(&self.read), state.present);
        let work = move || {
            priority::raise();
            while work(&shared, &*read, id) {}
        };
        state.has_thread = thread::Builder::new().name("maps".to_owned()).spawn(work).is_ok();
        if !state.has_thread {
            // The next sweep asks for them again.
            state.queue.clear();
        }
    }

    /// Rings when there are answers.
    pub(crate) fn answers(&self) -> &Bell {
        &self.shared.answers
    }

    /// What was read since, and what will not be.
    pub fn take(&self) -> Vec<(Asked, Answer<T>)> {
        let now = Instant::now();
        let mut state = self.shared.lock();
        if let Some(Busy { process, .. }) = state.busy.take_if(|busy| busy.until <= now) {
            state.stuck.insert(process.key());
            state.done.push((process, Answer::Stuck));
            state.has_thread = false;
            self.go_on(&mut state);
        }
        std::mem::take(&mut state.done)
    }

    /// How long until [`Readers::take`] gives up a process; `None` when none is read.
    pub fn patience(&self) -> Option<Duration> {
        let state = self.shared.lock();
        let busy = state.busy.as_ref();
        busy.map(|busy| busy.until.saturating_duration_since(Instant::now()))
    }

    /// Whether everything was read and taken.
    pub fn is_idle(&self) -> bool {
        let state = self.shared.lock();
        state.queue.is_empty() && state.busy.is_none() && state.done.is_empty()
    }
}

impl<T> Drop for Readers<T> {
    fn drop(&mut self) {
        // The thread is not waited for: it may be stuck.
        self.shared.lock().queue.clear();
    }
}

/// One process. `false`: the thread is not needed any more.
fn work<T>(shared: &Shared<T>, read: &ReadOne<T>, id: u64) -> bool {
    let process = {
        let mut state = shared.lock();
        let Some(process) = state.queue.pop_front() else {
            state.has_thread = false;
            return false;
        };
        let until = Instant::now() + shared.patience;
        state.busy = Some(Busy { process: process.clone(), until });
        process
    };
    // Whoever waits must know until when.
    let more = || {
        let mut state = shared.lock();
        if state.present == id
            && let Some(busy) = &mut state.busy
        {
            busy.until = Instant::now() + shared.patience;
        }
    };
    let began = boot_time();
    let found = read(process.pid, &Progress(&more));
    let mut state = shared.lock();
    if state.stuck.remove(&process.key()) {
        // It was given up, and did answer in the end: there may be another thread in its place.
        return false;
    }
    state.busy = None;
    state.done.extend(found.ok().map(|found| (process, Answer::Read(found, began))));
    // Not for each: many come at once.
    let is_last = state.queue.is_empty();
    let is_enough = state.done.len().is_multiple_of(64);
    drop(state);
    if is_last || is_enough {
        shared.answers.ring();
    }
    true
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    fn process(pid: u32) -> Asked {
        Asked { pid, start_ticks: 7, exe: None }
    }

    fn all(readers: &Readers<u32>) -> (Vec<u32>, Vec<u32>) {
        let (mut read, mut stuck) = (Vec::new(), Vec::new());
        let end = Instant::now() + Duration::from_secs(30);
        while !readers.is_idle() && Instant::now() < end {
            for (process, answer) in readers.take() {
                match answer {
                    Answer::Read(pid, _) => {
                        assert_eq!(process.pid, pid);
                        read.push(pid);
                    }
                    Answer::Stuck => stuck.push(process.pid),
                }
            }
            thread::yield_now();
        }
        (read, stuck)
    }

    #[test]
    fn one_that_lets_us_wait_is_given_up_and_comes_back() {
        let (go, waits) = mpsc::channel::<()>();
        let waits = Mutex::new(waits);
        let read = move |pid, progress: &Progress<'_>| {
            progress.more();
            match pid {
                3 => waits.lock().unwrap().recv().map_err(io::Error::other)?,
                4 => return Err(io::ErrorKind::NotFound.into()),
                _ => {}
            }
            Ok(pid)
        };
        let readers = Readers::with_patience(read, Duration::from_millis(50)).unwrap();
        readers.submit((1..=6).map(process));
        assert_eq!(all(&readers), (vec![1, 2, 5, 6], vec![3]));
        // While a thread waits for it, none else does.
        readers.submit([process(3), process(7)]);
        assert_eq!(all(&readers), (vec![7], vec![]));
        // Two words: the one that was given up takes the first.
        go.send(()).unwrap();
        go.send(()).unwrap();
        while !readers.shared.lock().stuck.is_empty() {
            thread::yield_now();
        }
        readers.submit([process(3)]);
        assert_eq!(all(&readers), (vec![3], vec![]));
    }

    #[test]
    fn the_number_of_those_that_are_given_up_is_bounded() {
        let read = |_, _: &Progress<'_>| loop {
            thread::park();
        };
        let readers: Readers<u32> = Readers::with_patience(read, Duration::from_millis(1)).unwrap();
        readers.submit((0..100).map(process));
        assert_eq!(all(&readers).1.len(), STUCK);
        assert_eq!(readers.shared.lock().present, STUCK as u64);
    }
}
