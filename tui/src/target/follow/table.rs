//! Which process has which files mapped, and which of these are images.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use super::record::FileKey;
use super::stamp::Stamp;
use crate::model::target::ImageId;

/// Processes known at a time: the others of a fork bomb are counted.
const LIMIT: usize = 65_536;
/// Files known at a time.
const FILES: usize = 65_536;
/// Files of one process. The most that was seen in real ones is some 300.
const FILES_OF_ONE: usize = 4096;
/// After this, a file in which nothing was found is looked at again when it is mapped: it may have been written to.
/// Nanoseconds.
const FRESH: u64 = 1_000_000_000;

/// What is in a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// Somebody looks.
    Looking,
    /// No TLS code.
    Nothing(Nothing),
    /// This image.
    Image(ImageId),
}

/// When nothing was found in a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Nothing {
    /// Nanoseconds of `CLOCK_BOOTTIME`.
    pub looked: u64,
    /// How the file looked then.
    pub stamp: Option<Stamp>,
}

/// What is known of a file that was mapped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Known {
    /// This is in it, or somebody looks at it already.
    As(Class),
    /// Somebody has to look, and is told once: nothing was in it when it looked like this, if it was looked at before.
    Not(Option<Stamp>),
}

/// A process.
#[derive(Clone, Debug, Default)]
struct Entry {
    /// Shared with those that it forked, until one of them maps something else.
    files: Arc<Vec<FileKey>>,
    threads: u32,
    /// The time of its last record.
    changed: u64,
}

/// Every process with what it has mapped.
#[derive(Debug)]
pub struct Table {
    processes: HashMap<u32, Entry>,
    classes: HashMap<FileKey, Class>,
    /// Those with an image.
    targets: BTreeSet<u32>,
    /// There may be files in which nothing was found.
    has_nothing: bool,
    limit: usize,
    /// Processes and files for which there was no room.
    pub untracked: u64,
}

impl Default for Table {
    fn default() -> Self {
        Self {
            processes: HashMap::new(),
            classes: HashMap::new(),
            targets: BTreeSet::new(),
            has_nothing: false,
            limit: LIMIT,
            untracked: 0,
        }
    }
}

/// What a process that ended had mapped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Left {
    /// Its files.
    pub files: Arc<Vec<FileKey>>,
    /// It was a target.
    pub was_target: bool,
}

impl Table {
    /// A process began, with what its parent has mapped. Whether it is a target.
    pub fn fork(&mut self, pid: u32, parent: u32, time: u64) -> bool {
        let files = self.processes.get(&parent).map(|entry| Arc::clone(&entry.files));
        self.insert(pid, files.unwrap_or_default(), 1, time)
    }

    /// It has one more thread.
    pub fn thread(&mut self, pid: u32, time: u64) {
        if let Some(entry) = self.processes.get_mut(&pid) {
            entry.threads = entry.threads.saturating_add(1);
            entry.changed = time;
        }
    }

    /// It became another program. Whether it was a target.
    pub fn exec(&mut self, pid: u32, time: u64) -> bool {
        let was_target = self.targets.remove(&pid);
        self.insert(pid, Arc::default(), 1, time);
        was_target
    }

    /// One of its threads ended. `Some` when it was the last one.
    pub fn exit(&mut self, pid: u32, time: u64) -> Option<Left> {
        let entry = self.processes.get_mut(&pid)?;
        entry.changed = time;
        entry.threads = entry.threads.saturating_sub(1);
        (entry.threads == 0).then(|| self.remove(pid)).flatten()
    }

    /// It is not there any more.
    pub fn remove(&mut self, pid: u32) -> Option<Left> {
        let was_target = self.targets.remove(&pid);
        self.processes.remove(&pid).map(|entry| Left { files: entry.files, was_target })
    }

    /// It mapped a file. Whether it became a target, and what is in the file.
    pub fn map(&mut self, pid: u32, file: FileKey, time: u64) -> (bool, Known) {
        let Some(entry) = self.processes.get_mut(&pid) else {
            return (false, Known::As(Class::Looking));
        };
        entry.changed = time;
        if !entry.files.contains(&file) {
            if entry.files.len() >= FILES_OF_ONE {
                self.untracked += 1;
                return (false, Known::As(Class::Looking));
            }
            Arc::make_mut(&mut entry.files).push(file);
        }
        let known = self.known(file, time);
        let is_new = matches!(known, Known::As(Class::Image(_))) && self.targets.insert(pid);
        (is_new, known)
    }

    fn known(&mut self, file: FileKey, time: u64) -> Known {
        match self.classes.get(&file).copied() {
            Some(Class::Nothing(Nothing { looked, stamp }))
                if time.saturating_sub(looked) > FRESH =>
            {
                self.classes.insert(file, Class::Looking);
                Known::Not(stamp)
            }
            Some(class) => Known::As(class),
            None => {
                // Not each time: when all are in use, there is nothing to find.
                if self.classes.len() >= FILES && std::mem::take(&mut self.has_nothing) {
                    self.classes.retain(|_, class| !matches!(class, Class::Nothing(_)));
                }
                if self.classes.len() >= FILES {
                    self.untracked += 1;
                    return Known::As(Class::Looking);
                }
                self.classes.insert(file, Class::Looking);
                Known::Not(None)
            }
        }
    }

