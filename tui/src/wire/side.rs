//! One side of a connection, as far as its hello.

use super::messages::{Messages, Refused};
use super::stream::Stream;

/// What one end of a connection sends.
#[derive(Debug, Default)]
pub(super) struct Side {
    pub stream: Stream,
    messages: Messages,
    /// It has sent its last byte.
    pub has_ended: bool,
}

impl Side {
    /// The next message, when it is whole.
    pub fn read(&mut self, longest: usize) -> Result<Option<&[u8]>, Refused> {
        while self.messages.whole().is_none() {
            let Some(bytes) = self.stream.next() else { return Ok(None) };
            let count = self.messages.take(bytes, longest)?;
            self.stream.take(count);
        }
        Ok(self.messages.whole())
    }

    /// Goes on to the next message.
    pub fn next(&mut self) {
        self.messages.next();
    }

    /// Drops all that is kept.
    pub fn clear(&mut self) {
        self.messages.next();
        self.stream.clear();
    }

    /// Memory that is used, in bytes.
    pub fn kept(&self) -> usize {
        self.messages.kept() + self.stream.kept()
    }
}
