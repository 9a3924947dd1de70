//! A secret, as a tap sends it.

use core::mem::{offset_of, size_of};

use crate::{COMM_LEN, Cookie, DecodeError, Ends, FACTS, FirstSecretEvent, RANDOM_LEN};

/// Most bytes of a label that are carried. The longest of RFC 9850 has 31.
pub const LABEL_MAX: usize = 48;
/// Room for a label with its NUL; one that fills more than [`LABEL_MAX`] is known to be too long.
pub const LABEL_ROOM: usize = 56;
/// Most bytes of a secret that are carried: the largest digest TLS libraries hold. Real ones have 32 or 48.
pub const SECRET_MAX: usize = 64;

/// One secret, as it is handed to the library's own secret-logging function.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct SecretEvent {
    /// `CLOCK_BOOTTIME`, nanoseconds.
    pub time_ns: u64,
    /// The attach cookie: see [`Cookie`].
    pub cookie: u64,
    /// The connection's address in the target (`SSL*`, `SSL_CONNECTION*`).
    pub connection: u64,
    /// Address of the label minus address of the probed instruction: a constant of the file, with
    /// which user space finds the label there when its page was not resident.
    pub label_delta: i64,
    /// Process id (the kernel's tgid), in the initial pid namespace.
    pub pid: u32,
    /// Thread id (the kernel's pid).
    pub tid: u32,
    /// Bytes in `label`; 0 when it could not be read.
    pub label_len: u32,
    /// The length that the library gave; more than [`SECRET_MAX`] means that `secret` was cut.
    pub secret_len: u32,
    /// The number that the library passed for the label; 0 where it passes the label itself.
    pub label_number: u32,
    /// 0 keeps the struct free of padding.
    pub reserved: u32,
    /// Name of the thread, padded with NUL. The process's name is in `/proc`.
    pub comm: [u8; COMM_LEN],
    /// The connection's client random.
    pub client_random: [u8; RANDOM_LEN],
    /// The label, padded with NUL.
    pub label: [u8; LABEL_ROOM],
    /// The secret; bytes past `secret_len` are 0.
    pub secret: [u8; SECRET_MAX],
    /// What [`TapConfig::facts`](crate::TapConfig::facts) copied; everything else is 0.
    pub facts: [u8; FACTS],
}

const _: () = assert!(size_of::<SecretEvent>() == 256);
const _: () = assert!(offset_of!(SecretEvent, pid) == 32);
const _: () = assert!(offset_of!(SecretEvent, comm) == 56);
const _: () = assert!(offset_of!(SecretEvent, secret) == 160);

impl SecretEvent {
    /// Reads a record of the ring buffer.
    ///
    /// # Errors
    ///
    /// [`DecodeError`] when the size or the label's length cannot be right. The secret's length is
    /// the library's own and judged by the model, with the label that it belongs to.
    pub fn decode(record: &[u8]) -> Result<Self, DecodeError> {
        if record.len() != size_of::<Self>() {
            return Err(DecodeError::Size { got: record.len() });
        }
        // SAFETY: the length was checked, every bit pattern is a valid SecretEvent (integers and
        // byte arrays only), and read_unaligned asks for no alignment.
        let event: Self = unsafe { core::ptr::read_unaligned(record.as_ptr().cast()) };
        if event.label_len as usize > LABEL_MAX {
            return Err(DecodeError::LabelLength { got: event.label_len });
        }
        Ok(event)
    }

    /// Reads a record, with the ends of the connection if they were sent with it.
    ///
    /// # Errors
    ///
    /// Those of [`SecretEvent::decode`].
    pub fn decode_with_ends(record: &[u8]) -> Result<(Self, Option<Ends>), DecodeError> {
        if record.len() != size_of::<FirstSecretEvent>() {
            return Ok((Self::decode(record)?, None));
        }
        let (secret, ends) = record.split_at(size_of::<Self>());
        let secret = Self::decode(secret)?;
        // SAFETY: what is left has the size of Ends by the check above, every bit pattern is a valid one (integers and
        // byte arrays only), and read_unaligned asks for no alignment.
        let ends = unsafe { core::ptr::read_unaligned(ends.as_ptr().cast()) };
        Ok((secret, Some(ends)))
    }

    /// The label's bytes; empty when the kernel could not read them.
    pub fn label(&self) -> &[u8] {
        let len = (self.label_len as usize).min(LABEL_MAX);
        &self.label[..len]
    }

    /// The secret's bytes; `None` when it is longer than can be carried.
    pub fn secret(&self) -> Option<&[u8]> {
        self.secret.get(..self.secret_len as usize)
    }
}

impl core::fmt::Debug for SecretEvent {
    /// Everything but the secret.
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("SecretEvent")
            .field("time_ns", &self.time_ns)
            .field("cookie", &Cookie::unpack(self.cookie))
            .field("pid", &self.pid)
            .field("tid", &self.tid)
            .field("label", &self.label())
            .field("secret_len", &self.secret_len)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    extern crate std;
    use super::*;

    fn record(label_len: u32, secret_len: u32) -> std::vec::Vec<u8> {
        let mut bytes = std::vec![0u8; size_of::<SecretEvent>()];
        let put = |bytes: &mut [u8], at: usize, value: u32| {
            bytes[at..at + 4].copy_from_slice(&value.to_ne_bytes());
        };
        put(&mut bytes, offset_of!(SecretEvent, label_len), label_len);
        put(&mut bytes, offset_of!(SecretEvent, secret_len), secret_len);
        bytes
    }

    #[test]
    fn a_whole_record_is_read() {
        let event = SecretEvent::decode(&record(13, 48)).unwrap();
        assert_eq!(event.label().len(), 13);
        assert_eq!(event.secret().unwrap().len(), 48);
    }

    #[test]
    fn short_and_long_records_are_errors() {
        let whole = record(1, 32);
        for len in 0..whole.len() {
            assert_eq!(
                SecretEvent::decode(&whole[..len]).unwrap_err(),
                DecodeError::Size { got: len }
            );
        }
        let mut long = whole;
        long.push(0);
        assert!(SecretEvent::decode(&long).is_err());
    }

    #[test]
    fn nonsense_lengths_do_not_panic() {
        assert_eq!(
            SecretEvent::decode(&record(49, 32)).unwrap_err(),
            DecodeError::LabelLength { got: 49 }
        );
        assert_eq!(SecretEvent::decode(&record(0, 65)).unwrap().secret(), None);
        assert_eq!(SecretEvent::decode(&record(0, u32::MAX)).unwrap().secret(), None);
    }

    #[test]
    fn debug_output_has_no_secret() {
        let mut bytes = record(0, 32);
        bytes[offset_of!(SecretEvent, secret)] = 0xa7;
        let text = std::format!("{:?}", SecretEvent::decode(&bytes).unwrap());
        assert!(!text.contains("a7") && !text.contains("167"), "{text}");
    }
}
