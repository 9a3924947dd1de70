//! s2n-tls. Each of its functions names its source file in its error messages, also in a stripped file; what a function
//! does with the connection tells which one it is.
//!
//! - `s2n_key_log_tls13_secret(conn, blob, type)` is called for every secret, and looks for a callback by itself.
//! - `s2n_key_log_tls12_secret(conn)` is not called where a session is resumed. The function that expands the master
//!   secret to keys is, always, and it reads the same two fields of the connection.

use std::collections::BTreeSet;

use memchr::memmem;
use tlskeytop_common::{Operand, RecordConfig};

use super::references::{Body, loaded, references};
use super::{Clues, Found};
use crate::target::arch::{Addresses, Flow, Insn, Reg};
use crate::target::elf::ElfError;
use crate::target::machine::{State, Value};
use crate::target::plan::{Arguments, Library, Operands, Tap};
use crate::target::site;
use crate::target::walk::{Limits, Path, Program, key_of};
use crate::target::window::ReadError;

/// In the error messages of the functions that log, and of those that derive.
const SOURCES: [&str; 2] = ["tls/s2n_key_log.c:", "tls/s2n_prf.c:"];
/// Messages of one source; `s2n_prf.c` has 90.
const MAX_MESSAGES: usize = 512;
/// Bytes of a message: a fixed text, a path, a line.
const MAX_MESSAGE: u64 = 512;
/// References to them; awscrt has 200.
const MAX_REFERENCES: usize = 4_096;
/// Functions that are looked at; awscrt has 40 in the two files.
const MAX_FUNCTIONS: usize = 128;
/// Instructions of one of them.
const LIMITS: Limits = Limits { path: 600, walk: 6_000 };
/// Indirect jumps of a function that are looked behind.
const MAX_TABLES: usize = 8;
/// Pieces of code of a function that may be what a table leads to.
const MAX_CASES: usize = 256;
/// Bytes of a client random and of a master secret.
const RANDOM: u64 = 32;
const MASTER: u64 = 48;
/// `struct s2n_blob { uint8_t *data; uint32_t size; ...`
const BLOB_SIZE: i64 = 8;
/// `s2n_secret_type_t` of the public `s2n_quic_support.h`, from 0.
const LABELS_OF_13: &[&str] = &[
    "CLIENT_EARLY_TRAFFIC_SECRET",
    "CLIENT_HANDSHAKE_TRAFFIC_SECRET",
    "SERVER_HANDSHAKE_TRAFFIC_SECRET",
    "CLIENT_TRAFFIC_SECRET_0",
    "SERVER_TRAFFIC_SECRET_0",
    "EXPORTER_SECRET",
];
/// The start of `key expansion`, the label of the derivation (RFC 5246, 6.3), as the compiler puts it into code.
const KEY_EXPANSION: u64 = u64::from_le_bytes(*b"key expa");

/// What a function does, as far as it tells which one it is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Habits {
    /// Parts of the first argument that it passes on as the second one, with a length as the third: offset and length.
    parts: BTreeSet<(i32, u64)>,
    /// It reads the 4 bytes of a blob's length from its second argument.
    reads_blob: bool,
    /// It holds the label of the key expansion.
    expands: bool,
}

impl Habits {
    /// Notes what an instruction does.
    fn see(&mut self, insn: &Insn, state: &State, arguments: &[Reg]) {
        if let Flow::Call(Some(_)) = insn.flow
            && let Value::Initial { root, offset } = state.get(arguments[1])
            && root == arguments[0]
            && let Value::Constant(length) = state.get(arguments[2])
            && let Ok(offset) = i32::try_from(offset)
        {
            self.parts.insert((offset, length));
        }
        if let Some(place) = insn.reads.filter(|place| place.size == 4)
            && let Value::Initial { root, offset: BLOB_SIZE } = state.address(&place)
        {
            self.reads_blob |= root == arguments[1];
        }
    }

    /// The offset of the one part that has this length.
    fn part(&self, length: u64) -> Option<i32> {
        let mut parts = self.parts.iter().filter(|part| part.1 == length);
        match (parts.next(), parts.next()) {
            (Some(part), None) => Some(part.0),
            _ => None,
        }
    }
}

