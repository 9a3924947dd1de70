//! Threads that look at files. A file system may never answer (FUSE, NFS), and then the thread that asked it never
//! comes back, even with a signal: it is given up, and its mount with it.

use std::collections::{BinaryHeap, HashMap};
use std::fs::File;
use std::io;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use super::news::Look;
use super::record::FileKey;
use crate::bell::Bell;
use crate::priority;
use crate::target::copies::Copy;

/// Threads that plan at a time: one for each CPU of a small machine, and one for what is small while they are at
/// something large. One more only looks which file it is: that is short, and a process of a copy cannot wait longer.
const THREADS: usize = 3;
/// Code of this many bytes is large: it takes more than some 50 ms. Of these, all threads but one look at a time.
const LARGE: u64 = 8 << 20;
/// How long opening a file may take.
const TO_OPEN: Duration = Duration::from_secs(2);
/// How long planning may take: 300 MiB take 3 s, unoptimised and with all CPUs busy 20 s.
const TO_PLAN: Duration = Duration::from_secs(60);
/// A mount that did not answer so often is left alone: we may have been stopped, or it is only slow, the first time.
const DEAD: u32 = 2;
/// Threads that are given up at the most; then no others are started in their place.
const STUCK: usize = 8;
/// Files that wait at a time; what is too much is left out, and looked at when it is mapped again.
const QUEUE: usize = 65_536;

/// What is to be looked at.
#[derive(Clone, Debug)]
pub struct Job {
    /// The file, as a process has it mapped.
    pub look: Look,
    /// Other names that the kernel has for it.
    pub aliases: Vec<FileKey>,
    /// The file itself, where we have it open.
    pub file: Option<Arc<File>>,
    /// What is to be found out.
    pub stage: Stage,
}

/// What a look is to find out.
#[derive(Clone, Debug)]
pub enum Stage {
    /// Which file it is, and whether its plan is known.
    First,
    /// Its plan.
    Plan,
    /// Whether it is what it looked like, which is captured already.
    Check(Copy),
}

impl Job {
    /// A file that nobody has looked at.
    pub fn new(look: Look) -> Self {
        Self { look, aliases: Vec::new(), file: None, stage: Stage::First }
    }

    /// Whether only this is to be found out: is it what it looked like.
    pub fn is_check(&self) -> bool {
        matches!(self.stage, Stage::Check(_))
    }

    fn is_first(&self) -> bool {
        matches!(self.stage, Stage::First)
    }

    fn is_large(&self) -> bool {
        !self.is_first() && self.look.mapped.length >= LARGE
    }
}

/// What became of it.
#[derive(Debug)]
pub enum Answer<T> {
    /// It was looked at.
    Found(T),
    /// Its file system does not answer.
    Stuck,
    /// It was opened, and to look at it takes too long.
    Slow,
}

/// Waits in the heap: what the user waits for first, what is to be looked at before what is to be planned, what is only to
/// be checked last; programs of processes before libraries, small before large, first come first.
struct Waiting<J>(u64, J);

impl Waiting<Job> {
    fn rank(&self) -> (bool, bool, bool, bool, u64, u64) {
        let Look { is_program, is_named, mapped, .. } = &self.1.look;
        let is_first = self.1.is_first();
        (self.1.is_check(), !is_named, !is_first, !is_program, mapped.length, self.0)
    }
}

impl PartialEq for Waiting<Job> {
    fn eq(&self, other: &Self) -> bool {
        self.rank() == other.rank()
    }
}

impl Eq for Waiting<Job> {}

impl PartialOrd for Waiting<Job> {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Waiting<Job> {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        other.rank().cmp(&self.rank())
    }
}

/// What a thread is at.
struct Busy {
    job: Job,
    until: Instant,
    is_open: bool,
    by: Which,
}

/// Which files a thread looks at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Which {
    /// Those of which it is not known which they are.
    First,
    /// Any.
    Any,
}

struct State<T> {
    queue: BinaryHeap<Waiting<Job>>,
    count: u64,
    /// What each thread is at.
    busy: HashMap<u64, Busy>,
    done: Vec<(Job, Answer<T>)>,
    /// How often a mount did not answer.
    silent: HashMap<(u32, u32), u32>,
    threads: u64,
    stuck: usize,
    /// The thread that only looks which file it is has nothing to do.
    first_waits: bool,
    closed: bool,
}

struct Shared<T> {
    state: Mutex<State<T>>,
    wake: Condvar,
    wake_first: Condvar,
    answers: Bell,
    limits: [Duration; 2],
}

