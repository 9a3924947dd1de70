//! The ends of a connection: the steps to them, and what those found.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use tlskeytop_common::{END_STEPS, EndSteps, Ends, NAME_ROOM, Step};

use crate::model::{Facts, WhoIsWho};
use crate::target::layout::ends::{EndsLayout, OtherName};
use crate::text::Foreign;
use crate::tls::Role;

// Pointers that the steps hold; 0 is the connection.
const NAME: u8 = 1;
const HOLDER: u8 = 2;
const BIO: u8 = 3;
const METHOD: u8 = 4;

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

/// The steps to a connection's ends, as far as they are proved.
pub fn steps(layout: &EndsLayout) -> EndSteps {
    let mut room = [Step::default(); END_STEPS];
    for (place, step) in room.iter_mut().zip(list(layout)) {
        *place = step;
    }
    room
}

fn list(layout: &EndsLayout) -> Vec<Step> {
    let mut steps = Vec::new();
    // `otherwise`: as many steps as the other way to a name has.
    let own = |which, otherwise| {
        let steps = move |at| [Step::follow(0, at, NAME), Step::name(NAME, which, otherwise)];
        layout.name.into_iter().flat_map(steps)
    };
    let behind = |pointer, offset, which, otherwise| {
        let to = [Step::follow(0, pointer, HOLDER), Step::follow(HOLDER, offset, NAME)];
        to.into_iter().chain([Step::name(NAME, which, otherwise)])
    };
    // The first that is there counts.
    match layout.other_name {
        Some(OtherName::Asked { pointer, offset }) => {
            steps.extend(behind(pointer, offset, ASKED, if layout.name.is_some() { 2 } else { 0 }));
            steps.extend(own(TO_ASK, 0));
        }
        Some(OtherName::Session { pointer, offset }) => {
            steps.extend(own(OWN, 3));
            steps.extend(behind(pointer, offset, OF_SESSION, 0));
        }
        None => steps.extend(own(if layout.has_next() { OWN } else { TO_ASK }, 0)),
    }
    // Both are the same, but for applications that read or write by themselves.
    for bio in [layout.read_bio, layout.write_bio].into_iter().flatten() {
        steps.push(Step::follow(0, bio, BIO));
        steps.extend(descriptors(layout));
        // OpenSSL puts one that buffers before the other while the handshake runs.
        if let Some(next) = layout.bios.iter().find_map(|bio| bio.next) {
            steps.push(Step::follow(BIO, next, BIO));
            steps.extend(descriptors(layout));
        }
    }
    steps
}

/// The steps that look for the descriptor of one `BIO`, however it may look.
fn descriptors(layout: &EndsLayout) -> impl Iterator<Item = Step> {
    let mut method = None;
    layout.bios.iter().flat_map(move |bio| {
        let is_followed = method.replace(bio.method) == Some(bio.method);
        let follow = (!is_followed).then_some(Step::follow(BIO, bio.method, METHOD));
        follow.into_iter().chain([Step::descriptor(BIO, METHOD, bio.init)])
    })
}

impl EndsLayout {
    fn has_next(&self) -> bool {
        self.bios.iter().any(|bio| bio.next.is_some())
    }
}

/// What the steps found, as far as it can be right for a connection with these facts.
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
    // RFC 6066, 3: ASCII, and internationalised names as A-labels.
    let is_name = !name.is_empty() && name.iter().all(u8::is_ascii_graphic);
    (is_asked && is_name).then(|| Foreign::from_bytes(name))
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
    use crate::target::layout::ends::BioLayout;
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
    fn the_steps_of_every_library_fit() {
        let bio = |init| BioLayout { method: 0, init, next: None };
        let layout = EndsLayout {
            name: Some(144),
            other_name: Some(OtherName::Asked { pointer: 48, offset: 504 }),
            read_bio: Some(24),
            write_bio: Some(32),
            bios: vec![bio(8), bio(16), BioLayout { method: 8, ..bio(24) }],
        };
        assert!(list(&layout).len() <= END_STEPS, "{}", list(&layout).len());
        let bios = vec![BioLayout { next: Some(72), ..bio(40) }];
        let other_name = Some(OtherName::Session { pointer: 2328, offset: 816 });
        let layout = EndsLayout { other_name, bios, ..layout };
        assert!(list(&layout).len() <= END_STEPS, "{}", list(&layout).len());
        assert_eq!(steps(&EndsLayout::default()), [Step::default(); END_STEPS]);
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
