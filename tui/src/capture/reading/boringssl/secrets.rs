//! What the copied bytes of a BoringSSL or AWS-LC connection say.
//!
//! While the handshake runs (`s3->hs` is not null) the secrets are in the handshake, each under its own name; a secret
//! is there when its size is not 0 and its bytes are not all 0. (Up to 2024-10 all share `hash_len`, which is set
//! before the first of them: then the bytes alone tell.) When it is done `hs` is null, and of TLS 1.3 the exporter
//! secret and `write_traffic_secret` and `read_traffic_secret` are left, whose labels depend on the role: what a client
//! writes with is `CLIENT_TRAFFIC_SECRET_0`, what a server writes with is `SERVER_TRAFFIC_SECRET_0`. While the
//! handshake runs those two hold other secrets, and `established_session` is that of the handshake before, whose
//! client random is overwritten already: they are not looked at.
//!
//! A KeyUpdate overwrites `write_traffic_secret` and `read_traffic_secret`, and nothing tells that it happened
//! (`tls13_rotate_traffic_key` in `tls13_enc.cc` keeps no count, and the master secret, from which the first ones could
//! be derived again, is gone with `hs`). So a connection that is first seen after a KeyUpdate gives a wrong `_0`
//! secret; the handshake's own secrets, had they been seen, are kept by whoever saw them first.
//!
//! No key schedule can be checked here, for the secrets that others are derived from are not there. Instead: each
//! length is one that a hash has, and the cipher's where that is known; all have the same; those that are made together
//! are there together; no two are equal, and none looks like anything else that memory holds.

use super::super::{Fields, LabelledSecret, ReadError, Reading, is_zero, looks_random};
use super::{
    CLIENT_HANDSHAKE, CLIENT_RANDOM, CLIENT_TRAFFIC, EARLY, ESTABLISHED, ESTABLISHED_CIPHER,
    EXPORTER, HANDSHAKE_POINTER, HASH_LENGTH, NEW, NEW_CIPHER, OFFERED, READ, SECRET,
    SERVER_HANDSHAKE, SERVER_TRAFFIC, STATE, TLS13_STATE, VERSION, WRITE, facts_of,
    is_followed_by_length, progress,
};
use crate::model::Facts;
use crate::target::layout::BoringSslLayout;
use crate::target::layout::boringssl::SecretAt;
use crate::target::layout::states::Machine;
use crate::tls::{CipherSuite, Hash, Label, Role, Version};

/// Bytes of a master secret (RFC 5246, 8.1).
const MASTER: usize = 48;

/// The connection's secrets, as far as it has them; `since` is the date of the layout's era.
///
/// # Errors
///
/// [`ReadError`] when the bytes cannot be a connection of this layout: nothing of them is believed then.
pub fn read(
    layout: &BoringSslLayout,
    since: Option<&str>,
    bytes: &[u8],
) -> Result<Option<Reading>, ReadError> {
    let fields = Fields(bytes);
    let connection = Connection { layout, fields, is_running: fields.u64(HANDSHAKE_POINTER) != 0 };
    let number = fields.u16(VERSION);
    // Not negotiated yet; without a handshake that is no version.
    if number == 0 && (connection.is_running || is_zero(fields.bytes(CLIENT_RANDOM, 32))) {
        return Ok(None);
    }
    let version = Version::from_wire(number).ok_or(ReadError::Field("version"))?;
    let cipher = if connection.is_running { NEW_CIPHER } else { ESTABLISHED_CIPHER };
    let facts = facts_of(fields, Some(version), fields.u16(cipher));
    let role = facts.role.ok_or(ReadError::Field("server"))?;
    let secrets = match version.has_traffic_secrets() {
        true => connection.traffic_secrets(role, facts.cipher)?,
        false => connection.master_secret(role, since)?.into_iter().collect(),
    };
    if connection.is_running {
        connection.compare_with_state(facts, since, &secrets);
    }
    if secrets.is_empty() {
        return Ok(None);
    }
    let client_random = fields.client_random(CLIENT_RANDOM)?;
    let may_be_updated = !connection.is_running;
    Ok(Some(Reading { client_random, facts, secrets, may_be_updated }))
}

struct Connection<'a> {
    layout: &'a BoringSslLayout,
    fields: Fields<'a>,
    /// `s3->hs` is not null.
    is_running: bool,
}

/// A secret that may be there.
type Place = (Label, Option<SecretAt>, u16);

impl<'a> Connection<'a> {
    fn traffic_secrets(
        &self,
        role: Role,
        cipher: Option<CipherSuite>,
    ) -> Result<Vec<LabelledSecret>, ReadError> {
        let hash = match cipher {
            Some(cipher) => Some(cipher.tls13_hash().ok_or(ReadError::Cipher(cipher))?),
            None => None,
        };
        let layout = self.layout;
        let exporter = (Label::Exporter, layout.exporter_secret, EXPORTER);
        // Those of one function are there together (`tls13_derive_handshake_secrets` and
        // `tls13_derive_application_secrets` in `tls13_enc.cc`).
        let together: [Vec<Place>; 2] = if self.is_running {
            [
                vec![
                    (Label::ClientHandshake, layout.client_handshake_secret, CLIENT_HANDSHAKE),
                    (Label::ServerHandshake, layout.server_handshake_secret, SERVER_HANDSHAKE),
                ],
                vec![
                    (Label::ClientTraffic0, layout.client_traffic_secret_0, CLIENT_TRAFFIC),
                    (Label::ServerTraffic0, layout.server_traffic_secret_0, SERVER_TRAFFIC),
                    exporter,
                ],
            ]
        } else {
            let (write, read) = match role {
                Role::Client => (Label::ClientTraffic0, Label::ServerTraffic0),
                Role::Server => (Label::ServerTraffic0, Label::ClientTraffic0),
            };
            let traffic = vec![
                (write, layout.write_traffic_secret, WRITE),
                (read, layout.read_traffic_secret, READ),
            ];
            [traffic, vec![exporter]]
        };
        let mut found = Vec::new();
        for places in &together {
            let before = found.len();
            let mut proved = 0;
            for (label, place, at) in places {
                proved += usize::from(place.is_some());
                if let Some(secret) = self.secret(*place, *at)? {
                    found.push((label.clone(), secret));
                }
            }
            if ![0, proved].contains(&(found.len() - before)) {
                return Err(ReadError::Field("number of secrets"));
            }
        }
        let length = same_length(&found, hash)?;
        found.extend(self.early_secret(length));
        all_differ(&found)?;
        let labelled = |(label, secret): (Label, &[u8])| {
            let bytes = Fields(secret);
            bytes.secret(label, 0, secret.len())
        };
        found.into_iter().map(labelled).collect()
    }

