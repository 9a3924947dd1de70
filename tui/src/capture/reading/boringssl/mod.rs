//! BoringSSL and AWS-LC: which fields are copied. What they say is in [`secrets`].

mod progress;
mod secrets;
#[cfg(test)]
mod tests;

use tlskeytop_common::{FactsConfig, NOWHERE, NumberAt, POINTERS, Step, StepKind};

pub use progress::AWS_LC as NUMBERS_OF_AWS_LC;
pub use secrets::read;

use super::{Fields, QUICK, Walk, way};
use crate::model::Facts;
use crate::target::layout::BoringSslLayout;
use crate::target::layout::boringssl::{SecretAt, VersionAt};
use crate::tls::{CipherSuite, Role, Version};

// Where a tap's steps put each field.
const VERSION: u16 = 0;
const SERVER: u16 = 4;
const TAP_CIPHER: u16 = 8;

// Where the quick steps of a walk put the rest: what changes when there is something new. Of a secret its first bytes
// tell that it appeared.
const SIGN_OF_SESSION: u16 = 5;
const SIGN_OF_EARLY: u16 = 8;
const SIGN_OF_HANDSHAKE: u16 = 12;
const SIGN_OF_TRAFFIC: u16 = 16;
const SIGN_OF_EXPORTER: u16 = 20;
const HANDSHAKE_POINTER: u16 = 24;
const CLIENT_RANDOM: u16 = 32;

// And the other steps, beyond those.
const NEW_CIPHER: u16 = QUICK;
const ESTABLISHED_CIPHER: u16 = 68;
const STATE: u16 = 72;
const TLS13_STATE: u16 = 76;
/// The length that the secrets of a handshake share up to 2024-10.
const HASH_LENGTH: u16 = 80;
// Each secret has 48 bytes, and behind them its length.
const EARLY: u16 = 128;
const CLIENT_HANDSHAKE: u16 = 192;
const SERVER_HANDSHAKE: u16 = 256;
const CLIENT_TRAFFIC: u16 = 320;
const SERVER_TRAFFIC: u16 = 384;
const WRITE: u16 = 448;
const READ: u16 = 512;
const EXPORTER: u16 = 576;
const ESTABLISHED: u16 = 640;
const NEW: u16 = 704;
const OFFERED: u16 = 768;

/// `SSL_MAX_MD_SIZE` and `SSL_MAX_MASTER_KEY_LENGTH` (`ssl/internal.h`, `ssl.h`): the most bytes of a secret.
const SECRET: u16 = 48;

// Pointers that the steps hold; 0 is the connection.
const S3: u8 = 1;
const HANDSHAKE: u8 = 2;
const NEW_SESSION: u8 = 3;
const CIPHER_OF_NEW: u8 = 4;
const ESTABLISHED_SESSION: u8 = 5;
const CIPHER_OF_ESTABLISHED: u8 = 6;
const OFFERED_SESSION: u8 = 7;

/// Where version, role and cipher are while the handshake runs, as far as the layout is proved.
pub fn facts_config(layout: &BoringSslLayout) -> FactsConfig {
    let number =
        |from_base, offset, len, at: u16| NumberAt { from_base, offset, at: at.into(), len };
    let version = layout.version.map(|at| match at {
        VersionAt::Connection(offset) => number(0, offset, 2, VERSION),
        VersionAt::S3(offset) => number(1, offset, 2, VERSION),
    });
    let server = layout.server.map(|offset| number(0, offset, 1, SERVER));
    let mut config = FactsConfig {
        base: layout.s3.unwrap_or(NOWHERE),
        numbers: [version.unwrap_or_default(), server.unwrap_or_default()],
        ..FactsConfig::NOTHING
    };
    let to_cipher = (layout.hs, layout.new_session, layout.session_cipher, layout.cipher_id);
    if let (Some(hs), Some(session), Some(cipher), Some(id)) = to_cipher {
        config.ciphers[0] = way([hs, session, cipher], number(1, id, 2, TAP_CIPHER));
    }
    config
}

/// Role, the pointer `s3`, and the version.
fn connection(layout: &BoringSslLayout) -> Vec<Step> {
    let mut steps = Vec::new();
    steps.extend(layout.server.map(|offset| Step::copy(0, offset, 1, SERVER)));
    steps.extend(layout.s3.map(|offset| Step::follow(0, offset, S3)));
    steps.extend(layout.version.map(|at| match at {
        VersionAt::Connection(offset) => Step::copy(0, offset, 2, VERSION),
        VersionAt::S3(offset) => Step::copy(S3, offset, 2, VERSION),
    }));
    steps
}

