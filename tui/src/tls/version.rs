//! TLS versions.

use std::fmt;

/// The version of a session, as exactly as it is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Version {
    /// TLS 1.2, 1.1, 1.0 or DTLS: the label `CLIENT_RANDOM` is the same for all of them.
    Tls12OrOlder,
    /// TLS 1.3 (or DTLS 1.3, or QUIC: the same labels).
    Tls13,
}

impl Version {
    /// Short form for narrow columns.
    pub fn short(self) -> &'static str {
        match self {
            Self::Tls12OrOlder => "≤1.2",
            Self::Tls13 => "1.3",
        }
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Tls12OrOlder => "TLS 1.2 or older",
            Self::Tls13 => "TLS 1.3",
        })
    }
}
