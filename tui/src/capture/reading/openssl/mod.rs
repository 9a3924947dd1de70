//! OpenSSL and quictls: which fields a walk copies, and what they say.

mod early;

use tlskeytop_common::{FactsConfig, NOWHERE, NumberAt, Step};

use super::{Fields, QUICK, ReadError, Reading, Walk, is_zero, looks_random, only_real, way};
use crate::model::Facts;
use crate::target::layout::openssl::OpenSslLayout;
use crate::tls::{CipherSuite, Hash, Label, Role, Version, key_schedule};

// Where the steps put each field in the payload. The facts come first, so that a tap's few bytes begin
// like a walk's many.
const VERSION: u16 = 0;
const SERVER: u16 = 4;
const SESSION_CIPHER: u16 = 8;
const NEW_CIPHER: u16 = 12;
const HAND_STATE: u16 = 16;
const HIT: u16 = 20;
const CLIENT_RANDOM: u16 = 32;
// So far the quick steps, and from here on the others.
const MASTER_KEY: u16 = QUICK;
const KEY_LENGTH: u16 = 112;
const HANDSHAKE_SECRET: u16 = 128;
const MASTER_SECRET: u16 = 176;
const SERVER_FINISHED_HASH: u16 = 224;
const HANDSHAKE_TRAFFIC_HASH: u16 = 272;
const EXPORTER: u16 = 320;
const EARLY_EXPORTER: u16 = 368;

// Pointers that the steps hold; 0 is the connection.
const SESSION: u8 = 1;
const CIPHER_OF_SESSION: u8 = 2;
const CIPHER_OF_HANDSHAKE: u8 = 3;
const S3: u8 = 4;

/// `TLS_ST_OK` of `ssl/statem` in every version: the handshake is done.
const HANDSHAKE_DONE: u32 = 1;
/// What OpenSSL puts before the number of a cipher suite (`SSL3_CK_...` in `ssl3.h`).
const CIPHER_PREFIX: u32 = 0x0300;

/// Where version, role and cipher are. While the handshake runs, its own cipher is right; that of the session may be the
/// one of the handshake that is resumed.
pub fn facts_config(layout: &OpenSslLayout) -> FactsConfig {
    let number = |from_base, offset, at: u16| NumberAt { from_base, offset, at: at.into(), len: 4 };
    let in_s3 = u32::from(layout.s3_is_pointer);
    FactsConfig {
        base: if layout.s3_is_pointer { layout.s3 } else { NOWHERE },
        numbers: [number(0, layout.version, VERSION), number(0, layout.server, SERVER)],
        ciphers: [
            way([layout.new_cipher], number(in_s3, layout.cipher_id, NEW_CIPHER)),
            way(
                [layout.session, layout.session_cipher],
                number(0, layout.cipher_id, SESSION_CIPHER),
            ),
        ],
        ..FactsConfig::NOTHING
    }
}

/// The steps to version, role and cipher.
fn fact_steps(layout: &OpenSslLayout) -> Vec<Step> {
    let mut steps = vec![
        Step::copy(0, layout.version, 4, VERSION),
        Step::copy(0, layout.server, 4, SERVER),
        Step::follow(0, layout.session, SESSION),
        Step::follow(SESSION, layout.session_cipher, CIPHER_OF_SESSION),
        Step::copy(CIPHER_OF_SESSION, layout.cipher_id, 4, SESSION_CIPHER),
    ];
    let s3 = if layout.s3_is_pointer {
        steps.push(Step::follow(0, layout.s3, S3));
        S3
    } else {
        0
    };
    steps.push(Step::follow(s3, layout.new_cipher, CIPHER_OF_HANDSHAKE));
    steps.push(Step::copy(CIPHER_OF_HANDSHAKE, layout.cipher_id, 4, NEW_CIPHER));
    steps
}

/// The steps to everything. Quick: the facts, the state, and the client random, which together change with each
/// handshake and when it is done; what is reported does not change after that.
pub fn steps(layout: &OpenSslLayout) -> Walk {
    let mut steps = fact_steps(layout);
    let s3 = if layout.s3_is_pointer { S3 } else { 0 };
    steps.extend([
        Step::copy(0, layout.hand_state, 4, HAND_STATE),
        Step::copy(0, layout.hit, 4, HIT),
        Step::copy(s3, layout.client_random, 32, CLIENT_RANDOM),
    ]);
    let quick = steps.len();
    steps.extend([
        Step::copy(SESSION, layout.master_key_length, 8, KEY_LENGTH),
        Step::copy(SESSION, layout.master_key, 48, MASTER_KEY),
    ]);
    if let Some(tls13) = &layout.tls13 {
        let secrets = [
            (tls13.handshake_secret, HANDSHAKE_SECRET),
            (tls13.master_secret, MASTER_SECRET),
            (tls13.server_finished_hash, SERVER_FINISHED_HASH),
            (tls13.handshake_traffic_hash, HANDSHAKE_TRAFFIC_HASH),
            (tls13.exporter_master_secret, EXPORTER),
            (tls13.early_exporter_master_secret, EARLY_EXPORTER),
        ];
        steps.extend(secrets.map(|(offset, at)| Step::copy(0, offset, 48, at)));
        steps.extend(early::steps(layout, tls13));
    }
    Walk { steps, quick, any_result: false }
}

