//! Go's crypto/tls and its forks (utls, qtls): `(*Config).writeKeyLog(label string, clientRandom, secret []byte)`, which is
//! always called; whether there is a key log it asks itself.
//!
//! The function is found by its name in Go's own table of functions. From Go 1.17 on arguments are in registers; that,
//! and how many words of them there are, is read from the code with which every function begins: when the stack is too
//! small, all arguments are stored, the stack grows, and the function starts again. That a probe there is hit twice then
//! does no harm: the model knows each secret once.

mod build_info;
pub(crate) mod pclntab;
#[cfg(test)]
mod tests;

use tlskeytop_common::{Operand, RecordConfig};

use self::build_info::BuildInfo;
use self::pclntab::{Function, Named, Tables};
use super::{Clues, Found};
use crate::target::arch::{Effect, Flow, Insn, Place, Reg, Source};
use crate::target::elf::ElfError;
use crate::target::plan::{Arguments, Library, Operands, Tap};
use crate::target::site;
use crate::target::walk::Program;
use crate::target::window::ReadError;

/// What the names of the function end in, behind the path of their package: as in crypto/tls and utls, and as in qtls.
const FUNCTIONS: [&str; 2] = [".(*Config).writeKeyLog", ".(*config).writeKeyLog"];
/// The label of TLS 1.2, which every version logs.
const LABEL_12: &str = "CLIENT_RANDOM";
/// The registers of arguments, a word each, in order: rax, rbx, rcx, rdi, rsi, r8, r9, r10, r11
/// (src/cmd/compile/abi-internal.md). The function's are the receiver, the label's address and length, and address,
/// length and capacity of client random and secret.
const WORDS: [Reg; 9] = [Reg(0), Reg(3), Reg(1), Reg(7), Reg(6), Reg(8), Reg(9), Reg(10), Reg(11)];
/// The words that are read.
const LABEL: usize = 1;
const LABEL_LENGTH: usize = 2;
const CLIENT_RANDOM: usize = 3;
const SECRET: usize = 6;
const SECRET_LENGTH: usize = 7;
/// r14 holds the goroutine, with the stack's bound at 16: `runtime.g.stackguard0`.
const GOROUTINE: Reg = Reg(14);
const STACK_BOUND: i64 = 16;
/// Instructions up to the jump of a function that grows the stack: two, or three where its frame is large.
const PROLOGUE: u32 = 6;

/// Looks for Go's crypto/tls.
///
/// # Errors
/// When the file cannot be read.
pub fn find(program: &mut Program<'_, '_>, clues: &Clues<'_>) -> Result<Option<Found>, ElfError> {
    let Some(info) = BuildInfo::find(program.window, program.elf)? else {
        return Ok(None);
    };
    // Go does not log exporter secrets.
    let labels = &clues.labels.slices;
    if !labels.iter().any(|label| label.name == LABEL_12) {
        return Ok(None);
    }
    let tables = Tables::find(program.window, program.elf)?;
    let mut search = Search::default();
    if tables.is_old {
        search.refuse("Go 1.15 and older pass arguments on the stack");
    }
    for table in &tables.found {
        let Some(text) = table.text(program.window, program.elf)? else {
            search.refuse("its table of functions does not say where the code starts");
            continue;
        };
        for name in FUNCTIONS {
            for named in table.functions(program.window, program.elf, text, name)? {
                match named {
                    Named::Function(function) => search.add(program, function)?,
                    Named::NameAlone => search.refuse("its table of functions has the name alone"),
                }
            }
        }
    }
    let library = Library { name: "Go", version: info.version };
    let (taps, reason) = (search.taps, search.reasons.join("; "));
    let reason = match (taps.is_empty(), reason.is_empty()) {
        (true, true) => "no tap: no function of Go's table is (*Config).writeKeyLog".to_owned(),
        (true, false) => format!("no tap: {reason}"),
        (false, _) => reason,
    };
    let labels = if taps.is_empty() { Vec::new() } else { labels.clone() };
    Ok(Some(Found { library, taps, labels, reason }))
}

/// What was found so far.
#[derive(Default)]
struct Search {
    taps: Vec<Tap>,
    reasons: Vec<String>,
}

