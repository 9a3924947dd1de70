//! What the records say, kept up to date: one table and one lineage, for the thread that follows and for the loop, which
//! asks who a process was at the moment that its secret arrives.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet, VecDeque};
use std::io;
use std::os::fd::RawFd;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::news::{Gone, Look, News};
use super::readers::Asked;
use super::record::{Event, FileKey, Mapped, What};
use super::rings::{Order, Rings, Wake};
use super::stamp::Stamp;
use super::table::{Class, Known, Table};
use crate::clock::boot_time;
use crate::model::target::{Ancestor, Birth, ImageId, Process};
use crate::priority;
use crate::target::lineage::Lineage;
use crate::target::process;
use crate::text::Foreign;

/// Our own mappings that are remembered, for those who wait to see theirs.
const OWN: usize = 64;
/// Files and ended processes that wait for the thread that follows; with more than these it looks at everything.
const NEWS: usize = 16_384;

struct Inner {
    rings: Option<Rings>,
    order: Order,
    taken: Vec<Event>,
    table: Table,
    lineage: Lineage,
    own: VecDeque<Mapped>,
    own_pid: u32,
    news: News,
    lost: u64,
}

/// A handle to it, cheap to clone.
#[derive(Clone)]
pub struct Watch(Arc<Mutex<Inner>>);

impl std::fmt::Debug for Watch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Watch")
    }
}

impl Watch {
    /// Begins to watch. Where the kernel refuses, nothing is ever reported, and the error says why.
    pub fn start() -> (Self, Option<io::Error>) {
        match Rings::open() {
            Ok(rings) => (Self::of(Some(rings)), None),
            Err(error) => (Self::blind(), Some(error)),
        }
    }

    /// One to which nothing is ever reported.
    pub fn blind() -> Self {
        Self::of(None)
    }