    /// The secret of 0-RTT data. A server may refuse it and choose another hash: then the shared length is no longer
    /// its own, and it is left out.
    fn early_secret(&self, length: Option<usize>) -> Option<(Label, &'a [u8])> {
        if !self.is_running {
            return None;
        }
        let secret = self.secret(self.layout.early_traffic_secret, EARLY).ok()??;
        let fits = length.is_none_or(|length| length == secret.len());
        fits.then_some((Label::ClientEarlyTraffic, secret))
    }

    /// The master secret of TLS 1.2 and older.
    fn master_secret(
        &self,
        role: Role,
        since: Option<&str>,
    ) -> Result<Option<LabelledSecret>, ReadError> {
        let place = self.layout.session_secret;
        let secret = if !self.is_running {
            self.secret(place, ESTABLISHED)?
        } else if let Some(secret) = self.secret(place, NEW)? {
            Some(secret)
        } else if self.has_all_secrets(machine(role, false), since) == Some(true) {
            self.secret(place, OFFERED)?
        } else {
            None
        };
        match secret {
            Some(secret) if secret.len() == MASTER => {
                Fields(secret).secret(Label::ClientRandom, 0, MASTER).map(Some)
            }
            Some(_) => Err(ReadError::Field("length of a secret")),
            None => Ok(None),
        }
    }

    /// The bytes of a secret, if there is one.
    fn secret(&self, place: Option<SecretAt>, at: u16) -> Result<Option<&'a [u8]>, ReadError> {
        let Some(place) = place else { return Ok(None) };
        let in_handshake = (EARLY..WRITE).contains(&at);
        let shares_length = in_handshake && !is_followed_by_length(place);
        // Only as many bytes as the number has were copied, its lowest first on the machines that there are.
        let length = self.fields.bytes(if shares_length { HASH_LENGTH } else { at + SECRET }, 8);
        let length = length.try_into().map_or(0, u64::from_le_bytes);
        let bytes = self.fields.bytes(at, usize::from(SECRET));
        if length == 0 || is_zero(bytes) {
            return Ok(None);
        }
        if length != 32 && length != 48 {
            return Err(ReadError::Field("length of a secret"));
        }
        let (secret, rest) = bytes.split_at_checked(length as usize).unwrap_or_default();
        // It was written with the length that it had then; the rest was never written.
        if shares_length && !is_zero(rest) {
            return Err(ReadError::Field("length of a secret"));
        }
        if !looks_random(secret) {
            return Err(ReadError::Field("secret"));
        }
        Ok(Some(secret))
    }

    fn has_all_secrets(&self, machine: Machine, since: Option<&str>) -> Option<bool> {
        let (place, at) = match machine {
            Machine::Client | Machine::Server => (self.layout.state, STATE),
            Machine::Tls13Client | Machine::Tls13Server => (self.layout.tls13_state, TLS13_STATE),
        };
        progress::has_all_secrets(machine, since?, place.map(|_| self.fields.u32(at))?)
    }

    /// Tells the log where the state says something else than the sizes, which decide.
    fn compare_with_state(&self, facts: Facts, since: Option<&str>, secrets: &[LabelledSecret]) {
        let (Some(role), Some(version)) = (facts.role, facts.version) else { return };
        let machine = machine(role, version.has_traffic_secrets());
        let last =
            if version.has_traffic_secrets() { Label::ServerTraffic0 } else { Label::ClientRandom };
        let is_there = secrets.iter().any(|(label, _)| *label == last);
        if self.has_all_secrets(machine, since).is_some_and(|by_state| by_state != is_there) {
            tracing::debug!(?machine, is_there, "the state of a handshake does not fit {last}");
        }
    }
}

fn machine(role: Role, tls13: bool) -> Machine {
    match (role, tls13) {
        (Role::Client, false) => Machine::Client,
        (Role::Server, false) => Machine::Server,
        (Role::Client, true) => Machine::Tls13Client,
        (Role::Server, true) => Machine::Tls13Server,
    }
}

/// The length that all of them have, which is the hash's where that is known.
fn same_length(found: &[(Label, &[u8])], hash: Option<Hash>) -> Result<Option<usize>, ReadError> {
    let length = hash.map(Hash::len).or_else(|| found.first().map(|(_, secret)| secret.len()));
    let fits = found.iter().all(|(_, secret)| Some(secret.len()) == length);
    fits.then_some(length).ok_or(ReadError::Field("length of a secret"))
}

fn all_differ(found: &[(Label, &[u8])]) -> Result<(), ReadError> {
    let repeated = found
        .iter()
        .enumerate()
        .any(|(index, (_, secret))| found[..index].iter().any(|(_, other)| other == secret));
    if repeated { Err(ReadError::Field("secret")) } else { Ok(()) }
}
