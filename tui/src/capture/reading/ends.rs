//! The ends of a connection: where they are, and what was found there.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use tlskeytop_common::{BioAt, Ends, EndsConfig, INIT_TO_NUM, NAME_ROOM, NOWHERE, NameAt};

use crate::model::{Facts, WhoIsWho};
use crate::target::layout::ends::{BioLayout, EndsLayout, OtherName};
use crate::text::Foreign;
use crate::tls::{Role, is_server_name};

// Which name it is.
/// OpenSSL: what the client asks for, on both sides. BoringSSL: what this side was told to ask for.
const OWN: u8 = 1;
/// Of the session.
const OF_SESSION: u8 = 2;
/// BoringSSL: what the client of this server asked for.
const ASKED: u8 = 3;
/// BoringSSL's [`OWN`].
const TO_ASK: u8 = 4;

/// `AF_INET` and `AF_INET6` of `linux/socket.h`.
const AF_INET: u16 = 2;
const AF_INET6: u16 = 10;

/// Where a connection's ends are, as far as that is proved.
pub fn config(layout: &EndsLayout) -> EndsConfig {
    let mut config = EndsConfig::NOTHING;
    for (place, name) in config.names.iter_mut().zip(names(layout)) {
        *place = name;
    }
    // `wbio` is behind `rbio` in every version of every library: elsewhere it is not looked at.
    let pointer = size_of::<u64>() as u32;
    config.bio_count = match (layout.read_bio, layout.write_bio) {
        (Some(read), Some(write)) if read.checked_add(pointer) == Some(write) => 2,
        (None, None) => 0,
        _ => 1,
    };
    config.bio = layout.read_bio.or(layout.write_bio).unwrap_or(NOWHERE);
    config.next_bio = layout.bios.iter().find_map(|bio| bio.next).unwrap_or(NOWHERE);
    let end = |bio: &BioLayout| {
        let num = bio.init + INIT_TO_NUM + size_of::<u32>() as u32;
        num.max(bio.method + pointer).max(bio.next.map_or(0, |next| next + pointer))
    };
    // What does not fit is left out by the kernel side.
    config.bio_len = layout.bios.iter().map(end).max().unwrap_or(0);
    for (place, bio) in config.bios.iter_mut().zip(&layout.bios) {
        *place = BioAt { method: bio.method, init: bio.init };
    }
    config
}

/// The first that is there counts.
fn names(layout: &EndsLayout) -> Vec<NameAt> {
    let own = |which: u8| {
        let at = layout.name.map(|offset| NameAt { which: which.into(), behind: NOWHERE, offset });
        at.into_iter()
    };
    let behind = |pointer, offset, which: u8| {
        std::iter::once(NameAt { which: which.into(), behind: pointer, offset })
    };
    match layout.other_name {
        Some(OtherName::Asked { pointer, offset }) => {
            behind(pointer, offset, ASKED).chain(own(TO_ASK)).collect()
        }
        Some(OtherName::Session { pointer, offset }) => {
            own(OWN).chain(behind(pointer, offset, OF_SESSION)).collect()
        }
        None => own(if layout.has_next() { OWN } else { TO_ASK }).collect(),
    }
}

impl EndsLayout {
    fn has_next(&self) -> bool {
        self.bios.iter().any(|bio| bio.next.is_some())
    }
}

/// What was found, as far as it can be right for a connection with these facts.
pub fn read(ends: &Ends, facts: &Facts) -> WhoIsWho {
    WhoIsWho { server_name: server_name(ends, facts), peer: peer(ends) }
}

fn server_name(ends: &Ends, facts: &Facts) -> Option<Foreign> {
    let len = usize::from(ends.name_len);
    // One that was cut is no name.
    let name = ends.name.get(..len.checked_sub(1)?).filter(|_| len < NAME_ROOM)?;
    let is_asked = match u8::try_from(ends.name_from).ok()? {
        OWN => true,
        TO_ASK => facts.role == Some(Role::Client),
        ASKED => facts.role == Some(Role::Server),
        // With TLS 1.3 the session's is that of the handshake before, and a client may have asked for another one now.
        OF_SESSION => {
            facts.role == Some(Role::Server)
                && facts.version.is_some_and(|version| !version.has_traffic_secrets())
        }
        _ => false,
    };
    (is_asked && is_server_name(name)).then(|| Foreign::from_bytes(name))
}

