//! NSS's libssl3, found by its export `SSL_ImportFD`.
//!
//! Each secret passes `ssl3_RecordKeyLog(ss, label, PK11SymKey *)`: `CLIENT_RANDOM` comes to it in argument 1, and the
//! labels of TLS 1.3 through `tls13_DeriveSecretWrap`, which has them in argument 4. Where key logs are built in, it hands
//! on `ssl3_WriteKeyLog(ss, label, SECItem *)`, also when none is open: the function that turns the item's bytes and the
//! client random into hexadecimal digits. Where they are not (Debian), it is an empty function that is called all the
//! same, and the value of the key is in [`super::softoken`].

use std::collections::BTreeSet;

use memchr::memmem;
use tlskeytop_common::{Operand, RecordConfig};

use super::{Clues, Found};
use crate::target::arch::{Effect, Flow, Insn, Place, Reg};
use crate::target::elf::ElfError;
use crate::target::labels::{LabelSet, Labels};
use crate::target::machine::{State, Value};
use crate::target::plan::{Arguments, Library, Operands, Tap};
use crate::target::site;
use crate::target::tap;
use crate::target::walk::{Limits, Path, Program, key_of};
use crate::target::window::ReadError;

/// The label in `ssl3_RecordKeyLog(ss, label, secret)`.
const LABEL: usize = 1;
/// The label in `tls13_DeriveSecretWrap(ss, key, prefix, suffix, label, secret)`.
const WRAPPED: usize = 4;
/// Exported since 3.14. It copies the client random, and then the server random, behind each other (RFC 5705).
const EXPORTER: &str = "SSL_ExportKeyingMaterial";
/// `tls13_DeriveSecretWrap` has 90 instructions in 3.87, `ssl3_WriteKeyLog` 140 in 3.125.
const LIMITS: Limits = Limits { path: 600, walk: 6_000 };
/// Instructions of the exporter before it has the connection: 20 in 3.87.
const BEFORE: usize = 64;
/// `SECItem.data` and `.len` (secitem.h).
const ITEM: (i32, i32) = (8, 16);
/// `SSL3_RANDOM_LENGTH`, in two loads of 16.
const HALF: i64 = 16;
/// Longer versions are not NSS's.
const VERSION: usize = 16;
/// x86-64's first argument, second, and third, as operands name them.
const ARGUMENTS: [u8; 3] = [7, 6, 2];

/// The tap of a libssl3.
pub fn find(program: &mut Program<'_, '_>, clues: &Clues<'_>) -> Result<Option<Found>, ElfError> {
    if clues.dynamic.export(program.window, program.elf, "SSL_ImportFD").is_none() {
        return Ok(None);
    }
    let mut found = Found {
        library: Library { name: "NSS", version: version(program)? },
        taps: Vec::new(),
        labels: Vec::new(),
        reason: String::new(),
    };
    let exporter = clues.dynamic.export(program.window, program.elf, EXPORTER);
    match tap(program, clues.labels, exporter)? {
        Ok((mut tap, reason)) => {
            tap.symbol =
                clues.symbols.and_then(|table| table.name_at(program.window, tap.function));
            found.taps.push(tap);
            found.reason = reason;
        }
        Err(reason) => found.reason = format!("no tap: {reason}"),
    }
    Ok(Some(found))
}

/// From `Version: NSS 3.87.1`.
pub(super) fn version(program: &mut Program<'_, '_>) -> Result<Option<String>, ElfError> {
    let finder = memmem::Finder::new(b"NSS ");
    let mut found = None;
    for segment in program.elf.segments.iter().filter(|segment| !segment.executable) {
        program.window.scan(segment.offset, segment.size, 32, |_, bytes, _| {
            found = finder.find_iter(bytes).find_map(|at| version_at(bytes.get(at + 4..)?));
            found.is_none()
        })?;
        if found.is_some() {
            break;
        }
    }
    Ok(found)
}

