//! What the library's accessors read: functions of a few instructions that return one field.
//!
//! From 3.2 OpenSSL's accessors first look at the type of the object, at its start, and may go on with another object:
//! only what is read through argument 0 itself counts.

use super::field::{At, Evidence, Field};
use crate::target::arch::{Flow, Insn, Reg};
use crate::target::machine::{State, Value};
use crate::target::random;
use crate::target::walk::{Limits, Path, Program, key_of};
use crate::target::window::ReadError;

/// Accessors have 3 to 60 instructions.
const LIMITS: Limits = Limits { path: 120, walk: 600 };
/// Structures are smaller than this.
const MAX_OFFSET: i64 = 0x4000;

/// How the field is found in an accessor's code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    /// A load of one of these sizes (bytes) from the object, or from what it points to.
    Load(&'static [u8]),
    /// A load through a pointer that the object holds: the place is counted from what it points to.
    Behind(&'static [u8]),
    /// A load, or an address that is passed on.
    Any,
    /// As the client random is found for the tap.
    Random,
}

/// An accessor, the field that it shows, and how.
struct Accessor {
    name: &'static str,
    shows: &'static [(Field, Form)],
}

const POINTER: Form = Form::Load(&[8]);

/// The accessors that are looked at; those that a library does not have show nothing.
const ACCESSORS: [Accessor; 14] = [
    Accessor { name: "SSL_version", shows: &[(Field::Version, Form::Load(&[2, 4]))] },
    Accessor { name: "SSL_is_server", shows: &[(Field::Server, Form::Load(&[1, 4]))] },
    Accessor { name: "SSL_get_session", shows: &[(Field::Session, POINTER)] },
    Accessor { name: "SSL_get_client_random", shows: &[(Field::ClientRandom, Form::Random)] },
    Accessor {
        name: "SSL_get_current_cipher",
        shows: &[(Field::SessionCipher, Form::Behind(&[8]))],
    },
    Accessor { name: "SSL_SESSION_get0_cipher", shows: &[(Field::SessionCipher, POINTER)] },
    Accessor { name: "SSL_CIPHER_get_id", shows: &[(Field::CipherId, Form::Load(&[2, 4]))] },
    Accessor {
        name: "SSL_SESSION_get_master_key",
        shows: &[(Field::MasterKey, Form::Any), (Field::MasterKeyLength, Form::Load(&[1, 4, 8]))],
    },
    Accessor { name: "SSL_get_state", shows: &[(Field::State, Form::Load(&[4]))] },
    Accessor { name: "SSL_session_reused", shows: &[(Field::Hit, Form::Load(&[4]))] },
    Accessor { name: "SSL_get_pending_cipher", shows: &[(Field::NewCipher, POINTER)] },
    Accessor { name: "SSL_get_servername", shows: &[(Field::ServerName, POINTER)] },
    Accessor { name: "SSL_get_rbio", shows: &[(Field::ReadBio, POINTER)] },
    Accessor { name: "SSL_get_wbio", shows: &[(Field::WriteBio, POINTER)] },
];

/// The names of the accessors.
pub fn names() -> impl Iterator<Item = &'static str> {
    ACCESSORS.iter().map(|accessor| accessor.name)
}

/// Adds what the accessors show; `address` tells where a function is, if the file has it.
///
/// # Errors
/// When the file cannot be read.
pub fn look(
    program: &mut Program<'_, '_>,
    address: impl Fn(&str) -> Option<u64>,
    evidence: &mut Evidence,
) -> Result<(), ReadError> {
    for accessor in &ACCESSORS {
        let Some(function) = address(accessor.name) else { continue };
        let reads = Reads::of(program, function)?;
        for &(field, form) in accessor.shows {
            let places = match form {
                Form::Load(sizes) => reads.of_size(sizes),
                Form::Behind(sizes) => reads.behind(sizes),
                Form::Any => reads.any(),
                Form::Random => random_places(program, function)?,
            };
            evidence.add(field, accessor.name, places);
        }
    }
    Ok(())
}

fn random_places(program: &mut Program<'_, '_>, function: u64) -> Result<Vec<At>, ReadError> {
    let evidence = random::Evidence::of(program, function)?;
    Ok(evidence.passed.iter().chain(&evidence.loads).map(|&path| path.into()).collect())
}

/// What a function reads through argument 0, and what it passes on.
#[derive(Debug, Default)]
struct Reads {
    loads: Vec<(At, u8)>,
    passed: Vec<At>,
}

impl Reads {
    fn of(program: &mut Program<'_, '_>, function: u64) -> Result<Self, ReadError> {
        let registers = program.arch.arguments();
        let root = registers[0];
        let mut found = Self::default();
        let key = |state: &State| {
            key_of(state.known().filter(|&(_, _, value)| place_of(value, root).is_some()))
        };
        program.walk(function, State::new(), LIMITS, key, |insn, state| {
            found.look(insn, state, registers);
            Path::On
        })?;
        Ok(found)
    }

