//! The key schedule of TLS 1.3 (RFC 8446, 7.1), as far as secrets are derived from others here.

use hkdf::Hkdf;
use sha2::{Digest as _, Sha256, Sha384};
use zeroize::{Zeroize as _, Zeroizing};

use super::{Label, Secret};

/// The hash of a cipher suite of TLS 1.3.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Hash {
    /// 32 bytes.
    Sha256,
    /// 48 bytes.
    Sha384,
}

impl Hash {
    /// Bytes of a digest and of every secret (`Hash.length` in RFC 8446).
    pub fn len(self) -> usize {
        match self {
            Self::Sha256 => 32,
            Self::Sha384 => 48,
        }
    }

    /// Never: a digest has 32 bytes or more.
    pub fn is_empty(self) -> bool {
        false
    }

    /// The digest of `bytes`.
    pub fn digest(self, bytes: &[u8]) -> Vec<u8> {
        match self {
            Self::Sha256 => Sha256::digest(bytes).to_vec(),
            Self::Sha384 => Sha384::digest(bytes).to_vec(),
        }
    }
}

/// Why a secret cannot be derived.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyScheduleError {
    /// Something has not the length of the hash.
    #[error("{what} of {len} bytes, and the hash has {expected}")]
    Length {
        /// The secret or the digest.
        what: &'static str,
        /// Its bytes.
        len: usize,
        /// What the hash wants.
        expected: usize,
    },
    /// A secret that is all zero: the library has not set it yet.
    #[error("the {0} is all zero")]
    Null(&'static str),
    /// More bytes than HKDF gives, or a label that is too long: cannot happen with the labels of TLS.
    #[error("HKDF cannot give that")]
    Expand,
}

/// Secrets that were derived, each with its label in a key log.
pub type Derived<const N: usize> = [(Label, Secret); N];

/// Both handshake traffic secrets, from the handshake secret and the hash of ClientHello to ServerHello. (OpenSSL:
/// `handshake_secret` and `handshake_traffic_hash`, the same on client and server.)
///
/// # Errors
/// [`KeyScheduleError`] when an input has the wrong length or is not set.
pub fn handshake_traffic(
    hash: Hash,
    handshake_secret: &[u8],
    transcript: &[u8],
) -> Result<Derived<2>, KeyScheduleError> {
    let of = Parent { hash, name: "handshake secret", secret: handshake_secret, transcript };
    Ok([
        of.derive("c hs traffic", Label::ClientHandshake)?,
        of.derive("s hs traffic", Label::ServerHandshake)?,
    ])
}

/// The first application traffic secrets and the exporter secret, from the master secret and the hash of ClientHello
/// to the server's Finished. (OpenSSL: `master_secret` and `server_finished_hash`, which no KeyUpdate changes.)
///
/// # Errors
/// [`KeyScheduleError`] when an input has the wrong length or is not set.
pub fn application(
    hash: Hash,
    master_secret: &[u8],
    transcript: &[u8],
) -> Result<Derived<3>, KeyScheduleError> {
    let of = Parent { hash, name: "master secret", secret: master_secret, transcript };
    Ok([
        of.derive("c ap traffic", Label::ClientTraffic0)?,
        of.derive("s ap traffic", Label::ServerTraffic0)?,
        of.derive("exp master", Label::Exporter)?,
    ])
}

/// Whether a master secret is the one that follows from a handshake secret (RFC 8446, 7.1): proves that both were
/// read from the right places.
pub fn master_follows(hash: Hash, handshake_secret: &[u8], master_secret: &[u8]) -> bool {
    let mut salt = Zeroizing::new([0; 48]);
    let Some(salt) = salt.get_mut(..hash.len()) else { return false };
    if expand_label(hash, handshake_secret, "derived", &hash.digest(b""), salt).is_err() {
        return false;
    }
    let zeros = &[0; 48][..hash.len()];
    let is_it = |derived: &mut [u8]| {
        let same = *derived == *master_secret;
        derived.zeroize();
        same
    };
    match hash {
        Hash::Sha256 => is_it(&mut Hkdf::<Sha256>::extract(Some(salt), zeros).0),
        Hash::Sha384 => is_it(&mut Hkdf::<Sha384>::extract(Some(salt), zeros).0),
    }
}

/// The secrets of 0-RTT data, from the early secret and the hash of the ClientHello ([`client_hello`]).
///
/// # Errors
/// [`KeyScheduleError`] when an input has the wrong length or is not set.
pub fn early(
    hash: Hash,
    early_secret: &[u8],
    client_hello: &[u8],
) -> Result<Derived<2>, KeyScheduleError> {
    let of = Parent { hash, name: "early secret", secret: early_secret, transcript: client_hello };
    Ok([
        of.derive("c e traffic", Label::ClientEarlyTraffic)?,
        of.derive("e exp master", Label::EarlyExporter)?,
    ])
}

