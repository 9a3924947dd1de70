//! The layouts of OpenSSL and quictls (`tui/layouts/openssl_layouts.tsv`).

use std::sync::LazyLock;

use super::field::{At, Field};
use super::table::{Row, Table};
use super::version::Release;

/// Where OpenSSL's structures have their fields, in bytes. Offsets without a structure's name are from the start of
/// the connection: `SSL`, and from 3.2 `SSL_CONNECTION`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct OpenSslLayout {
    /// `version`, 32 bits. Reads 0x304 in a fresh object.
    pub version: u32,
    /// `server`, 32 bits.
    pub server: u32,
    /// `statem.hand_state`, 32 bits; 1 is `TLS_ST_OK`.
    pub hand_state: u32,
    /// `s3`.
    pub s3: u32,
    /// `s3` is a pointer to a structure (up to 1.1.1), not the structure itself. Then `client_random`,
    /// `handshake_buffer` and `new_cipher` are from its start, and else from the connection's.
    pub s3_is_pointer: bool,
    /// `s3.client_random`, 32 bytes.
    pub client_random: u32,
    /// `s3.handshake_buffer`, a pointer to a BIO.
    pub handshake_buffer: u32,
    /// `s3.tmp.new_cipher`, a pointer.
    pub new_cipher: u32,
    /// `hit`, 32 bits: the session was resumed.
    pub hit: u32,
    /// `session`, a pointer.
    pub session: u32,
    /// `master_key_length` in the session, a `size_t`.
    pub master_key_length: u32,
    /// `master_key` in the session, 48 bytes that count.
    pub master_key: u32,
    /// `cipher` in the session, a pointer that may be null.
    pub session_cipher: u32,
    /// `id` in the cipher, 32 bits: `0x0300xxxx`.
    pub cipher_id: u32,
    /// From 1.1.1.
    pub tls13: Option<OpenSslTls13>,
    /// In the `SSL` of a QUIC connection: pointer to the inner connection (from 3.2).
    pub quic_tls: Option<u32>,
    /// In the `SSL` of a QUIC stream: pointer to the QUIC connection (from 3.2).
    pub quic_conn: Option<u32>,
}

/// Fields of the connection for TLS 1.3. Secrets and hashes are arrays of 64 bytes of which the hash's length counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct OpenSslTls13 {
    /// `early_data_state`, 32 bits.
    pub early_data_state: u32,
    /// `early_secret`; not what a key log calls early traffic secret.
    pub early_secret: u32,
    /// `handshake_secret`.
    pub handshake_secret: u32,
    /// `master_secret`.
    pub master_secret: u32,
    /// `server_finished_hash`.
    pub server_finished_hash: u32,
    /// `handshake_traffic_hash`.
    pub handshake_traffic_hash: u32,
    /// `client_app_traffic_secret`; a KeyUpdate overwrites it.
    pub client_app_traffic_secret: u32,
    /// `server_app_traffic_secret`; a KeyUpdate overwrites it.
    pub server_app_traffic_secret: u32,
    /// `exporter_master_secret`.
    pub exporter_master_secret: u32,
    /// `early_exporter_master_secret`.
    pub early_exporter_master_secret: u32,
}

/// A row of the table.
#[derive(Clone, Debug)]
pub struct Group {
    /// The versions, as the table lists them.
    pub name: &'static str,
    /// Its fields.
    pub layout: OpenSslLayout,
}

/// All rows.
pub static GROUPS: LazyLock<Vec<Group>> = LazyLock::new(|| {
    let table = Table::parse(include_str!("../../../layouts/openssl_layouts.tsv"));
    table.rows().filter_map(|row| group(&row)).collect()
});

fn group(row: &Row<'_>) -> Option<Group> {
    let layout = OpenSslLayout {
        version: row.offset("SSL.version")?,
        server: row.offset("SSL.server")?,
        hand_state: row.offset("SSL.statem.hand_state")?,
        s3: row.offset("SSL.s3")?,
        s3_is_pointer: row.text("s3_kind") == "ptr",
        client_random: row.offset("client_random")?,
        handshake_buffer: row.offset("handshake_buffer")?,
        new_cipher: row.offset("tmp.new_cipher")?,
        hit: row.offset("SSL.hit")?,
        session: row.offset("SSL.session")?,
        master_key_length: row.offset("SESS.master_key_length")?,
        master_key: row.offset("SESS.master_key")?,
        session_cipher: row.offset("SESS.cipher")?,
        cipher_id: row.offset("CIPHER.id")?,
        tls13: tls13(row),
        quic_tls: row.offset("QUIC_CONN.tls"),
        quic_conn: row.offset("QUIC_XSO.conn"),
    };
    Some(Group { name: row.text("versions"), layout })
}

