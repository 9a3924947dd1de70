//! What the hellos of a handshake say, read by tls-parser (RFC 8446, 4.1; RFC 5246, 7.4.1).

use std::net::SocketAddr;

use tls_parser::nom::IResult;
use tls_parser::{
    TlsExtension, TlsExtensionType, TlsMessage, TlsMessageHandshake, TlsVersion,
    parse_tls_client_hello_extension, parse_tls_extension_unknown, parse_tls_message_handshake,
    parse_tls_server_hello_extension,
};

use crate::model::Time;
use crate::text::Foreign;
use crate::tls::{CipherSuite, ClientRandom, Version, is_server_name};

/// Most cipher suites, versions and protocols that are kept of one hello: programs offer fewer than 200.
const MOST_OFFERED: usize = 256;
/// Longest server name that is kept, in bytes: a DNS name (RFC 1035, 2.3.4).
const LONGEST_NAME: usize = 255;
/// `encrypted_client_hello` (RFC 9849, 5).
const ECH: TlsExtensionType = TlsExtensionType(0xfe0d);
/// The random of a ServerHello that is a HelloRetryRequest (RFC 8446, 4.1.3).
pub(super) const RETRY: [u8; 32] = [
    0xcf, 0x21, 0xad, 0x74, 0xe5, 0x9a, 0x61, 0x11, 0xbe, 0x1d, 0x8c, 0x02, 0x1e, 0x65, 0xb8, 0x91,
    0xc2, 0xa2, 0x11, 0x16, 0x7a, 0xbb, 0x8c, 0x5e, 0x07, 0x9e, 0x09, 0xe2, 0xc8, 0xa8, 0x33, 0x9c,
];

/// What was seen of a handshake.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Seen {
    /// A ClientHello is whole. A second one, after a HelloRetryRequest, has the same random and is not told.
    Begun(Box<Hello>),
    /// A ServerHello, or a HelloRetryRequest, is whole.
    Answered(Answer),
    /// The connection of this handshake was closed or reset, or another one has its addresses now.
    Ended(ClientRandom),
}

/// A ClientHello.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hello {
    /// Who sent it.
    pub client: SocketAddr,
    /// To whom.
    pub server: SocketAddr,
    /// The name of the session. With Encrypted ClientHello that of the outer one: where the server accepts, the secrets
    /// are logged under the inner one.
    pub client_random: ClientRandom,
    /// When its last segment was seen.
    pub at: Time,
    /// The server's name, of the outer hello where [`Self::has_ech`].
    pub server_name: Option<Foreign>,
    /// The application protocols that are offered, in their order.
    pub alpn: Box<[Foreign]>,
    /// The versions that are offered, in their order, without those that are no version (GREASE, drafts).
    pub versions: Box<[Version]>,
    /// The cipher suites that are offered, in their order, without GREASE (RFC 8701).
    pub ciphers: Box<[CipherSuite]>,
    /// It has the extension of Encrypted ClientHello: in earnest or as GREASE, which cannot be told apart.
    pub has_ech: bool,
    /// It offers to resume a session: by a pre-shared key, a ticket, or a session id of TLS 1.2.
    pub is_resumption_offered: bool,
}

/// A ServerHello.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// Which handshake.
    pub client_random: ClientRandom,
    /// When its last segment was seen.
    pub at: Time,
    /// The version that was chosen; `None` for a number that is no version.
    pub version: Option<Version>,
    /// The cipher suite that was chosen.
    pub cipher: CipherSuite,
    /// The application protocol that was chosen: in clear up to TLS 1.2 only.
    pub alpn: Option<Foreign>,
    /// It is a HelloRetryRequest: another answer follows.
    pub is_retry: bool,
}

