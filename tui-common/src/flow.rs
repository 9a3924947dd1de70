//! A TCP connection, and who opened it.

use core::mem::size_of;

/// Both ends of a TCP connection: a key of the maps `FLOWS` and `OWNERS`.
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

/// Who has opened a connection: a value of the map `OWNERS`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Owner {
    /// When it called connect(2), in nanoseconds since boot (`CLOCK_BOOTTIME`).
    pub since_boot: u64,
    /// Process id, in the initial pid namespace.
    pub pid: u32,
    /// 0 keeps the struct free of padding.
    pub reserved: u32,
}

const _: () = assert!(size_of::<Owner>() == 16);
