//! Files with probes that are written to in place: the probes would stand somewhere in the new code, in every process
//! that maps it from then on.

use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd, OwnedFd};
use std::sync::Arc;

use rustix::fs::inotify::{self, CreateFlags, ReadFlags, Reader, WatchFlags};

use crate::model::target::ImageId;

/// Tells when one of the watched files is written to.
#[derive(Debug)]
pub struct Written {
    inotify: OwnedFd,
    watches: HashMap<i32, ImageId>,
    files: HashMap<ImageId, i32>,
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

    /// Watches these files, and no others. Those that cannot be watched, with the reason.
    pub fn watch(&mut self, files: &[(ImageId, Arc<File>)]) -> Vec<(ImageId, io::Error)> {
        let gone: Vec<ImageId> = self.files.keys().copied().collect();
        for id in gone {
            if !files.iter().any(|(known, _)| *known == id)
                && let Some(watch) = self.files.remove(&id)
                && self.watches.get(&watch) == Some(&id)
            {
                self.watches.remove(&watch);
                // Of a file that is gone the kernel has removed it by itself.
                let _ = inotify::remove_watch(&self.inotify, watch);
            }
        }
        let mut failed = Vec::new();
        for (id, file) in files {
            if self.files.contains_key(id) {
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
    pub fn add(&mut self, id: ImageId, file: &File) -> io::Result<()> {
        // The file itself, whatever its path names.
        let path = format!("/proc/self/fd/{}", file.as_raw_fd());
        let watch = inotify::add_watch(&self.inotify, path, WatchFlags::MODIFY)?;
        self.watches.insert(watch, id);
        self.files.insert(id, watch);
        Ok(())
    }

    /// The images whose files were written to since.
    pub fn take(&mut self) -> Vec<ImageId> {
        let mut buffer = [MaybeUninit::uninit(); 4096];
        let mut reader = Reader::new(&self.inotify, &mut buffer);
        let mut found = Vec::new();
        while let Ok(event) = reader.next() {
            if event.events().contains(ReadFlags::QUEUE_OVERFLOW) {
                // It may have been any of them.
                found.extend(self.files.keys());
            } else if event.events().contains(ReadFlags::MODIFY) {
                found.extend(self.watches.get(&event.wd()));
            }
        }
        found.sort_unstable();
        found.dedup();
        found
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
}