/// Version, role and cipher, as far as the bytes can be right.
pub fn facts(bytes: &[u8]) -> Facts {
    let fields = Fields(bytes);
    let version = u16::try_from(fields.u32(VERSION)).ok().and_then(Version::from_wire);
    let role = match fields.u32(SERVER) {
        0 => Some(Role::Client),
        1 => Some(Role::Server),
        _ => None,
    };
    // Nothing at all was read: a role of 0 is then no role.
    let role = role.filter(|_| version.is_some());
    let cipher = [SESSION_CIPHER, NEW_CIPHER]
        .map(|at| fields.u32(at))
        .into_iter()
        .find(|id| id >> 16 == CIPHER_PREFIX && id & 0xffff != 0)
        .map(CipherSuite::from_openssl_id);
    Facts { version, cipher, role, resumed: None }
}

/// Everything, when the handshake is done.
///
/// # Errors
///
/// [`ReadError`] when the bytes cannot be a connection of this layout: nothing of them is believed then.
pub fn read(bytes: &[u8]) -> Result<Option<Reading>, ReadError> {
    let fields = Fields(bytes);
    if fields.u32(HAND_STATE) != HANDSHAKE_DONE {
        return Ok(None);
    }
    let mut facts = facts(bytes);
    let version = facts.version.ok_or(ReadError::Field("version"))?;
    facts.role.ok_or(ReadError::Field("server"))?;
    facts.resumed = match fields.u32(HIT) {
        0 => Some(false),
        1 => Some(true),
        _ => return Err(ReadError::Field("hit")),
    };
    let client_random = fields.client_random(CLIENT_RANDOM)?;
    let secrets = if version.has_traffic_secrets() {
        let cipher = facts.cipher.ok_or(ReadError::Field("cipher"))?;
        let hash = cipher.tls13_hash().ok_or(ReadError::Cipher(cipher))?;
        traffic_secrets(fields, hash)?
    } else {
        if fields.u64(KEY_LENGTH) != 48 {
            return Err(ReadError::Field("master_key_length"));
        }
        // Nothing else proves it.
        let key = fields.bytes(MASTER_KEY, 48);
        if !is_zero(key) && !looks_random(key) {
            return Err(ReadError::Field("master_key"));
        }
        vec![fields.secret(Label::ClientRandom, MASTER_KEY, 48)?]
    };
    Ok(Some(Reading { client_random, facts, secrets: only_real(secrets), may_be_updated: false }))
}