impl Search {
    fn refuse(&mut self, reason: &str) {
        self.reasons.push(reason.to_owned());
    }

    fn add(&mut self, program: &mut Program<'_, '_>, function: Function) -> Result<(), ElfError> {
        let at = format!("{:#x}", function.entry);
        if let Err(refusal) = check(program, &function)? {
            self.reasons.push(format!("{at}: {refusal}"));
            return Ok(());
        }
        let Some(choice) = site::near_entry(program, function.entry, &WORDS)? else {
            self.reasons.push(format!("{at}: the kernel would refuse a probe at its entry"));
            return Ok(());
        };
        self.reasons.push(format!(
            "{at}: by its name in Go's table of functions, arguments in registers, probing {}",
            choice.why
        ));
        self.taps.push(Tap {
            function: function.entry,
            symbol: Some(function.name),
            arguments: Arguments::Operands(Operands { record: record(), labels: &[] }),
            sites: choice.sites,
        });
        Ok(())
    }
}

/// Whether the function takes its arguments as is believed: the code that it begins with shows it.
fn check(
    program: &mut Program<'_, '_>,
    function: &Function,
) -> Result<Result<(), &'static str>, ReadError> {
    let mut address = function.entry;
    let mut is_bounded = false;
    for _ in 0..PROLOGUE {
        let Some(insn) = program.decode(address)? else {
            break;
        };
        is_bounded |= insn.reads.is_some_and(|place| is_at(&place, GOROUTINE, STACK_BOUND));
        match insn.flow {
            Flow::Next => address = insn.next(),
            Flow::Branch(target)
                if is_bounded && (function.entry..function.end).contains(&target) =>
            {
                return Ok(match keeps_words(program, target, function.entry)? {
                    true => Ok(()),
                    false => Err("it does not take nine words in registers"),
                });
            }
            _ => break,
        }
    }
    Ok(Err("it does not begin as Go 1.17 and later do, which pass arguments in registers"))
}

/// Whether the code at `address` stores all words in their order, calls, loads them again, and goes to `entry`: there the
/// function starts then.
fn keeps_words(
    program: &mut Program<'_, '_>,
    mut address: u64,
    entry: u64,
) -> Result<bool, ReadError> {
    let stack = program.arch.stack();
    let is_slot = |place: &Place, number: usize| is_at(place, stack, 8 * (number as i64 + 1));
    let stores = |insn: &Insn, number: usize| match insn.effect {
        Effect::Store(place, Source::Reg(word)) => word == WORDS[number] && is_slot(&place, number),
        _ => false,
    };
    let loads = |insn: &Insn, number: usize| match insn.effect {
        Effect::Assign(word, Source::Load(place)) => {
            word == WORDS[number] && is_slot(&place, number)
        }
        _ => false,
    };
    // With a tenth word there would be another store.
    const CALL: usize = WORDS.len();
    const JUMP: usize = 2 * WORDS.len() + 1;
    for step in 0..=JUMP {
        let Some(mut insn) = program.decode(address)? else {
            return Ok(false);
        };
        // Some processors want the jump aligned.
        if step == JUMP
            && insn.is_nop()
            && let Some(next) = program.decode(insn.next())?
        {
            insn = next;
        }
        let is_as_expected = match step {
            ..CALL => stores(&insn, step),
            CALL => matches!(insn.flow, Flow::Call(Some(_))),
            JUMP => insn.flow == Flow::Jump(entry),
            _ => loads(&insn, step - CALL - 1),
        };
        if !is_as_expected {
            return Ok(false);
        }
        address = insn.next();
    }
    Ok(true)
}

fn is_at(place: &Place, base: Reg, offset: i64) -> bool {
    (place.base, place.index, place.offset, place.size) == (Some(base), None, offset, 8)
}

fn record() -> RecordConfig {
    let word = |number: usize| Operand::register(WORDS[number].0);
    RecordConfig {
        label: word(LABEL),
        label_length: word(LABEL_LENGTH),
        label_number: Operand::NONE,
        client_random: word(CLIENT_RANDOM),
        secret: word(SECRET),
        secret_length: word(SECRET_LENGTH),
        connection: Operand::NONE,
    }
}
