//! What both ends of a connection send: it is told the same in whatever segments it comes. The first byte says how long they
//! are, two more how much of the rest is the client's.

use tlskeytop::model::Time;
use tlskeytop::wire::{Flags, Handshakes, Limits, Seen, Segment};

use crate::packet::{check, check_bounds};

/// Records, messages, extensions.
pub const WORDS: &[&str] = &[
    "\x16\x03\x01",
    "\x01\0\0",
    "\x02\0\0",
    "\0\x2b\0\x02\x03\x04",
    "\0\x10\0",
    "\x14\x03\x03\0\x01\x01",
];

/// A hello may be longer than what an end sends here, and none gives way to another.
const LIMITS: Limits = Limits { connections: 2, bytes: 100_000, hello: 2000, pieces: 16 };
/// Bytes that are taken of each end.
const LONGEST: usize = 4000;

/// Gives it whole, and in pieces from the last to the first.
///
/// # Panics
/// When something does not hold.
pub fn run(bytes: &[u8]) {
    let [size, high, low, rest @ ..] = bytes else { return };
    let length = usize::from(u16::from_be_bytes([*high, *low])).min(rest.len());
    let (client, server) = rest.split_at(length);
    let [client, server] = [client, server].map(|bytes| &bytes[..bytes.len().min(LONGEST)]);
    let whole = given(client, server, usize::MAX);
    // No more of them than may wait.
    let least = client.len().max(server.len()).div_ceil(LIMITS.pieces - 1);
    let size = usize::from(*size).max(least).max(1);
    let cut = given(client, server, size);
    // A piece that begins as a hello does, and comes before what it follows, begins a handshake of its own.
    let is_clear = |bytes: &[u8]| !bytes.chunks(size).skip(1).any(begins);
    if is_clear(client) && is_clear(server) {
        assert_eq!(whole, cut);
    }
}

/// Whether data begins as the record of a ClientHello does.
fn begins(bytes: &[u8]) -> bool {
    matches!(bytes, [0x16, 3, 0..=4, _, _, 1, ..])
}

/// What is told of it, at no time.
fn given(client: &[u8], server: &[u8], size: usize) -> Vec<Seen> {
    let mut handshakes = Handshakes::new(LIMITS);
    let mut seen = Vec::new();
    for (bytes, is_client) in [(client, true), (server, false)] {
        handshakes.segment(Time(0), &segment(is_client, 0, &[]));
        let pieces: Vec<_> =
            (0u32..).step_by(size.min(bytes.len()).max(1)).zip(bytes.chunks(size)).collect();
        for (offset, piece) in pieces.into_iter().rev() {
            let told = handshakes.segment(Time(0), &segment(is_client, offset + 1, piece));
            told.iter().for_each(|seen| check(seen, Time(0)));
            seen.extend(told);
            check_bounds(&handshakes, &LIMITS);
        }
    }
    seen
}

/// SYN at 0, and data behind it.
fn segment(is_client: bool, sequence: u32, payload: &[u8]) -> Segment<'_> {
    let (client, server) = (([192, 0, 2, 9], 4000).into(), ([192, 0, 2, 1], 443).into());
    let (source, destination) = if is_client { (client, server) } else { (server, client) };
    let flags = Flags { syn: sequence == 0, ack: !is_client, ..Flags::default() };
    Segment { source, destination, sequence, acknowledgement: 1, flags, payload }
}