    fn of(rings: Option<Rings>) -> Self {
        let inner = Inner {
            rings,
            order: Order::default(),
            taken: Vec::new(),
            table: Table::default(),
            lineage: Lineage::default(),
            own: VecDeque::new(),
            own_pid: std::process::id(),
            news: News::default(),
            lost: 0,
        };
        Self(Arc::new(Mutex::new(inner)))
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // A panic in the middle of an update leaves at the worst a process that is not up to date.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The thread that follows may wait for the lock, and cannot wait for long.
    fn at_once<T>(&self, work: impl FnOnce(&mut Inner) -> T) -> T {
        priority::immediately(|| work(&mut self.lock()))
    }

    /// Whether the kernel reports what happens.
    pub fn is_live(&self) -> bool {
        self.lock().rings.is_some()
    }

    /// For poll(2). They are valid as long as the handle is.
    pub fn descriptors(&self, of: Wake) -> Vec<RawFd> {
        self.lock().rings.iter().flat_map(|rings| rings.descriptors(of)).collect()
    }

    /// Adds CPUs that came since.
    ///
    /// # Errors
    ///
    /// When the kernel refuses one.
    pub fn add_cpus(&self) -> io::Result<()> {
        self.lock().rings.as_mut().map_or(Ok(()), Rings::add_cpus)
    }

    /// Takes what the kernel reported since, and what there is to do. Whether records wait for others, so that it
    /// has to be asked again soon.
    pub fn take(&self) -> (News, bool) {
        let mut inner = self.lock();
        inner.catch_up();
        (std::mem::take(&mut inner.news), inner.order.is_waiting())
    }

    /// The process that had this id at that time (nanoseconds of `CLOCK_BOOTTIME`), as it was then, and where it comes
    /// from itself; `None` when nothing is known of it.
    pub fn process_at(&self, pid: u32, time: u64) -> Option<Arc<Process>> {
        let known = self.at_once(|inner| {
            inner.catch_up();
            let moment = inner.lineage.at(pid, time)?;
            Some(match (moment.is_present, &moment.node.process) {
                (true, Some(process)) => Ok(Arc::clone(process)),
                (true, None) => Err(moment.node.start_ticks),
                (false, _) => Ok(Arc::new(inner.lineage.past(&moment))),
            })
        });
        let started = match known? {
            Ok(process) => return Some(process),
            Err(started) => started,
        };
        let read = read(pid);
        self.at_once(|inner| {
            // While it was looked at, it may have ended or become another program.
            inner.catch_up();
            let moment = inner.lineage.at(pid, time)?;
            if !moment.is_present {
                return Some(Arc::new(inner.lineage.past(&moment)));
            }
            Some(inner.lineage.describe(pid, started, read))
        })
    }

    /// The process that has this id now, or had it last, and where it comes from itself; `None` when nothing is known of
    /// it.
    pub fn process(&self, pid: u32) -> Option<Arc<Process>> {
        let known = self.at_once(|inner| {
            inner.catch_up();
            let node = inner.lineage.get(pid)?;
            Some(node.process.clone().ok_or(node.start_ticks))
        });
        let started = match known? {
            Ok(process) => return Some(process),
            Err(started) => started,
        };
        let read = read(pid);
        Some(self.at_once(|inner| inner.lineage.describe(pid, started, read)))
    }

    /// The ancestors of a process, the nearest first.
    pub fn ancestors(&self, pid: u32) -> Vec<Ancestor> {
        let mut inner = self.lock();
        inner.catch_up();
        inner.lineage.ancestors(pid)
    }

    /// The nearest ancestor of a process that has not ended.
    pub fn living_parent(&self, pid: u32) -> Option<u32> {
        self.lock().lineage.living_parent(pid)
    }

    /// The key of a file that we have mapped ourselves at this address.
    pub fn own_mapping(&self, start: u64) -> Option<FileKey> {
        let mut inner = self.lock();
        inner.catch_up();
        // In the order of time too: the last one is the one that is there.
        inner.own.iter().rev().find(|mapped| mapped.start == start).map(|mapped| mapped.file)
    }

    /// The processes that have images, with these.
    pub fn targets(&self) -> Vec<(u32, Vec<ImageId>)> {
        self.lock().table.targets().collect()
    }

    /// Every process there is.
    pub fn pids(&self) -> BTreeSet<u32> {
        self.lock().lineage.living_pids().collect()
    }

    /// From whom each process was born.
    pub fn births(&self) -> BTreeMap<u32, Birth> {
        self.lock().lineage.births()
    }

    /// Processes and files for which there was no room, and records that were lost.
    pub fn untracked_and_lost(&self) -> (u64, u64) {
        let inner = self.lock();
        let rings = inner.rings.as_ref();
        let lost = rings.map_or(0, |rings| rings.lost + rings.nonsense);
        (inner.table.untracked.max(inner.lineage.untracked), lost)
    }

    /// What `/proc` shows of a process, read from `began` on.
    pub fn seen(&self, process: &Process, threads: u32, began: u64) {
        let mut inner = self.lock();
        // A thread that ended since `/proc` was read must not be counted twice.
        inner.catch_up();
        inner.lineage.seen(process, began);
        inner.table.seen(process.pid, threads, began);
    }

    /// The mappings of a process, read from `began` on. The files that nobody has looked at yet.
    pub fn has_mapped(&self, asked: &Asked, maps: &[Mapped], began: u64) -> Vec<Look> {
        let mut inner = self.lock();
        inner.catch_up();
        let node = inner.lineage.get(asked.pid);
        // Not those of one that ended since, nor for another one with its id.
        if node.is_none_or(|node| node.start_ticks != asked.start_ticks) {
            return Vec::new();
        }
        let files = maps.iter().map(|mapped| mapped.file).collect();
        let files: HashMap<FileKey, Option<Stamp>> =
            inner.table.has_mapped(asked.pid, files, began).into_iter().collect();
        inner.news.changed = true;
        let look = |mapped: &Mapped| {
            Some(Look {
                pid: asked.pid,
                is_program: asked.exe.as_ref() == Some(&mapped.path),
                is_named: false,
                mapped: mapped.clone(),
                since: None,
                stamp: *files.get(&mapped.file)?,
            })
        };
        maps.iter().filter_map(look).collect()
    }

    /// `/proc` was read from `began` on, and shows these processes and their parents, and no others.
    pub fn all_seen(&self, parents: &[(u32, u32)], began: u64) {
        let mut inner = self.lock();
        inner.catch_up();
        for (pid, parent) in parents {
            inner.lineage.adopt(*pid, *parent);
        }
        let shown: HashSet<u32> = parents.iter().map(|(pid, _)| *pid).collect();
        for pid in inner.table.older_than(began) {
            if !shown.contains(&pid) {
                inner.ended(pid, began);
            }
        }
    }

    /// What a look at a file found; `None`: nothing can be said, and the next who maps it is asked.
    pub fn settle(&self, file: FileKey, class: Option<Class>) -> bool {
        self.lock().table.settle(file, class)
    }

    /// An image is not known any more.
    pub fn forget(&self, image: ImageId) -> Vec<FileKey> {
        self.lock().table.forget(image)
    }

    /// Whether another process than this one has a file mapped.
    pub fn is_used_by_another(&self, file: FileKey, pid: u32) -> bool {
        self.lock().table.is_used_by_another(file, pid)
    }

    /// The image that a file is.
    pub fn image(&self, file: FileKey) -> Option<ImageId> {
        self.lock().table.images(&[file]).first().copied()
    }

    /// The images among these files, unless somebody still looks at one of them.
    pub fn images(&self, files: &[FileKey]) -> Option<Vec<ImageId>> {
        let inner = self.lock();
        (!inner.table.is_looking(files)).then(|| inner.table.images(files))
    }
}

/// What `/proc` says of a process, and since when. Without the lock: it is slower than everything else here.
fn read(pid: u32) -> Option<(Process, u64)> {
    let began = boot_time();
    Some((process::read(pid).ok()?, began))
}

impl Inner {
    /// Takes what is in the rings, and applies it.
    fn catch_up(&mut self) {
        let Some(rings) = &mut self.rings else { return };
        let began = boot_time();
        rings.take(&mut self.taken);
        let lost = rings.lost + rings.nonsense;
        self.news.incomplete |= lost != self.lost;
        self.lost = lost;
        for event in self.order.add(&mut self.taken, began) {
            self.news.events += 1;
            self.apply(event);
        }
    }

