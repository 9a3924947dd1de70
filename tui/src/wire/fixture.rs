//! Hellos and segments, made up.

use super::frame::{Flags, Segment};

/// A ClientHello of TLS 1.3, and 1.2, for `localhost` with `h2`, whose random is all `random`. A key share makes it longer.
pub fn client_hello(random: u8, key_share: usize) -> Vec<u8> {
    let mut extensions = vec![0, 0, 0, 14, 0, 12, 0, 0, 9];
    extensions.extend(b"localhost");
    extensions.extend([0, 16, 0, 5, 0, 3, 2, b'h', b'2']);
    // One that tls-parser cannot read: a list of groups that is cut.
    extensions.extend([0, 10, 0, 1, 9]);
    // GREASE, TLS 1.3, TLS 1.2.
    extensions.extend([0, 43, 0, 7, 6, 0x1a, 0x1a, 3, 4, 3, 3]);
    extension(&mut extensions, 51, &vec![0x5a; key_share]);
    hello(1, random, &[0, 6, 0x2a, 0x2a, 0x13, 1, 0xc0, 0x2f, 1, 0], &extensions)
}

/// A ServerHello of TLS 1.3 with TLS_AES_256_GCM_SHA384.
pub fn server_hello() -> Vec<u8> {
    hello(2, 0x77, &[0x13, 2, 0], &[0, 43, 0, 2, 3, 4])
}

/// A ServerHello of TLS 1.2 that chooses `h2`.
pub fn server_hello_12() -> Vec<u8> {
    hello(2, 0x77, &[0xc0, 0x30, 0], &[0, 16, 0, 5, 0, 3, 2, b'h', b'2'])
}

/// A HelloRetryRequest.
pub fn retry() -> Vec<u8> {
    let mut message = server_hello();
    message[6..38].copy_from_slice(&super::hello::RETRY);
    message
}

pub fn extension(extensions: &mut Vec<u8>, kind: u16, value: &[u8]) {
    extensions.extend(kind.to_be_bytes());
    extensions.extend((value.len() as u16).to_be_bytes());
    extensions.extend(value);
}

/// A hello with an empty session id.
pub fn hello(kind: u8, random: u8, middle: &[u8], extensions: &[u8]) -> Vec<u8> {
    let mut body = vec![3, 3];
    body.extend([random; 32]);
    body.push(0);
    body.extend(middle);
    body.extend((extensions.len() as u16).to_be_bytes());
    body.extend(extensions);
    let mut message = (body.len() as u32).to_be_bytes().to_vec();
    message[0] = kind;
    message.extend(body);
    message
}

/// The message in records of so many bytes.
pub fn records(message: &[u8], each: usize) -> Vec<u8> {
    let record = |part: &[u8]| {
        let header = [&[22, 3, 1][..], &(part.len() as u16).to_be_bytes()].concat();
        [&header, part].concat()
    };
    message.chunks(each).flat_map(record).collect()
}

pub const CLIENT: ([u8; 4], u16) = ([192, 0, 2, 9], 40000);
pub const SERVER: ([u8; 4], u16) = ([192, 0, 2, 1], 443);
/// The first sequence numbers: those of the client wrap around.
pub const CLIENT_START: u32 = u32::MAX - 20;
pub const SERVER_START: u32 = 7;

/// What the client sends, so many bytes behind its SYN.
pub fn from_client(offset: u32, payload: &[u8]) -> Segment<'_> {
    Segment {
        source: CLIENT.into(),
        destination: SERVER.into(),
        sequence: CLIENT_START.wrapping_add(1).wrapping_add(offset),
        acknowledgement: SERVER_START + 1,
        flags: Flags { ack: true, ..Flags::default() },
        payload,
    }
}

/// What the server sends, so many bytes behind its SYN.
pub fn from_server(offset: u32, payload: &[u8]) -> Segment<'_> {
    Segment {
        source: SERVER.into(),
        destination: CLIENT.into(),
        sequence: SERVER_START + 1 + offset,
        acknowledgement: 0,
        flags: Flags::default(),
        payload,
    }
}

/// The client's SYN.
pub fn syn() -> Segment<'static> {
    let flags = Flags { syn: true, ..Flags::default() };
    Segment { sequence: CLIENT_START, acknowledgement: 0, flags, ..from_client(0, &[]) }
}
