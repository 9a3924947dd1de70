//! The choice of the instructions to probe: it decides what a hit costs (facts, part 1, step 6).
//!
//! 1. An instruction that the kernel emulates, in the straight line from the entry, with the arguments still in
//!    their registers: one probe that every call passes.
//! 2. All direct calls and tail jumps, when nothing else can reach the function. A probe is written over the first
//!    byte of an instruction, so that one in the middle of another would corrupt the program: every place in code
//!    whose bytes look like a reference to the function must have been reached, as a call, by following code.
//! 3. The entry, or the first instruction after it that can be probed.

use std::collections::BTreeSet;

use super::arch::{Flow, Insn, Mention, ProbeCost, Reg};
use super::elf::ElfError;
use super::machine::{State, Value};
use super::plan::{Site, SiteKind};
use super::walk::{Limits, Path, Program, key_of};
use super::window::ReadError;

/// The tap reads connection, label, secret and length.
const ARGUMENTS: usize = 4;
/// A walk reads the connection.
const CONNECTION: usize = 1;
/// Instructions from the entry within which the arguments are looked for in their registers.
const PROLOGUE: u32 = 32;
/// References to the function that are looked at; a library has 5 to 20 calls.
const MAX_MENTIONS: usize = 256;
/// Pointers to the function are searched for with every byte offset of these few bytes.
const POINTER: u64 = 8;

/// The sites for one function, and what made the choice.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Choice {
    /// Never empty.
    pub sites: Vec<Site>,
    /// A clause for the plan's reason.
    pub why: &'static str,
}

/// Chooses the sites of `function`. `calls` are the instructions that were seen to call or jump to it with a label.
/// `None` when no instruction can be probed.
///
/// # Errors
/// When the file cannot be read.
pub fn choose(
    program: &mut Program<'_, '_>,
    function: u64,
    calls: &BTreeSet<u64>,
) -> Result<Option<Choice>, ElfError> {
    let line = straight_line(program, function, &program.arch.arguments()[..ARGUMENTS])?;
    let site = |program: &Program<'_, '_>, address, kind| {
        program.elf.file_offset(address).map(|file_offset| Site { address, file_offset, kind })
    };
    if let Some(choice) = on_line(program, &line, ProbeCost::Emulated) {
        return Ok(Some(choice));
    }
    if only_called(program, function, calls)? {
        let sites: Vec<Site> =
            calls.iter().filter_map(|&address| site(program, address, SiteKind::Call)).collect();
        if !sites.is_empty() && sites.len() == calls.len() {
            return Ok(Some(Choice { sites, why: "its direct calls, which the kernel emulates" }));
        }
    }
    Ok(on_line(program, &line, ProbeCost::SingleStepped))
}

/// The instruction at or behind the entry of `function` that the kernel emulates, with the connection still in its
/// register; `None` when there is none.
///
/// # Errors
/// When the file cannot be read.
pub fn emulated_with_connection(
    program: &mut Program<'_, '_>,
    function: u64,
) -> Result<Option<u64>, ReadError> {
    let line = straight_line(program, function, &program.arch.arguments()[..CONNECTION])?;
    Ok(line.iter().find(|(_, cost)| *cost == ProbeCost::Emulated).map(|&(address, _)| address))
}

/// The cheapest instruction at or behind the entry of `function` at which all `registers` still hold what they held
/// there. `None` when none can be probed.
///
/// # Errors
/// When the file cannot be read.
pub fn near_entry(
    program: &mut Program<'_, '_>,
    function: u64,
    registers: &[Reg],
) -> Result<Option<Choice>, ReadError> {
    let line = straight_line(program, function, registers)?;
    Ok(on_line(program, &line, ProbeCost::Emulated)
        .or_else(|| on_line(program, &line, ProbeCost::SingleStepped)))
}

/// The first instruction of a straight line that costs so much.
fn on_line(
    program: &Program<'_, '_>,
    line: &[(u64, ProbeCost)],
    wanted: ProbeCost,
) -> Option<Choice> {
    let &(address, _) = line.iter().find(|(_, cost)| *cost == wanted)?;
    let (kind, why) = match wanted {
        ProbeCost::Emulated => {
            (SiteKind::Emulated, "an instruction at the entry that the kernel emulates")
        }
        _ => (SiteKind::Entry, "its entry, which the kernel single-steps"),
    };
    let file_offset = program.elf.file_offset(address)?;
    Some(Choice { sites: vec![Site { address, file_offset, kind }], why })
}