    fn look(&mut self, insn: &Insn, state: &State, registers: &[Reg]) {
        let root = registers[0];
        if let Some(place) = insn.reads
            && let Some(at) = place_of(state.address(&place), root)
        {
            self.loads.push((at, place.size));
        }
        if matches!(insn.flow, Flow::Call(_) | Flow::Jump(_)) {
            let values = registers.iter().map(|&register| state.get(register));
            self.passed.extend(values.filter_map(|value| place_of(value, root)));
        }
    }

    /// Loads of the given sizes. The start of the object is left out when anything else is read: it is the type.
    fn of_size(&self, sizes: &[u8]) -> Vec<At> {
        let fits = |&&(_, size): &&(At, u8)| sizes.contains(&size);
        let mut places: Vec<At> = self.loads.iter().filter(fits).map(|&(at, _)| at).collect();
        if places.iter().any(|at| *at != At::direct(0)) {
            places.retain(|at| *at != At::direct(0));
        }
        places
    }

    fn behind(&self, sizes: &[u8]) -> Vec<At> {
        let places = self.of_size(sizes).into_iter();
        places.filter(|at| at.deref.is_some()).map(|at| At::direct(at.offset)).collect()
    }

    fn any(&self) -> Vec<At> {
        let loads = self.loads.iter().map(|&(at, _)| at);
        loads.chain(self.passed.iter().copied().filter(|at| *at != At::direct(0))).collect()
    }
}

/// `value` as a place that is reached from register `root`.
pub(super) fn place_of(value: Value, root: Reg) -> Option<At> {
    let small = |offset: i64| {
        (0..MAX_OFFSET).contains(&offset).then(|| u32::try_from(offset).ok()).flatten()
    };
    match value {
        Value::Initial { root: from, offset } if from == root => Some(At::direct(small(offset)?)),
        Value::Loaded { root: from, at, offset } if from == root => {
            Some(At::behind(small(at)?, small(offset)?))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::target::sample::{FUNCTION, Sample};

    /// What accessor `name` shows when its code is `body`.
    fn shown(name: &str, body: &[u8]) -> Vec<(Field, Vec<At>)> {
        let mut sample = Sample::new();
        sample.at(FUNCTION).raw(body).raw(&[0xc3]);
        let mut evidence = Evidence::default();
        let address = |wanted: &str| (wanted == name).then_some(FUNCTION);
        sample.with(|program, _| look(program, address, &mut evidence).unwrap());
        evidence.shown.into_iter().map(|shown| (shown.field, shown.places)).collect()
    }

    #[test]
    fn a_plain_field() {
        // mov eax, [rdi]: OpenSSL 3.0's version
        let version = shown("SSL_version", &[0x8b, 0x07]);
        assert_eq!(version, [(Field::Version, vec![At::direct(0)])]);
        // movzx eax, byte [rdi+0xa4]; and eax, 1
        let server = shown("SSL_is_server", &[0x0f, 0xb6, 0x87, 0xa4, 0, 0, 0, 0x83, 0xe0, 1]);
        assert_eq!(server, [(Field::Server, vec![At::direct(0xa4)])]);
    }

    #[test]
    fn the_branch_that_keeps_argument_0() {
        let body = [
            0x8b, 0x07, // mov eax, [rdi]
            0x85, 0xc0, // test eax, eax
            0x74, 0x09, // je to the last load
            0xe8, 0, 0, 0, 0, // call
            0x8b, 0x40, 0x49, // mov eax, [rax+0x49]: of another object
            0xc3, 0x8b, 0x47, 0x48, // mov eax, [rdi+0x48]
        ];
        assert_eq!(shown("SSL_version", &body), [(Field::Version, vec![At::direct(0x48)])]);
    }

    #[test]
    fn a_field_of_the_session_behind_the_connection() {
        let body = [
            0x48, 0x8b, 0x87, 0x18, 0x09, 0, 0, // mov rax, [rdi+0x918]
            0x48, 0x8b, 0x80, 0xf8, 0x02, 0, 0, // mov rax, [rax+0x2f8]
        ];
        let cipher = shown("SSL_get_current_cipher", &body);
        assert_eq!(cipher, [(Field::SessionCipher, vec![At::direct(0x2f8)])]);
    }

    #[test]
    fn the_master_secret_and_its_length() {
        let body = [
            0x48, 0x8b, 0x5f, 0x08, // mov rbx, [rdi+8]
            0x48, 0x8d, 0x77, 0x50, // lea rsi, [rdi+0x50]
            0xe8, 0, 0, 0, 0, // call memcpy
        ];
        let places = shown("SSL_SESSION_get_master_key", &body);
        let key = (Field::MasterKey, vec![At::direct(8), At::direct(0x50)]);
        assert_eq!(places, [key, (Field::MasterKeyLength, vec![At::direct(8)])]);
    }

    #[test]
    fn code_that_reads_nothing_shows_nothing() {
        assert!(shown("SSL_version", &[0x31, 0xc0]).is_empty());
        assert!(shown("SSL_get_session", &[0x0f, 0x0b]).is_empty());
    }
}
