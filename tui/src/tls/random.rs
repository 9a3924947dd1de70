//! The client random: the name of a session in an SSLKEYLOGFILE.

use std::fmt;

use tlskeytop_common::RANDOM_LEN;

/// The 32 bytes of `ClientHello.random` (RFC 8446, 4.1.2). Not a secret: it goes over the wire in clear.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ClientRandom(pub [u8; RANDOM_LEN]);

impl ClientRandom {
    /// The first four bytes in hexadecimal, for narrow columns.
    pub fn short(&self) -> String {
        hex::encode(&self.0[..4])
    }

    /// Whether all bytes are 0, as in memory that no handshake has written yet.
    pub fn is_null(&self) -> bool {
        self.0.iter().all(|&byte| byte == 0)
    }
}

impl fmt::Display for ClientRandom {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl fmt::Debug for ClientRandom {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
