//! The ends of a connection: what is sent of them, and where they are.

use core::mem::size_of;

use crate::{NOWHERE, SecretEvent};

/// Most bytes of a server name that are carried, with its NUL: names of the DNS have up to 253 (RFC 1035, 2.3.4).
pub const NAME_ROOM: usize = 256;

/// What a connection is called and whom it is with, as far as it was found by an [`EndsConfig`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Ends {
    /// `AF_INET` or `AF_INET6` of `linux/socket.h`; 0: the peer is not known.
    pub family: u16,
    /// The peer's port, in network byte order.
    pub port: u16,
    /// Bytes of the name with its NUL, 0 without one; [`NAME_ROOM`] means that it was cut.
    pub name_len: u16,
    /// [`NameAt::which`] of the place that the name was at.
    pub name_from: u16,
    /// The peer's address; 4 bytes of it for `AF_INET`.
    pub address: [u8; 16],
    /// The name; what is behind `name_len` says nothing.
    pub name: [u8; NAME_ROOM],
}

const _: () = assert!(size_of::<Ends>() == 24 + NAME_ROOM);

impl Ends {
    /// Nothing is known.
    pub const UNKNOWN: Self = Self {
        family: 0,
        port: 0,
        name_len: 0,
        name_from: 0,
        address: [0; 16],
        name: [0; NAME_ROOM],
    };
}

/// A secret with the ends of its connection: what a tap sends for the first secrets of a session.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct FirstSecretEvent {
    /// The secret.
    pub secret: SecretEvent,
    /// The ends.
    pub ends: Ends,
}

const _: () = assert!(core::mem::offset_of!(FirstSecretEvent, secret) == 0);
const _: () =
    assert!(size_of::<FirstSecretEvent>() == size_of::<SecretEvent>() + size_of::<Ends>());

/// Two fields of `fdtable` that follow each other.
#[derive(Clone, Copy, Debug, Default)]
#[repr(C)]
pub struct DescriptorTable {
    /// `max_fds`.
    pub max_fds: u32,
    /// 0, or whatever.
    pub between: u32,
    /// `fd`.
    pub fd: u64,
}

/// Two fields of `socket` that follow each other.
#[derive(Clone, Copy, Debug, Default)]
#[repr(C)]
pub struct SocketLinks {
    /// `file`.
    pub file: u64,
    /// `sk`.
    pub sk: u64,
}

/// The start of `sock_common`.
#[derive(Clone, Copy, Debug, Default)]
#[repr(C)]
pub struct SocketNames {
    /// `skc_daddr`.
    pub address: [u8; 4],
    /// `skc_rcv_saddr` and `skc_hash`.
    pub between: [u32; 2],
    /// `skc_dport`.
    pub port: u16,
    /// `skc_num`.
    pub local_port: u16,
    /// `skc_family`.
    pub family: u16,
    /// `skc_state` and more.
    pub more: u16,
}

/// Names that a connection may have.
pub const NAMES: usize = 2;
/// Layouts of a `BIO` that one image may need.
pub const BIOS: usize = 3;
/// Most bytes of a `BIO` that are looked at: up to the end of OpenSSL's `next_bio`.
pub const BIO_MAX: usize = 80;
/// So many are looked at where all is in them: every `BIO` has more.
pub const BIO_SHORT: usize = 64;
/// From `init` of a `BIO` to `num`, its descriptor, in every version of every library.
pub const INIT_TO_NUM: u32 = 16;

/// Where the ends of a connection are, in bytes.
///
/// Looks at the target's memory are what a hit costs: so a `BIO` is read with one, and both pointers to them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct EndsConfig {
    /// The first that is there counts; the first without `which` ends them.
    pub names: [NameAt; NAMES],
    /// `rbio` in the connection, a pointer, or [`NOWHERE`].
    pub bio: u32,
    /// How many pointers to a `BIO` are there: 2 with `wbio` behind the other.
    pub bio_count: u32,
    /// Bytes of a `BIO` in which all of this is; what is behind [`BIO_MAX`] is not found.
    pub bio_len: u32,
    /// `next_bio` in a `BIO`, a pointer, or [`NOWHERE`]: where one library puts a `BIO` that buffers before another.
    pub next_bio: u32,
    /// How a `BIO` may look; the first without `init` ends them.
    pub bios: [BioAt; BIOS],
}

/// A name of a connection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct NameAt {
    /// Which name it is; 0: none.
    pub which: u32,
    /// A pointer of the connection behind which it is, or [`NOWHERE`]: it is in the connection.
    pub behind: u32,
    /// A pointer to the name.
    pub offset: u32,
}

/// Fields of a `BIO`. If its method is one of a descriptor and `init` is 1, then `num` is the connection's descriptor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct BioAt {
    /// `method`, a pointer.
    pub method: u32,
    /// `init`, 32 bits, or [`NOWHERE`]; `num` is [`INIT_TO_NUM`] bytes behind it.
    pub init: u32,
}

impl EndsConfig {
    /// Nothing is known.
    pub const NOTHING: Self = Self {
        names: [NameAt { which: 0, behind: NOWHERE, offset: 0 }; NAMES],
        bio: NOWHERE,
        bio_count: 0,
        bio_len: 0,
        next_bio: NOWHERE,
        bios: [BioAt { method: 0, init: NOWHERE }; BIOS],
    };
}

const _: () = assert!(size_of::<EndsConfig>() == 12 * NAMES + 16 + 8 * BIOS);