fn version_at(text: &[u8]) -> Option<String> {
    let ends = |byte: &u8| !(byte.is_ascii_digit() || *byte == b'.');
    let length = text.iter().take(VERSION).position(ends)?;
    let version = std::str::from_utf8(&text[..length]).ok()?;
    let mut parts = version.split('.');
    let is_one = parts.clone().count() >= 2 && parts.all(|part| !part.is_empty());
    is_one.then(|| version.to_owned())
}

/// The tap and how it was found, or why there is none.
fn tap(
    program: &mut Program<'_, '_>,
    labels: &Labels,
    exporter: Option<u64>,
) -> Result<Result<(Tap, String), &'static str>, ElfError> {
    let mut recorders = tap::callees(program, labels, LABEL)?;
    recorders.retain(|callee| callee.labels.has(LabelSet::CLIENT_RANDOM));
    let [recorder] = recorders.as_slice() else {
        return Ok(Err("no single function gets CLIENT_RANDOM as its second argument"));
    };
    let mut calls = recorder.calls.clone();
    let mut wrapped = BTreeSet::new();
    for wrapper in tap::callees(program, labels, WRAPPED)? {
        if wrapper.labels.has(LabelSet::EXPORTER) {
            handed_on(program, wrapper.function, WRAPPED, |to, call| {
                if to == recorder.function {
                    wrapped.insert(call);
                }
            })?;
        }
    }
    if wrapped.is_empty() {
        return Ok(Err("the labels of TLS 1.3 do not reach the function that gets CLIENT_RANDOM"));
    }
    calls.extend(wrapped);
    let random = match exporter {
        Some(function) => exported_random(program, function)?,
        None => None,
    };
    let written = writer(program, recorder.function)?;
    let (random, how) = match (written, random) {
        (Some((_, written)), Some(random)) if written != random => {
            return Ok(Err("its code contradicts itself on where the client random is"));
        }
        (Some((_, random)), Some(_)) => (random, "what it writes, confirmed by the exporter"),
        // Other bytes of the connection may be read before it.
        (Some(_), None) => return Ok(Err("no exporter confirms where the client random is")),
        (None, Some(random)) => (random, "the exporter"),
        (None, None) => return Ok(Err("its code does not show where the client random is")),
    };
    let function = written.map_or(recorder.function, |(function, _)| function);
    let calls = if written.is_some() { BTreeSet::new() } else { calls };
    let Some(choice) = site::choose(program, function, &calls)? else {
        return Ok(Err("the kernel would refuse a probe at its entry"));
    };
    let [connection, label, value] = ARGUMENTS;
    let record = RecordConfig {
        label: Operand::register(label),
        client_random: Operand::register(connection).plus(random),
        secret: Operand::register(value),
        connection: Operand::register(connection),
        ..RecordConfig::default()
    };
    let (arguments, what) = match written {
        Some(_) => {
            let record = RecordConfig {
                secret: Operand::memory(value, ITEM.0),
                secret_length: Operand::memory(value, ITEM.1).half(),
                ..record
            };
            let operands = Operands { record, labels: &[] };
            (Arguments::Operands(operands), "the function that writes key logs")
        }
        None => {
            let operands = Operands { record, labels: &[] };
            (Arguments::Key(operands), "no key log built in, the keys are in libsoftokn3.so")
        }
    };
    let reason = format!("{what}; client random from {how}, probing {}", choice.why);
    let tap = Tap { function, symbol: None, arguments, sites: choice.sites };
    Ok(Ok((tap, reason)))
}

/// A key for walks that follow what comes from the arguments.
pub(super) fn with_arguments(state: &State, arguments: &[Reg]) -> u64 {
    key_of(state.known().filter(|(_, _, value)| match value {
        Value::Initial { root, .. } | Value::Loaded { root, .. } => arguments.contains(root),
        _ => false,
    }))
}

