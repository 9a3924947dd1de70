//! Where a tap finds the facts of a session: version, cipher, role.

use core::mem::size_of;

use crate::NOWHERE;

/// Bytes that the facts of a session can fill.
pub const FACTS: usize = 32;
/// Numbers beside the cipher: version and role.
pub const NUMBERS: usize = 2;
/// Ways to the cipher.
pub const CIPHERS: usize = 2;
/// Pointers on such a way.
pub const CIPHER_FOLLOWS: usize = 3;

/// Where the facts of a session are, in bytes from the connection or from one structure that it points to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct FactsConfig {
    /// The connection's pointer to that structure, or [`NOWHERE`].
    pub base: u32,
    /// 0 keeps the struct free of padding.
    pub reserved: u32,
    /// Version and role.
    pub numbers: [NumberAt; NUMBERS],
    /// The first that is not 0 counts.
    pub ciphers: [CipherAt; CIPHERS],
}

/// A number.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct NumberAt {
    /// 1: from the structure; 0: from the connection.
    pub from_base: u32,
    /// Where it is.
    pub offset: u32,
    /// Where it goes in the facts, a multiple of 4.
    pub at: u32,
    /// Its bytes, up to 4, which become 4; 0: there is none.
    pub len: u32,
}

/// A way to the cipher.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct CipherAt {
    /// How many pointers are followed.
    pub follows: u32,
    /// The pointers: each is in what the one before points to.
    pub follow: [u32; CIPHER_FOLLOWS],
    /// The cipher, in what the last one points to. `from_base` says where the first is.
    pub number: NumberAt,
}

impl FactsConfig {
    /// Nothing is known.
    pub const NOTHING: Self = {
        let none = NumberAt { from_base: 0, offset: 0, at: 0, len: 0 };
        let cipher = CipherAt { follows: 0, follow: [0; CIPHER_FOLLOWS], number: none };
        Self { base: NOWHERE, reserved: 0, numbers: [none; NUMBERS], ciphers: [cipher; CIPHERS] }
    };
}

const _: () = assert!(size_of::<FactsConfig>() == 8 + 16 * NUMBERS + 32 * CIPHERS);
const _: () = assert!(FACTS.is_multiple_of(4));
