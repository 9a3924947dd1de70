//! The handshake messages in the records of one side, while they are in clear (RFC 8446, 5.1).

/// Content types (RFC 8446, B.1).
const CHANGE_CIPHER_SPEC: u8 = 20;
const HANDSHAKE: u8 = 22;
/// Types of handshake messages (RFC 8446, B.3).
pub(super) const CLIENT_HELLO: u8 = 1;
pub(super) const SERVER_HELLO: u8 = 2;
/// Bytes of the header of a message: type and length.
const MESSAGE_HEADER: usize = 4;
/// Longest record in clear: 2^14 bytes.
const LONGEST_RECORD: u16 = 1 << 14;

/// Why a side is not looked at any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refused {
    /// These are no records with a hello.
    NotHello,
    /// The message is longer than is kept.
    TooLong,
    /// What it says cannot be read.
    Unreadable,
}

/// One message at a time, taken out of its records.
#[derive(Debug, Default)]
pub(super) struct Messages {
    header: [u8; 5],
    /// Bytes of the header that are there.
    filled: usize,
    /// Bytes of the record that are still to come, once its header is whole.
    left: u16,
    message: Vec<u8>,
}

impl Messages {
    /// The message, once it is whole.
    pub fn whole(&self) -> Option<&[u8]> {
        (self.needed() == 0).then_some(&self.message)
    }

    /// Bytes that are kept.
    pub fn kept(&self) -> usize {
        self.message.capacity()
    }

    /// Goes on to the next message.
    pub fn next(&mut self) {
        self.message = Vec::new();
    }

    /// Takes bytes up to the end of the message, and says how many. Nothing when one is whole.
    pub fn take(&mut self, bytes: &[u8], longest: usize) -> Result<usize, Refused> {
        let mut rest = bytes;
        while !rest.is_empty() && self.needed() > 0 {
            let count = match self.left {
                0 => self.take_header(rest)?,
                _ => self.take_content(rest, longest)?,
            };
            rest = rest.get(count..).unwrap_or_default();
        }
        Ok(bytes.len() - rest.len())
    }

    fn take_header(&mut self, bytes: &[u8]) -> Result<usize, Refused> {
        let place = self.header.get_mut(self.filled..).unwrap_or_default();
        let count = place.len().min(bytes.len());
        for (to, from) in place.iter_mut().zip(bytes) {
            *to = *from;
        }
        self.filled += count;
        let [kind, major, minor, high, low] = self.header;
        let length = u16::from_be_bytes([high, low]);
        let is_known = kind == HANDSHAKE || kind == CHANGE_CIPHER_SPEC;
        let is_refused =
            [!is_known, major != 3, minor > 4, false, length == 0 || length > LONGEST_RECORD];
        if is_refused.iter().take(self.filled).any(|refused| *refused) {
            return Err(Refused::NotHello);
        }
        if self.filled == self.header.len() {
            (self.filled, self.left) = (0, length);
        }
        Ok(count)
    }

    fn take_content(&mut self, bytes: &[u8], longest: usize) -> Result<usize, Refused> {
        let mut count = bytes.len().min(usize::from(self.left));
        if self.header.first() == Some(&HANDSHAKE) {
            count = count.min(self.needed());
            self.message.extend_from_slice(bytes.get(..count).unwrap_or_default());
            if !matches!(self.message.first(), Some(&(CLIENT_HELLO | SERVER_HELLO))) {
                return Err(Refused::NotHello);
            }
            if self.needed() > longest {
                return Err(Refused::TooLong);
            }
        }
        self.left -= u16::try_from(count).unwrap_or(self.left);
        Ok(count)
    }

    /// Bytes that are missing from the header, or else from the message.
    fn needed(&self) -> usize {
        match self.message[..] {
            [_, a, b, c, ..] => {
                let length = u32::from_be_bytes([0, a, b, c]) as usize;
                (MESSAGE_HEADER + length).saturating_sub(self.message.len())
            }
            _ => MESSAGE_HEADER - self.message.len(),
        }
    }
}