fn tls13(row: &Row<'_>) -> Option<OpenSslTls13> {
    Some(OpenSslTls13 {
        early_data_state: row.offset("SSL.early_data_state")?,
        early_secret: row.offset("SSL.early_secret")?,
        handshake_secret: row.offset("SSL.handshake_secret")?,
        master_secret: row.offset("SSL.master_secret")?,
        server_finished_hash: row.offset("SSL.server_finished_hash")?,
        handshake_traffic_hash: row.offset("SSL.handshake_traffic_hash")?,
        client_app_traffic_secret: row.offset("SSL.client_app_traffic_secret")?,
        server_app_traffic_secret: row.offset("SSL.server_app_traffic_secret")?,
        exporter_master_secret: row.offset("SSL.exporter_master_secret")?,
        early_exporter_master_secret: row.offset("SSL.early_exporter_master_secret")?,
    })
}

impl Group {
    /// The versions of the row.
    pub fn versions(&self) -> impl Iterator<Item = Release> {
        self.name.split(',').filter_map(Release::parse)
    }
}

impl OpenSslLayout {
    /// Where this layout has `field`; `None` for a field that it does not have.
    pub fn place(&self, field: Field) -> Option<At> {
        let in_s3 = |offset| {
            if self.s3_is_pointer { At::behind(self.s3, offset) } else { At::direct(offset) }
        };
        Some(match field {
            Field::Version => At::direct(self.version),
            Field::Server => At::direct(self.server),
            Field::State => At::direct(self.hand_state),
            Field::Hit => At::direct(self.hit),
            Field::ClientRandom => in_s3(self.client_random),
            Field::NewCipher => in_s3(self.new_cipher),
            Field::Session | Field::SessionPointer => At::direct(self.session),
            Field::SessionCipher => At::direct(self.session_cipher),
            Field::MasterKey => At::direct(self.master_key),
            Field::MasterKeyLength => At::direct(self.master_key_length),
            Field::CipherId => At::direct(self.cipher_id),
            Field::Exporter => At::direct(self.tls13?.exporter_master_secret),
            Field::EarlyExporter => At::direct(self.tls13?.early_exporter_master_secret),
            _ => return None,
        })
    }

    /// The layout of a build with `no-psk`: from 3.0, two pointers fewer between `hit` and the secrets (facts, part 2).
    pub fn without_psk(&self) -> Option<Self> {
        const POINTERS: u32 = 16;
        if self.s3_is_pointer {
            return None;
        }
        let mut layout = self.clone();
        layout.session = self.session.checked_sub(POINTERS)?;
        let tls13 = layout.tls13.as_mut()?;
        for offset in [
            &mut tls13.early_secret,
            &mut tls13.handshake_secret,
            &mut tls13.master_secret,
            &mut tls13.server_finished_hash,
            &mut tls13.handshake_traffic_hash,
            &mut tls13.client_app_traffic_secret,
            &mut tls13.server_app_traffic_secret,
            &mut tls13.exporter_master_secret,
            &mut tls13.early_exporter_master_secret,
        ] {
            *offset = offset.checked_sub(POINTERS)?;
        }
        Some(layout)
    }

    /// The layout of the same version with quictls' three secrets after the server's application secret.
    pub fn with_quic(&self) -> Option<Self> {
        const SECRETS: u32 = 3 * 64;
        let mut layout = self.clone();
        layout.session = self.session.checked_add(SECRETS)?;
        let tls13 = layout.tls13.as_mut()?;
        for offset in [&mut tls13.exporter_master_secret, &mut tls13.early_exporter_master_secret] {
            *offset = offset.checked_add(SECRETS)?;
        }
        Some(layout)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_row_is_read() {
        let text = include_str!("../../../layouts/openssl_layouts.tsv");
        assert_eq!(GROUPS.len(), text.lines().count() - 1);
        for group in GROUPS.iter() {
            assert_eq!(group.versions().count(), group.name.split(',').count(), "{}", group.name);
            assert_eq!(group.layout.tls13.is_none(), group.name.starts_with("1.1.0"));
        }
    }

    #[test]
    fn the_secrets_are_where_the_facts_say_relative_to_the_first() {
        for group in GROUPS.iter() {
            let Some(tls13) = group.layout.tls13 else { continue };
            let quic = if group.name.contains("+quic") { 192 } else { 0 };
            let from = |offset: u32| offset - tls13.early_secret;
            assert_eq!(from(tls13.handshake_secret), 64);
            assert_eq!(from(tls13.master_secret), 128);
            assert_eq!(from(tls13.server_finished_hash), 384);
            assert_eq!(from(tls13.handshake_traffic_hash), 448);
            assert_eq!(from(tls13.client_app_traffic_secret), 512);
            assert_eq!(from(tls13.server_app_traffic_secret), 576);
            assert_eq!(from(tls13.exporter_master_secret), 640 + quic);
            assert_eq!(from(tls13.early_exporter_master_secret), 704 + quic);
        }
    }

    #[test]
    fn the_shift_of_quictls_is_the_one_of_the_table() {
        let group = |name: &str| GROUPS.iter().find(|group| group.name.contains(name)).unwrap();
        let shifted = group("3.0.15,").layout.with_quic();
        assert_eq!(shifted.as_ref(), Some(&group("3.0.15+quic").layout));
    }
}
