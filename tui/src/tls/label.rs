//! The labels of an SSLKEYLOGFILE (RFC 9850, 2.1 and 2.2).

use std::fmt;

use super::Version;

/// A label, always of the characters `A-Z`, `0-9` and `_`, so that no hostile one can break a line.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Label {
    /// Master secret of TLS 1.2 and older.
    ClientRandom,
    /// Secret of 0-RTT data.
    ClientEarlyTraffic,
    /// Exporter secret of 0-RTT data.
    EarlyExporter,
    /// Handshake traffic secret of the client.
    ClientHandshake,
    /// Handshake traffic secret of the server.
    ServerHandshake,
    /// First application traffic secret of the client.
    ClientTraffic0,
    /// First application traffic secret of the server.
    ServerTraffic0,
    /// Exporter secret.
    Exporter,
    /// Any other that a library logs. They are rare: a box of a box keeps those of all others small.
    Other(Box<Box<str>>),
}

/// Why bytes are not a label.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LabelError {
    /// No bytes.
    #[error("the label is empty")]
    Empty,
    /// More bytes than any library logs.
    #[error("the label has {0} bytes, more than {max}", max = tlskeytop_common::LABEL_MAX)]
    TooLong(usize),
    /// A byte that a label can't have.
    #[error("the label has the byte {0:#04x}")]
    Byte(u8),
}

const KNOWN: [(&str, Label); 8] = [
    ("CLIENT_RANDOM", Label::ClientRandom),
    ("CLIENT_EARLY_TRAFFIC_SECRET", Label::ClientEarlyTraffic),
    ("EARLY_EXPORTER_SECRET", Label::EarlyExporter),
    ("CLIENT_HANDSHAKE_TRAFFIC_SECRET", Label::ClientHandshake),
    ("SERVER_HANDSHAKE_TRAFFIC_SECRET", Label::ServerHandshake),
    ("CLIENT_TRAFFIC_SECRET_0", Label::ClientTraffic0),
    ("SERVER_TRAFFIC_SECRET_0", Label::ServerTraffic0),
    ("EXPORTER_SECRET", Label::Exporter),
];

/// What OpenSSL calls every traffic secret after a KeyUpdate (`ssl/tls13_enc.c`), with a literal `N`.
const AFTER_KEY_UPDATE: [&str; 2] = ["CLIENT_TRAFFIC_SECRET_N", "SERVER_TRAFFIC_SECRET_N"];

impl Label {
    /// The four secrets with which a TLS 1.3 session is complete.
    pub const TLS13_COMPLETE: [Self; 4] =
        [Self::ClientHandshake, Self::ServerHandshake, Self::ClientTraffic0, Self::ServerTraffic0];

    /// Those that have a letter in the table of sessions: the one of TLS 1.2, and of TLS 1.3 the one of
    /// 0-RTT data, the four with which a session is complete, and the exporter.
    pub const SHOWN: [Self; 7] = [
        Self::ClientRandom,
        Self::ClientEarlyTraffic,
        Self::ClientHandshake,
        Self::ServerHandshake,
        Self::ClientTraffic0,
        Self::ServerTraffic0,
        Self::Exporter,
    ];

    /// Reads a label from the bytes of a process or a file.
    ///
    /// # Errors
    ///
    /// [`LabelError`] when it is empty, too long, or has a byte that RFC 9850's labels never have.
    pub fn parse(bytes: &[u8]) -> Result<Self, LabelError> {
        if bytes.is_empty() {
            return Err(LabelError::Empty);
        }
        if bytes.len() > tlskeytop_common::LABEL_MAX {
            return Err(LabelError::TooLong(bytes.len()));
        }
        let foreign = |byte: &&u8| !matches!(byte, b'A'..=b'Z' | b'0'..=b'9' | b'_');
        if let Some(&byte) = bytes.iter().find(foreign) {
            return Err(LabelError::Byte(byte));
        }
        if let Some((_, label)) = KNOWN.iter().find(|(name, _)| name.as_bytes() == bytes) {
            return Ok(label.clone());
        }
        let text = bytes.iter().map(|&byte| char::from(byte)).collect::<String>();
        Ok(Self::Other(Box::new(text.into_boxed_str())))
    }

    /// The label as it stands in a key log.
    pub fn as_str(&self) -> &str {
        match self {
            Self::Other(text) => text,
            known => KNOWN.iter().find(|(_, label)| label == known).map_or("", |(name, _)| name),
        }
    }

    /// What the label says of the TLS version; `None` where it says nothing.
    pub fn version(&self) -> Option<Version> {
        match self {
            Self::ClientRandom => Some(Version::Tls12OrOlder),
            Self::Other(text) if !AFTER_KEY_UPDATE.contains(&&***text) => None,
            _ => Some(Version::Tls13),
        }
    }

    /// Whether a session can have several values under this label that are all right.
    pub fn repeats(&self) -> bool {
        matches!(self, Self::Other(text) if AFTER_KEY_UPDATE.contains(&&***text))
    }

    /// Whether `len` bytes can be a secret of this label: 48 for a master secret (RFC 5246, 8.1), the
    /// length of SHA-256 or SHA-384 for all others (RFC 8446, 7.1).
    pub fn accepts_length(&self, len: usize) -> bool {
        match self {
            Self::ClientRandom => len == 48,
            _ => len == 32 || len == 48,
        }
    }
}

impl fmt::Display for Label {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl fmt::Debug for Label {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_labels_round_trip() {
        for (name, label) in KNOWN {
            assert_eq!(Label::parse(name.as_bytes()), Ok(label.clone()));
            assert_eq!(label.as_str(), name);
        }
    }

    #[test]
    fn an_unknown_label_is_kept() {
        let label = Label::parse(b"CLIENT_TRAFFIC_SECRET_N").unwrap();
        assert_eq!(label.as_str(), "CLIENT_TRAFFIC_SECRET_N");
        assert!(label.repeats());
        assert_eq!(label.version(), Some(Version::Tls13));
    }

    #[test]
    fn bytes_that_would_break_a_line_are_refused() {
        for bytes in [&b"A B"[..], b"A\nB", b"a", b"\x1b[2J", b"A\0", "É".as_bytes()] {
            assert!(matches!(Label::parse(bytes), Err(LabelError::Byte(_))), "{bytes:?}");
        }
        assert_eq!(Label::parse(b""), Err(LabelError::Empty));
        assert_eq!(Label::parse(&[b'A'; 49]), Err(LabelError::TooLong(49)));
    }

    #[test]
    fn lengths_are_those_of_the_hashes() {
        assert!(Label::ClientRandom.accepts_length(48));
        assert!(!Label::ClientRandom.accepts_length(32));
        for len in 0..=64 {
            assert_eq!(Label::Exporter.accepts_length(len), len == 32 || len == 48);
        }
    }
}