/// The hash of the ClientHello at the start of `messages` (handshake messages as they were sent, RFC 8446, 4);
/// `None` when something else is there, or not all of it.
pub fn client_hello(hash: Hash, messages: &[u8]) -> Option<Vec<u8>> {
    let &[kind, a, b, c, ..] = messages else { return None };
    let length = u32::from_be_bytes([0, a, b, c]) as usize;
    let message = messages.get(..length.checked_add(4)?)?;
    (kind == 1).then(|| hash.digest(message))
}

/// A secret from which others are derived with one transcript.
struct Parent<'a> {
    hash: Hash,
    name: &'static str,
    secret: &'a [u8],
    transcript: &'a [u8],
}

impl Parent<'_> {
    fn derive(&self, label: &str, as_label: Label) -> Result<(Label, Secret), KeyScheduleError> {
        let expected = self.hash.len();
        let check = |what, bytes: &[u8]| match bytes.len() {
            len if len == expected => Ok(()),
            len => Err(KeyScheduleError::Length { what, len, expected }),
        };
        check(self.name, self.secret)?;
        check("transcript hash", self.transcript)?;
        if self.secret.iter().all(|&byte| byte == 0) {
            return Err(KeyScheduleError::Null(self.name));
        }
        if self.transcript.iter().all(|&byte| byte == 0) {
            return Err(KeyScheduleError::Null("transcript hash"));
        }
        let mut out = Zeroizing::new([0; 48]);
        let out = out.get_mut(..expected).ok_or(KeyScheduleError::Expand)?;
        expand_label(self.hash, self.secret, label, self.transcript, out)?;
        let secret = Secret::new(&as_label, out, expected as u32);
        Ok((as_label, secret.map_err(|_| KeyScheduleError::Expand)?))
    }
}