/// Looks for s2n-tls.
pub fn find(program: &mut Program<'_, '_>, clues: &Clues<'_>) -> Result<Option<Found>, ElfError> {
    let messages = messages(program)?;
    if messages[0].is_empty() {
        return Ok(None);
    }
    let library = Library { name: "s2n-tls", version: None };
    let mut found = Found { library, taps: Vec::new(), labels: Vec::new(), reason: String::new() };
    let references = references(program, messages.concat(), MAX_REFERENCES)?;
    let functions = functions(program, &references, &messages)?;
    let logging = || functions.iter().filter(|function| function.1);

    // The two that log name the same client random; only that of TLS 1.2 names the master secret.
    let tls12 = logging().find_map(|(start, _, habits)| {
        Some((*start, habits.part(RANDOM)?, habits.part(MASTER)?))
            .filter(|_| habits.parts.len() == 2)
    });
    let Some((logs_12, random, master)) = tls12 else {
        found.reason =
            "no tap: no function of s2n-tls passes on a client random and a master secret \
                        for the key log"
                .to_owned();
        return Ok(Some(found));
    };
    let reads_both = |habits: &Habits| {
        habits.parts.contains(&(random, RANDOM)) && habits.parts.contains(&(master, MASTER))
    };
    let expansion = functions.iter().find(|(_, _, habits)| habits.expands && reads_both(habits));
    let tls13 = logging()
        .find(|(_, _, habits)| habits.reads_blob && habits.parts.iter().eq([&(random, RANDOM)]))
        .map(|function| function.0);

    let client_random = Operand::register(CONNECTION).plus(random);
    let common = RecordConfig {
        client_random,
        connection: Operand::register(CONNECTION),
        ..Default::default()
    };
    let record = RecordConfig {
        secret: Operand::register(CONNECTION).plus(master),
        secret_length: Operand::constant(MASTER as i32),
        ..common
    };
    let twelve = expansion.map_or(logs_12, |function| function.0);
    let operands = Operands { record, labels: &["CLIENT_RANDOM"] };
    let mut missing = Vec::new();
    match tap(program, clues, twelve, 1, operands)? {
        Some(tap) => found.taps.push(tap),
        None => missing.push("TLS 1.2"),
    }
    let record = RecordConfig {
        label_number: Operand::register(NUMBER).half(),
        secret: Operand::memory(BLOB, 0),
        secret_length: Operand::memory(BLOB, BLOB_SIZE as i32).half(),
        ..common
    };
    let operands = Operands { record, labels: LABELS_OF_13 };
    let tap = match tls13 {
        Some(function) => tap(program, clues, function, 3, operands)?,
        None => None,
    };
    match tap {
        Some(tap) => found.taps.push(tap),
        None => missing.push("TLS 1.3"),
    }
    found.reason = reason(&missing, expansion.is_some());
    Ok(Some(found))
}

fn reason(missing: &[&str], at_expansion: bool) -> String {
    if missing.len() == 2 {
        return "no tap: the kernel would refuse probes at s2n-tls's functions".to_owned();
    }
    let at = if at_expansion { "its key expansion" } else { "its log of it" };
    let found = format!(
        "s2n-tls's functions are known by their error messages and what they read of the connection; the master \
         secret is taken at {at}"
    );
    match missing {
        [] => found,
        [missing, ..] => format!("{found}; not {missing}: no function of that kind can be probed"),
    }
}

// Registers of the first three arguments.
const CONNECTION: u8 = 7;
const BLOB: u8 = 6;
const NUMBER: u8 = 2;

fn tap(
    program: &mut Program<'_, '_>,
    clues: &Clues<'_>,
    function: u64,
    arguments: usize,
    operands: Operands,
) -> Result<Option<Tap>, ReadError> {
    let registers = &program.arch.arguments()[..arguments];
    let Some(choice) = site::near_entry(program, function, registers)? else {
        return Ok(None);
    };
    let symbol = clues.symbols.and_then(|table| table.name_at(program.window, function));
    let arguments = Arguments::Operands(operands);
    Ok(Some(Tap { function, symbol, arguments, sites: choice.sites }))
}

