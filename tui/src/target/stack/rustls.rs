//! rustls, which asks `KeyLog::will_log(label)` and then calls `KeyLog::log(label, client_random, secret)`, both through
//! a trait object's table (its `key_log.rs`).
//!
//! Over TLS 1.2 the second is always called: the probe is on that call. Over TLS 1.3 it is called only if the first one
//! returned true, which it does not without a key log. From 0.22 on the secret has been made by then, so that the probe
//! is on the conditional jump between the two, and the code behind it, which the jump leaves out, says from where it
//! would take the arguments. Up to 0.21 the secret is made behind the jump: there is nothing to take.
//!
//! The compiler may have put the labels into the code (uv) or into a table of pointers (deno).

use memchr::memmem;
use tlskeytop_common::{Operand, RecordConfig, SECRET_MAX};

use super::references::{Body, loaded, references};
use super::{Clues, Found};
use crate::target::arch::{Flow, Insn, ProbeCost, Reg};
use crate::target::bytes::u64_at;
use crate::target::elf::ElfError;
use crate::target::exact::{Exact, Known, Reach, STACK, follow, slot_of};
use crate::target::plan::{Arguments, LabelAt, Library, Operands, Site, SiteKind, Tap};
use crate::target::walk::Program;
use crate::target::window::ReadError;

/// The labels that rustls knows, each as the list of a tap that has only this one.
const LABELS: [&[&str]; 7] = [
    &["CLIENT_RANDOM"],
    &["CLIENT_EARLY_TRAFFIC_SECRET"],
    &["CLIENT_HANDSHAKE_TRAFFIC_SECRET"],
    &["SERVER_HANDSHAKE_TRAFFIC_SECRET"],
    &["CLIENT_TRAFFIC_SECRET_0"],
    &["SERVER_TRAFFIC_SECRET_0"],
    &["EXPORTER_SECRET"],
];
/// The one that is logged without being asked for.
const TLS12: &str = "CLIENT_RANDOM";
/// Every file with rustls has this one.
const ALWAYS: &str = "CLIENT_HANDSHAKE_TRAFFIC_SECRET";
/// References that are looked at; deno has 5, uv 14.
const MAX_REFERENCES: usize = 128;
/// Pointers to labels; a table has 6.
const MAX_POINTERS: usize = 64;
/// Pointers that calls behind one jump go through.
const MAX_SLOTS: usize = 16;
/// The type of a relocation that adds the load address: `Elf64_Rela` is where, type, and what it is added to.
const RELATIVE: u64 = 8;
/// Instructions before a reference that prepare the same call; 14 in deno.
const BEFORE: usize = 24;
/// From a reference to the call: 13 instructions at the most in what was looked at.
const TO_CALL: Reach = Reach { instructions: 64, calls: 0 };
/// From the jump to the call behind it: 12 instructions, and in deno a call that returns the secret as a slice.
const TO_LOG: Reach = Reach { instructions: 128, calls: 2 };
/// Instructions between a test and its jump.
const TO_JUMP: usize = 4;
/// `test al, al`.
const TEST: [u8; 2] = [0x84, 0xc0];
/// Bytes of a client random.
const RANDOM: u64 = 32;

// `log(&self, label: &str, client_random: &[u8], secret: &[u8])`: slices are two arguments, the last one's length is on
// the stack.
const LABEL: Reg = Reg(6);
const LABEL_LENGTH: Reg = Reg(2);
const CLIENT_RANDOM: Reg = Reg(1);
const CLIENT_RANDOM_LENGTH: Reg = Reg(8);
const SECRET: Reg = Reg(9);

/// Looks for rustls.
pub fn find(program: &mut Program<'_, '_>, clues: &Clues<'_>) -> Result<Option<Found>, ElfError> {
    let slices = &clues.labels.slices;
    if !slices.iter().any(|slice| slice.name == ALWAYS) {
        return Ok(None);
    }
    let Some(version) = version(program)? else {
        return Ok(None);
    };
    let tables = tables(program, slices)?;
    let addresses = slices.iter().map(|slice| slice.address).chain(tables.iter().copied());
    let references = references(program, addresses.collect(), MAX_REFERENCES)?;
    let mut search = Search::new(slices, &tables);
    let mut body: Option<Body> = None;
    for &reference in &references {
        if !body.as_ref().is_some_and(|body| body.range.contains(&reference)) {
            body = Body::around(program, reference)?;
        }
        if let Some(body) = &body {
            search.look(program, body, reference)?;
        }
    }
    search.finish();
    // Others use the labels and the word, too.
    if version.is_none() && search.taps.is_empty() {
        return Ok(None);
    }
    let reason = search.reason(references.len());
    let labels = if search.taps.is_empty() { Vec::new() } else { slices.clone() };
    let library = Library { name: "rustls", version };
    Ok(Some(Found { library, taps: search.taps, labels, reason }))
}