/// The ClientHello in a whole handshake message, with its header.
pub(super) fn client(
    message: &[u8],
    [client, server]: [SocketAddr; 2],
    at: Time,
) -> Option<Box<Hello>> {
    let Ok((_, TlsMessage::Handshake(TlsMessageHandshake::ClientHello(hello)))) =
        parse_tls_message_handshake(message)
    else {
        return None;
    };
    let ciphers = hello.ciphers.iter().filter(|cipher| !is_grease(cipher.0));
    let mut read = Hello {
        client,
        server,
        client_random: ClientRandom(hello.random.try_into().ok()?),
        at,
        server_name: None,
        alpn: Box::default(),
        versions: Version::from_wire(hello.version.0).into_iter().collect(),
        ciphers: ciphers.take(MOST_OFFERED).map(|cipher| CipherSuite(cipher.0)).collect(),
        has_ech: false,
        is_resumption_offered: false,
    };
    let (mut has_ticket, mut has_psk) = (false, false);
    for extension in extensions(hello.ext.unwrap_or_default(), parse_tls_client_hello_extension) {
        match extension {
            TlsExtension::SNI(names) => read.server_name = server_name(&names),
            TlsExtension::ALPN(names) => {
                let names = names.iter().take(MOST_OFFERED);
                read.alpn = names.map(|name| Foreign::from_bytes(name)).collect();
            }
            TlsExtension::SupportedVersions(offered) => read.versions = versions(&offered),
            TlsExtension::PreSharedKey(_) => has_psk = true,
            TlsExtension::SessionTicket(ticket) => has_ticket = !ticket.is_empty(),
            TlsExtension::Unknown(ECH, _) => read.has_ech = true,
            _ => {}
        }
    }
    // TLS 1.3 has a session id only for middleboxes (RFC 8446, D.4).
    let has_id = hello.session_id.is_some() && !read.versions.contains(&Version::Tls13);
    read.is_resumption_offered = has_psk || has_ticket || has_id;
    Some(Box::new(read))
}

/// The ServerHello in a whole handshake message, with its header.
pub(super) fn server(message: &[u8], client_random: ClientRandom, at: Time) -> Option<Answer> {
    let Ok((_, TlsMessage::Handshake(TlsMessageHandshake::ServerHello(hello)))) =
        parse_tls_message_handshake(message)
    else {
        return None;
    };
    let mut answer = Answer {
        client_random,
        at,
        version: Version::from_wire(hello.version.0),
        cipher: CipherSuite(hello.cipher.0),
        alpn: None,
        is_retry: hello.random == RETRY,
    };
    for extension in extensions(hello.ext.unwrap_or_default(), parse_tls_server_hello_extension) {
        match extension {
            TlsExtension::SupportedVersions(chosen) => {
                answer.version = chosen.first().and_then(|version| Version::from_wire(version.0));
            }
            TlsExtension::ALPN(names) => {
                answer.alpn = names.first().map(|name| Foreign::from_bytes(name));
            }
            _ => {}
        }
    }
    Some(answer)
}

/// The random of a ClientHello of which a segment has the beginning: after the headers of record and message and the
/// version. `None` where the record ends before it does.
pub(super) fn random_of(payload: &[u8]) -> Option<ClientRandom> {
    /// Bytes of the record up to its end.
    const LEAST: u16 = 38;
    let &[_, _, _, high, low, ..] = payload else { return None };
    let is_there = u16::from_be_bytes([high, low]) >= LEAST;
    payload.get(11..43).filter(|_| is_there)?.try_into().ok().map(ClientRandom)
}

/// Whether data begins as the record of a ClientHello does.
pub(super) fn begins(payload: &[u8]) -> bool {
    matches!(payload, [0x16, 3, 0..=4, _, _, 1, ..])
}

/// The extensions, each read by `read`. tls-parser's own lists end at the first that it cannot read; this goes on behind
/// it.
fn extensions<'a>(
    mut rest: &'a [u8],
    read: fn(&'a [u8]) -> IResult<&'a [u8], TlsExtension<'a>>,
) -> impl Iterator<Item = TlsExtension<'a>> {
    std::iter::from_fn(move || {
        let (after, unknown) = parse_tls_extension_unknown(rest).ok()?;
        let (this, _) = rest.split_at(rest.len() - after.len());
        rest = after;
        Some(read(this).map_or(unknown, |(_, extension)| extension))
    })
}

fn server_name(names: &[(tls_parser::SNIType, &[u8])]) -> Option<Foreign> {
    let host = names.iter().find(|(kind, _)| *kind == tls_parser::SNIType::HostName)?.1;
    (host.len() <= LONGEST_NAME && is_server_name(host)).then(|| Foreign::from_bytes(host))
}

fn versions(offered: &[TlsVersion]) -> Box<[Version]> {
    let known = offered.iter().filter_map(|version| Version::from_wire(version.0));
    known.take(MOST_OFFERED).collect()
}

/// Values that mean nothing, so that nobody relies on there being no others (RFC 8701, 2).
fn is_grease(value: u16) -> bool {
    value & 0x0f0f == 0x0a0a && value >> 8 == value & 0xff
}