/// Derived from what stays the same for the life of the connection: `client_app_traffic_secret` and
/// `server_app_traffic_secret` are overwritten by a KeyUpdate, and the server has the first only after the
/// client's Finished. That the derived exporter is the one that OpenSSL holds proves all of the offsets.
fn traffic_secrets(
    fields: Fields<'_>,
    hash: Hash,
) -> Result<Vec<super::LabelledSecret>, ReadError> {
    let of = |at| fields.bytes(at, hash.len());
    let master = of(MASTER_SECRET);
    if !key_schedule::master_follows(hash, of(HANDSHAKE_SECRET), master) {
        return Err(ReadError::Schedule("master secret"));
    }
    let application = key_schedule::application(hash, master, of(SERVER_FINISHED_HASH))?;
    let exporter = &application[2].1;
    if exporter.expose() != of(EXPORTER) {
        return Err(ReadError::Schedule("exporter secret"));
    }
    let handshake =
        key_schedule::handshake_traffic(hash, of(HANDSHAKE_SECRET), of(HANDSHAKE_TRAFFIC_HASH))?;
    let mut secrets: Vec<_> = handshake.into_iter().chain(application).collect();
    secrets.push(fields.secret(Label::EarlyExporter, EARLY_EXPORTER, hash.len())?);
    secrets.extend(early::secret(fields));
    Ok(secrets)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::target::layout::{Layout, named};

    const RANDOM: [u8; 32] = [0xc1; 32];

    struct Payload(Vec<u8>);

    impl Payload {
        fn put(mut self, at: u16, bytes: &[u8]) -> Self {
            let at = usize::from(at);
            self.0[at..at + bytes.len()].copy_from_slice(bytes);
            self
        }

        fn number(self, at: u16, number: u32) -> Self {
            self.put(at, &number.to_ne_bytes())
        }
    }

    /// A connection whose handshake is done.
    fn connection(version: u32) -> Payload {
        Payload(vec![0; tlskeytop_common::PAYLOAD])
            .number(VERSION, version)
            .number(SERVER, 1)
            .number(HAND_STATE, HANDSHAKE_DONE)
            .put(CLIENT_RANDOM, &RANDOM)
    }

    /// Secrets that follow from each other, as RFC 8446 wants it.
    fn tls13() -> Payload {
        let (hash, handshake) = (Hash::Sha384, [7; 48]);
        let mut salt = [0; 48];
        key_schedule::expand_label(hash, &handshake, "derived", &hash.digest(b""), &mut salt)
            .unwrap();
        let master = hkdf::Hkdf::<sha2::Sha384>::extract(Some(&salt), &[0; 48]).0;
        let finished = [5; 48];
        let application = key_schedule::application(hash, &master, &finished).unwrap();
        connection(0x0304)
            .number(NEW_CIPHER, 0x0300_1302)
            .put(HANDSHAKE_SECRET, &handshake)
            .put(HANDSHAKE_TRAFFIC_HASH, &[6; 48])
            .put(MASTER_SECRET, &master)
            .put(SERVER_FINISHED_HASH, &finished)
            .put(EXPORTER, application[2].1.expose())
    }

    #[test]
    fn a_tls13_connection_gives_five_secrets() {
        let reading = read(&tls13().0).unwrap().unwrap();
        assert_eq!(reading.client_random.0, RANDOM);
        assert_eq!(reading.facts.version, Some(Version::Tls13));
        assert_eq!(reading.facts.role, Some(Role::Server));
        assert_eq!(reading.facts.cipher, Some(CipherSuite(0x1302)));
        assert_eq!(reading.facts.resumed, Some(false));
        let labels: Vec<_> = reading.secrets.iter().map(|(label, _)| label.clone()).collect();
        assert_eq!(labels.len(), 5);
        assert!(Label::TLS13_COMPLETE.iter().all(|label| labels.contains(label)));
        assert!(labels.contains(&Label::Exporter));
    }

    #[test]
    fn a_tls12_connection_gives_its_master_secret() {
        let with_key = |key: [u8; 48]| {
            connection(0x0303)
                .number(SESSION_CIPHER, 0x0300_c030)
                .put(KEY_LENGTH, &48u64.to_ne_bytes())
                .put(MASTER_KEY, &key)
                .0
        };
        let key = std::array::from_fn(|index| index as u8);
        let reading = read(&with_key(key)).unwrap().unwrap();
        assert_eq!(reading.secrets.len(), 1);
        assert_eq!(reading.secrets[0].1.expose(), key);
        assert_eq!(read(&with_key([9; 48])), Err(ReadError::Field("master_key")));
        assert_eq!(read(&with_key([0; 48])).unwrap().unwrap().secrets, []);
    }

    #[test]
    fn one_byte_at_a_wrong_place_and_nothing_is_believed() {
        for at in [HANDSHAKE_SECRET, MASTER_SECRET, SERVER_FINISHED_HASH, EXPORTER] {
            let bytes = tls13().put(at, &[0xee]).0;
            assert!(matches!(read(&bytes), Err(ReadError::Schedule(_))), "{at}");
        }
        for (at, wrong) in [(VERSION, 0x0305), (SERVER, 2), (HIT, 77)] {
            assert!(matches!(read(&tls13().number(at, wrong).0), Err(ReadError::Field(_))), "{at}");
        }
        let other = tls13().number(NEW_CIPHER, 0x0300_c030).0;
        assert_eq!(read(&other), Err(ReadError::Cipher(CipherSuite(0xc030))));
    }

    #[test]
    fn a_handshake_that_runs_gives_nothing_yet() {
        assert_eq!(read(&tls13().number(HAND_STATE, 4).0), Ok(None));
    }

    #[test]
    fn the_steps_of_every_version_fit() {
        for name in ["1.1.0i", "1.1.1j", "3.0.0", "3.2.0", "3.4.1", "3.5.0", "3.0.0+quic"] {
            let Some(Layout::OpenSsl(layout)) = named(name) else { panic!("{name}") };
            super::super::tests::fits(&steps(&layout), name);
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_without_a_panic_and_give_no_key(
            bytes in proptest::collection::vec(any::<u8>(), 0..1100),
        ) {
            prop_assert!(!matches!(read(&bytes), Ok(Some(_))));
        }
    }
}
