//! Bounded reading of a file by `pread`.
//!
//! A planned file belongs to somebody else, who may truncate or rewrite it at any time. A memory map would then
//! end this program with SIGBUS; a read gives an error.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

/// Bytes of one cached block.
const BLOCK: u64 = 64 * 1024;
/// Bytes after a block that are kept with it, so that a short read that starts in it needs no second block.
const TAIL: u64 = 64;
/// Blocks in the cache: 1 MiB altogether, more than the code around one library's labels.
const BLOCKS: usize = 16;
/// Bytes of one step of a sequential scan: fits in the second-level cache, where several passes over it are cheap.
const STEP: u64 = 256 * 1024;
/// The largest single read that a header may ask for.
pub const MAX_READ: u64 = 16 * 1024 * 1024;

/// Why bytes could not be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The file ends before the bytes that were asked for, or it shrank while it was read.
    #[error("the file ends before offset {end:#x}")]
    Short {
        /// First offset after the bytes that were asked for.
        end: u64,
    },
    /// More than [`MAX_READ`] bytes at once, or an offset beyond 64 bits: only a damaged file asks for that.
    #[error("{length} bytes at offset {offset:#x} are too many for one read")]
    TooLarge {
        /// Where the read would have started.
        offset: u64,
        /// Bytes that were asked for.
        length: u64,
    },
    /// The system's error.
    #[error("cannot read {length} bytes at offset {offset:#x}")]
    Io {
        /// Where the read started.
        offset: u64,
        /// Bytes that were asked for.
        length: u64,
        /// What the system said.
        source: io::Error,
    },
}

/// A window on a file: small reads come from a 1 MiB cache, scans go through one buffer of 256 KiB.
pub struct Window<'f> {
    file: &'f File,
    length: u64,
    blocks: Vec<Option<Block>>,
    buffer: Vec<u8>,
}

struct Block {
    offset: u64,
    bytes: Vec<u8>,
}

impl<'f> Window<'f> {
    /// Opens a window on `file`, whose length is taken now.
    ///
    /// # Errors
    /// [`ReadError::Io`] when the file cannot be examined.
    pub fn new(file: &'f File) -> Result<Self, ReadError> {
        let metadata =
            file.metadata().map_err(|source| ReadError::Io { offset: 0, length: 0, source })?;
        Ok(Self {
            file,
            length: metadata.len(),
            blocks: (0..BLOCKS).map(|_| None).collect(),
            buffer: Vec::new(),
        })
    }

    /// Length of the file in bytes when the window was opened.
    pub fn length(&self) -> u64 {
        self.length
    }

    /// Reads exactly `length` bytes at `offset`, without the cache.
    ///
    /// # Errors
    /// Any [`ReadError`]; nothing is allocated for a read that cannot succeed.
    pub fn read(&self, offset: u64, length: u64) -> Result<Vec<u8>, ReadError> {
        let end = end_of(offset, length)?;
        if length > MAX_READ {
            return Err(ReadError::TooLarge { offset, length });
        }
        if end > self.length {
            return Err(ReadError::Short { end });
        }
        let mut bytes = vec![0; length as usize];
        fill(self.file, offset, &mut bytes)?;
        Ok(bytes)
    }

    /// Up to `most` bytes at `offset` from the cache; fewer only at the end of the file. `most` is at most 64.
    ///
    /// # Errors
    /// [`ReadError::Short`] when `offset` is at or after the end of the file, and I/O errors.
    pub fn peek(&mut self, offset: u64, most: usize) -> Result<&[u8], ReadError> {
        if offset >= self.length {
            return Err(ReadError::Short { end: offset.saturating_add(1) });
        }
        let start = offset - offset % BLOCK;
        let slot = (start / BLOCK) as usize % BLOCKS;
        let cached = self.blocks[slot].take().filter(|block| block.offset == start);
        let block = match cached {
            Some(block) => block,
            None => {
                // Cannot overflow: `start` is below the file's length.
                let length = (self.length - start).min(BLOCK + TAIL);
                Block { offset: start, bytes: self.read(start, length)? }
            }
        };
        let block = self.blocks[slot].insert(block);
        let from = (offset - start) as usize;
        let to = block.bytes.len().min(from + most.min(TAIL as usize));
        Ok(&block.bytes[from..to])
    }

