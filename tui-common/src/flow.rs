//! A TCP connection, and who opened it.

use core::mem::size_of;

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

    /// One of [`PLACES`], the same for both directions: how connections are spread over a table of counts.
    #[inline(always)]
    pub fn place(&self) -> u32 {
        let [.., a, b, c, d] = self.client;
        let [.., e, f, g, h] = self.server;
        let addresses = u32::from_ne_bytes([a, b, c, d]) ^ u32::from_ne_bytes([e, f, g, h]);
        let ports = u16::from_ne_bytes(self.client_port) ^ u16::from_ne_bytes(self.server_port);
        // Fibonacci hashing: the upper bits depend on all.
        let spread = (addresses ^ u32::from(ports)).wrapping_mul(0x9e37_79b1);
        spread >> (u32::BITS - PLACES.ilog2())
    }

    /// Whether it stays within one network namespace, of which each has a loopback of its own.
    #[inline(always)]
    pub fn is_on_loopback(&self) -> bool {
        const LOOPBACK: [u8; 16] = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1];
        let [.., a, b, c, d, _, _, _] = self.server;
        [a, b, c, d] == [0, 0xff, 0xff, 127] || self.server == LOOPBACK
    }
}

/// Places of [`Flow::place`], a power of two.
pub const PLACES: u32 = 1 << 16;

/// An IPv4 address as an IPv6 one (RFC 4291, 2.5.5.2).
#[inline(always)]
pub fn mapped(address: [u8; 4]) -> [u8; 16] {
    let [a, b, c, d] = address;
    [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, a, b, c, d]
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_directions_have_one_place_and_connections_are_spread() {
        let mut taken = [false; PLACES as usize];
        for port in 32_768..60_999u16 {
            let flow = Flow {
                client: mapped([127, 0, 0, 1]),
                server: mapped([10, 0, 0, 7]),
                client_port: port.to_be_bytes(),
                server_port: 443u16.to_be_bytes(),
            };
            assert_eq!(flow.place(), flow.reversed().place());
            taken[flow.place() as usize] = true;
        }
        let places = taken.iter().filter(|taken| **taken).count();
        assert!(places > 20_000, "{places} places of 28,231 connections");
    }
}
