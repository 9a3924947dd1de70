//! From the bytes of a captured frame to its TCP segment. etherparse reads all headers but those of LINUX_SLL2 and of
//! the loopback of BSD, which it does not know.

use std::net::{IpAddr, SocketAddr};

use etherparse::{EtherType, LaxNetSlice, LaxSlicedPacket, TransportSlice};

/// What a frame begins with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Link {
    /// Ethernet, with or without VLAN tags.
    Ethernet,
    /// The header of Linux's "any" device.
    Cooked,
    /// Its second version, which names the interface.
    Cooked2,
    /// IPv4 or IPv6 without a header before it.
    Ip,
    /// Four bytes with the address family, in any byte order.
    Loopback,
    /// Another one, which is not looked into.
    Other(u16),
}

/// The numbers in files (<https://www.ietf.org/archive/id/draft-ietf-opsawg-pcaplinktype-04.html>). `RAW` has, by
/// mistake of some systems, three.
const LINKS: [(u16, Link); 10] = [
    (1, Link::Ethernet),
    (113, Link::Cooked),
    (276, Link::Cooked2),
    (101, Link::Ip),
    (12, Link::Ip),
    (14, Link::Ip),
    (228, Link::Ip),
    (229, Link::Ip),
    (0, Link::Loopback),
    (108, Link::Loopback),
];

impl Link {
    /// From `LINKTYPE_...`.
    pub fn from_number(number: u16) -> Self {
        let row = LINKS.iter().find(|(known, _)| *known == number);
        row.map_or(Self::Other(number), |&(_, link)| link)
    }

    /// The `LINKTYPE_...` that is written for it.
    pub fn number(self) -> u16 {
        match self {
            Self::Other(number) => number,
            known => LINKS.iter().find(|(_, link)| *link == known).map_or(1, |row| row.0),
        }
    }
}

/// The flags of a TCP header that matter here.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Flags {
    /// Synchronise: the first of its side.
    pub syn: bool,
    /// The acknowledgement counts.
    pub ack: bool,
    /// The last of its side.
    pub fin: bool,
    /// The connection is no more.
    pub rst: bool,
}

/// One TCP segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Segment<'a> {
    /// Who sent it.
    pub source: SocketAddr,
    /// For whom it is.
    pub destination: SocketAddr,
    /// The number of its first byte, or of SYN.
    pub sequence: u32,
    /// The number of the byte that is expected next from the other side.
    pub acknowledgement: u32,
    /// Its flags.
    pub flags: Flags,
    /// Its data, as much of it as was captured.
    pub payload: &'a [u8],
}

/// The TCP segment in a frame, of which the end may be missing; `None` for whatever else it is, also for a fragment of an
/// IP packet.
pub fn segment(link: Link, frame: &[u8]) -> Option<Segment<'_>> {
    let packet = match link {
        Link::Ethernet => LaxSlicedPacket::from_ethernet(frame).ok()?,
        // Ether type, then the packet: LINKTYPE_LINUX_SLL and _SLL2.
        Link::Cooked => of_ether_type(frame.get(14..16)?, frame.get(16..)?)?,
        Link::Cooked2 => of_ether_type(frame.get(..2)?, frame.get(20..)?)?,
        Link::Ip => LaxSlicedPacket::from_ip(frame).ok()?,
        Link::Loopback => LaxSlicedPacket::from_ip(frame.get(4..)?).ok()?,
        Link::Other(_) => return None,
    };
    let Some(TransportSlice::Tcp(tcp)) = &packet.transport else { return None };
    let (source, destination): (IpAddr, IpAddr) = match &packet.net {
        Some(LaxNetSlice::Ipv4(ip)) => {
            (ip.header().source_addr().into(), ip.header().destination_addr().into())
        }
        Some(LaxNetSlice::Ipv6(ip)) => {
            (ip.header().source_addr().into(), ip.header().destination_addr().into())
        }
        _ => return None,
    };
    Some(Segment {
        source: SocketAddr::new(source, tcp.source_port()),
        destination: SocketAddr::new(destination, tcp.destination_port()),
        sequence: tcp.sequence_number(),
        acknowledgement: tcp.acknowledgment_number(),
        flags: Flags { syn: tcp.syn(), ack: tcp.ack(), fin: tcp.fin(), rst: tcp.rst() },
        payload: tcp.payload(),
    })
}

fn of_ether_type<'a>(number: &[u8], packet: &'a [u8]) -> Option<LaxSlicedPacket<'a>> {
    let number = EtherType(u16::from_be_bytes(number.try_into().ok()?));
    Some(LaxSlicedPacket::from_ether_type(number, packet))
}