    /// Goes through `length` bytes from `offset` in steps. `visit` gets the offset of a step, its bytes with up to
    /// `overlap` bytes of what follows, and the number of bytes that belong to the step itself: a match that starts
    /// within them is this step's, so that each is seen once. `visit` returns whether to go on.
    ///
    /// # Errors
    /// Any [`ReadError`]; also when the file became shorter meanwhile.
    pub fn scan(
        &mut self,
        offset: u64,
        length: u64,
        overlap: u64,
        mut visit: impl FnMut(u64, &[u8], usize) -> bool,
    ) -> Result<(), ReadError> {
        let end = end_of(offset, length)?;
        if end > self.length {
            return Err(ReadError::Short { end });
        }
        let mut buffer = std::mem::take(&mut self.buffer);
        let mut at = offset;
        let mut result = Ok(());
        while at < end {
            let own = (end - at).min(STEP);
            let read = (end - at).min(own.saturating_add(overlap.min(STEP)));
            if buffer.len() < read as usize {
                buffer = vec![0; read as usize];
            }
            let bytes = &mut buffer[..read as usize];
            result = fill(self.file, at, bytes);
            if result.is_err() || !visit(at, bytes, own as usize) {
                break;
            }
            at += own;
        }
        self.buffer = buffer;
        result
    }
}

fn end_of(offset: u64, length: u64) -> Result<u64, ReadError> {
    offset.checked_add(length).ok_or(ReadError::TooLarge { offset, length })
}

fn fill(file: &File, offset: u64, bytes: &mut [u8]) -> Result<(), ReadError> {
    file.read_exact_at(bytes, offset).map_err(|source| {
        let length = bytes.len() as u64;
        match source.kind() {
            io::ErrorKind::UnexpectedEof => ReadError::Short { end: offset.saturating_add(length) },
            _ => ReadError::Io { offset, length, source },
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::target::sample::file_of;

    #[test]
    fn reads_only_what_is_there() {
        let file = file_of(b"0123456789");
        let mut window = Window::new(&file).unwrap();
        assert_eq!(window.read(2, 3).unwrap(), b"234");
        assert_eq!(window.peek(8, 15).unwrap(), b"89");
        assert!(matches!(window.read(8, 3), Err(ReadError::Short { end: 11 })));
        assert!(matches!(window.peek(10, 1), Err(ReadError::Short { .. })));
        assert!(matches!(window.read(u64::MAX, 2), Err(ReadError::TooLarge { .. })));
        assert!(window.scan(5, u64::MAX, 8, |_, _, _| true).is_err());
    }

    #[test]
    fn a_match_on_a_border_is_seen_once() {
        let mut bytes = vec![b'.'; 3 * STEP as usize];
        let at = STEP as usize - 3;
        bytes[at..at + 6].copy_from_slice(b"needle");
        let file = file_of(&bytes);
        let mut window = Window::new(&file).unwrap();
        let mut found = Vec::new();
        window
            .scan(0, bytes.len() as u64, 5, |offset, bytes, own| {
                found.extend(
                    memchr::memmem::find_iter(bytes, b"needle")
                        .filter(|&i| i < own)
                        .map(|i| offset as usize + i),
                );
                true
            })
            .unwrap();
        assert_eq!(found, [at]);
    }

    #[test]
    fn a_file_that_shrinks_is_an_error() {
        let file = file_of(&vec![1; 3 * BLOCK as usize]);
        let mut window = Window::new(&file).unwrap();
        window.peek(0, 1).unwrap();
        file.set_len(10).unwrap();
        assert!(window.peek(2 * BLOCK, 1).is_err());
        assert!(window.scan(0, 2 * BLOCK, 0, |_, _, _| true).is_err());
    }
}
