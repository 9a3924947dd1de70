//! A file in pieces of any size, without holding more of it than one piece.

use std::io::{self, Read};

use zeroize::Zeroizing;

/// Bytes that are read at once.
const AT_ONCE: usize = 64 << 10;

/// What is being read. There may be secrets in it, so the memory is wiped.
#[derive(Debug)]
pub(super) struct Input<R> {
    reader: R,
    buffer: Zeroizing<Vec<u8>>,
    /// What was read and not skipped.
    from: usize,
    to: usize,
    /// Of the first byte that was not skipped.
    offset: u64,
}

impl<R: Read> Input<R> {
    pub fn new(reader: R) -> Self {
        Self { reader, buffer: Zeroizing::new(vec![0; AT_ONCE]), from: 0, to: 0, offset: 0 }
    }

    /// Where the next bytes are.
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// The next `count` bytes, or fewer where the file ends. Memory grows with what is there, not with what is asked for.
    pub fn peek(&mut self, count: usize) -> io::Result<&[u8]> {
        while self.to - self.from < count {
            if self.to == self.buffer.len() {
                self.make_room();
            }
            let place = self.buffer.get_mut(self.to..).unwrap_or_default();
            match self.reader.read(place) {
                Ok(0) => break,
                Ok(more) => self.to += more,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        let there = self.buffer.get(self.from..self.to).unwrap_or_default();
        Ok(there.get(..count).unwrap_or(there))
    }

    /// Goes on behind these bytes, which were there.
    pub fn skip(&mut self, count: usize) {
        self.from = self.to.min(self.from + count);
        self.offset += count as u64;
    }

    fn make_room(&mut self) {
        let kept = self.from..self.to;
        if self.from >= self.buffer.len() / 2 {
            self.buffer.copy_within(kept, 0);
        } else {
            // Another one: what `Vec` leaves behind when it grows is not wiped.
            let mut larger = Zeroizing::new(vec![0; self.buffer.len() * 2]);
            let old = self.buffer.get(kept).unwrap_or_default();
            if let Some(place) = larger.get_mut(..old.len()) {
                place.copy_from_slice(old);
            }
            self.buffer = larger;
        }
        (self.from, self.to) = (0, self.to - self.from);
    }
}
