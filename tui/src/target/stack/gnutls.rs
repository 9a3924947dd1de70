//! GnuTLS from 3.6.13 on: `_gnutls_call_keylog_func(session, label, data, size)`, a local function that is called
//! whether or not there is a key log. It is found by the labels that it gets, and it is the function behind the exported
//! one that sets the key log; where the client random is, an exported function shows.

use std::ops::Range;

use tlskeytop_common::{Operand, RecordConfig};

use super::{Clues, Found};
use crate::target::arch::{Effect, Flow, Place, Reg, Source};
use crate::target::elf::ElfError;
use crate::target::library;
use crate::target::machine::{State, Value};
use crate::target::plan::{Arguments, Library, Operands, Site, Tap};
use crate::target::site;
use crate::target::tap::{self, Candidate};
use crate::target::walk::{Limits, Path, Program, key_of};
use crate::target::window::ReadError;

/// Every GnuTLS exports it.
const ANY: &str = "gnutls_init";
/// From 3.6.13 on; in the sources the function with the secrets comes next.
const SETTER: &str = "gnutls_session_set_keylog_function";
/// `(session, client, server)`: makes two structures of an address and a length.
const RANDOM_GETTER: &str = "gnutls_session_get_random";
/// Gives the version as a string.
const VERSION_GETTER: &str = "gnutls_check_version";
/// Instructions of these functions: less than 30 each.
const LIMITS: Limits = Limits { path: 60, walk: 200 };
/// `GNUTLS_RANDOM_SIZE`; the server's random is behind the client's in `security_parameters_st`.
const RANDOM_SIZE: i64 = 32;
/// Where the client random may be in a session: 0x50 in 3.7 and 3.8.
const OFFSETS: Range<i64> = 1..0x1000;
/// A version and the NUL behind it.
const VERSION: u64 = 32;
/// Functions start at addresses of this alignment.
const ALIGNMENT: u64 = 16;

/// Looks for GnuTLS.
///
/// # Errors
/// When the file cannot be read.
pub fn find(program: &mut Program<'_, '_>, clues: &Clues<'_>) -> Result<Option<Found>, ElfError> {
    let mut export = |name| clues.dynamic.export(program.window, program.elf, name);
    if export(ANY).is_none() {
        return Ok(None);
    }
    let (setter, random, version) = (export(SETTER), export(RANDOM_GETTER), export(VERSION_GETTER));
    let version = match version {
        Some(function) => version_of(program, function)?,
        None => None,
    };
    let library = Library { name: "GnuTLS", version };
    let (taps, reason) = match tap(program, clues, setter, random)? {
        Ok((tap, reason)) => (vec![tap], reason),
        Err(refusal) => (Vec::new(), format!("no tap: {refusal}")),
    };
    Ok(Some(Found { library, taps, labels: Vec::new(), reason }))
}

/// The tap and how it was found, or why there is none.
fn tap(
    program: &mut Program<'_, '_>,
    clues: &Clues<'_>,
    setter: Option<u64>,
    random: Option<u64>,
) -> Result<Result<(Tap, String), &'static str>, ElfError> {
    let Some(setter) = setter else {
        return Ok(Err("GnuTLS before 3.6.13 hands its secrets to nobody"));
    };
    let Some(random) = random else {
        return Ok(Err("nothing shows where the client random is"));
    };
    let Some(offset) = client_random(program, random)? else {
        return Ok(Err("gnutls_session_get_random does not show where the client random is"));
    };
    let search = tap::search(program, clues.labels, &[])?;
    let next = function_after(program, setter)?;
    let neighbour = search.candidates.iter().find(|found| Some(found.function) == next);
    let (found, how) = match (neighbour, &search.candidates[..]) {
        (Some(found), _) => (found, "and is the one behind the function that sets the key log"),
        (None, [found]) => (found, "and is the only one"),
        (None, []) => return Ok(Err("no function gets the labels as its second argument")),
        (None, _) => return Ok(Err("several functions get the labels as their second argument")),
    };
    let Some(choice) = site::choose(program, found.function, &found.calls)? else {
        return Ok(Err("the kernel would refuse a probe at its entry"));
    };
    let reason = format!(
        "the function gets the labels as its second argument {how}, client random from {RANDOM_GETTER}, probing {}",
        choice.why
    );
    Ok(Ok((tap_at(program, clues, found, offset, choice.sites), reason)))
}

fn tap_at(
    program: &mut Program<'_, '_>,
    clues: &Clues<'_>,
    found: &Candidate,
    client_random: i32,
    sites: Vec<Site>,
) -> Tap {
    let argument = |number: usize| Operand::register(program.arch.arguments()[number].0);
    let record = RecordConfig {
        label: argument(1),
        label_length: Operand::NONE,
        label_number: Operand::NONE,
        client_random: argument(0).plus(client_random),
        secret: argument(2),
        // unsigned int
        secret_length: argument(3).half(),
        connection: argument(0),
    };
    Tap {
        function: found.function,
        symbol: clues.symbols.and_then(|table| table.name_at(program.window, found.function)),
        arguments: Arguments::Operands(Operands { record, labels: &[] }),
        sites,
    }
}