    /// `/proc` shows this process with so many threads; it was read from `began` on.
    pub fn seen(&mut self, pid: u32, threads: u32, began: u64) {
        match self.processes.get_mut(&pid) {
            // What the records say is newer.
            Some(entry) if entry.changed >= began => {}
            Some(entry) => entry.threads = threads.max(1),
            None => {
                self.insert(pid, Arc::default(), threads.max(1), 0);
            }
        }
    }

    /// `/proc` shows a process with these files; it was read from `began` on. The files that somebody has to look
    /// at, and how they looked when nothing was in them.
    pub fn has_mapped(
        &mut self,
        pid: u32,
        files: Vec<FileKey>,
        began: u64,
    ) -> Vec<(FileKey, Option<Stamp>)> {
        // It ended since.
        let Some(entry) = self.processes.get(&pid) else { return Vec::new() };
        let (threads, changed) = (entry.threads, entry.changed);
        // What the records say is newer.
        let newer = (changed >= began).then(|| Arc::clone(&entry.files));
        let unknown = |file: &FileKey| match self.known(*file, began) {
            Known::Not(stamp) => Some((*file, stamp)),
            Known::As(_) => None,
        };
        let looks = files.iter().filter_map(unknown).collect();
        let mut files: BTreeSet<FileKey> = files.into_iter().take(FILES_OF_ONE).collect();
        files.extend(newer.iter().flat_map(|files| files.iter()));
        self.insert(pid, Arc::new(files.into_iter().collect()), threads, changed);
        looks
    }

    /// Processes of which there was no record since `began`.
    pub fn older_than(&self, began: u64) -> Vec<u32> {
        let old = self.processes.iter().filter(|(_, entry)| entry.changed < began);
        old.map(|(pid, _)| *pid).collect()
    }

    /// A look at a file ended. Whether processes became targets.
    pub fn settle(&mut self, file: FileKey, class: Option<Class>) -> bool {
        self.has_nothing |= matches!(class, Some(Class::Nothing(_)));
        match class {
            Some(class) => self.classes.insert(file, class),
            None => self.classes.remove(&file),
        };
        let Some(Class::Image(_)) = class else { return false };
        let users = self.processes.iter().filter(|(_, entry)| entry.files.contains(&file));
        let before = self.targets.len();
        self.targets.extend(users.map(|(pid, _)| *pid));
        self.targets.len() > before
    }

    /// An image is not known any more: the files that are it.
    pub fn forget(&mut self, image: ImageId) -> Vec<FileKey> {
        let files = self.classes.iter().filter(|(_, class)| **class == Class::Image(image));
        let files: Vec<FileKey> = files.map(|(file, _)| *file).collect();
        for file in &files {
            self.classes.remove(file);
        }
        if !files.is_empty() {
            let targets = std::mem::take(&mut self.targets);
            let stays = |pid: &u32| {
                self.processes.get(pid).is_some_and(|entry| !self.images(&entry.files).is_empty())
            };
            self.targets = targets.into_iter().filter(stays).collect();
        }
        files
    }

    /// The images among these files, each once.
    pub fn images(&self, files: &[FileKey]) -> Vec<ImageId> {
        let image = |file| match self.classes.get(file) {
            Some(Class::Image(image)) => Some(*image),
            _ => None,
        };
        let mut images: Vec<ImageId> = files.iter().filter_map(image).collect();
        images.sort_unstable();
        images.dedup();
        images
    }

    /// Whether another process than this one has a file mapped.
    pub fn is_used_by_another(&self, file: FileKey, pid: u32) -> bool {
        self.processes.iter().any(|(other, entry)| *other != pid && entry.files.contains(&file))
    }

    /// Whether somebody looks at one of these files.
    pub fn is_looking(&self, files: &[FileKey]) -> bool {
        files.iter().any(|file| self.classes.get(file) == Some(&Class::Looking))
    }