impl<T> Shared<T> {
    fn lock(&self) -> MutexGuard<'_, State<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Wakes a thread for a job.
    fn wake_for(&self, is_first: bool, state: &mut State<T>) {
        match is_first && std::mem::take(&mut state.first_waits) {
            true => self.wake_first.notify_one(),
            false => self.wake.notify_one(),
        }
    }
}

/// Tells how far a look is.
pub struct Progress<'a> {
    opened: &'a dyn Fn(),
}

impl Progress<'_> {
    /// The file is open: what comes has its own limit.
    pub fn opened(&self) {
        (self.opened)();
    }
}

type LookAt<T> = dyn Fn(&Job, &Progress<'_>) -> T + Send + Sync;

/// The threads.
pub struct Planners<T> {
    shared: Arc<Shared<T>>,
    look_at: Arc<LookAt<T>>,
}

impl<T: Send + 'static> Planners<T> {
    /// Starts the threads, which look at files by `look_at`.
    ///
    /// # Errors
    ///
    /// When one cannot be started.
    pub fn start(
        look_at: impl Fn(&Job, &Progress<'_>) -> T + Send + Sync + 'static,
    ) -> io::Result<Self> {
        Self::with_limits(look_at, [TO_OPEN, TO_PLAN])
    }

    fn with_limits(
        look_at: impl Fn(&Job, &Progress<'_>) -> T + Send + Sync + 'static,
        limits: [Duration; 2],
    ) -> io::Result<Self> {
        let state = State {
            queue: BinaryHeap::new(),
            count: 0,
            busy: HashMap::new(),
            done: Vec::new(),
            silent: HashMap::new(),
            threads: 0,
            stuck: 0,
            first_waits: false,
            closed: false,
        };
        let answers = Bell::new()?;
        let shared = Shared {
            state: Mutex::new(state),
            wake: Condvar::new(),
            wake_first: Condvar::new(),
            answers,
            limits,
        };
        let planners = Self { shared: Arc::new(shared), look_at: Arc::new(look_at) };
        for which in [Which::Any; THREADS].into_iter().chain([Which::First]) {
            planners.start_thread(which)?;
        }
        Ok(planners)
    }

    fn start_thread(&self, which: Which) -> io::Result<()> {
        let (shared, look_at) = (Arc::clone(&self.shared), Arc::clone(&self.look_at));
        let id = {
            let mut state = shared.lock();
            state.threads += 1;
            state.threads
        };
        let work = move || {
            priority::immediate();
            while work(&shared, &*look_at, id, which) {
                priority::immediate();
            }
        };
        thread::Builder::new().name("plan".to_owned()).spawn(work)?;
        Ok(())
    }

    /// Rings when there are answers.
    pub(crate) fn answers(&self) -> &Bell {
        &self.shared.answers
    }

    /// Asks for a look at a file. `false`: too many wait.
    pub fn submit(&self, job: Job) -> bool {
        let mut state = self.shared.lock();
        if state.is_dead(&job) {
            state.done.push((job, Answer::Stuck));
            self.shared.answers.ring();
            return true;
        }
        if state.queue.len() >= QUEUE {
            return false;
        }
        state.count += 1;
        let (count, is_first) = (state.count, job.is_first());
        state.queue.push(Waiting(count, job));
        self.shared.wake_for(is_first, &mut state);
        true
    }

    /// What was answered since, and what will not be.
    pub fn take(&self) -> Vec<(Job, Answer<T>)> {
        let now = Instant::now();
        let mut state = self.shared.lock();
        let late: Vec<u64> =
            state.busy.iter().filter(|(_, busy)| busy.until <= now).map(|(id, _)| *id).collect();
        let mut replaced = Vec::new();
        for id in late {
            let Some(Busy { job, is_open, by, .. }) = state.busy.remove(&id) else { continue };
            // A file that was opened is on a mount that did answer.
            let answer = if is_open { Answer::Slow } else { Answer::Stuck };
            if !is_open {
                *state.silent.entry(job.look.mapped.file.device).or_default() += 1;
            }
            state.stuck += 1;
            replaced.extend((state.stuck <= STUCK).then_some(by));
            state.done.push((job, answer));
        }
        if !replaced.is_empty() {
            let waiting = std::mem::take(&mut state.queue).into_vec();
            let (dead, alive) =
                waiting.into_iter().partition(|w: &Waiting<Job>| state.is_dead(&w.1));
            let dead: Vec<Waiting<Job>> = dead;
            state.done.extend(dead.into_iter().map(|Waiting(_, job)| (job, Answer::Stuck)));
            let alive: Vec<Waiting<Job>> = alive;
            state.queue = alive.into();
        }
        let done = std::mem::take(&mut state.done);
        drop(state);
        for which in replaced {
            // Without it there is a thread less.
            let _ = self.start_thread(which);
        }
        done
    }

    /// How long until [`Planners::take`] gives up a file; `None` when nobody looks at any.
    pub fn patience(&self) -> Option<Duration> {
        let state = self.shared.lock();
        let first = state.busy.values().map(|busy| busy.until).min();
        first.map(|until| until.saturating_duration_since(Instant::now()))
    }

    /// Gives mounts that did not answer another chance, as long as there are threads for it. Whether there are any.
    pub fn forgive(&self) -> bool {
        let mut state = self.shared.lock();
        if state.stuck >= STUCK || state.silent.is_empty() {
            return false;
        }
        state.silent.clear();
        true
    }

    /// How many files wait.
    pub fn waiting(&self) -> usize {
        self.shared.lock().queue.len()
    }

    /// Whether such a look was not answered, or not taken.
    pub fn are_at(&self, is_one: impl Fn(&Job) -> bool) -> bool {
        let state = self.shared.lock();
        let waiting = state.queue.iter().map(|Waiting(_, job)| job);
        let busy = state.busy.values().map(|busy| &busy.job);
        waiting.chain(busy).chain(state.done.iter().map(|(job, _)| job)).any(is_one)
    }
}

impl<T> Drop for Planners<T> {
    fn drop(&mut self) {
        // They are not waited for: one may be stuck.
        self.shared.lock().closed = true;
        self.shared.wake.notify_all();
        self.shared.wake_first.notify_all();
    }
}

impl<T> State<T> {
    fn is_dead(&self, job: &Job) -> bool {
        self.silent.get(&job.look.mapped.file.device).is_some_and(|times| *times >= DEAD)
    }

    /// The next one; a large one only while another thread is left for small ones.
    fn next(&mut self, which: Which) -> Option<Job> {
        let is_first = self.queue.peek()?.1.is_first();
        if which == Which::First && !is_first {
            return None;
        }
        let large = self.busy.values().filter(|busy| busy.job.is_large()).count();
        if is_first || large + 1 < THREADS {
            return self.queue.pop().map(|Waiting(_, job)| job);
        }
        let is_small = |w: &&Waiting<Job>| !w.1.is_large();
        let next = self.queue.iter().filter(is_small).max()?.0;
        let mut found = None;
        let waiting = std::mem::take(&mut self.queue).into_vec().into_iter();
        self.queue = waiting
            .filter_map(|w| match w.0 == next {
                true => {
                    found = Some(w.1);
                    None
                }
                false => Some(w),
            })
            .collect();
        found
    }
}

/// One file. `false`: the thread is not needed any more.
fn work<T>(shared: &Shared<T>, look_at: &LookAt<T>, id: u64, which: Which) -> bool {
    let mut state = shared.lock();
    let job = loop {
        if state.closed {
            return false;
        }
        if let Some(job) = state.next(which) {
            break job;
        }
        state = match which {
            Which::Any => shared.wake.wait(state),
            Which::First => {
                state.first_waits = true;
                shared.wake_first.wait(state)
            }
        }
        .unwrap_or_else(PoisonError::into_inner);
        state.first_waits &= which == Which::Any;
    };
    let until = Instant::now() + shared.limits[0];
    state.busy.insert(id, Busy { job: job.clone(), until, is_open: false, by: which });
    // Whoever waits must know until when.
    drop(state);
    let opened = || {
        if let Some(busy) = shared.lock().busy.get_mut(&id) {
            (busy.until, busy.is_open) = (Instant::now() + shared.limits[1], true);
        }
    };
    let found = look_at(&job, &Progress { opened: &opened });
    let mut state = shared.lock();
    if state.busy.remove(&id).is_none() {
        // It was given up, and did answer in the end: there is another thread in its place.
        state.stuck -= 1;
        state.silent.remove(&job.look.mapped.file.device);
        return state.stuck >= STUCK;
    }
    state.done.push((job, Answer::Found(found)));
    // What only one of the threads may take may be possible now.
    shared.wake.notify_one();
    drop(state);
    shared.answers.ring();
    true
}

#[cfg(test)]
mod tests;
