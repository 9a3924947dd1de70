//! What a tap reads from the connection that it is called with.

use core::mem::size_of;

use crate::{EndsConfig, FactsConfig};

/// How many taps can be attached at one time: slots of the map `TAPS`.
pub const TAP_SLOTS: u32 = 8192;

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
