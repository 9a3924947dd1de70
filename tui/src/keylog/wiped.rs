//! Reading with a buffer that is wiped: there are secrets in an existing key log.

use std::io::{self, BufRead, Read};

use zeroize::Zeroizing;

/// Bytes of the buffer.
const ROOM: usize = 8192;

/// What `std::io::BufReader` is, but for the wiping.
pub struct WipedReader<R> {
    inner: R,
    buffer: Zeroizing<Vec<u8>>,
    /// What was read and not taken.
    from: usize,
    to: usize,
}

impl<R: Read> WipedReader<R> {
    pub fn new(inner: R) -> Self {
        Self { inner, buffer: Zeroizing::new(vec![0; ROOM]), from: 0, to: 0 }
    }
}

impl<R: Read> Read for WipedReader<R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let read = self.fill_buf()?.read(into)?;
        self.consume(read);
        Ok(read)
    }
}

impl<R: Read> BufRead for WipedReader<R> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if self.from == self.to {
            (self.from, self.to) = (0, self.inner.read(&mut self.buffer)?);
        }
        Ok(&self.buffer[self.from..self.to])
    }

    fn consume(&mut self, count: usize) {
        self.from = self.to.min(self.from + count);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_across_the_border_of_the_buffer_are_whole() {
        let text: Vec<u8> = (0..5000).flat_map(|n| format!("{n}\n").into_bytes()).collect();
        let mut lines = Vec::new();
        let mut reader = WipedReader::new(&text[..]);
        while reader.read_until(b'\n', &mut lines).unwrap() > 0 {}
        assert_eq!(lines, text);
        let mut all = Vec::new();
        WipedReader::new(&text[..]).read_to_end(&mut all).unwrap();
        assert_eq!(all, text);
    }
}
