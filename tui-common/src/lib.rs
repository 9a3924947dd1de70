//! The types that cross the border between the eBPF programs and user space.
//!
//! Both sides are built from this one crate; sizes are asserted at compile time, so a change that
//! would make them differ does not build. All integers are in the machine's byte order.
#![no_std]

use core::mem::{offset_of, size_of};

mod ends;
mod facts;
mod operand;

pub use ends::{
    BIO_MAX, BIO_SHORT, BIOS, BioAt, DescriptorTable, Ends, EndsConfig, FirstSecretEvent,
    INIT_TO_NUM, NAME_ROOM, NAMES, NameAt, SocketLinks, SocketNames,
};
pub use facts::{CIPHER_FOLLOWS, CIPHERS, CipherAt, FactsConfig, NUMBERS, NumberAt};
pub use operand::{FOLLOWS, Operand, REGISTERS, RecordConfig, TokenConfig};

/// Most bytes of a label that are carried. The longest of RFC 9850 has 31.
pub const LABEL_MAX: usize = 48;
/// Room for a label with its NUL; one that fills more than [`LABEL_MAX`] is known to be too long.
pub const LABEL_ROOM: usize = 56;
/// Most bytes of a secret that are carried: the largest digest TLS libraries hold. Real ones have 32 or 48.
pub const SECRET_MAX: usize = 64;
/// Bytes of a client random (RFC 8446, 4.1.2).
pub const RANDOM_LEN: usize = 32;
/// Bytes of a thread name with its NUL: `TASK_COMM_LEN` of `linux/sched.h`.
pub const COMM_LEN: usize = 16;

/// In place of an offset: there is no such field.
pub const NOWHERE: u32 = u32::MAX;

/// How many taps can be attached at one time: slots of the map `TAPS`.
pub const TAP_SLOTS: u32 = 8192;

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
    /// What [`TapConfig::facts`] copied; everything else is 0.
    pub facts: [u8; FACTS],
}

const _: () = assert!(size_of::<SecretEvent>() == 256);
const _: () = assert!(offset_of!(SecretEvent, pid) == 32);
const _: () = assert!(offset_of!(SecretEvent, comm) == 56);
const _: () = assert!(offset_of!(SecretEvent, secret) == 160);

/// What one tap reads from the connection pointer: an element of the map `TAPS`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct TapConfig {
    /// 1: follow the pointer at `deref` first.
    pub has_deref: u32,
    /// Bytes from the connection pointer to the pointer to follow.
    pub deref: u32,
    /// Bytes from there to the client random.
    pub offset: u32,
    /// 0 keeps the struct free of padding.
    pub reserved: u32,
    /// The facts of the session: version, cipher, role.
    pub facts: FactsConfig,
    /// The ends of the connection.
    pub ends: EndsConfig,
}

const _: () =
    assert!(size_of::<TapConfig>() == 16 + size_of::<FactsConfig>() + size_of::<EndsConfig>());

/// Where this kernel's structures have the fields that lead from a file descriptor to the socket's peer, in bytes:
/// the one element of the map `KERNEL`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct KernelLayout {
    /// 1: all fields are known. 0: no peer is read.
    pub known: u32,
    /// `files` in `task_struct`, a pointer.
    pub task_files: u32,
    /// `fdt` in `files_struct`, a pointer.
    pub files_fdt: u32,
    /// [`DescriptorTable`] in `fdtable`.
    pub fdt_table: u32,
    /// `f_inode` in `file`, a pointer.
    pub file_inode: u32,
    /// `private_data` in `file`, a pointer.
    pub file_private_data: u32,
    /// `i_mode` in `inode`, 16 bits.
    pub inode_mode: u32,
    /// [`SocketLinks`] in `socket`.
    pub socket_links: u32,
    /// [`SocketNames`] in `sock`.
    pub sock_names: u32,
    /// `__sk_common.skc_v6_daddr` in `sock`, 16 bytes.
    pub sock_address6: u32,
    /// `__sk_common.skc_net` in `sock`, a pointer.
    pub sock_net: u32,
    /// `ns.inum` in `net`, 32 bits.
    pub net_inode: u32,
    /// The inode of our own network namespace; 0: this kernel has one for all.
    pub own_net: u32,
}

