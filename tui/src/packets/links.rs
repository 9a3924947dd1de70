//! What the packets of an interface begin with.

use crate::wire::Link;

/// Modems; libc has no name for it.
const ARPHRD_RAWIP: u16 = 519;
/// Hardware types of `linux/if_arp.h` whose packets begin with their IP header: tunnels.
const RAW_IP: [u16; 5] =
    [libc::ARPHRD_NONE, ARPHRD_RAWIP, libc::ARPHRD_TUNNEL, libc::ARPHRD_TUNNEL6, libc::ARPHRD_SIT];

/// By the interface's hardware type; `None` for a kind that is not supported.
pub fn link(hardware: u16) -> Option<Link> {
    match hardware {
        libc::ARPHRD_ETHER | libc::ARPHRD_LOOPBACK => Some(Link::Ethernet),
        tunnel if RAW_IP.contains(&tunnel) => Some(Link::Ip),
        _ => None,
    }
}
