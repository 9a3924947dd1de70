//! Frames of any link, one after the other, as a capture of the wire gives them. Each begins with its link and its length, a
//! byte and two.

use tlskeytop::model::Time;
use tlskeytop::wire::{Handshakes, Limits, Link, Seen, segment};

use crate::shown::assert_harmless;

/// Ether types and beginnings of headers.
pub const WORDS: &[&str] = &["\x08\0E\0", "\x16\x03\x01", "\x01\0\0", "\0\x05\0\0"];

/// So low that small inputs reach them.
const LIMITS: Limits = Limits { connections: 4, bytes: 6000, hello: 2000, pieces: 16 };
/// Numbers of links.
const LINKS: [u16; 8] = [1, 113, 276, 101, 0, 108, 147, 229];

/// Takes the frames.
///
/// # Panics
/// When something does not hold.
pub fn run(bytes: &[u8]) {
    let mut handshakes = Handshakes::new(LIMITS);
    let (mut rest, mut time) = (bytes, 0);
    while let [link, high, low, after @ ..] = rest {
        let length = usize::from(u16::from_be_bytes([*high, *low])).min(after.len());
        let (frame, next) = after.split_at(length);
        rest = next;
        time += 1;
        let link = Link::from_number(LINKS[usize::from(*link) % LINKS.len()]);
        let Some(segment) = segment(link, frame) else { continue };
        assert!(frame.as_ptr_range().start <= segment.payload.as_ptr_range().start);
        assert!(segment.payload.as_ptr_range().end <= frame.as_ptr_range().end);
        for seen in handshakes.segment(Time(time), &segment) {
            check(&seen, Time(time));
        }
        check_bounds(&handshakes, &LIMITS);
    }
}

/// What is kept is within the limits, and nothing is kept of nothing.
pub(crate) fn check_bounds(handshakes: &Handshakes, limits: &Limits) {
    assert!(handshakes.len() <= limits.connections);
    assert!(handshakes.kept() <= limits.bytes);
    assert!(!handshakes.is_empty() || handshakes.kept() == 0);
}

/// What is told can be shown, and does not grow with what a hello says.
pub(crate) fn check(seen: &Seen, at: Time) {
    match seen {
        Seen::Begun(hello) => {
            assert_eq!(hello.at, at);
            assert!(hello.alpn.len() <= 256 && hello.ciphers.len() <= 256);
            for text in hello.server_name.iter().chain(&hello.alpn) {
                // A byte that is no UTF-8 becomes a character of three.
                assert!(text.raw().len() <= 3 * 255);
                assert_harmless(&text.to_string());
            }
        }
        Seen::Answered(answer) => {
            assert_eq!(answer.at, at);
            answer.alpn.iter().for_each(|name| assert_harmless(&name.to_string()));
        }
        Seen::Ended(_) => {}
    }
}