/// The addresses of the error messages of each source.
fn messages(program: &mut Program<'_, '_>) -> Result<[Vec<u64>; 2], ReadError> {
    let mut found = [Vec::new(), Vec::new()];
    // Both contain it.
    let common = memmem::Finder::new("tls/s2n_");
    let segments = program.elf.segments.iter().filter(|segment| !segment.executable);
    let mut left = MAX_MESSAGES;
    for segment in segments {
        let mut at_sources = Vec::new();
        program.window.scan(segment.offset, segment.size, 32, |offset, bytes, own| {
            for at in common.find_iter(bytes).take_while(|at| *at < own) {
                let source =
                    SOURCES.iter().position(|source| bytes[at..].starts_with(source.as_bytes()));
                if let Some(source) = source.filter(|_| at_sources.len() < left) {
                    at_sources.push((source, offset + at as u64));
                }
            }
            at_sources.len() < left
        })?;
        left -= at_sources.len();
        for (source, offset) in at_sources {
            let from = offset.saturating_sub(MAX_MESSAGE).max(segment.offset);
            let before = program.window.read(from, offset - from)?;
            if let Some(nul) = memchr::memrchr(0, &before) {
                found[source].push(segment.address + (from - segment.offset) + nul as u64 + 1);
            }
        }
        if found[0].is_empty() {
            found[1].clear();
        }
    }
    Ok(found)
}

/// The functions that refer to a message: start, whether it is one of the first source, and what it does.
fn functions(
    program: &mut Program<'_, '_>,
    references: &[u64],
    messages: &[Vec<u64>; 2],
) -> Result<Vec<(u64, bool, Habits)>, ReadError> {
    let mut found: Vec<(u64, bool, Habits)> = Vec::new();
    let [of_logging, of_deriving] = messages.clone().map(Addresses::new);
    let mut body: Option<Body> = None;
    for &reference in references {
        if body.as_ref().is_some_and(|body| body.range.contains(&reference)) {
            continue;
        }
        body = Body::function(program, reference)?;
        let Some(body) = &body else {
            continue;
        };
        let loads = |messages: &Addresses| {
            body.insns.iter().filter_map(loaded).any(|address| messages.contains(address))
        };
        let logs = loads(&of_logging);
        if (logs || loads(&of_deriving)) && found.len() < MAX_FUNCTIONS {
            found.push((body.range.start, logs, habits(program, body)?));
        }
    }
    Ok(found)
}

/// Looks at what a function does on all its paths, also behind its jump tables.
fn habits(program: &mut Program<'_, '_>, body: &Body) -> Result<Habits, ReadError> {
    let mut habits = Habits {
        expands: body.insns.iter().filter_map(loaded).any(|value| value == KEY_EXPANSION),
        ..Habits::default()
    };
    let arguments = program.arch.arguments();
    let key = |state: &State| key_of(state.known().filter(|(_, slot, _)| slot.is_none()));
    let mut seen = BTreeSet::new();
    let mut ends: Vec<(u64, State)> = Vec::new();
    program.walk(body.range.start, State::new(), LIMITS, key, |insn, state| {
        if !body.range.contains(&insn.address) {
            return Path::End;
        }
        seen.insert(insn.address);
        if insn.flow == Flow::End && ends.len() < MAX_TABLES {
            ends.push((insn.address, state.clone()));
        }
        habits.see(insn, state, arguments);
        Path::On
    })?;
    // What only a jump table leads to follows an instruction that does not go on.
    let borders =
        body.insns.windows(2).filter(|pair| matches!(pair[0].flow, Flow::End | Flow::Jump(_)));
    let cases = borders.map(|pair| pair[1].address).filter(|address| !seen.contains(address));
    let cases: Vec<u64> = cases.take(MAX_CASES).collect();
    for (address, state) in ends {
        if !program.bytes_at(address)?.is_some_and(jumps_through_register) {
            continue;
        }
        for &case in &cases {
            if program.budget == 0 {
                return Ok(habits);
            }
            program.walk(case, state.clone(), LIMITS, key, |insn, state| {
                if !body.range.contains(&insn.address) {
                    return Path::End;
                }
                habits.see(insn, state, arguments);
                Path::On
            })?;
        }
    }
    Ok(habits)
}

/// `jmp *%rax` and the like; with a `notrack` before it, or for one of the upper registers.
fn jumps_through_register(bytes: &[u8]) -> bool {
    matches!(bytes, [0xff, 0xe0..=0xe7, ..] | [0x3e | 0x41, 0xff, 0xe0..=0xe7, ..])
}

#[cfg(test)]
pub mod tests;
