//! A walk through a library's structures: its steps, and what it found.

use core::mem::size_of;

use crate::{COMM_LEN, DecodeError, Ends, EndsConfig};

/// Steps of a walk.
pub const STEPS: usize = 40;
/// Pointers that a walk can hold: number 0 is the connection.
pub const POINTERS: usize = 8;
/// Bytes that one step can copy.
pub const COPY_MAX: usize = 64;
/// Bytes that all steps of a walk can fill.
pub const PAYLOAD: usize = 1024;
/// Bytes at the start of the payload that the quick steps of a walk can fill.
pub const QUICK: usize = 64;
/// Steps of a walk that can be quick.
pub const QUICK_STEPS: usize = 16;

/// What a step does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum StepKind {
    /// Nothing; the walk is over.
    End = 0,
    /// Reads the pointer at `pointers[from] + offset` into `pointers[to]`.
    Follow = 1,
    /// Copies `len` bytes at `pointers[from] + offset` to `at` in the payload.
    Copy = 2,
}

/// One step of a walk through a library's structures. A library's layout is a list of these, so that the
/// kernel side knows nothing of any library.
///
/// A step from a null pointer, or one whose read fails, leaves zeros.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Step {
    /// [`StepKind`].
    pub kind: u8,
    /// Which pointer it starts from.
    pub from: u8,
    /// Which pointer it fills (`Follow`).
    pub to: u8,
    /// Bytes to copy (`Copy`), up to [`COPY_MAX`].
    pub len: u8,
    /// Where in the payload they go (`Copy`).
    pub at: u16,
    /// 0 keeps the struct free of padding.
    pub reserved: u16,
    /// Bytes from the pointer.
    pub offset: u32,
}

const _: () = assert!(size_of::<Step>() == 12);

impl Step {
    /// Reads a pointer.
    pub const fn follow(from: u8, offset: u32, to: u8) -> Self {
        Self { kind: StepKind::Follow as u8, from, to, len: 0, at: 0, reserved: 0, offset }
    }

    /// Copies bytes.
    pub const fn copy(from: u8, offset: u32, len: u8, at: u16) -> Self {
        Self { kind: StepKind::Copy as u8, from, to: 0, len, at, reserved: 0, offset }
    }
}

/// How many walks can be attached at one time: slots of the map `WALKS`.
pub const WALK_SLOTS: u32 = 2048;

/// With the connection's address, a key of the map `SEEN`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SeenBy {
    /// The process.
    pub pid: u32,
    /// The walk's slot.
    pub slot: u32,
}

impl SeenBy {
    /// As it stands in the key.
    pub const fn pack(self) -> u64 {
        ((self.slot as u64) << 32) | self.pid as u64
    }
}

/// An element of the map `WALKS`: the steps of one image's walk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct WalkConfig {
    /// The first steps, which fill the first [`QUICK`] bytes: as long as these are the same, a connection has
    /// nothing new to tell, and the other steps are not taken.
    pub quick: u32,
    /// 1: also the return of a handshake function that was not done, for a library that wipes the secrets of the
    /// handshake before it says that it is.
    pub any_result: u32,
    /// The steps; the first `End` ends them.
    pub steps: [Step; STEPS],
    /// The ends of the connection.
    pub ends: EndsConfig,
}

const _: () = assert!(size_of::<WalkConfig>() == 8 + 12 * STEPS + size_of::<EndsConfig>());

/// What a walk found in one connection.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct WalkEvent {
    /// `CLOCK_BOOTTIME`, nanoseconds.
    pub time_ns: u64,
    /// The attach cookie: see [`Cookie`](crate::Cookie); its site is the hook.
    pub cookie: u64,
    /// The connection's address in the target.
    pub connection: u64,
    /// Process id (the kernel's tgid), in the initial pid namespace.
    pub pid: u32,
    /// Thread id (the kernel's pid).
    pub tid: u32,
    /// Name of the thread, padded with NUL.
    pub comm: [u8; COMM_LEN],
    /// What the steps copied; everything else is 0.
    pub payload: [u8; PAYLOAD],
    /// The ends of the connection.
    pub ends: Ends,
}

const _: () = assert!(size_of::<WalkEvent>() == 48 + PAYLOAD + size_of::<Ends>());

impl WalkEvent {
    /// Reads a record of the ring buffer.
    ///
    /// # Errors
    ///
    /// [`DecodeError::Size`] when it has another size than the struct.
    pub fn decode(record: &[u8]) -> Result<Self, DecodeError> {
        if record.len() != size_of::<Self>() {
            return Err(DecodeError::Size { got: record.len() });
        }
        // SAFETY: the length was checked, every bit pattern is a valid WalkEvent (integers and byte
        // arrays only), and read_unaligned asks for no alignment.
        Ok(unsafe { core::ptr::read_unaligned(record.as_ptr().cast()) })
    }
}
