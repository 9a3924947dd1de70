//! TLS versions.

use std::fmt;

/// The version of a session, as exactly as it is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Version {
    /// TLS 1.2 or older, or DTLS: the label `CLIENT_RANDOM` is the same for all of them.
    Tls12OrOlder,
    /// SSL 3.0.
    Ssl3,
    /// TLS 1.0.
    Tls10,
    /// TLS 1.1.
    Tls11,
    /// TLS 1.2.
    Tls12,
    /// TLS 1.3, or QUIC, which uses the same labels.
    Tls13,
    /// DTLS 1.0.
    Dtls10,
    /// DTLS 1.2.
    Dtls12,
    /// DTLS 1.3.
    Dtls13,
}

/// On the wire (RFC 8446, 4.2.1; RFC 9147, 5.3), in full, and short for narrow columns.
const VERSIONS: [(u16, Version, &str, &str); 8] = [
    (0x0300, Version::Ssl3, "SSL 3.0", "SSL3"),
    (0x0301, Version::Tls10, "TLS 1.0", "1.0"),
    (0x0302, Version::Tls11, "TLS 1.1", "1.1"),
    (0x0303, Version::Tls12, "TLS 1.2", "1.2"),
    (0x0304, Version::Tls13, "TLS 1.3", "1.3"),
    (0xfeff, Version::Dtls10, "DTLS 1.0", "D1.0"),
    (0xfefd, Version::Dtls12, "DTLS 1.2", "D1.2"),
    (0xfefc, Version::Dtls13, "DTLS 1.3", "D1.3"),
];

impl Version {
    /// From the number on the wire; `None` for one that is no version.
    pub fn from_wire(number: u16) -> Option<Self> {
        VERSIONS.iter().find(|(wire, ..)| *wire == number).map(|&(_, version, ..)| version)
    }

    /// Whether its secrets are those of TLS 1.3's key schedule.
    pub fn has_traffic_secrets(self) -> bool {
        matches!(self, Self::Tls13 | Self::Dtls13)
    }

    /// Whether `other` says the same, only more exactly.
    pub fn is_refined_by(self, other: Self) -> bool {
        match self {
            Self::Tls12OrOlder => !other.has_traffic_secrets(),
            Self::Tls13 => other == Self::Dtls13,
            _ => false,
        }
    }

    /// In full.
    pub fn name(self) -> &'static str {
        let row = VERSIONS.iter().find(|(_, version, ..)| *version == self);
        row.map_or("TLS 1.2 or older", |row| row.2)
    }

    /// Short form for narrow columns.
    pub fn short(self) -> &'static str {
        VERSIONS.iter().find(|(_, version, ..)| *version == self).map_or("≤1.2", |row| row.3)
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// Which end of the handshake a process is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Role {
    /// It sent the ClientHello.
    Client,
    /// It answered.
    Server,
}

impl Role {
    /// `client` or `server`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Client => "client",
            Self::Server => "server",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_on_the_wire() {
        assert_eq!(Version::from_wire(0x0303).unwrap().to_string(), "TLS 1.2");
        assert_eq!(Version::from_wire(0xfefd).unwrap().short(), "D1.2");
        assert_eq!(Version::from_wire(0x7f1c), None);
        assert_eq!(Version::Tls12OrOlder.short(), "≤1.2");
    }

    #[test]
    fn only_what_agrees_refines() {
        assert!(Version::Tls12OrOlder.is_refined_by(Version::Tls11));
        assert!(!Version::Tls12OrOlder.is_refined_by(Version::Tls13));
        assert!(!Version::Tls12.is_refined_by(Version::Tls11));
    }
}