/// The steps to everything that is proved. From a pointer that is null nothing is copied: with `hs` null, nothing of
/// the handshake.
pub fn steps(layout: &BoringSslLayout) -> Walk {
    let mut steps = quick_steps(layout);
    let quick = reachable(&steps).len();
    let number =
        |from, field: Option<u32>, len, at| field.map(|offset| Step::copy(from, offset, len, at));
    steps.extend(number(HANDSHAKE, layout.state, 4, STATE));
    steps.extend(number(HANDSHAKE, layout.tls13_state, 4, TLS13_STATE));
    let follow = |from, field: Option<u32>, to| field.map(|offset| Step::follow(from, offset, to));
    steps.extend(follow(S3, layout.established_session, ESTABLISHED_SESSION));
    steps.extend(follow(0, layout.session, OFFERED_SESSION));
    for (session, to, at) in [
        (NEW_SESSION, CIPHER_OF_NEW, NEW_CIPHER),
        (ESTABLISHED_SESSION, CIPHER_OF_ESTABLISHED, ESTABLISHED_CIPHER),
    ] {
        steps.extend(follow(session, layout.session_cipher, to));
        steps.extend(number(to, layout.cipher_id, 2, at));
    }
    let mut has_hash_length = false;
    for (from, place, at) in [
        (HANDSHAKE, layout.early_traffic_secret, EARLY),
        (HANDSHAKE, layout.client_handshake_secret, CLIENT_HANDSHAKE),
        (HANDSHAKE, layout.server_handshake_secret, SERVER_HANDSHAKE),
        (HANDSHAKE, layout.client_traffic_secret_0, CLIENT_TRAFFIC),
        (HANDSHAKE, layout.server_traffic_secret_0, SERVER_TRAFFIC),
        (S3, layout.write_traffic_secret, WRITE),
        (S3, layout.read_traffic_secret, READ),
        (S3, layout.exporter_secret, EXPORTER),
        (ESTABLISHED_SESSION, layout.session_secret, ESTABLISHED),
        (NEW_SESSION, layout.session_secret, NEW),
        (OFFERED_SESSION, layout.session_secret, OFFERED),
    ] {
        let Some(place) = place else { continue };
        if is_followed_by_length(place) {
            steps.push(Step::copy(from, place.offset, (SECRET + 1) as u8, at));
            continue;
        }
        steps.push(Step::copy(from, place.offset, SECRET as u8, at));
        let length = |at| Step::copy(from, place.length, place.length_size as u8, at);
        if from != HANDSHAKE {
            steps.push(length(at + SECRET));
        } else if !std::mem::replace(&mut has_hash_length, true) {
            steps.push(length(HASH_LENGTH));
        }
    }
    Walk { steps: reachable(&steps), quick, any_result: true }
}

/// Without those from a pointer to which the layout does not prove the way.
fn reachable(steps: &[Step]) -> Vec<Step> {
    let mut followed = [false; POINTERS];
    followed[0] = true;
    let mut reached = Vec::new();
    for step in steps {
        if !followed[usize::from(step.from)] {
            continue;
        }
        if step.kind == StepKind::Follow as u8 {
            followed[usize::from(step.to)] = true;
        }
        reached.push(*step);
    }
    reached
}

fn quick_steps(layout: &BoringSslLayout) -> Vec<Step> {
    let mut steps = connection(layout);
    steps.extend(layout.client_random.map(|offset| Step::copy(S3, offset, 32, CLIENT_RANDOM)));
    steps.extend(layout.hs.into_iter().flat_map(|offset| {
        [Step::copy(S3, offset, 8, HANDSHAKE_POINTER), Step::follow(S3, offset, HANDSHAKE)]
    }));
    steps.extend(layout.new_session.map(|offset| Step::follow(HANDSHAKE, offset, NEW_SESSION)));
    for (from, place, len, at) in [
        (HANDSHAKE, layout.early_traffic_secret, 4, SIGN_OF_EARLY),
        (HANDSHAKE, layout.client_handshake_secret, 4, SIGN_OF_HANDSHAKE),
        (HANDSHAKE, layout.server_traffic_secret_0, 4, SIGN_OF_TRAFFIC),
        (S3, layout.exporter_secret, 4, SIGN_OF_EXPORTER),
        (NEW_SESSION, layout.session_secret, 3, SIGN_OF_SESSION),
    ] {
        steps.extend(place.map(|place| Step::copy(from, place.offset, len, at)));
    }
    steps
}

/// Since 2024-10 (`InplaceVector`): then one step copies both.
fn is_followed_by_length(place: SecretAt) -> bool {
    place.length_size == 1 && place.length == place.offset + u32::from(SECRET)
}

/// Version, role and cipher, as far as a tap's bytes can be right.
pub fn facts(bytes: &[u8]) -> Facts {
    let fields = Fields(bytes);
    facts_of(fields, Version::from_wire(fields.u16(VERSION)), fields.u16(TAP_CIPHER))
}

fn facts_of(fields: Fields<'_>, version: Option<Version>, cipher: u16) -> Facts {
    // Other bits of that byte have other meanings.
    let role = match fields.bytes(SERVER, 1) {
        [byte] if byte & 1 == 1 => Some(Role::Server),
        [_] => Some(Role::Client),
        _ => None,
    };
    let cipher = Some(CipherSuite(cipher)).filter(|cipher| cipher.name().is_some());
    // Where no version was read, nothing was: a role of 0 is then no role.
    Facts { version, cipher, role: role.filter(|_| version.is_some()), resumed: None }
}