/// HKDF-Expand-Label (RFC 8446, 7.1), which is Derive-Secret when `context` is a transcript hash and `out` has the
/// length of the hash.
///
/// # Errors
/// [`KeyScheduleError::Expand`] for a secret shorter than the hash, or more output than HKDF gives.
pub fn expand_label(
    hash: Hash,
    secret: &[u8],
    label: &str,
    context: &[u8],
    out: &mut [u8],
) -> Result<(), KeyScheduleError> {
    let too_much = |_| KeyScheduleError::Expand;
    let length = u16::try_from(out.len()).map_err(too_much)?;
    let label_length = u8::try_from(label.len().saturating_add(6)).map_err(too_much)?;
    let context_length = u8::try_from(context.len()).map_err(too_much)?;
    let length = length.to_be_bytes();
    let info: [&[u8]; 6] =
        [&length, &[label_length], b"tls13 ", label.as_bytes(), &[context_length], context];
    let expanded = match hash {
        Hash::Sha256 => {
            Hkdf::<Sha256>::from_prk(secret).map(|key| key.expand_multi_info(&info, out))
        }
        Hash::Sha384 => {
            Hkdf::<Sha384>::from_prk(secret).map(|key| key.expand_multi_info(&info, out))
        }
    };
    match expanded {
        Ok(Ok(())) => Ok(()),
        Ok(Err(_)) | Err(_) => Err(KeyScheduleError::Expand),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 8448, 3: the ClientHello.
    const CLIENT_HELLO: &str = "010000c00303cb34ecb1e78163ba1c38c6dacb196a6dffa21a8d9912ec18a2ef6283024dece7\
        000006130113031302010000910000000b0009000006736572766572ff01000100000a00140012001d0017001800190100010101\
        02010301040023000000330026002400\
        1d002099381de560e4bd43d23d8e435a7dbafeb3c06e51c13cae4d5413691e529aaf2c002b00030203\
        04000d0020001e040305030603020308040805080604010501060102010402050206020202002d00020101001c00024001";
    /// RFC 8448, 3: the ServerHello.
    const SERVER_HELLO: &str = "020000560303a6af06a4121860dc5e6e60249cd34c95930c8ac5cb1434dac155772ed3e26928\
        00130100002e00330024001d0020c9828876112095fe66762bdbf7c672e156d6cc253b833df1dd69b1b04e751f0f002b00020304";

    fn bytes(hex: &str) -> Vec<u8> {
        hex::decode(hex).unwrap()
    }

    fn shown(secrets: &[(Label, Secret)]) -> Vec<(String, String)> {
        secrets
            .iter()
            .map(|(label, secret)| (label.to_string(), hex::encode(secret.expose())))
            .collect()
    }

    fn pair(label: &str, secret: &str) -> (String, String) {
        (label.to_owned(), secret.to_owned())
    }

    #[test]
    fn handshake_secrets_of_rfc_8448() {
        let secret = bytes("1dc826e93606aa6fdc0aadc12f741b01046aa6b99f691ed221a9f0ca043fbeac");
        let transcript = Hash::Sha256.digest(&bytes(&format!("{CLIENT_HELLO}{SERVER_HELLO}")));
        let digest = "860c06edc07858ee8e78f0e7428c58edd6b43f2ca3e6e95f02ed063cf0e1cad8";
        assert_eq!(hex::encode(&transcript), digest);
        let derived = handshake_traffic(Hash::Sha256, &secret, &transcript).unwrap();
        assert_eq!(
            shown(&derived),
            [
                pair(
                    "CLIENT_HANDSHAKE_TRAFFIC_SECRET",
                    "b3eddb126e067f35a780b3abf45e2d8f3b1a950738f52e9600746a0e27a55a21"
                ),
                pair(
                    "SERVER_HANDSHAKE_TRAFFIC_SECRET",
                    "b67b7d690cc16c4e75e54213cb2d37b4e9c912bcded9105d42befd59d391ad38"
                ),
            ]
        );
    }

    #[test]
    fn application_secrets_of_rfc_8448() {
        let secret = bytes("18df06843d13a08bf2a449844c5f8a478001bc4d4c627984d5a41da8d0402919");
        let transcript = bytes("9608102a0f1ccc6db6250b7b7e417b1a000eaada3daae4777a7686c9ff83df13");
        let derived = application(Hash::Sha256, &secret, &transcript).unwrap();
        assert_eq!(
            shown(&derived),
            [
                pair(
                    "CLIENT_TRAFFIC_SECRET_0",
                    "9e40646ce79a7f9dc05af8889bce6552875afa0b06df0087f792ebb7c17504a5"
                ),
                pair(
                    "SERVER_TRAFFIC_SECRET_0",
                    "a11af9f05531f856ad47116b45a950328204b4f44bfb6b3a4b4f1f3fcb631643"
                ),
                pair(
                    "EXPORTER_SECRET",
                    "fe22f881176eda18eb8f44529e6792c50c9a3f89452f68d8ae311b4309d3cf50"
                ),
            ]
        );
    }

    #[test]
    fn early_secret_of_rfc_8448_section_4() {
        let secret = bytes("9b2188e9b2fc6d64d71dc329900e20bb41915000f678aa839cbb797cb7d8332c");
        let hello = bytes("08ad0fa05d7c7233b1775ba2ff9f4c5b8b59276b7f227f13a976245f5d960913");
        let derived = early(Hash::Sha256, &secret, &hello).unwrap();
        let traffic = "3fbbe6a60deb66c30a32795aba0eff7eaa10105586e7be5c09678d63b6caab62";
        let exporter = "b2026866610937d7423e5be90862ccf24c0e6091186d34f812089ff5be2ef7df";
        assert_eq!(
            shown(&derived),
            [pair("CLIENT_EARLY_TRAFFIC_SECRET", traffic), pair("EARLY_EXPORTER_SECRET", exporter)]
        );
    }

    #[test]
    fn the_client_hello_is_found_in_a_buffer_of_messages() {
        let messages = bytes(&format!("{CLIENT_HELLO}{SERVER_HELLO}"));
        let alone = Hash::Sha256.digest(&bytes(CLIENT_HELLO));
        assert_eq!(client_hello(Hash::Sha256, &messages), Some(alone));
        assert_eq!(client_hello(Hash::Sha256, &messages[..195]), None);
        assert_eq!(client_hello(Hash::Sha256, &messages[196..]), None, "a ServerHello");
        assert_eq!(client_hello(Hash::Sha384, &[1, 0xff, 0xff, 0xff]), None);
        assert_eq!(client_hello(Hash::Sha384, &[]), None);
    }

    #[test]
    fn sha384_gives_48_bytes_and_other_lengths_are_refused() {
        let derived = application(Hash::Sha384, &[1; 48], &[2; 48]).unwrap();
        assert!(derived.iter().all(|(_, secret)| secret.expose().len() == 48));
        for (secret, transcript) in [(32, 48), (48, 32), (64, 48), (0, 0)] {
            let refused = application(Hash::Sha384, &vec![1; secret], &vec![2; transcript]);
            assert!(matches!(refused, Err(KeyScheduleError::Length { expected: 48, .. })));
        }
    }

    #[test]
    fn nothing_is_derived_from_memory_that_was_not_written() {
        let null = handshake_traffic(Hash::Sha256, &[0; 32], &[1; 32]).unwrap_err();
        assert_eq!(null, KeyScheduleError::Null("handshake secret"));
        let null = handshake_traffic(Hash::Sha256, &[1; 32], &[0; 32]).unwrap_err();
        assert_eq!(null, KeyScheduleError::Null("transcript hash"));
    }
}