/// Where the client random is in a session: what the function puts into its second argument, which is 32 bytes before
/// what it puts into its third.
fn client_random(program: &mut Program<'_, '_>, function: u64) -> Result<Option<i32>, ReadError> {
    let [session, client, server, ..] = *program.arch.arguments() else {
        return Ok(None);
    };
    // Of each: all that was seen.
    let mut stored: [Vec<i64>; 2] = Default::default();
    let key = |state: &State| key_of(state.known());
    program.walk(function, State::new(), LIMITS, key, |insn, state| {
        let Effect::Store(place, source) = insn.effect else {
            return Path::On;
        };
        let to = |register| state.address(&place) == Value::Initial { root: register, offset: 0 };
        for (seen, register) in stored.iter_mut().zip([client, server]) {
            if to(register) && place.size == 8 {
                seen.push(offset_from(state, source, session).unwrap_or(0));
            }
        }
        Path::On
    })?;
    let [client, server] = stored.map(|mut seen| {
        seen.dedup();
        <[i64; 1]>::try_from(seen).ok()
    });
    let (Some([client]), Some([server])) = (client, server) else {
        return Ok(None);
    };
    let is_proved = OFFSETS.contains(&client) && server == client + RANDOM_SIZE;
    Ok(i32::try_from(client).ok().filter(|_| is_proved))
}

/// How far behind the initial value of `root` a stored value is.
fn offset_from(state: &State, source: Source, root: Reg) -> Option<i64> {
    let Source::Reg(register) = source else {
        return None;
    };
    match state.get(register) {
        Value::Initial { root: of, offset } if of == root => Some(offset),
        _ => None,
    }
}

/// The function that follows a short one without jumps.
fn function_after(program: &mut Program<'_, '_>, function: u64) -> Result<Option<u64>, ReadError> {
    let mut address = function;
    for _ in 0..LIMITS.path {
        let Some(insn) = program.decode(address)? else {
            break;
        };
        match insn.flow {
            Flow::Next | Flow::Call(_) => address = insn.next(),
            Flow::End => return Ok(insn.next().checked_next_multiple_of(ALIGNMENT)),
            Flow::Jump(_) | Flow::Branch(_) => break,
        }
    }
    Ok(None)
}

/// The version that the function gives: the first string of that form whose address it takes.
fn version_of(program: &mut Program<'_, '_>, function: u64) -> Result<Option<String>, ReadError> {
    let mut addresses = Vec::new();
    let key = |_: &State| 0;
    program.walk(function, State::new(), LIMITS, key, |insn, _| {
        if let Effect::Assign(_, source) = insn.effect {
            addresses.extend(match source {
                Source::Constant(address) => Some(address),
                Source::Address(Place { base: None, index: None, offset, .. }) => {
                    Some(offset as u64)
                }
                _ => None,
            });
        }
        Path::On
    })?;
    for address in addresses {
        if let Some(offset) = program.elf.file_offset(address) {
            let bytes = program.window.peek(offset, VERSION as usize)?;
            if let Some(version) = library::version(bytes) {
                return Ok(Some(version));
            }
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::target::sample::{FUNCTION, Sample};

    /// `gnutls_session_get_random` of 3.7.9.
    const GETTER: [u8; 39] = [
        0x48, 0x85, 0xf6, 0x74, 0x0e, 0x48, 0x8d, 0x47, 0x50, 0xc7, 0x46, 0x08, 0x20, 0, 0, 0,
        0x48, 0x89, 0x06, 0x48, 0x85, 0xd2, 0x74, 0x0e, 0x48, 0x83, 0xc7, 0x70, 0xc7, 0x42, 0x08,
        0x20, 0, 0, 0, 0x48, 0x89, 0x3a, 0xc3,
    ];

    fn offset(code: &[u8]) -> Option<i32> {
        let mut sample = Sample::new();
        sample.at(FUNCTION).raw(code);
        sample.with(|program, _| client_random(program, FUNCTION).unwrap())
    }

    #[test]
    fn where_the_client_random_is() {
        assert_eq!(offset(&GETTER), Some(0x50));
        // The server's random elsewhere, or the session itself as the client's.
        for (at, value) in [(27, 0x78), (8, 0)] {
            let mut code = GETTER;
            code[at] = value;
            assert_eq!(offset(&code), None);
        }
        assert_eq!(offset(&[0xc3]), None);
    }

    #[test]
    fn the_function_behind_another_one() {
        let after = |code: &[u8]| {
            let mut sample = Sample::new();
            sample.at(FUNCTION).raw(code);
            sample.with(|program, _| function_after(program, FUNCTION).unwrap())
        };
        // mov [rdi+0x660], rsi; ret
        assert_eq!(after(&[0x48, 0x89, 0xb7, 0x60, 6, 0, 0, 0xc3]), Some(FUNCTION + 0x10));
        assert_eq!(after(&[0xeb, 0xfe]), None);
    }

    #[test]
    fn the_version_is_the_string_that_is_loaded() {
        let mut sample = Sample::new();
        sample.data[..6].copy_from_slice(b"3.7.9\0");
        sample.at(FUNCTION).lea_rax(0x2000).lea_rax(0x3000).raw(&[0xc3]);
        let version = sample.with(|program, _| version_of(program, FUNCTION).unwrap());
        assert_eq!(version.as_deref(), Some("3.7.9"));
    }

    proptest! {
        #[test]
        fn any_code_is_read_without_panic(code in proptest::collection::vec(any::<u8>(), 0..300)) {
            let mut sample = Sample::new();
            sample.at(FUNCTION).raw(&code);
            sample.with(|program, _| {
                let _ = client_random(program, FUNCTION);
                let _ = function_after(program, FUNCTION);
                let _ = version_of(program, FUNCTION);
            });
        }
    }
}
