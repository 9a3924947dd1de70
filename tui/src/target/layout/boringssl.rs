//! The layouts of BoringSSL and AWS-LC (`tui/layouts/boringssl_layouts.tsv`, `awslc_layouts.tsv`), which have the same
//! structures at different times.

use std::sync::LazyLock;

use super::field::{At, Field};
use super::table::{Row, Table};
use super::version::Release;

/// A secret and where its length is, both from the start of one structure. A length of 0: there is no secret yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SecretAt {
    /// The bytes.
    pub offset: u32,
    /// The number of bytes.
    pub length: u32,
    /// Bytes of that number: 1, 4 or 8.
    pub length_size: u32,
}

/// Where the protocol version is, 16 bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum VersionAt {
    /// In the `SSL` (up to 2024-09, and AWS-LC).
    Connection(u32),
    /// Behind `s3`.
    S3(u32),
}

macro_rules! layout {
    ($(#[$outer:meta])* $name:ident { $($(#[$doc:meta])* $field:ident: $type:ty,)* }) => {
        $(#[$outer])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
        pub struct $name { $($(#[$doc])* pub $field: Option<$type>,)* }

        impl $name {
            /// What both layouts say; a field on which they differ is absent.
            pub fn common(&self, other: &Self) -> Self {
                Self { $($field: if self.$field == other.$field { self.$field } else { None },)* }
            }

            /// The names of the fields that this layout does not have and `other` has.
            pub fn lacks(&self, other: &Self) -> Vec<&'static str> {
                let mut names = Vec::new();
                $(if self.$field.is_none() && other.$field.is_some() {
                    names.push(stringify!($field));
                })*
                names
            }
        }
    };
}

layout! {
    /// Where the structures have their fields, in bytes. A field is absent when it could not be proved, or when the
    /// library does not have it.
    BoringSslLayout {
        /// The protocol version.
        version: VersionAt,
        /// `s3` in the `SSL`, a pointer.
        s3: u32,
        /// `session` in the `SSL`, a pointer: the session that a client offered.
        session: u32,
        /// The byte in the `SSL` whose bit 0 is `server`.
        server: u32,
        /// `client_random` behind `s3`, 32 bytes.
        client_random: u32,
        /// `hs` behind `s3`, a pointer that is null after the handshake.
        hs: u32,
        /// `established_session` behind `s3`, a pointer.
        established_session: u32,
        /// `write_traffic_secret` behind `s3`: the client's on a client, the server's on a server.
        write_traffic_secret: SecretAt,
        /// `read_traffic_secret` behind `s3`: the server's on a client, the client's on a server.
        read_traffic_secret: SecretAt,
        /// `exporter_secret` behind `s3`.
        exporter_secret: SecretAt,
        /// `state` behind `hs`, 32 bits.
        state: u32,
        /// `tls13_state` behind `hs`, 32 bits.
        tls13_state: u32,
        /// `early_traffic_secret` behind `hs`: the real one, as in a key log.
        early_traffic_secret: SecretAt,
        /// `client_handshake_secret` behind `hs`.
        client_handshake_secret: SecretAt,
        /// `server_handshake_secret` behind `hs`.
        server_handshake_secret: SecretAt,
        /// `client_traffic_secret_0` behind `hs`.
        client_traffic_secret_0: SecretAt,
        /// `server_traffic_secret_0` behind `hs`.
        server_traffic_secret_0: SecretAt,
        /// `new_session` behind `hs`, a pointer.
        new_session: u32,
        /// `secret` in a session: the master secret of TLS 1.2.
        session_secret: SecretAt,
        /// `cipher` in a session, a pointer.
        session_cipher: u32,
        /// The number of a cipher: its lower 16 bits are there in every version.
        cipher_id: u32,
    }
}

/// A row of a table.
#[derive(Clone, Debug)]
pub struct Era {
    /// The commit or tag with which it begins.
    pub from: &'static str,
    /// The date of that commit.
    pub date: &'static str,
    /// Its fields.
    pub layout: BoringSslLayout,
}

/// BoringSSL's eras in order.
pub static BORINGSSL: LazyLock<Vec<Era>> =
    LazyLock::new(|| eras(include_str!("../../../layouts/boringssl_layouts.tsv"), "from_commit"));

/// AWS-LC's eras in order; their names are version tags.
pub static AWS_LC: LazyLock<Vec<Era>> =
    LazyLock::new(|| eras(include_str!("../../../layouts/awslc_layouts.tsv"), "from_tag"));

fn eras(text: &'static str, name: &str) -> Vec<Era> {
    let table = Table::parse(text);
    let era =
        |row: Row<'_>| Era { from: row.text(name), date: row.text("date"), layout: layout(&row) };
    table.rows().map(era).collect()
}

fn layout(row: &Row<'_>) -> BoringSslLayout {
    let in_connection = row.offset("ssl.version").map(VersionAt::Connection);
    let s3_secret = |name: &str| secret(row, name, &format!("{name}_len"));
    let hs_secret = |name: &str| secret(row, name, "hs.hash_len");
    BoringSslLayout {
        version: in_connection.or_else(|| row.offset("s3.version").map(VersionAt::S3)),
        s3: row.offset("ssl.s3"),
        session: row.offset("ssl.session"),
        server: row.offset("ssl.server"),
        client_random: row.offset("s3.client_random"),
        hs: row.offset("s3.hs"),
        established_session: row.offset("s3.established_session"),
        write_traffic_secret: s3_secret("s3.write_traffic_secret"),
        read_traffic_secret: s3_secret("s3.read_traffic_secret"),
        exporter_secret: s3_secret("s3.exporter_secret"),
        state: row.offset("hs.state"),
        tls13_state: row.offset("hs.tls13_state"),
        early_traffic_secret: hs_secret("hs.early_traffic_secret"),
        client_handshake_secret: hs_secret("hs.client_handshake_secret"),
        server_handshake_secret: hs_secret("hs.server_handshake_secret"),
        client_traffic_secret_0: hs_secret("hs.client_traffic_secret_0"),
        server_traffic_secret_0: hs_secret("hs.server_traffic_secret_0"),
        new_session: row.offset("hs.new_session"),
        session_secret: secret(row, "sess.secret", "sess.secret_length"),
        session_cipher: row.offset("sess.cipher"),
        cipher_id: row.offset("ciph.id"),
    }
}

/// Since 2024-10 a secret is 48 bytes and then a byte with its length: one field of 49. Before, the length is a field
/// of its own.
fn secret(row: &Row<'_>, name: &str, length: &str) -> Option<SecretAt> {
    const WITH_LENGTH: u32 = 49;
    let bytes = row.cell(name)?;
    if bytes.size == WITH_LENGTH {
        let length = bytes.offset.checked_add(WITH_LENGTH - 1)?;
        return Some(SecretAt { offset: bytes.offset, length, length_size: 1 });
    }
    let length = row.cell(length)?;
    Some(SecretAt { offset: bytes.offset, length: length.offset, length_size: length.size })
}

/// The last era that began with `release` or before it.
pub fn awslc_era(release: &Release) -> Option<&'static Era> {
    AWS_LC.iter().rfind(|era| Release::parse(era.from).is_some_and(|from| from <= *release))
}

impl BoringSslLayout {
    /// Whether the fields are proved that a walk needs: who and what the connection is, whether its handshake still runs
    /// (without which the secrets of a handshake would get the labels of others), and the secrets of TLS 1.3 or of
    /// TLS 1.2 that stay after it. What is not proved besides is left out.
    pub fn can_be_walked(&self) -> bool {
        let traffic = self.write_traffic_secret.is_some() && self.read_traffic_secret.is_some();
        let after = (traffic && self.exporter_secret.is_some())
            || (self.established_session.is_some() && self.session_secret.is_some());
        after
            && [self.s3, self.client_random, self.hs, self.server].iter().all(Option::is_some)
            && self.version.is_some()
    }

    /// Where this layout has `field`; `None` for a field that it does not have.
    pub fn place(&self, field: Field) -> Option<At> {
        let bytes = |secret: Option<SecretAt>| secret.map(|secret| At::direct(secret.offset));
        let length = |secret: Option<SecretAt>| secret.map(|secret| At::direct(secret.length));
        let in_s3 = |at: Option<At>| Some(At::behind(self.s3?, at?.offset));
        match field {
            Field::Version => match self.version? {
                VersionAt::Connection(offset) => Some(At::direct(offset)),
                VersionAt::S3(offset) => in_s3(Some(At::direct(offset))),
            },
            Field::Server => self.server.map(At::direct),
            Field::ClientRandom => in_s3(self.client_random.map(At::direct)),
            Field::Session => in_s3(self.established_session.map(At::direct)),
            Field::SessionPointer => self.session.map(At::direct),
            Field::SessionCipher => self.session_cipher.map(At::direct),
            Field::MasterKey => bytes(self.session_secret),
            Field::MasterKeyLength => length(self.session_secret),
            Field::CipherId => self.cipher_id.map(At::direct),
            Field::Exporter => in_s3(bytes(self.exporter_secret)),
            Field::ExporterLength => in_s3(length(self.exporter_secret)),
            Field::EarlyTraffic => bytes(self.early_traffic_secret),
            Field::EarlyTrafficLength => length(self.early_traffic_secret),
            Field::ClientHandshake => bytes(self.client_handshake_secret),
            Field::ClientHandshakeLength => length(self.client_handshake_secret),
            Field::ServerHandshake => bytes(self.server_handshake_secret),
            Field::ServerHandshakeLength => length(self.server_handshake_secret),
            Field::ClientTraffic => bytes(self.client_traffic_secret_0),
            Field::ClientTrafficLength => length(self.client_traffic_secret_0),
            Field::ServerTraffic => bytes(self.server_traffic_secret_0),
            Field::ServerTrafficLength => length(self.server_traffic_secret_0),
            Field::State
            | Field::Hit
            | Field::NewCipher
            | Field::EarlyExporter
            | Field::EarlyExporterLength
            | Field::ServerName
            | Field::ReadBio
            | Field::WriteBio => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn complete(era: &Era) {
        let layout = &era.layout;
        let nothing = BoringSslLayout::default();
        assert!(layout.lacks(layout).is_empty());
        assert_eq!(nothing.lacks(layout).len(), 21, "{}: {layout:?}", era.from);
        assert_eq!(layout.common(layout), *layout);
    }

    #[test]
    fn every_row_is_read_and_complete() {
        let text = include_str!("../../../layouts/boringssl_layouts.tsv");
        assert_eq!(BORINGSSL.len(), text.lines().count() - 1);
        let text = include_str!("../../../layouts/awslc_layouts.tsv");
        assert_eq!(AWS_LC.len(), text.lines().count() - 1);
        BORINGSSL.iter().chain(AWS_LC.iter()).for_each(complete);
        assert!(AWS_LC.iter().all(|era| Release::parse(era.from).is_some()));
    }

    #[test]
    fn lengths_are_where_each_era_has_them() {
        let first = &BORINGSSL[0].layout;
        let exporter = SecretAt { offset: 392, length: 522, length_size: 1 };
        assert_eq!(first.exporter_secret, Some(exporter));
        let handshake = SecretAt { offset: 168, length: 32, length_size: 8 };
        assert_eq!(first.client_handshake_secret, Some(handshake));
        let last = &BORINGSSL[BORINGSSL.len() - 1].layout;
        let exporter = SecretAt { offset: 386, length: 434, length_size: 1 };
        assert_eq!(last.exporter_secret, Some(exporter));
        assert_eq!(last.version, Some(VersionAt::S3(208)));
    }

    #[test]
    fn what_two_eras_have_in_common() {
        let (older, newer) = (&BORINGSSL[22].layout, &BORINGSSL[26].layout);
        let both = older.common(newer);
        assert_eq!(both.new_session, None);
        assert_eq!(both.lacks(older), ["new_session"]);
        assert_eq!(both.exporter_secret, older.exporter_secret);
    }

    #[test]
    fn awslc_versions_have_the_era_that_they_fall_into() {
        let era = |text: &str| awslc_era(&Release::parse(text)?).map(|era| era.from);
        assert_eq!(era("1.30.1"), Some("v1.27.0"));
        assert_eq!(era("1.58.0"), Some("v1.58.0"));
        assert_eq!(era("0.0.0"), None);
    }
}
