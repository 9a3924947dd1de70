//! The fields that code can show, and where it shows them.

use std::fmt;

use crate::target::plan::RandomPath;

/// A field of a structure of the library, as far as code says where it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Field {
    /// The protocol version of the connection.
    Version,
    /// Whether the connection is a server's.
    Server,
    /// OpenSSL's `statem.hand_state`.
    State,
    /// OpenSSL's `hit`: the last field before those that builds without PSK move.
    Hit,
    /// The client random.
    ClientRandom,
    /// OpenSSL's `s3.tmp.new_cipher`.
    NewCipher,
    /// The session as the accessor finds it (BoringSSL: `s3->established_session`).
    Session,
    /// The pointer to a session in the connection (OpenSSL: the same).
    SessionPointer,
    /// The cipher of the session.
    SessionCipher,
    /// The master secret in the session.
    MasterKey,
    /// Its length.
    MasterKeyLength,
    /// The number of a cipher.
    CipherId,
    /// The exporter secret.
    Exporter,
    /// Its length.
    ExporterLength,
    /// The early exporter secret.
    EarlyExporter,
    /// Its length.
    EarlyExporterLength,
    /// BoringSSL's `hs->early_traffic_secret`.
    EarlyTraffic,
    /// Its length.
    EarlyTrafficLength,
    /// BoringSSL's `hs->client_handshake_secret`.
    ClientHandshake,
    /// Its length.
    ClientHandshakeLength,
    /// BoringSSL's `hs->server_handshake_secret`.
    ServerHandshake,
    /// Its length.
    ServerHandshakeLength,
    /// BoringSSL's `hs->client_traffic_secret_0`.
    ClientTraffic,
    /// Its length.
    ClientTrafficLength,
    /// BoringSSL's `hs->server_traffic_secret_0`.
    ServerTraffic,
    /// Its length.
    ServerTrafficLength,
    /// The name that the client asks for: see [`super::ends`].
    ServerName,
    /// `rbio`: see [`super::ends`].
    ReadBio,
    /// `wbio`: see [`super::ends`].
    WriteBio,
}

impl fmt::Display for Field {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Version => "version",
            Self::Server => "server",
            Self::State => "state",
            Self::Hit => "hit",
            Self::ClientRandom => "client random",
            Self::NewCipher => "new cipher",
            Self::Session | Self::SessionPointer => "session",
            Self::SessionCipher => "session's cipher",
            Self::MasterKey => "master secret",
            Self::MasterKeyLength => "master secret's length",
            Self::CipherId => "cipher id",
            Self::Exporter => "exporter secret",
            Self::ExporterLength => "exporter secret's length",
            Self::EarlyExporter => "early exporter secret",
            Self::EarlyExporterLength => "early exporter secret's length",
            Self::EarlyTraffic => "early traffic secret",
            Self::EarlyTrafficLength => "early traffic secret's length",
            Self::ClientHandshake => "client handshake secret",
            Self::ClientHandshakeLength => "client handshake secret's length",
            Self::ServerHandshake => "server handshake secret",
            Self::ServerHandshakeLength => "server handshake secret's length",
            Self::ClientTraffic => "client traffic secret",
            Self::ClientTrafficLength => "client traffic secret's length",
            Self::ServerTraffic => "server traffic secret",
            Self::ServerTrafficLength => "server traffic secret's length",
            Self::ServerName => "server name",
            Self::ReadBio => "rbio",
            Self::WriteBio => "wbio",
        })
    }
}

/// Where a field is: `object + offset`, or `*(object + deref) + offset`. The object is the connection, or for a field
/// of a session, cipher or handshake that structure itself.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct At {
    /// Offset of a pointer to follow first.
    pub deref: Option<u32>,
    /// Bytes.
    pub offset: u32,
}

impl At {
    /// In the object itself.
    pub fn direct(offset: u32) -> Self {
        Self { deref: None, offset }
    }

    /// Behind a pointer that the object holds at `pointer`.
    pub fn behind(pointer: u32, offset: u32) -> Self {
        Self { deref: Some(pointer), offset }
    }
}

impl From<RandomPath> for At {
    fn from(path: RandomPath) -> Self {
        Self { deref: path.deref, offset: path.offset }
    }
}

impl fmt::Display for At {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.deref {
            Some(pointer) => write!(f, "[{pointer}]+{}", self.offset),
            None => write!(f, "{}", self.offset),
        }
    }
}

impl fmt::Debug for At {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// What one piece of code shows of one field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shown {
    /// The field.
    pub field: Field,
    /// Where it was seen: the name of a function, or `the tap`.
    pub by: &'static str,
    /// The places that the code reads; the field is one of them. Never empty.
    pub places: Vec<At>,
}

/// Everything that an image's code shows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Evidence {
    /// In the order in which it was found.
    pub shown: Vec<Shown>,
}

impl Evidence {
    /// Adds what `by` shows of `field`, if that is anything.
    pub fn add(&mut self, field: Field, by: &'static str, mut places: Vec<At>) {
        places.sort_unstable();
        places.dedup();
        if !places.is_empty() {
            self.shown.push(Shown { field, by, places });
        }
    }
}
