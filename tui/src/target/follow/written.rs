//! Files with probes that are written to in place: the probes would stand somewhere in the new code, in every process
//! that maps it from then on.

use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd, OwnedFd};
use std::sync::Arc;

use rustix::fs::inotify::{self, CreateFlags, ReadFlags, Reader, WatchFlags};
use rustix::fs::{OFlags, fcntl_getfl, fstat};

use crate::model::target::ImageId;

/// Tells when one of the watched files is written to.
#[derive(Debug)]
pub struct Written {
    inotify: OwnedFd,
    watches: HashMap<i32, ImageId>,
    files: HashMap<ImageId, Watched>,
}

/// A file, as it was when it was last known to be what was planned.
#[derive(Debug)]
struct Watched {
    watch: i32,
    file: Arc<File>,
    contents: Contents,
}

/// What changes when a file is written to: its size, and when its inode changed (seconds and nanoseconds since 1970), which
/// nobody can choose.
type Contents = (i64, i64, i64);

fn contents(file: &File) -> io::Result<Contents> {
    let stat = fstat(file)?;
    Ok((stat.st_size, stat.st_ctime, stat.st_ctime_nsec as i64))
}

impl Written {
    /// Watches nothing yet.
    ///
    /// # Errors
    ///
    /// When the kernel gives no inotify instance.
    pub fn new() -> io::Result<Self> {
        let inotify = inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK)?;
        Ok(Self { inotify, watches: HashMap::new(), files: HashMap::new() })
    }

    /// Watches these files, and no others. Those that cannot be watched, with the reason. One that is open only as a path
    /// is left out: a server has it, and to watch it asks the server.
    pub fn watch(&mut self, files: &[(ImageId, Arc<File>)]) -> Vec<(ImageId, io::Error)> {
        let gone: Vec<ImageId> = self.files.keys().copied().collect();
        for id in gone {
            if !files.iter().any(|(known, _)| *known == id)
                && let Some(Watched { watch, .. }) = self.files.remove(&id)
                && self.watches.get(&watch) == Some(&id)
            {
                self.watches.remove(&watch);
                // Of a file that is gone the kernel has removed it by itself.
                let _ = inotify::remove_watch(&self.inotify, watch);
            }
        }
        let mut failed = Vec::new();
        for (id, file) in files {
            let is_path = fcntl_getfl(file).is_ok_and(|flags| flags.contains(OFlags::PATH));
            if is_path || self.files.contains_key(id) {
                continue;
            }
            if let Err(error) = self.add(*id, file) {
                failed.push((*id, error));
            }
        }
        failed
    }

    /// Watches one more file.
    ///
    /// # Errors
    ///
    /// When the kernel refuses it.
    pub fn add(&mut self, id: ImageId, file: &Arc<File>) -> io::Result<()> {
        // The file itself, whatever its path names.
        let path = format!("/proc/self/fd/{}", file.as_raw_fd());
        let watch = inotify::add_watch(&self.inotify, path, WatchFlags::MODIFY)?;
        let contents = contents(file)?;
        self.watches.insert(watch, id);
        self.files.insert(id, Watched { watch, file: Arc::clone(file), contents });
        Ok(())
    }

    /// The images whose files were written to since.
    pub fn take(&mut self) -> Vec<ImageId> {
        let mut buffer = [MaybeUninit::uninit(); 4096];
        let mut reader = Reader::new(&self.inotify, &mut buffer);
        let (mut found, mut has_lost) = (Vec::new(), false);
        while let Ok(event) = reader.next() {
            if event.events().contains(ReadFlags::QUEUE_OVERFLOW) {
                has_lost = true;
            } else if event.events().contains(ReadFlags::MODIFY) {
                found.extend(self.watches.get(&event.wd()));
            }
        }
        if has_lost {
            found.extend(self.changed());
        }
        found.sort_unstable();
        found.dedup();
        found
    }

    /// The images whose files are not as they were: any of them may be among what was lost.
    fn changed(&self) -> impl Iterator<Item = ImageId> + '_ {
        let is_same = |watched: &Watched| {
            contents(&watched.file).is_ok_and(|contents| contents == watched.contents)
        };
        self.files.iter().filter(move |(_, watched)| !is_same(watched)).map(|(id, _)| *id)
    }
}

impl AsFd for Written {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.inotify.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    #[test]
    fn a_file_that_is_written_to_is_told_and_one_that_is_replaced_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        let open = |name: &str| {
            std::fs::write(path(name), b"old").unwrap();
            Arc::new(File::open(path(name)).unwrap())
        };
        let files = [(ImageId(1), open("a")), (ImageId(2), open("b"))];
        let mut written = Written::new().unwrap();
        assert!(written.watch(&files).is_empty());
        std::fs::write(path("new"), b"new").unwrap();
        std::fs::rename(path("new"), path("a")).unwrap();
        assert_eq!(written.take(), []);
        let mut file = File::options().write(true).open(path("b")).unwrap();
        file.write_all(b"x").unwrap();
        assert_eq!(written.take(), [ImageId(2)]);
        assert!(written.watch(&files[..1]).is_empty());
        file.write_all(b"y").unwrap();
        assert_eq!(written.take(), []);
    }

    /// More events than the kernel keeps, and of one file none at all.
    #[test]
    fn when_events_were_lost_only_what_changed_is_told() {
        let folder = tempfile::tempdir().unwrap();
        let paths: Vec<_> = (0..3).map(|number| folder.path().join(number.to_string())).collect();
        let open = |(number, path): (u32, &std::path::PathBuf)| {
            std::fs::write(path, b"old").unwrap();
            (ImageId(number), Arc::new(File::open(path).unwrap()))
        };
        let files: Vec<_> = (0..).zip(&paths).map(open).collect();
        let mut written = Written::new().unwrap();
        assert!(written.watch(&files).is_empty());
        let queue = std::fs::read_to_string("/proc/sys/fs/inotify/max_queued_events").unwrap();
        // Equal events that follow one another are one.
        let mut noise: Vec<File> = paths[..2]
            .iter()
            .map(|path| File::options().append(true).open(path).unwrap())
            .collect();
        for _ in 0..queue.trim().parse::<usize>().unwrap() {
            for file in &mut noise {
                file.write_all(b"x").unwrap();
            }
        }
        // Of these nothing is left but that some were lost.
        written.watches.clear();
        assert_eq!(written.take(), [ImageId(0), ImageId(1)]);
    }
}
