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

#[cfg(test)]
mod tests {
    use etherparse::{IpNumber, Ipv6RawExtHeader, PacketBuilder};
    use proptest::prelude::*;

    use super::*;

    const MACS: ([u8; 6], [u8; 6]) = ([2; 6], [4; 6]);

    fn ipv4() -> Vec<u8> {
        let builder =
            PacketBuilder::ethernet2(MACS.0, MACS.1).ipv4([192, 0, 2, 1], [192, 0, 2, 2], 9);
        let mut frame = Vec::new();
        builder.tcp(443, 40000, 7, 512).ack(9).fin().write(&mut frame, b"data").unwrap();
        frame
    }

    fn check(link: Link, frame: &[u8], source: IpAddr, payload: &[u8]) {
        let segment = segment(link, frame).unwrap();
        assert_eq!((segment.source.ip(), segment.source.port()), (source, 443));
        assert_eq!((segment.sequence, segment.acknowledgement), (7, 9));
        assert_eq!(segment.flags, Flags { ack: true, fin: true, ..Flags::default() });
        assert_eq!(segment.payload, payload);
    }

    #[test]
    fn every_link_has_the_same_segment() {
        let frame = ipv4();
        let (source, ip) = ([192, 0, 2, 1].into(), &frame[14..]);
        let tag = [0x81, 0, 0, 5];
        let tagged = [&frame[..12], &tag, &frame[12..]].concat();
        let twice = [&frame[..12], &[0x88, 0xa8, 0, 7], &tag, &frame[12..]].concat();
        let cooked = [&[0; 14][..], &frame[12..]].concat();
        let cooked2 = [&frame[12..14], &[0; 18], ip].concat();
        let loopback = [&[2, 0, 0, 0][..], ip].concat();
        for (link, frame) in [
            (Link::Ethernet, &frame[..]),
            (Link::Ethernet, &tagged),
            (Link::Ethernet, &twice),
            (Link::Cooked, &cooked),
            (Link::Cooked2, &cooked2),
            (Link::Ip, ip),
            (Link::Loopback, &loopback),
        ] {
            check(link, frame, source, b"data");
            assert_eq!(Link::from_number(link.number()), link);
        }
        // What pads an Ethernet frame is no data, and what was not captured is missing.
        check(Link::Ethernet, &[&frame[..], &[0; 6]].concat(), source, b"data");
        check(Link::Ethernet, &frame[..frame.len() - 1], source, b"dat");
        assert_eq!(segment(Link::Other(147), &frame), None);
    }

    #[test]
    fn headers_between_ipv6_and_tcp_are_passed() {
        let mut frame = Vec::new();
        let builder = PacketBuilder::ipv6([1; 16], [2; 16], 9).tcp(443, 40000, 7, 512);
        builder.ack(9).fin().write(&mut frame, b"data").unwrap();
        check(Link::Ip, &frame, [1; 16].into(), b"data");
        let options = Ipv6RawExtHeader::new_raw(IpNumber::TCP, &[0; 6]).unwrap();
        let mut longer = frame[..40].to_vec();
        options.write(&mut longer).unwrap();
        longer.extend(&frame[40..]);
        longer[6] = IpNumber::IPV6_HEADER_HOP_BY_HOP.0;
        longer[5] += 8;
        check(Link::Ip, &longer, [1; 16].into(), b"data");
    }

    #[test]
    fn fragments_and_other_protocols_have_none() {
        let mut frame = ipv4();
        frame[20] = 0x20;
        assert_eq!(segment(Link::Ethernet, &frame), None);
        let mut udp = Vec::new();
        let builder = PacketBuilder::ipv4([1; 4], [2; 4], 9).udp(443, 40000);
        builder.write(&mut udp, b"data").unwrap();
        assert_eq!(segment(Link::Ip, &udp), None);
    }

    proptest! {
        #[test]
        fn any_frame_is_read_without_a_panic(
            link in 0..300u16,
            at in 0..54usize,
            change in any::<u8>(),
            length in 0..60usize,
            bytes in proptest::collection::vec(any::<u8>(), 0..100),
        ) {
            let _ = segment(Link::from_number(link), &bytes);
            let mut frame = ipv4();
            frame[at] = change;
            let _ = segment(Link::Ethernet, &frame[..length.min(frame.len())]);
        }
    }
}