fn peer(ends: &Ends) -> Option<SocketAddr> {
    let [a, b, c, d, ..] = ends.address;
    let address = match ends.family {
        AF_INET => IpAddr::V4(Ipv4Addr::new(a, b, c, d)),
        // A socket for both has the other's addresses mapped into its own.
        AF_INET6 => Ipv6Addr::from(ends.address).to_canonical(),
        _ => return None,
    };
    let port = u16::from_be(ends.port);
    (port != 0 && !address.is_unspecified()).then(|| SocketAddr::new(address, port))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::tls::Version;

    fn ends(name: &[u8], which: u8) -> Ends {
        let mut ends = Ends::UNKNOWN;
        ends.name[..name.len()].copy_from_slice(name);
        ends.name_len = name.len() as u16 + 1;
        ends.name_from = which.into();
        ends
    }

    fn facts(role: Role, version: Version) -> Facts {
        Facts { role: Some(role), version: Some(version), ..Facts::default() }
    }

    fn name(ends: &Ends, role: Role, version: Version) -> Option<String> {
        read(ends, &facts(role, version)).server_name.map(|name| name.raw().to_owned())
    }

    #[test]
    fn a_name_counts_for_those_who_have_it_from_the_client() {
        let host = b"example.org";
        let known = Some("example.org".to_owned());
        for version in [Version::Tls12, Version::Tls13] {
            for role in [Role::Client, Role::Server] {
                assert_eq!(name(&ends(host, OWN), role, version), known);
            }
            assert_eq!(name(&ends(host, TO_ASK), Role::Client, version), known);
            assert_eq!(name(&ends(host, TO_ASK), Role::Server, version), None);
            assert_eq!(name(&ends(host, ASKED), Role::Server, version), known);
            assert_eq!(name(&ends(host, OF_SESSION), Role::Client, version), None);
        }
        assert_eq!(name(&ends(host, OF_SESSION), Role::Server, Version::Tls12), known);
        assert_eq!(name(&ends(host, OF_SESSION), Role::Server, Version::Tls13), None);
    }

    #[test]
    fn what_is_no_name_is_none() {
        let client = |ends: &Ends| name(ends, Role::Client, Version::Tls13);
        for odd in [&b""[..], b"a b", b"a\x1b[2J", b"\xff", b"a\n"] {
            assert_eq!(client(&ends(odd, OWN)), None, "{odd:?}");
        }
        assert!(client(&ends(&[b'a'; NAME_ROOM - 2], OWN)).is_some());
        assert_eq!(client(&ends(&[b'a'; NAME_ROOM - 1], OWN)), None);
        assert_eq!(client(&Ends::UNKNOWN), None);
    }

    #[test]
    fn peers_of_both_families() {
        let with = |family, address: [u8; 16], port: u16| {
            peer(&Ends { family, address, port: port.to_be(), ..Ends::UNKNOWN })
        };
        let mut four = [0; 16];
        four[..4].copy_from_slice(&[192, 0, 2, 1]);
        assert_eq!(with(AF_INET, four, 443), Some("192.0.2.1:443".parse().unwrap()));
        let six = Ipv6Addr::LOCALHOST.octets();
        assert_eq!(with(AF_INET6, six, 8443), Some("[::1]:8443".parse().unwrap()));
        let mapped = Ipv4Addr::new(192, 0, 2, 1).to_ipv6_mapped().octets();
        assert_eq!(with(AF_INET6, mapped, 443), Some("192.0.2.1:443".parse().unwrap()));
        assert_eq!(with(AF_INET, four, 0), None);
        assert_eq!(with(AF_INET, [0; 16], 443), None);
        assert_eq!(with(1, four, 443), None);
    }

    #[test]
    fn names_are_looked_for_in_their_order() {
        let bio = BioLayout { method: 8, init: 40, next: Some(72) };
        let layout = EndsLayout {
            name: Some(2592),
            other_name: Some(OtherName::Session { pointer: 2304, offset: 800 }),
            bios: vec![bio],
            ..EndsLayout::default()
        };
        let order = |layout: &EndsLayout| {
            config(layout).names.map(|at| (at.which, at.behind, at.offset)).to_vec()
        };
        let (own, of_session) = (u32::from(OWN), u32::from(OF_SESSION));
        assert_eq!(order(&layout), [(own, NOWHERE, 2592), (of_session, 2304, 800)]);
        let asked = Some(OtherName::Asked { pointer: 48, offset: 504 });
        let layout = EndsLayout { name: Some(144), other_name: asked, ..EndsLayout::default() };
        let (asked, to_ask) = (u32::from(ASKED), u32::from(TO_ASK));
        assert_eq!(order(&layout), [(asked, 48, 504), (to_ask, NOWHERE, 144)]);
    }

    #[test]
    fn sockets_are_looked_for_as_far_as_they_are_known() {
        let bio = |init| BioLayout { method: 0, init, next: None };
        let layout = EndsLayout {
            read_bio: Some(24),
            write_bio: Some(32),
            bios: vec![bio(8), bio(16), bio(40)],
            ..EndsLayout::default()
        };
        let found = config(&layout);
        assert_eq!((found.bio, found.bio_count, found.bio_len), (24, 2, 60));
        assert_eq!((found.next_bio, found.bios.map(|bio| bio.init)), (NOWHERE, [8, 16, 40]));
        let apart = config(&EndsLayout { write_bio: Some(48), ..layout.clone() });
        assert_eq!((apart.bio, apart.bio_count), (24, 1));
        let only = config(&EndsLayout { read_bio: None, ..layout });
        assert_eq!((only.bio, only.bio_count), (32, 1));
        assert_eq!(config(&EndsLayout::default()), EndsConfig::NOTHING);
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_without_a_panic(
            family in any::<u16>(), port in any::<u16>(), name_len in any::<u16>(), name_from in 0u16..6,
            address in any::<[u8; 16]>(), fill in any::<u8>(),
        ) {
            let name = [fill; NAME_ROOM];
            let ends = Ends { family, port, name_len, name_from, address, name };
            let found = read(&ends, &facts(Role::Server, Version::Tls12));
            prop_assert!(found.server_name.is_none_or(|name| name.raw().bytes().all(|b| b.is_ascii_graphic())));
        }
    }
}