/// Calls `visit` with each function that gets argument 0 as its argument 0, and argument `label` as its argument 1, and
/// where it is called.
fn handed_on(
    program: &mut Program<'_, '_>,
    function: u64,
    label: usize,
    mut visit: impl FnMut(u64, u64),
) -> Result<(), ReadError> {
    let arguments = program.arch.arguments();
    let is = |state: &State, to: usize, from: usize| {
        state.get(arguments[to]) == Value::Initial { root: arguments[from], offset: 0 }
    };
    let key = |state: &State| with_arguments(state, arguments);
    program.walk(function, State::new(), LIMITS, key, |insn, state| {
        if let Flow::Call(Some(to)) | Flow::Jump(to) = insn.flow
            && is(state, 0, 0)
            && is(state, LABEL, label)
        {
            visit(to, insn.address);
        }
        Path::On
    })?;
    Ok(())
}

/// `ssl3_WriteKeyLog`, and from it the displacement of the client random.
fn writer(program: &mut Program<'_, '_>, recorder: u64) -> Result<Option<(u64, i32)>, ReadError> {
    let mut candidates = BTreeSet::new();
    handed_on(program, recorder, LABEL, |to, _| {
        candidates.insert(to);
    })?;
    let mut found = Vec::new();
    for function in candidates.into_iter().filter(|&function| function != recorder) {
        if let Some(random) = written_random(program, function)? {
            found.push((function, random));
        }
    }
    Ok(match found[..] {
        [one] => Some(one),
        _ => None,
    })
}

/// The lowest byte that `function` reads of its argument 0, if it reads the bytes and the length of a `SECItem`, its
/// argument 2, too.
fn written_random(program: &mut Program<'_, '_>, function: u64) -> Result<Option<i32>, ReadError> {
    let arguments = program.arch.arguments();
    let [connection, item] = [arguments[0], arguments[2]];
    let (mut lowest, mut bytes, mut length) = (None::<i64>, false, false);
    let key = |state: &State| with_arguments(state, arguments);
    program.walk(function, State::new(), LIMITS, key, |insn, state| {
        if let Some(place) = insn.reads {
            match (place.size, state.address(&place)) {
                (1, Value::Initial { root, offset }) if root == connection => {
                    lowest = Some(lowest.map_or(offset, |least| least.min(offset)));
                }
                (1, Value::Loaded { root, at, .. }) if (root, at) == (item, ITEM.0.into()) => {
                    bytes = true;
                }
                (4, Value::Initial { root, offset }) if (root, offset) == (item, ITEM.1.into()) => {
                    length = true;
                }
                _ => {}
            }
        }
        Path::On
    })?;
    let random = lowest.and_then(|lowest| i32::try_from(lowest).ok()).filter(|&at| at > 0);
    Ok(random.filter(|_| bytes && length))
}

/// What 16 bytes are copied from or to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Half {
    /// From the connection.
    Read(i64),
    /// To memory.
    Write(Option<Reg>, i64),
}

/// Where the exporter reads the client random: 32 bytes of the connection, which have been written to the start of a
/// buffer before the next 32 bytes, the server's, are read and written behind them.
fn exported_random(program: &mut Program<'_, '_>, exporter: u64) -> Result<Option<i32>, ReadError> {
    let Some(start) = after_first_call(program, exporter)? else {
        return Ok(None);
    };
    // What the first function, ssl_FindSocket, has returned.
    let result = RESULT;
    let rooted = |value: Value| match value {
        Value::Initial { root, offset } if root == result => Some(offset),
        _ => None,
    };
    let mut halves: Vec<Half> = Vec::new();
    let mut next = start;
    let mut found = BTreeSet::new();
    let key =
        |state: &State| key_of(state.known().filter(|&(_, _, value)| rooted(value).is_some()));
    program.walk(start, State::new(), LIMITS, key, |insn, state| {
        if insn.address != next {
            halves.clear();
        }
        next = insn.next();
        halves.extend(half(insn, |place| rooted(state.address(place))));
        if let Some(last) = halves.last_chunk::<8>() {
            found.extend(client_random(last));
        }
        Path::On
    })?;
    Ok(match found.into_iter().collect::<Vec<_>>()[..] {
        [one] => i32::try_from(one).ok().filter(|&at| at > 0),
        _ => None,
    })
}

/// x86-64's register for results.
const RESULT: Reg = Reg(0);