    fn apply(&mut self, Event { time, pid, what }: Event) {
        match what {
            What::Fork { parent } => {
                self.lineage.fork_at(pid, parent, time);
                self.news.changed |= self.table.fork(pid, parent, time);
            }
            What::Thread => self.table.thread(pid, time),
            What::Exit { .. } => {
                if let Some(left) = self.table.exit(pid, time) {
                    self.left(pid, left.files, left.was_target, time);
                }
            }
            What::Name { name, exec: true, .. } => {
                self.lineage.exec(pid, name, time);
                self.news.changed |= self.table.exec(pid, time);
            }
            What::Name { thread, name, .. } if thread == pid => self.renamed(pid, name, time),
            What::Name { .. } | What::Lost(_) => {}
            What::Map(mapped) if pid == self.own_pid => {
                if self.own.len() == OWN {
                    self.own.pop_front();
                }
                self.own.push_back(mapped);
            }
            What::Map(mapped) => self.mapped(pid, mapped, time),
        }
    }

    fn renamed(&mut self, pid: u32, name: Foreign, time: u64) {
        self.lineage.rename(pid, name, time);
        self.news.changed |= self.table.is_target(pid);
    }

    fn mapped(&mut self, pid: u32, mapped: Mapped, time: u64) {
        let is_program = self.lineage.get(pid).is_some_and(|node| node.exe.is_none());
        self.lineage.mapped(pid, &mapped.path);
        let (is_target, known) = self.table.map(pid, mapped.file, time);
        self.news.changed |= is_target || matches!(known, Known::As(Class::Image(_)));
        if let Known::Not(stamp) = known {
            match self.news.looks.len() < NEWS {
                true => {
                    let (is_named, since) = (false, Some(time));
                    self.news.looks.push(Look { pid, mapped, is_program, is_named, since, stamp });
                }
                false => {
                    self.table.settle(mapped.file, None);
                    self.news.incomplete = true;
                }
            }
        }
    }

    fn ended(&mut self, pid: u32, at: u64) {
        match self.table.remove(pid) {
            Some(left) => self.left(pid, left.files, left.was_target, at),
            None => self.lineage.exit_at(pid, at),
        }
    }

    fn left(&mut self, pid: u32, files: Arc<Vec<FileKey>>, was_target: bool, at: u64) {
        self.news.changed |= was_target;
        if (was_target || self.table.is_looking(&files)) && self.news.gone.len() < NEWS {
            let process = self.lineage.describe(pid, 0, None);
            self.news.gone.push(Gone { process, files, at });
        }
        self.lineage.exit_at(pid, at);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_is_of_the_program_and_the_process_of_its_time() {
        // No real process has this id (`PID_MAX_LIMIT` of linux/threads.h).
        const PID: u32 = (1 << 22) + 1;
        let (watch, _) = Watch::start();
        let born = 1000 * process::tick();
        {
            let lineage = &mut watch.lock().lineage;
            lineage.fork_at(PID, 1, born);
            lineage.exec(PID, "sh".into(), born + 10);
            lineage.exec(PID, "curl".into(), born + 20);
            lineage.exit_at(PID, born + 30);
            lineage.fork_at(PID, 1, 2 * born);
            lineage.exec(PID, "wget".into(), 2 * born + 10);
        }
        let at = |time| {
            let process = watch.process_at(PID, time)?;
            Some((process.comm.to_string(), process.start_ticks, process.is_past))
        };
        assert_eq!(at(born - 1), None);
        assert_eq!(at(born + 15), Some(("sh".to_owned(), 1000, true)));
        assert_eq!(at(born + 25), Some(("curl".to_owned(), 1000, true)));
        assert_eq!(at(born + 31), None, "nobody had the id then");
        assert_eq!(at(2 * born + 15), Some(("wget".to_owned(), 2000, false)));
    }
}
