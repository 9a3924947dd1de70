//! The secret of 0-RTT data, which OpenSSL does not keep.
//!
//! It is made of the early secret and the hash of the ClientHello. A client still has both when the handshake is done,
//! at every hook (seen with `openssl s_client -early_data` of 3.0.22): `handshake_buffer`, a memory BIO, is freed with
//! the connection, and starts with the ClientHello unless the server asked for another one. No table has the fields of
//! a BIO, and none is needed: `early_exporter_master_secret` is made of the same two, and only when early data is
//! sent, so that it proves the hash. What is not proved is left out: after a server refused the session (then the early
//! secret is another one), and for a ClientHello of more than [`MOST`] bytes (those with ML-KEM).

use tlskeytop_common::Step;

use super::super::{Fields, LabelledSecret};
use super::{EARLY_EXPORTER, S3};
use crate::target::layout::openssl::{OpenSslLayout, OpenSslTls13};
use crate::tls::{Hash, key_schedule};

const EARLY_SECRET: u16 = 416;
const LENGTH: u16 = 120;
const MESSAGES: u16 = 464;
/// Bytes of messages that are copied, as many as the payload has room for.
const MOST: u16 = 512;
const CHUNK: u16 = 64;

/// From the BIO to its bytes.
const BIO: u8 = 5;

/// `ptr` in `BIO` (`crypto/bio/bio_local.h`): behind `num`, and from 3.0 behind `libctx` too.
const POINTER_UP_TO_1_1_1: u32 = 56;
const POINTER: u32 = 64;
/// `data` in `BUF_MEM` (`buffer.h`), behind `length`.
const DATA: u32 = 8;

/// The steps to the early secret and to the first handshake messages.
pub fn steps(layout: &OpenSslLayout, tls13: &OpenSslTls13) -> Vec<Step> {
    let (s3, pointer) = if layout.s3_is_pointer { (S3, POINTER_UP_TO_1_1_1) } else { (0, POINTER) };
    let mut steps = vec![
        Step::copy(0, tls13.early_secret, 48, EARLY_SECRET),
        Step::follow(s3, layout.handshake_buffer, BIO),
        // `BIO_BUF_MEM` (`crypto/bio/bss_mem.c`), and its first field.
        Step::follow(BIO, pointer, BIO),
        Step::follow(BIO, 0, BIO),
        Step::copy(BIO, 0, 8, LENGTH),
        Step::follow(BIO, DATA, BIO),
    ];
    let chunk = |from: u16| Step::copy(BIO, u32::from(from), CHUNK as u8, MESSAGES + from);
    steps.extend((0..MOST).step_by(usize::from(CHUNK)).map(chunk));
    steps
}

/// The secret, if it is proved. The hash is the session's, which need not be the one of this connection's cipher.
pub fn secret(fields: Fields<'_>) -> Option<LabelledSecret> {
    let length = usize::try_from(fields.u64(LENGTH)).ok()?;
    let messages = fields.bytes(MESSAGES, length.min(usize::from(MOST)));
    [Hash::Sha256, Hash::Sha384].into_iter().find_map(|hash| {
        let client_hello = key_schedule::client_hello(hash, messages)?;
        let early_secret = fields.bytes(EARLY_SECRET, hash.len());
        let [traffic, exporter] = key_schedule::early(hash, early_secret, &client_hello).ok()?;
        (exporter.1.expose() == fields.bytes(EARLY_EXPORTER, hash.len())).then_some(traffic)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tls::Label;

    /// A ClientHello, and the start of a ServerHello.
    fn messages(length: usize) -> Vec<u8> {
        let mut messages = vec![7; length];
        messages[..4].copy_from_slice(&(length as u32 - 4 + (1 << 24)).to_be_bytes());
        messages.extend([2, 0, 0, 0x56]);
        messages
    }

    fn payload(hash: Hash, messages: &[u8]) -> Vec<u8> {
        let mut bytes = vec![0; tlskeytop_common::PAYLOAD];
        let mut put = |at: u16, part: &[u8]| {
            bytes[usize::from(at)..][..part.len()].copy_from_slice(part);
        };
        let early_secret = vec![3; hash.len()];
        let hello = key_schedule::client_hello(hash, messages).unwrap();
        let derived = key_schedule::early(hash, &early_secret, &hello).unwrap();
        put(EARLY_SECRET, &early_secret);
        put(EARLY_EXPORTER, derived[1].1.expose());
        put(LENGTH, &messages.len().to_ne_bytes());
        put(MESSAGES, &messages[..messages.len().min(usize::from(MOST))]);
        bytes
    }

    #[test]
    fn the_early_exporter_proves_it() {
        for hash in [Hash::Sha256, Hash::Sha384] {
            let (label, early) = secret(Fields(&payload(hash, &messages(319)))).unwrap();
            assert_eq!((label, early.expose().len()), (Label::ClientEarlyTraffic, hash.len()));
            for at in [EARLY_SECRET, EARLY_EXPORTER, MESSAGES + 100, MESSAGES] {
                let mut bytes = payload(hash, &messages(319));
                bytes[usize::from(at)] ^= 1;
                assert_eq!(secret(Fields(&bytes)), None, "{at}");
            }
        }
    }

    #[test]
    fn without_the_whole_hello_there_is_none() {
        let fits = usize::from(MOST);
        assert!(secret(Fields(&payload(Hash::Sha256, &messages(fits)))).is_some());
        assert_eq!(secret(Fields(&payload(Hash::Sha256, &messages(fits + 1)))), None);
        assert_eq!(secret(Fields(&[0; tlskeytop_common::PAYLOAD])), None);
        assert_eq!(secret(Fields(&[0xff; tlskeytop_common::PAYLOAD])), None);
        assert_eq!(secret(Fields(&[])), None);
    }
}