/// The instructions that every call passes once, with `arguments` in their registers, and what a probe on each
/// costs: from the entry up to and including the first jump, without those that are jumped to from further down.
fn straight_line(
    program: &mut Program<'_, '_>,
    function: u64,
    arguments: &[Reg],
) -> Result<Vec<(u64, ProbeCost)>, ReadError> {
    let arch = program.arch;
    let jumped_to = jump_targets(program, function)?;
    let mut line = Vec::new();
    let mut state = State::new();
    let mut address = function;
    for _ in 0..PROLOGUE {
        let intact = arguments
            .iter()
            .all(|&register| state.get(register) == Value::Initial { root: register, offset: 0 });
        if !intact || (address != function && jumped_to.contains(&address)) {
            break;
        }
        let Some(insn) = program.decode(address)? else {
            break;
        };
        let cost = match program.bytes_at(address)? {
            Some(bytes) => arch.probe_cost(bytes),
            None => ProbeCost::Unusable,
        };
        // The entry as the target of a jump from within is a loop around the whole function, or a recursive tail
        // call: each round is a call of its own, so that the entry stays usable.
        line.push((address, cost));
        if insn.flow != Flow::Next {
            break;
        }
        state.step(arch, &insn);
        address = insn.next();
    }
    Ok(line)
}

/// Targets of all jumps near the entry.
fn jump_targets(program: &mut Program<'_, '_>, function: u64) -> Result<BTreeSet<u64>, ReadError> {
    let limits = Limits { path: 1_000, walk: 4_000 };
    let mut targets = BTreeSet::new();
    program.walk(
        function,
        State::new(),
        limits,
        |_| key_of([0u8].iter()),
        |insn, _| {
            if let Flow::Jump(target) | Flow::Branch(target) = insn.flow {
                targets.insert(target);
            }
            Path::On
        },
    )?;
    Ok(targets)
}

/// Whether `calls` are all that refers to `function`, as far as code, data and relocations can tell.
fn only_called(
    program: &mut Program<'_, '_>,
    function: u64,
    calls: &BTreeSet<u64>,
) -> Result<bool, ElfError> {
    if calls.is_empty() {
        return Ok(false);
    }
    for &call in calls {
        if !is_direct_call(program.decode(call)?, function) || !is_emulated(program, call)? {
            return Ok(false);
        }
    }
    let mentions = mentions(program, function)?;
    let known = |mention: &Mention| mention.call && calls.contains(&mention.address);
    if mentions.len() > MAX_MENTIONS || !mentions.iter().all(known) {
        return Ok(false);
    }
    Ok(!is_pointed_to(program, function)?)
}

fn is_direct_call(insn: Option<Insn>, function: u64) -> bool {
    // A conditional jump would also be hit when it is not taken.
    insn.is_some_and(
        |insn| matches!(insn.flow, Flow::Call(Some(to)) | Flow::Jump(to) if to == function),
    )
}

fn is_emulated(program: &mut Program<'_, '_>, address: u64) -> Result<bool, ReadError> {
    let arch = program.arch;
    let bytes = program.bytes_at(address)?;
    Ok(bytes.is_some_and(|bytes| arch.probe_cost(bytes) == ProbeCost::Emulated))
}

fn mentions(program: &mut Program<'_, '_>, function: u64) -> Result<Vec<Mention>, ElfError> {
    let mut found = Vec::new();
    program.scan_code(|arch, code| {
        arch.mentions(code, function, &mut found);
        found.len() <= MAX_MENTIONS
    })?;
    Ok(found)
}