fn after_first_call(
    program: &mut Program<'_, '_>,
    function: u64,
) -> Result<Option<u64>, ReadError> {
    let mut address = function;
    for _ in 0..BEFORE {
        match program.decode(address)? {
            Some(insn) if matches!(insn.flow, Flow::Call(Some(_))) => return Ok(Some(insn.next())),
            Some(insn) if insn.flow == Flow::Next => address = insn.next(),
            _ => break,
        }
    }
    Ok(None)
}

fn half(insn: &Insn, of_connection: impl Fn(&Place) -> Option<i64>) -> Option<Half> {
    if let Effect::Store(place, _) = insn.effect {
        let is_plain = place.size == 16 && place.index.is_none();
        return is_plain.then_some(Half::Write(place.base, place.offset));
    }
    let place = insn.reads.filter(|place| place.size == 16)?;
    of_connection(&place).map(Half::Read)
}

/// Of two blocks of 32 bytes, each read and written before the next, behind each other in one buffer: where the
/// first is read.
fn client_random(halves: &[Half; 8]) -> Option<i64> {
    let block = |halves: &[Half]| {
        let (mut reads, mut writes) = (Vec::new(), Vec::new());
        for half in halves {
            match *half {
                Half::Read(at) => reads.push(at),
                Half::Write(base, at) => writes.push((base, at)),
            }
        }
        reads.sort_unstable();
        writes.sort_unstable_by_key(|&(_, at)| at);
        match (&reads[..], &writes[..]) {
            (&[low, high], &[(base, to), (other, above)])
                if high == low.checked_add(HALF)?
                    && above == to.checked_add(HALF)?
                    && base == other =>
            {
                Some((low, base, to))
            }
            _ => None,
        }
    };
    let (client, base, to) = block(&halves[..4])?;
    let (server, other, behind) = block(&halves[4..])?;
    let is_behind = base == other && behind == to.checked_add(2 * HALF)?;
    (is_behind && client != server).then_some(client)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(at: i64) -> Half {
        Half::Read(at)
    }

    fn write(at: i64) -> Half {
        Half::Write(Some(Reg(13)), at)
    }

    #[test]
    fn the_client_random_is_what_is_copied_first() {
        // As gcc orders it (3.87), and clang (3.125).
        let gcc = [0x620, 0x630, 0x600, 0x610].into_iter().zip([0, 16, 32, 48]);
        let gcc: Vec<Half> = gcc.flat_map(|(from, to)| [read(from), write(to)]).collect();
        assert_eq!(client_random(gcc.first_chunk().unwrap()), Some(0x620));
        let clang = [
            read(0x638),
            read(0x648),
            write(16),
            write(0),
            read(0x618),
            read(0x628),
            write(32),
            write(48),
        ];
        assert_eq!(client_random(&clang), Some(0x638));
    }

    #[test]
    fn what_is_read_before_it_is_known_where_it_goes_proves_nothing() {
        let mut mixed: Vec<Half> = [0x638, 0x648, 0x618, 0x628].map(read).to_vec();
        mixed.extend([0, 16, 32, 48].map(write));
        assert_eq!(client_random(mixed.first_chunk().unwrap()), None);
        // The second half of a buffer, of another buffer, or not next to it.
        for last in [write(64), Half::Write(Some(Reg(12)), 48), write(i64::MAX)] {
            let halves =
                [read(32), read(48), write(0), write(16), read(0), read(16), write(32), last];
            assert_eq!(client_random(&halves), None);
        }
        let halves = [
            read(i64::MAX),
            read(i64::MAX),
            write(i64::MAX),
            write(i64::MAX),
            read(0),
            read(16),
            write(32),
            write(48),
        ];
        assert_eq!(client_random(&halves), None);
    }

    #[test]
    fn versions() {
        assert_eq!(version_at(b"3.87.1 Basic ECC\0"), Some("3.87.1".to_owned()));
        assert_eq!(version_at(b"3.98\0"), Some("3.98".to_owned()));
        for text in [&b"3\0"[..], b"3..1\0", b"3.87", b"Generic\0", b"1.2.3.4.5.6.7.8.9.0\0"] {
            assert_eq!(version_at(text), None);
        }
    }
}
