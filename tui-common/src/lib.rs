//! The types that cross the border between the eBPF programs and user space.
//!
//! Both sides are built from this one crate; sizes are asserted at compile time, so a change that
//! would make them differ does not build. All integers are in the machine's byte order.
#![no_std]

use core::mem::size_of;

mod ends;
mod facts;
mod flow;
mod kernel;
mod operand;
mod rule;
mod secret;
mod tap;
mod walk;

pub use ends::{
    BIO_MAX, BIO_SHORT, BIOS, BioAt, DescriptorTable, Ends, EndsConfig, FirstSecretEvent,
    INIT_TO_NUM, NAME_ROOM, NAMES, NameAt, SocketLinks, SocketNames,
};
pub use facts::{CIPHER_FOLLOWS, CIPHERS, CipherAt, FACTS, FactsConfig, NUMBERS, NumberAt};
pub use flow::{Flow, Opened, Owner, PLACES, mapped};
pub use kernel::KernelLayout;
pub use operand::{FOLLOWS, Operand, REGISTERS, RecordConfig, TokenConfig};
pub use rule::{PidRule, Settings};
pub use secret::{LABEL_MAX, LABEL_ROOM, SECRET_MAX, SecretEvent};
pub use tap::{TAP_SLOTS, TapConfig};
pub use walk::{
    COPY_MAX, PAYLOAD, POINTERS, QUICK, QUICK_STEPS, STEPS, SeenBy, Step, StepKind, WALK_SLOTS,
    WalkConfig, WalkEvent,
};

/// Bytes of a client random (RFC 8446, 4.1.2).
pub const RANDOM_LEN: usize = 32;
/// Bytes of a thread name with its NUL: `TASK_COMM_LEN` of `linux/sched.h`.
pub const COMM_LEN: usize = 16;

/// In place of an offset: there is no such field.
pub const NOWHERE: u32 = u32::MAX;

/// What an attach cookie says: which tap, and which of its probed instructions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cookie {
    /// Index in the map `TAPS`.
    pub slot: u32,
    /// Index in the tap's list of sites.
    pub site: u32,
}

impl Cookie {
    /// The cookie as it is given to the kernel.
    pub const fn pack(self) -> u64 {
        ((self.site as u64) << 32) | self.slot as u64
    }

    /// Reads a cookie that came back with an event.
    pub const fn unpack(raw: u64) -> Self {
        Self { slot: raw as u32, site: (raw >> 32) as u32 }
    }
}

/// Indexes of the per-CPU map `COUNTERS`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Counter {
    /// Probe hits, of chosen processes or not.
    Hits = 0,
    /// Hits of processes that are not chosen.
    Filtered = 1,
    /// Events for which the ring buffer had no room.
    RingFull = 2,
    /// The client random could not be read.
    RandomUnreadable = 3,
    /// The secret could not be read.
    SecretUnreadable = 4,
    /// The label could not be read in the kernel; user space then tries the file.
    LabelUnreadable = 5,
}

/// Elements of the map `COUNTERS`.
pub const COUNTERS: u32 = 6;

/// Why bytes from the ring buffer are not a [`SecretEvent`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DecodeError {
    /// The record has another size than the struct.
    Size {
        /// Bytes in the record.
        got: usize,
    },
    /// The label's length is more than [`LABEL_MAX`].
    LabelLength {
        /// The length that the record states.
        got: u32,
    },
}

impl core::fmt::Display for DecodeError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::Size { got } => {
                let (secret, walk) = (size_of::<SecretEvent>(), size_of::<WalkEvent>());
                write!(f, "record of {got} bytes instead of {secret} or {walk}")
            }
            Self::LabelLength { got } => write!(f, "label of {got} bytes, more than {LABEL_MAX}"),
        }
    }
}

impl core::error::Error for DecodeError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cookies_survive_the_way_through_the_kernel() {
        let cookie = Cookie { slot: TAP_SLOTS - 1, site: 7 };
        assert_eq!(Cookie::unpack(cookie.pack()), cookie);
    }
}