const _: () = assert!(size_of::<KernelLayout>() == 52);

/// Both ends of a TCP connection: a key of the map `FLOWS`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Flow {
    /// Who connects: an IPv6 address, or an IPv4 one as [`mapped`] has it.
    pub client: [u8; 16],
    /// To whom.
    pub server: [u8; 16],
    /// In network byte order.
    pub client_port: [u8; 2],
    /// In network byte order.
    pub server_port: [u8; 2],
}

const _: () = assert!(size_of::<Flow>() == 36);

impl Flow {
    /// The other direction.
    #[inline(always)]
    pub fn reversed(&self) -> Self {
        Self {
            client: self.server,
            server: self.client,
            client_port: self.server_port,
            server_port: self.client_port,
        }
    }
}

/// An IPv4 address as an IPv6 one (RFC 4291, 2.5.5.2).
#[inline(always)]
pub fn mapped(address: [u8; 4]) -> [u8; 16] {
    let [a, b, c, d] = address;
    [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, a, b, c, d]
}

impl Flow {
    /// Whether it stays within one network namespace, of which each has a loopback of its own.
    #[inline(always)]
    pub fn is_on_loopback(&self) -> bool {
        const LOOPBACK: [u8; 16] = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1];
        let [.., a, b, c, d, _, _, _] = self.server;
        [a, b, c, d] == [0, 0xff, 0xff, 127] || self.server == LOOPBACK
    }
}

/// A connection that was opened on this machine: a key of the map `OWNERS`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Opened {
    /// Its ends.
    pub flow: Flow,
    /// 1: in another network namespace than ours.
    pub is_elsewhere: u32,
}

const _: () = assert!(size_of::<Opened>() == 40);

/// Who has opened a connection: a value of the map `OWNERS`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Owner {
    /// When it called connect(2), in nanoseconds since boot (`CLOCK_BOOTTIME`).
    pub since_boot: u64,
    /// Process id, in the initial pid namespace; 0 where several network namespaces have had such a connection.
    pub pid: u32,
    /// The inode of the socket's network namespace.
    pub net: u32,
}

const _: () = assert!(size_of::<Owner>() == 16);

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
/// Bytes that the facts of a session can fill.
pub const FACTS: usize = 32;

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
    /// The attach cookie: see [`Cookie`]; its site is the hook.
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

/// What the map `PIDS` says of a process; absent means that [`Settings::report_unknown`] decides.
///
/// 0: its events are dropped in the kernel. Any other number: they are reported. A process that is chosen after it
/// was not gets a number that it did not have, so that what was seen of its connections before, and dropped, is reported
/// again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(transparent)]
pub struct PidRule(pub u32);

impl PidRule {
    /// Drop its events.
    pub const NO: Self = Self(0);
    /// Report its events, as those of a process without a rule.
    pub const YES: Self = Self(1);

    /// Whether its events are reported.
    pub const fn reports(self) -> bool {
        self.0 != 0
    }
}

/// The one element of the map `SETTINGS`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Settings {
    /// 1: a process that is not in `PIDS` reports, and user space decides.
    pub report_unknown: u32,
    /// 0 keeps the struct free of padding.
    pub reserved: u32,
}

const _: () = assert!(size_of::<Settings>() == 8);

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
    fn cookies_survive_the_way_through_the_kernel() {
        let cookie = Cookie { slot: TAP_SLOTS - 1, site: 7 };
        assert_eq!(Cookie::unpack(cookie.pack()), cookie);
    }

    #[test]
    fn debug_output_has_no_secret() {
        let mut bytes = record(0, 32);
        bytes[offset_of!(SecretEvent, secret)] = 0xa7;
        let text = std::format!("{:?}", SecretEvent::decode(&bytes).unwrap());
        assert!(!text.contains("a7") && !text.contains("167"), "{text}");
    }
}
