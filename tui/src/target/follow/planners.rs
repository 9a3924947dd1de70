//! Threads that look at files. A file system may never answer (FUSE, NFS), and then the thread that asked it never
//! comes back, even with a signal: it is given up, and its mount with it.

use std::collections::{BinaryHeap, HashMap};
use std::fs::File;
use std::io;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use rustix::event::{EventfdFlags, eventfd};

use super::record::FileKey;
use super::watch::Look;
use crate::priority;
use crate::target::copies::Copy;

/// Threads that look at a time: one for each CPU of a small machine, and one for what is small while they are at
/// something large.
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
    /// What it looked like: only that is to be checked.
    pub copy: Option<Copy>,
}

impl Job {
    /// A file that nobody has looked at.
    pub fn new(look: Look) -> Self {
        Self { look, aliases: Vec::new(), file: None, copy: None }
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

/// Waits in the heap: what the user waits for first, what is only to be checked last; programs of processes before
/// libraries, small before large, first come first.
struct Waiting<J>(u64, J);

impl Waiting<Job> {
    fn rank(&self) -> (bool, bool, bool, u64, u64) {
        let Look { is_program, is_named, mapped, .. } = &self.1.look;
        (self.1.copy.is_some(), !is_named, !is_program, mapped.length, self.0)
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
    closed: bool,
}

struct Shared<T> {
    state: Mutex<State<T>>,
    wake: Condvar,
    answers: OwnedFd,
    limits: [Duration; 2],
}

impl<T> Shared<T> {
    fn lock(&self) -> MutexGuard<'_, State<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn signal(&self) {
        // Only a counter that is full, which wakes as well, can refuse.
        let _ = rustix::io::write(&self.answers, &1u64.to_ne_bytes());
    }
}

/// Tells that the file was opened, which has its own limit.
pub struct Progress<'a>(&'a dyn Fn());

impl Progress<'_> {
    /// The file is open.
    pub fn opened(&self) {
        (self.0)();
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
            closed: false,
        };
        let answers = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        let shared = Shared { state: Mutex::new(state), wake: Condvar::new(), answers, limits };
        let planners = Self { shared: Arc::new(shared), look_at: Arc::new(look_at) };
        for _ in 0..THREADS {
            planners.start_thread()?;
        }
        Ok(planners)
    }

    fn start_thread(&self) -> io::Result<()> {
        let (shared, look_at) = (Arc::clone(&self.shared), Arc::clone(&self.look_at));
        let id = {
            let mut state = shared.lock();
            state.threads += 1;
            state.threads
        };
        let work = move || {
            priority::raise();
            while work(&shared, &*look_at, id) {}
        };
        thread::Builder::new().name("plan".to_owned()).spawn(work)?;
        Ok(())
    }

    /// Readable when there are answers.
    pub fn answers(&self) -> BorrowedFd<'_> {
        self.shared.answers.as_fd()
    }

    /// Asks for a look at a file. `false`: too many wait.
    pub fn submit(&self, job: Job) -> bool {
        let mut state = self.shared.lock();
        if state.is_dead(&job) {
            state.done.push((job, Answer::Stuck));
            self.shared.signal();
            return true;
        }
        if state.queue.len() >= QUEUE {
            return false;
        }
        state.count += 1;
        let count = state.count;
        state.queue.push(Waiting(count, job));
        self.shared.wake.notify_one();
        true
    }

    /// What was answered since, and what will not be.
    pub fn take(&self) -> Vec<(Job, Answer<T>)> {
        let mut count = [0; 8];
        let _ = rustix::io::read(&self.shared.answers, &mut count);
        let now = Instant::now();
        let mut state = self.shared.lock();
        let late: Vec<u64> =
            state.busy.iter().filter(|(_, busy)| busy.until <= now).map(|(id, _)| *id).collect();
        let mut replaced = 0;
        for id in late {
            let Some(Busy { job, is_open, .. }) = state.busy.remove(&id) else { continue };
            // A file that was opened is on a mount that did answer.
            let answer = if is_open { Answer::Slow } else { Answer::Stuck };
            if !is_open {
                *state.silent.entry(job.look.mapped.file.device).or_default() += 1;
            }
            state.stuck += 1;
            replaced += usize::from(state.stuck <= STUCK);
            state.done.push((job, answer));
        }
        if replaced > 0 {
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
        for _ in 0..replaced {
            // Without it there is a thread less.
            let _ = self.start_thread();
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

    /// Whether everything was answered and taken.
    pub fn is_idle(&self) -> bool {
        let state = self.shared.lock();
        state.queue.is_empty() && state.busy.is_empty() && state.done.is_empty()
    }
}

impl<T> Drop for Planners<T> {
    fn drop(&mut self) {
        // They are not waited for: one may be stuck.
        self.shared.lock().closed = true;
        self.shared.wake.notify_all();
    }
}

impl<T> State<T> {
    fn is_dead(&self, job: &Job) -> bool {
        self.silent.get(&job.look.mapped.file.device).is_some_and(|times| *times >= DEAD)
    }

    /// The next one; a large one only while another thread is left for small ones.
    fn next(&mut self) -> Option<Job> {
        let is_large = |job: &Job| job.look.mapped.length >= LARGE;
        let large = self.busy.values().filter(|busy| is_large(&busy.job)).count();
        if large + 1 < THREADS {
            return self.queue.pop().map(|Waiting(_, job)| job);
        }
        let is_small = |w: &&Waiting<Job>| !is_large(&w.1);
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
fn work<T>(shared: &Shared<T>, look_at: &LookAt<T>, id: u64) -> bool {
    let mut state = shared.lock();
    let job = loop {
        if state.closed {
            return false;
        }
        if let Some(job) = state.next() {
            break job;
        }
        state = shared.wake.wait(state).unwrap_or_else(PoisonError::into_inner);
    };
    let until = Instant::now() + shared.limits[0];
    state.busy.insert(id, Busy { job: job.clone(), until, is_open: false });
    // Whoever waits must know until when.
    drop(state);
    let opened = || {
        if let Some(busy) = shared.lock().busy.get_mut(&id) {
            (busy.until, busy.is_open) = (Instant::now() + shared.limits[1], true);
        }
    };
    let found = look_at(&job, &Progress(&opened));
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
    shared.signal();
    true
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::super::record::Mapped;
    use super::*;

    fn job(device: u32, inode: u64, length: u64, is_program: bool) -> Job {
        let file = FileKey { device: (device, 0), inode, generation: None };
        let mapped = Mapped { file, start: 0, length, path: "x".into() };
        let look = Look { pid: 1, mapped, is_program, is_named: false, since: None };
        Job::new(look)
    }

    fn all<T: Send + 'static>(planners: &Planners<T>) -> Vec<(Job, Answer<T>)> {
        let mut done = Vec::new();
        let end = Instant::now() + Duration::from_secs(30);
        while !planners.is_idle() && Instant::now() < end {
            done.extend(planners.take());
            thread::yield_now();
        }
        done
    }

    #[test]
    fn a_mount_that_does_not_answer_holds_up_nothing_else() {
        let (_never, hangs) = mpsc::channel::<()>();
        let hangs = Mutex::new(hangs);
        let look_at = move |job: &Job, _: &Progress<'_>| {
            if job.look.mapped.file.device.0 == 9 {
                let _ = hangs.lock().unwrap().recv();
            }
            job.look.mapped.file.inode
        };
        let limits = [Duration::from_millis(50), Duration::from_secs(60)];
        let planners = Planners::with_limits(look_at, limits).unwrap();
        for inode in 0..200 {
            assert!(planners.submit(job(9, inode, 1, false)));
            assert!(planners.submit(job(1, inode, 1, false)));
        }
        let done = all(&planners);
        let stuck = done.iter().filter(|(_, answer)| matches!(answer, Answer::Stuck)).count();
        assert_eq!((done.len(), stuck), (400, 200));
        assert!(planners.shared.lock().stuck <= THREADS + DEAD as usize);
        // Known by now: not tried.
        assert!(planners.submit(job(9, 7, 1, false)));
        assert!(matches!(planners.take()[..], [(_, Answer::Stuck)]));
    }

    #[test]
    fn a_file_that_takes_long_to_plan_is_not_stuck() {
        let (go, may_go) = mpsc::channel::<()>();
        let may_go = Mutex::new(may_go);
        let look_at = move |_: &Job, progress: &Progress<'_>| {
            progress.opened();
            may_go.lock().unwrap().recv().is_ok()
        };
        let limits = [Duration::ZERO, Duration::from_secs(600)];
        let planners = Planners::with_limits(look_at, limits).unwrap();
        planners.submit(job(1, 1, 1, false));
        while planners.patience().is_none_or(|left| left < Duration::from_secs(60)) {
            thread::yield_now();
        }
        assert!(planners.take().is_empty());
        go.send(()).unwrap();
        assert!(matches!(all(&planners)[..], [(_, Answer::Found(true))]));
    }

    #[test]
    fn programs_and_small_files_go_first() {
        let (go, may_go) = mpsc::channel::<()>();
        let may_go = Mutex::new(may_go);
        let order = Arc::new(Mutex::new(Vec::new()));
        let seen = Arc::clone(&order);
        let look_at = move |job: &Job, _: &Progress<'_>| {
            seen.lock().unwrap().push(job.look.mapped.file.inode);
            let _ = may_go.lock().unwrap().recv();
        };
        let planners = Planners::start(look_at).unwrap();
        let began = || order.lock().unwrap().len();
        // All threads are busy, though only some with what is large.
        for inode in 0..THREADS as u64 + 1 {
            planners.submit(job(1, inode, LARGE, false));
        }
        planners.submit(job(1, 10, 1, false));
        while began() < THREADS {
            thread::yield_now();
        }
        for (inode, length, is_program) in [(20, 300, false), (21, 200, false), (22, 900, true)] {
            planners.submit(job(1, inode, length, is_program));
        }
        drop(go);
        all(&planners);
        let order = order.lock().unwrap().clone();
        assert!(order[..THREADS].contains(&10), "{order:?}");
        let place = |inode| order.iter().position(|found| *found == inode).unwrap();
        assert!(place(22) < place(21) || place(22).abs_diff(place(21)) == 1, "{order:?}");
        assert_eq!(order.len(), THREADS + 5);
    }
}