/// The version in the paths of panic messages, `rustls-0.23.46/src`; the outer `None` where nothing names rustls.
fn version(program: &mut Program<'_, '_>) -> Result<Option<Option<String>>, ReadError> {
    let finder = memmem::Finder::new("rustls");
    let mut named = false;
    let mut version = None;
    for segment in program.elf.segments.iter().filter(|segment| !segment.executable) {
        program.window.scan(segment.offset, segment.size, 64, |_, bytes, own| {
            for at in finder.find_iter(bytes).take_while(|at| *at < own) {
                named = true;
                version = version.take().or_else(|| version_at(&bytes[at + 6..]));
            }
            version.is_none()
        })?;
        if version.is_some() {
            break;
        }
    }
    Ok(named.then_some(version))
}

/// `-0.23.46/` at the start of `text`.
fn version_at(text: &[u8]) -> Option<String> {
    let text = text.strip_prefix(b"-")?;
    let length = memchr::memchr(b'/', text.get(..text.len().min(24))?)?;
    let version = std::str::from_utf8(&text[..length]).ok()?;
    let numbers = version.split(['-', '+']).next()?.split('.');
    let is_number = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    let is_word =
        version.bytes().all(|byte| byte.is_ascii_alphanumeric() || b".-+".contains(&byte));
    (is_word && numbers.clone().count() == 3 && numbers.clone().all(is_number))
        .then(|| version.to_owned())
}

/// Where pointers to labels are once the file is loaded.
fn tables(program: &mut Program<'_, '_>, slices: &[LabelAt]) -> Result<Vec<u64>, ReadError> {
    let wanted =
        super::super::arch::Addresses::new(slices.iter().map(|slice| slice.address).collect());
    let mut found = Vec::new();
    each_word(program, |bytes, at, address| {
        if let Some(word) = u64_at(bytes, at) {
            if wanted.contains(word) {
                found.push(address);
            }
            if u64_at(bytes, at + 8) == Some(RELATIVE)
                && u64_at(bytes, at + 16).is_some_and(|addend| wanted.contains(addend))
            {
                found.push(word);
            }
        }
        found.len() < MAX_POINTERS
    })?;
    Ok(found)
}

/// Shows the 8-aligned words of what is not code: bytes, where in them the word is, with room for a relocation, and its
/// address; while `visit` returns that it wants more.
fn each_word(
    program: &mut Program<'_, '_>,
    mut visit: impl FnMut(&[u8], usize, u64) -> bool,
) -> Result<(), ReadError> {
    for segment in program.elf.segments.iter().filter(|segment| !segment.executable) {
        let skip = segment.offset.next_multiple_of(8) - segment.offset;
        let Some(size) = segment.size.checked_sub(skip) else {
            continue;
        };
        program.window.scan(segment.offset + skip, size, 24, |offset, bytes, own| {
            let address = segment.address.wrapping_add(offset - segment.offset);
            (0..own).step_by(8).all(|at| visit(bytes, at, address.wrapping_add(at as u64)))
        })?;
    }
    Ok(())
}

struct Search<'s> {
    slices: &'s [LabelAt],
    tables: &'s [u64],
    taps: Vec<Tap>,
    /// Instructions that different code reaches with different arguments: they are not probed.
    refused: Vec<u64>,
    /// Which label which instruction has.
    proved: Vec<(u64, Passed)>,
}

/// Which label a call passes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Passed {
    This(&'static str),
    FromTable,
}

impl<'s> Search<'s> {
    fn new(slices: &'s [LabelAt], tables: &'s [u64]) -> Self {
        Self { slices, tables, taps: Vec::new(), refused: Vec::new(), proved: Vec::new() }
    }

    /// Looks at what the code does with a label after a reference to it or to a table.
    fn look(
        &mut self,
        program: &mut Program<'_, '_>,
        body: &Body,
        reference: u64,
    ) -> Result<(), ReadError> {
        // Not where an instruction starts: bytes that only look like a reference.
        let Some((index, insn)) = body.at(reference) else {
            return Ok(());
        };
        let is_wanted = |address| {
            self.tables.contains(&address)
                || self.slices.iter().any(|slice| slice.address == address)
        };
        if !loaded(insn).is_some_and(is_wanted) {
            return Ok(());
        }
        let start = body.block(index, BEFORE);
        let mut calls = Vec::new();
        follow(program, start, Exact::new(self.tables), TO_CALL, |insn, state| {
            if let Some(passed) = self.passed(state) {
                calls.push((*insn, passed, state.clone()));
            }
        })?;
        for (call, passed, state) in calls {
            if body.at(call.address).is_none() {
                continue;
            }
            let logs = state.get(CLIENT_RANDOM_LENGTH) == Known::Constant(RANDOM);
            match (logs, passed) {
                (true, Passed::This(TLS12)) => {
                    // Other code may come to this call with another label.
                    let record = RecordConfig {
                        label: Operand::register(LABEL.0),
                        label_length: Operand::register(LABEL_LENGTH.0),
                        client_random: Operand::register(CLIENT_RANDOM.0),
                        secret: Operand::register(SECRET.0),
                        secret_length: Operand::memory(STACK.0, 0),
                        ..RecordConfig::default()
                    };
                    self.add(program, body, &call, passed, record)?;
                }
                (true, _) | (false, Passed::This(TLS12)) => {}
                (false, _) => self.asked(program, body, &call, passed, &state)?,
            }
        }
        Ok(())
    }

