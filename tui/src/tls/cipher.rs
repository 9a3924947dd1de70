//! Cipher suites: the name and, for TLS 1.3, the hash of its key schedule.

use std::fmt;

use super::Hash;
use super::cipher_names::NAMES;

/// A cipher suite by its number on the wire (RFC 8446, B.4).
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct CipherSuite(pub u16);

/// The cipher suites of TLS 1.3 (RFC 8446, B.4).
const TLS13: [(u16, Hash); 5] = [
    (0x1301, Hash::Sha256),
    (0x1302, Hash::Sha384),
    (0x1303, Hash::Sha256),
    (0x1304, Hash::Sha256),
    (0x1305, Hash::Sha256),
];

impl CipherSuite {
    /// From the `id` of an `SSL_CIPHER`, which OpenSSL and BoringSSL keep as `0x0300xxxx` (`SSL3_CK_...` in `ssl3.h`).
    pub fn from_openssl_id(id: u32) -> Self {
        Self((id & 0xffff) as u16)
    }

    /// The IANA name; `None` for a number that has none, which is shown as it is.
    pub fn name(self) -> Option<&'static str> {
        let index = NAMES.binary_search_by_key(&self.0, |&(id, _)| id).ok()?;
        NAMES.get(index).map(|&(_, name)| name)
    }

    /// The hash of the key schedule; `None` for what is no cipher suite of TLS 1.3.
    pub fn tls13_hash(self) -> Option<Hash> {
        TLS13.iter().find(|&&(id, _)| id == self.0).map(|&(_, hash)| hash)
    }
}

impl fmt::Display for CipherSuite {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name() {
            Some(name) => f.pad(name),
            None => f.pad(&format!("{:#06x}", self.0)),
        }
    }
}

impl fmt::Debug for CipherSuite {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_sorted_and_unique() {
        assert!(NAMES.windows(2).all(|pair| pair[0].0 < pair[1].0));
        assert!(NAMES.iter().all(|(_, name)| name.starts_with("TLS_")));
        let mut names: Vec<_> = NAMES.iter().map(|(_, name)| name).collect();
        names.sort_unstable();
        assert!(names.windows(2).all(|pair| pair[0] != pair[1]));
    }

    #[test]
    fn the_hash_is_the_one_in_the_name() {
        for (id, hash) in TLS13 {
            let name = CipherSuite(id).name().unwrap();
            let ending = if hash == Hash::Sha384 { "_SHA384" } else { "_SHA256" };
            assert!(name.ends_with(ending), "{name}");
        }
        assert_eq!(CipherSuite(0xc02f).tls13_hash(), None);
        assert_eq!(CipherSuite(0x1306).tls13_hash(), None);
    }

    #[test]
    fn known_ones_by_name_and_others_by_number() {
        let shown = |id| CipherSuite::from_openssl_id(id).to_string();
        assert_eq!(shown(0x0300_c02f), "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256");
        assert_eq!(shown(0x0300_1303), "TLS_CHACHA20_POLY1305_SHA256");
        assert_eq!(shown(0x0300_0a0a), "0x0a0a");
        assert_eq!(shown(0), "0x0000");
    }
}