    /// The processes that have images, with these.
    pub fn targets(&self) -> impl Iterator<Item = (u32, Vec<ImageId>)> + '_ {
        self.targets.iter().filter_map(|pid| {
            let entry = self.processes.get(pid)?;
            Some((*pid, self.images(&entry.files)))
        })
    }

    /// Whether it has an image.
    pub fn is_target(&self, pid: u32) -> bool {
        self.targets.contains(&pid)
    }

    fn insert(&mut self, pid: u32, files: Arc<Vec<FileKey>>, threads: u32, time: u64) -> bool {
        if self.processes.len() >= self.limit && !self.processes.contains_key(&pid) {
            self.untracked += 1;
            return false;
        }
        let is_target = !self.images(&files).is_empty();
        self.processes.insert(pid, Entry { files, threads, changed: time });
        match is_target {
            true => self.targets.insert(pid),
            false => self.targets.remove(&pid),
        };
        is_target
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn file(inode: u64) -> FileKey {
        FileKey { device: (8, 1), inode, generation: Some(1) }
    }

    fn nothing(looked: u64) -> Class {
        Class::Nothing(Nothing { looked, stamp: None })
    }

    fn targets(table: &Table) -> Vec<(u32, Vec<u32>)> {
        let ids = |images: Vec<ImageId>| images.into_iter().map(|image| image.0).collect();
        table.targets().map(|(pid, images)| (pid, ids(images))).collect()
    }

    #[test]
    fn a_life() {
        let mut table = Table::default();
        assert!(!table.fork(5, 1, 1));
        assert_eq!(table.map(5, file(7), 2), (false, Known::Not(None)));
        assert_eq!(table.map(5, file(7), 3), (false, Known::As(Class::Looking)), "looked at once");
        assert!(table.settle(file(7), Some(Class::Image(ImageId(3)))));
        assert!(table.fork(6, 5, 4), "it has what its parent has");
        assert_eq!(targets(&table), [(5, vec![3]), (6, vec![3])]);
        assert!(table.exec(6, 5));
        assert_eq!(table.map(6, file(8), 6), (false, Known::Not(None)));
        assert!(!table.settle(file(8), Some(nothing(6))));
        assert_eq!(table.map(6, file(7), 7), (true, Known::As(Class::Image(ImageId(3)))));
        table.thread(6, 8);
        assert_eq!(table.exit(6, 9), None);
        let left = table.exit(6, 10).unwrap();
        assert_eq!((left.files.len(), left.was_target), (2, true));
        assert_eq!(targets(&table), [(5, vec![3])]);
        assert_eq!(table.forget(ImageId(3)), [file(7)]);
        assert_eq!(targets(&table), []);
    }

    #[test]
    fn a_file_without_tls_code_is_looked_at_again_later() {
        let mut table = Table::default();
        table.fork(5, 1, 1);
        assert_eq!(table.map(5, file(7), 2).1, Known::Not(None));
        table.settle(file(7), Some(nothing(2)));
        assert_eq!(table.map(5, file(7), FRESH).1, Known::As(nothing(2)));
        assert_eq!(table.map(5, file(7), FRESH + 3).1, Known::Not(None));
    }

    #[test]
    fn what_is_read_does_not_undo_what_was_recorded_since() {
        let mut table = Table::default();
        table.seen(5, 2, 100);
        assert_eq!(table.has_mapped(5, vec![file(1)], 100), [(file(1), None)]);
        table.settle(file(1), Some(Class::Image(ImageId(1))));
        table.fork(5, 1, 150);
        table.exec(5, 151);
        table.map(5, file(2), 152);
        // Read before the exec, and told after it.
        table.seen(5, 2, 140);
        assert_eq!(table.has_mapped(5, vec![file(1)], 140), []);
        assert!(table.exit(5, 160).is_some(), "the threads are those of the new program");
        table.fork(6, 1, 150);
        table.map(6, file(1), 150);
        assert!(table.has_mapped(6, Vec::new(), 200).is_empty());
        assert_eq!(targets(&table), [], "what was unmapped since is gone");
        assert_eq!(table.older_than(151), [6]);
        assert_eq!(table.has_mapped(7, vec![file(3)], 300), [], "it ended since");
    }

    #[test]
    fn it_is_bounded() {
        let mut table = Table { limit: 10, ..Table::default() };
        for pid in 0..100 {
            table.fork(pid, 1, 1);
        }
        assert_eq!((table.processes.len(), table.untracked), (10, 90));
        for inode in 0..2 * FILES_OF_ONE as u64 {
            table.map(5, file(inode), 2);
        }
        assert_eq!(table.processes[&5].files.len(), FILES_OF_ONE);
        for inode in 0..2 * FILES as u64 {
            table.seen(6, 1, 2);
            table.has_mapped(6, vec![file(inode)], 2);
        }
        assert_eq!(table.classes.len(), FILES);
    }

    proptest! {
        #[test]
        fn a_target_is_who_has_an_image(
            steps in proptest::collection::vec((0u8..7, 1u32..8, 1u32..8), 0..300),
        ) {
            let mut table = Table { limit: 6, ..Table::default() };
            for (time, (kind, pid, other)) in (1..).zip(steps) {
                match kind {
                    0 | 1 => { table.fork(pid, other, time); }
                    2 => { table.map(pid, file(u64::from(other)), time); }
                    3 => { table.settle(file(u64::from(other)), Some(Class::Image(ImageId(other)))); }
                    4 => { table.exit(pid, time); }
                    5 => { table.exec(pid, time); }
                    _ => { table.forget(ImageId(other)); }
                }
                for (pid, entry) in &table.processes {
                    let has = !table.images(&entry.files).is_empty();
                    prop_assert_eq!(has, table.targets.contains(pid));
                }
                prop_assert!(table.targets.iter().all(|pid| table.processes.contains_key(pid)));
            }
        }
    }
}