    fn passed(&self, state: &Exact<'_>) -> Option<Passed> {
        match (state.get(LABEL), state.get(LABEL_LENGTH)) {
            (Known::Constant(address), Known::Constant(length)) => {
                let is_it = |slice: &&LabelAt| {
                    slice.address == address && slice.name.len() as u64 == length
                };
                self.slices.iter().find(is_it).map(|slice| Passed::This(slice.name))
            }
            (Known::FromTable, _) => Some(Passed::FromTable),
            _ => None,
        }
    }

    /// Looks behind a call of `will_log`.
    fn asked(
        &mut self,
        program: &mut Program<'_, '_>,
        body: &Body,
        call: &Insn,
        passed: Passed,
        asked: &Exact<'_>,
    ) -> Result<(), ReadError> {
        let Some((jump, yes)) = jump_behind(program, body, call)? else {
            return Ok(());
        };
        let mut slots = Vec::new();
        let mut records = logged(program, yes, passed, asked, &[], &mut slots)?;
        if records.is_empty() && !slots.is_empty() {
            // The compiler may call other modules' functions through pointers.
            let pointers = pointers(program, &slots)?;
            records = logged(program, yes, passed, asked, &pointers, &mut slots)?;
        }
        match records[..] {
            [record] => self.add(program, body, &jump, passed, record),
            _ => Ok(()),
        }
    }

    fn add(
        &mut self,
        program: &mut Program<'_, '_>,
        body: &Body,
        insn: &Insn,
        passed: Passed,
        record: RecordConfig,
    ) -> Result<(), ReadError> {
        let arch = program.arch;
        let cost = program.bytes_at(insn.address)?.map(|bytes| arch.probe_cost(bytes));
        let kind = match cost {
            Some(ProbeCost::Emulated) => SiteKind::Emulated,
            Some(ProbeCost::SingleStepped) => SiteKind::Inside,
            Some(ProbeCost::Unusable) | None => return Ok(()),
        };
        let Some(file_offset) = program.elf.file_offset(insn.address) else {
            return Ok(());
        };
        let labels: &'static [&'static str] = match passed {
            Passed::This(label) if record.label.is_there == 0 => {
                match LABELS.iter().find(|labels| labels[0] == label) {
                    Some(labels) => labels,
                    None => return Ok(()),
                }
            }
            Passed::This(_) | Passed::FromTable => &[],
        };
        let site = Site { address: insn.address, file_offset, kind };
        let arguments = Arguments::Operands(Operands { record, labels });
        let mut others = self.taps.iter().filter(|tap| tap.arguments != arguments);
        if others.any(|tap| tap.sites.contains(&site)) {
            self.refused.push(site.address);
        }
        match self.taps.iter_mut().find(|tap| tap.arguments == arguments) {
            Some(tap) if tap.sites.contains(&site) => {}
            Some(tap) => tap.sites.push(site),
            None => {
                let function = body.range.start;
                self.taps.push(Tap { function, symbol: None, arguments, sites: vec![site] });
            }
        }
        self.proved.push((site.address, passed));
        Ok(())
    }

    /// Takes back the sites that are refused, and all that they proved.
    fn finish(&mut self) {
        let refused = &self.refused;
        for tap in &mut self.taps {
            tap.sites.retain(|site| !refused.contains(&site.address));
        }
        self.taps.retain(|tap| !tap.sites.is_empty());
        self.proved.retain(|(address, _)| !refused.contains(address));
    }

    fn reason(&self, references: usize) -> String {
        let has = |label: &str| {
            self.proved.iter().any(|(_, passed)| match passed {
                Passed::This(this) => *this == label,
                Passed::FromTable => label != TLS12,
            })
        };
        let known = |label: &&str| self.slices.iter().any(|slice| slice.name == *label);
        let labels = LABELS.iter().map(|labels| labels[0]).filter(known);
        let (proved, missing): (Vec<_>, Vec<_>) = labels.partition(|label| has(label));
        let missing = missing.join(", ");
        if proved.is_empty() {
            return format!(
                "no tap: rustls's labels are in the file, with {references} references, and the code at them \
                 does not show where the secrets are"
            );
        }
        let sites: usize = self.taps.iter().map(|tap| tap.sites.len()).sum();
        let proved = proved.len();
        let found = format!(
            "{proved} of rustls's labels are proved by what its calls of KeyLog pass, probing {sites} \
             instructions"
        );
        match missing.is_empty() {
            true => found,
            false => format!("{found}; not {missing}: the code does not show where the secret is"),
        }
    }
}

