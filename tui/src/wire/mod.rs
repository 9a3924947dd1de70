//! TLS handshakes as they go over the wire in clear: frames, TCP streams, hellos. Pure: no I/O, no clock.
//!
//! One way through: `frame::segment` finds the TCP segment in a captured frame, [`Handshakes`] puts the segments of each
//! connection in order and tells what its hellos say. The same serves live capture and files.
//!
//! Not here: QUIC, whose hellos are encrypted (RFC 9001, 5.2), DTLS, and IP fragments.

pub mod frame;
mod handshakes;
mod hello;
mod messages;
mod side;
mod stream;

pub use frame::{Flags, Link, Segment, segment};
pub use handshakes::{Dropped, Handshakes, Limits};
pub use hello::{Answer, Hello, Seen};

#[cfg(test)]
pub(crate) mod fixture;
#[cfg(test)]
mod tests;
