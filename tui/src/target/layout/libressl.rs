//! The layouts of LibreSSL's libssl (`tui/layouts/libressl_layouts.tsv`).

use std::sync::LazyLock;

use super::field::{At, Field};
use super::table::{Row, Table};
use super::version::Release;

/// Where LibreSSL's structures have their fields, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct LibreSslLayout {
    /// `version` in the `SSL`, 32 bits.
    pub version: u32,
    /// `s3` in the `SSL`, a pointer.
    pub s3: u32,
    /// `session` in the `SSL`, a pointer.
    pub session: u32,
    /// `server` in the `SSL`, 32 bits.
    pub server: u32,
    /// `client_random` behind `s3`.
    pub client_random: u32,
    /// How to get to the TLS 1.3 secrets, a pointer to a structure of its own.
    pub tls13_secrets: Tls13Secrets,
    /// `ssl_version` in the session.
    pub session_version: u32,
    /// `master_key_length` in the session (32 bits up to 3.5, then a `size_t`).
    pub master_key_length: u32,
    /// `master_key` in the session, 48 bytes.
    pub master_key: u32,
    /// `cipher` in the session, a pointer (up to 3.9).
    pub session_cipher: Option<u32>,
    /// `id` in that cipher.
    pub cipher_id: Option<u32>,
    /// `cipher_value` in the session, 16 bits (from 4.0).
    pub session_cipher_value: Option<u32>,
    /// Pointers to data in the structure of the secrets, each followed by a length.
    pub secrets: LibreSslSecrets,
}

/// The way to the pointer to the TLS 1.3 secrets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Tls13Secrets {
    /// `*(*(ssl + s3) + internal) + offset` (up to 3.4).
    BehindInternal {
        /// `internal` behind `s3`.
        internal: u32,
        /// In what `internal` points to.
        offset: u32,
    },
    /// `*(ssl + s3) + offset` (from 3.5).
    InS3 {
        /// Behind `s3`.
        offset: u32,
    },
}

/// Offsets in LibreSSL's `struct tls13_secrets`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct LibreSslSecrets {
    /// `client_early_traffic`.
    pub client_early_traffic: u32,
    /// `early_exporter_master`.
    pub early_exporter_master: u32,
    /// `client_handshake_traffic`.
    pub client_handshake_traffic: u32,
    /// `server_handshake_traffic`.
    pub server_handshake_traffic: u32,
    /// `client_application_traffic`.
    pub client_application_traffic: u32,
    /// `server_application_traffic`.
    pub server_application_traffic: u32,
    /// `exporter_master`.
    pub exporter_master: u32,
}

/// A row of the table.
#[derive(Clone, Debug)]
pub struct Group {
    /// The version.
    pub name: &'static str,
    /// Its fields.
    pub layout: LibreSslLayout,
}

/// All rows.
pub static GROUPS: LazyLock<Vec<Group>> = LazyLock::new(|| {
    let table = Table::parse(include_str!("../../../layouts/libressl_layouts.tsv"));
    table.rows().filter_map(|row| group(&row)).collect()
});

fn group(row: &Row<'_>) -> Option<Group> {
    let behind_internal = || {
        let offset = row
            .offset("s3_internal.hs_tls13.secrets")
            .or_else(|| row.offset("s3_internal.hs.tls13.secrets"))?;
        Some(Tls13Secrets::BehindInternal { internal: row.offset("s3.internal")?, offset })
    };
    let in_s3 = || Some(Tls13Secrets::InS3 { offset: row.offset("s3.hs.tls13.secrets")? });
    let layout = LibreSslLayout {
        version: row.offset("ssl.version")?,
        s3: row.offset("ssl.s3")?,
        session: row.offset("ssl.session")?,
        server: row.offset("ssl.server")?,
        client_random: row.offset("s3.client_random")?,
        tls13_secrets: in_s3().or_else(behind_internal)?,
        session_version: row.offset("sess.ssl_version")?,
        master_key_length: row.offset("sess.master_key_length")?,
        master_key: row.offset("sess.master_key")?,
        session_cipher: row.offset("sess.cipher"),
        cipher_id: row.offset("cipher.id"),
        session_cipher_value: row.offset("sess.cipher_value"),
        secrets: LibreSslSecrets {
            client_early_traffic: row.offset("sec.client_early_traffic")?,
            early_exporter_master: row.offset("sec.early_exporter_master")?,
            client_handshake_traffic: row.offset("sec.client_handshake_traffic")?,
            server_handshake_traffic: row.offset("sec.server_handshake_traffic")?,
            client_application_traffic: row.offset("sec.client_application_traffic")?,
            server_application_traffic: row.offset("sec.server_application_traffic")?,
            exporter_master: row.offset("sec.exporter_master")?,
        },
    };
    Some(Group { name: row.text("version"), layout })
}

impl Group {
    /// The version of the row.
    pub fn version(&self) -> Option<Release> {
        Release::parse(self.name)
    }
}

impl LibreSslLayout {
    /// Where this layout has `field`; `None` for a field that it does not have.
    pub fn place(&self, field: Field) -> Option<At> {
        Some(match field {
            Field::Version => At::direct(self.version),
            Field::Server => At::direct(self.server),
            Field::ClientRandom => At::behind(self.s3, self.client_random),
            Field::Session | Field::SessionPointer => At::direct(self.session),
            Field::SessionCipher => At::direct(self.session_cipher?),
            Field::MasterKey => At::direct(self.master_key),
            Field::MasterKeyLength => At::direct(self.master_key_length),
            Field::CipherId => At::direct(self.cipher_id?),
            _ => return None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_row_is_read() {
        let text = include_str!("../../../layouts/libressl_layouts.tsv");
        assert_eq!(GROUPS.len(), text.lines().count() - 1);
        assert!(GROUPS.iter().all(|group| group.version().is_some()));
        let first = Tls13Secrets::BehindInternal { internal: 72, offset: 456 };
        assert_eq!(GROUPS[0].layout.tls13_secrets, first);
        let last = Tls13Secrets::InS3 { offset: 664 };
        assert_eq!(GROUPS[11].layout.tls13_secrets, last);
    }
}