/// From where the calls of `log` take their arguments to which it goes from `yes`, if all of those have the label that
/// `asked` has; `slots` are the pointers in the file that other calls go through.
fn logged(
    program: &mut Program<'_, '_>,
    yes: u64,
    passed: Passed,
    asked: &Exact<'_>,
    pointers: &[(u64, u64)],
    slots: &mut Vec<u64>,
) -> Result<Vec<RecordConfig>, ReadError> {
    let arch = program.arch;
    let mut records = Vec::new();
    let start = Exact::new(&[]).with_pointers(pointers);
    follow(program, yes, start, TO_LOG, |call, state| {
        slots.extend(slot_of(call).filter(|_| slots.len() < MAX_SLOTS));
        let label = asked.before_call(arch, state.get(LABEL));
        if state.get(CLIENT_RANDOM_LENGTH) != Known::Constant(RANDOM) {
            return;
        }
        let is_same = label != Known::Unknown && label == asked.get(LABEL);
        let record = record(state, passed).filter(|_| is_same);
        if !records.contains(&record) {
            records.push(record);
        }
    })?;
    // Whatever is logged has to be the same, or a hit does not tell what it would be.
    Ok(records.into_iter().collect::<Option<_>>().unwrap_or_default())
}

/// What the file's relocations put into pointers.
fn pointers(program: &mut Program<'_, '_>, slots: &[u64]) -> Result<Vec<(u64, u64)>, ReadError> {
    let mut found = Vec::new();
    each_word(program, |bytes, at, _| {
        if u64_at(bytes, at + 8) == Some(RELATIVE)
            && let (Some(slot), Some(target)) = (u64_at(bytes, at), u64_at(bytes, at + 16))
            && slots.contains(&slot)
        {
            found.push((slot, target));
        }
        found.len() < MAX_POINTERS
    })?;
    Ok(found)
}

/// The conditional jump behind a call that tests whether it returned true, and where it goes on if so.
fn jump_behind(
    program: &mut Program<'_, '_>,
    body: &Body,
    call: &Insn,
) -> Result<Option<(Insn, u64)>, ReadError> {
    let Some((index, test)) = body.at(call.next()) else {
        return Ok(None);
    };
    if !program.bytes_at(test.address)?.is_some_and(|bytes| bytes.starts_with(&TEST)) {
        return Ok(None);
    }
    let mut behind = body.insns.iter().skip(index + 1).take(TO_JUMP);
    let Some(jump) = behind.find(|insn| insn.flow != Flow::Next) else {
        return Ok(None);
    };
    let bytes = program.bytes_at(jump.address)?.unwrap_or_default();
    Ok(match (jump.flow, bytes) {
        (Flow::Branch(_), [0x74, ..] | [0x0f, 0x84, ..]) => Some((*jump, jump.next())),
        (Flow::Branch(to), [0x75, ..] | [0x0f, 0x85, ..]) => Some((*jump, to)),
        _ => None,
    })
}

/// Where the arguments of `log` come from, which are what they will be when the probe is hit.
fn record(state: &Exact<'_>, passed: Passed) -> Option<RecordConfig> {
    let pointer = |known| match known {
        Known::At(operand) => Some(operand),
        _ => None,
    };
    let length = |known| match known {
        Known::Constant(length) => Some(Operand::constant(i32::try_from(length).ok()?)),
        _ => pointer(known),
    };
    let read = |register, length| {
        pointer(state.get(register)).filter(|operand| state.is_untouched(operand, length))
    };
    let mut record = RecordConfig {
        client_random: read(CLIENT_RANDOM, RANDOM)?,
        secret: read(SECRET, SECRET_MAX as u64)?,
        secret_length: length(state.load(STACK, 0))?,
        ..RecordConfig::default()
    };
    // Behind the jump it is the same whoever comes there, or it is in registers, for each its own.
    if passed == Passed::FromTable || !matches!(state.get(LABEL), Known::Constant(_)) {
        record.label = pointer(state.get(LABEL))?;
        record.label_length = length(state.get(LABEL_LENGTH))?;
    }
    Some(record)
}

#[cfg(test)]
pub mod tests;