/// Whether the function's address is anywhere in the loaded bytes as a 64-bit number. This sees pointers in data
/// (also those that `DT_RELR` adjusts in place), the addends of `Elf64_Rela` relocations, and the values of dynamic
/// symbols, because all of them are in loaded segments.
fn is_pointed_to(program: &mut Program<'_, '_>, function: u64) -> Result<bool, ElfError> {
    let needle = function.to_le_bytes();
    let finder = memchr::memmem::Finder::new(&needle);
    let mut found = false;
    for segment in &program.elf.segments {
        program.window.scan(segment.offset, segment.size, POINTER - 1, |_, bytes, _| {
            found = finder.find(bytes).is_some();
            !found
        })?;
        if found {
            break;
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::super::sample::{FUNCTION, Sample};
    use super::super::tap;
    use super::*;

    /// `mov rax, rdi; mov rdi, rsi; ret`: nothing that the kernel emulates.
    const PLAIN: [u8; 7] = [0x48, 0x89, 0xf8, 0x48, 0x89, 0xf7, 0xc3];

    fn choice(sample: &Sample) -> Vec<(u64, SiteKind)> {
        sample.with(|program, labels| {
            let found = tap::search(program, labels, &[]).unwrap();
            assert_eq!(found.candidates.len(), 1);
            let choice = choose(program, FUNCTION, &found.candidates[0].calls).unwrap();
            choice.map_or(Vec::new(), |choice| {
                choice.sites.iter().map(|site| (site.address, site.kind)).collect()
            })
        })
    }

    fn choice_for(body: &[u8]) -> Vec<(u64, SiteKind)> {
        choice(&Sample::with_function(body))
    }

    #[test]
    fn a_push_in_the_straight_line() {
        // endbr64; push rbx
        let body = [0xf3, 0x0f, 0x1e, 0xfa, 0x53, 0x5b, 0xc3];
        assert_eq!(choice_for(&body), [(FUNCTION + 4, SiteKind::Emulated)]);
        // mov r12, rdi; push r12
        let body = [0x49, 0x89, 0xfc, 0x41, 0x54, 0xc3];
        assert_eq!(choice_for(&body), [(FUNCTION + 3, SiteKind::Emulated)]);
    }

    #[test]
    fn the_first_jump_of_the_straight_line() {
        // test rdi, rdi; je; push rbx: the push is not passed by every call, the jump is.
        let body = [0x48, 0x85, 0xff, 0x74, 0x01, 0x53, 0xc3];
        assert_eq!(choice_for(&body), [(FUNCTION + 3, SiteKind::Emulated)]);
    }

    #[test]
    fn an_emulated_instruction_after_an_argument_is_gone_does_not_count() {
        // mov rdi, rsi; push rbx
        let body = [0x48, 0x89, 0xf7, 0x53, 0xc3];
        assert_eq!(choice_for(&body), [(0x1007, SiteKind::Call), (0x1014, SiteKind::Call)]);
    }

    #[test]
    fn an_instruction_that_is_jumped_to_does_not_count() {
        // xor eax, eax; push rbx; mov rdi, rsi; jne back to the push
        let body = [0x31, 0xc0, 0x53, 0x48, 0x89, 0xf7, 0x75, 0xfa, 0xc3];
        assert_eq!(choice_for(&body)[0].1, SiteKind::Call);
    }

    #[test]
    fn calls_when_nothing_else_refers_to_the_function() {
        let calls = [(0x1007, SiteKind::Call), (0x1014, SiteKind::Call)];
        assert_eq!(choice_for(&PLAIN), calls);
        // Padding that ends in zeros is not a reference to what follows it.
        let mut sample = Sample::with_function(&PLAIN);
        sample.code[0x7f6..0x800].copy_from_slice(&[0x66, 0x2e, 0x0f, 0x1f, 0x84, 0, 0, 0, 0, 0]);
        assert_eq!(choice(&sample), calls);
    }

    #[test]
    fn the_entry_when_something_else_may_refer_to_it() {
        let entry = [(FUNCTION, SiteKind::Entry)];
        // A pointer in data.
        let mut sample = Sample::with_function(&PLAIN);
        sample.data[16..24].copy_from_slice(&FUNCTION.to_le_bytes());
        assert_eq!(choice(&sample), entry);
        // An address computed in code.
        let mut sample = Sample::with_function(&PLAIN);
        sample.at(0x1900).lea_rax(FUNCTION);
        assert_eq!(choice(&sample), entry);
        // A call that was not reached from a label.
        let mut sample = Sample::with_function(&PLAIN);
        sample.at(0x1900).call(FUNCTION);
        assert_eq!(choice(&sample), entry);
        // A call in the middle of another instruction: mov rax, imm64 with the bytes of a call in it.
        let mut sample = Sample::with_function(&PLAIN);
        sample.at(0x1900).raw(&[0x48, 0xb8]).call(FUNCTION).raw(&[0, 0, 0]);
        assert_eq!(choice(&sample), entry);
        // A conditional jump, which a probe would also report when it is not taken.
        let mut sample = Sample::with_function(&PLAIN);
        sample.at(0x1900).je(FUNCTION);
        assert_eq!(choice(&sample), entry);
    }

    #[test]
    fn an_entry_that_the_kernel_refuses() {
        // mov rax, fs:[0x28]; mov rbx, rax; then an argument is lost; with a pointer to it in data.
        let body =
            [0x64, 0x48, 0x8b, 0x04, 0x25, 0x28, 0, 0, 0, 0x48, 0x89, 0xc3, 0x31, 0xff, 0xc3];
        let mut sample = Sample::with_function(&body);
        sample.data[..8].copy_from_slice(&FUNCTION.to_le_bytes());
        assert_eq!(choice(&sample), [(FUNCTION + 9, SiteKind::Entry)]);
        // lock inc [rdi]; int3: nothing usable.
        let mut sample = Sample::with_function(&[0xf0, 0x48, 0xff, 0x07, 0xcc]);
        sample.data[..8].copy_from_slice(&FUNCTION.to_le_bytes());
        assert_eq!(choice(&sample), []);
    }
}
