//! BoringSSL and AWS-LC: which fields are copied, and what they say.

use tlskeytop_common::Step;

use super::Fields;
use crate::model::Facts;
use crate::target::layout::BoringSslLayout;
use crate::target::layout::boringssl::VersionAt;
use crate::tls::{CipherSuite, Role, Version};

// Where the steps put each field in the payload.
const VERSION: u16 = 0;
const SERVER: u16 = 4;
const CIPHER: u16 = 8;

// Pointers that the steps hold; 0 is the connection.
const S3: u8 = 1;
const HANDSHAKE: u8 = 2;
const SESSION: u8 = 3;
const SESSION_CIPHER: u8 = 4;

/// The steps to version, role and cipher while the handshake runs, as far as the layout is proved.
pub fn fact_steps(layout: &BoringSslLayout) -> Vec<Step> {
    let mut steps = Vec::new();
    steps.extend(layout.server.map(|offset| Step::copy(0, offset, 1, SERVER)));
    steps.extend(layout.s3.map(|offset| Step::follow(0, offset, S3)));
    steps.extend(layout.version.map(|at| match at {
        VersionAt::Connection(offset) => Step::copy(0, offset, 2, VERSION),
        VersionAt::S3(offset) => Step::copy(S3, offset, 2, VERSION),
    }));
    let to_cipher = (layout.hs, layout.new_session, layout.session_cipher, layout.cipher_id);
    if let (Some(hs), Some(session), Some(cipher), Some(id)) = to_cipher {
        steps.extend([
            Step::follow(S3, hs, HANDSHAKE),
            Step::follow(HANDSHAKE, session, SESSION),
            Step::follow(SESSION, cipher, SESSION_CIPHER),
            Step::copy(SESSION_CIPHER, id, 2, CIPHER),
        ]);
    }
    steps
}

/// Version, role and cipher, as far as the bytes can be right.
pub fn facts(bytes: &[u8]) -> Facts {
    let fields = Fields(bytes);
    let version = Version::from_wire(fields.u16(VERSION));
    // Other bits of that byte have other meanings.
    let role = match fields.bytes(SERVER, 1) {
        [byte] if byte & 1 == 1 => Some(Role::Server),
        [_] => Some(Role::Client),
        _ => None,
    };
    let cipher = Some(CipherSuite(fields.u16(CIPHER))).filter(|cipher| cipher.name().is_some());
    // Where no version was read, nothing was: a role of 0 is then no role.
    Facts { version, cipher, role: role.filter(|_| version.is_some()), resumed: None }
}
