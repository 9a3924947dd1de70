//! The search for the library's own secret-logging function (facts, part 1, steps 1 to 4).

use std::collections::{BTreeMap, BTreeSet};

use super::arch::{Code, Flow, Insn};
use super::elf::ElfError;
use super::labels::{LabelSet, Labels};
use super::machine::{State, Value};
use super::walk::{Limits, Path, Program, key_of};

/// The label is the second argument: `ssl_log_secret(ssl, label, secret, length)`.
const LABEL_ARGUMENT: usize = 1;
/// From a reference to the call there are at most 160 instructions, in every file that was measured.
const LIMITS: Limits = Limits { path: 160, walk: 20_000 };
/// References that are traced; real files have fewer than 100.
const MAX_REFERENCES: usize = 2_000;
/// Call targets that are kept in the first pass.
const MAX_TARGETS: usize = 100_000;

/// A function that gets the labels in argument 1.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// Its address.
    pub function: u64,
    /// The labels that were seen.
    pub labels: LabelSet,
    /// The calls and tail jumps that pass a label: instructions that the trace reached.
    pub calls: BTreeSet<u64>,
}

/// What the search found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Search {
    /// Functions that get both `CLIENT_RANDOM` and `EXPORTER_SECRET`, by address.
    pub candidates: Vec<Candidate>,
    /// References to labels in code.
    pub references: usize,
    /// A limit cut the search short.
    pub cut: bool,
}

/// Searches for the function.
///
/// # Errors
/// When the file cannot be read.
pub fn search(program: &mut Program<'_, '_>, labels: &Labels) -> Result<Search, ElfError> {
    let mut found = Search::default();
    let references = references(program, labels, &mut found)?;
    found.references = references.len();

    // First pass: every function that is called anywhere near. Second pass: jumps to them are tail calls.
    let mut functions = BTreeSet::new();
    for &reference in &references {
        found.cut |= trace(program, labels, reference, |insn, _| {
            if let Flow::Call(Some(target)) = insn.flow
                && functions.len() < MAX_TARGETS
            {
                functions.insert(target);
            }
            Path::On
        })?;
    }
    let mut votes: BTreeMap<u64, Candidate> = BTreeMap::new();
    for &reference in &references {
        let argument = program.arch.arguments()[LABEL_ARGUMENT];
        found.cut |= trace(program, labels, reference, |insn, state| {
            let (target, end) = match insn.flow {
                Flow::Call(Some(target)) => (target, Path::On),
                Flow::Jump(target) | Flow::Branch(target) if functions.contains(&target) => {
                    (target, Path::End)
                }
                _ => return Path::On,
            };
            if let Value::Constant(address) = state.get(argument) {
                let label = labels.at(address);
                if label != LabelSet::default() {
                    let vote = votes.entry(target).or_insert_with(|| Candidate {
                        function: target,
                        labels: LabelSet::default(),
                        calls: BTreeSet::new(),
                    });
                    vote.labels.add(label);
                    vote.calls.insert(insn.address);
                }
            }
            end
        })?;
    }
    found.candidates = votes
        .into_values()
        .filter(|vote| vote.labels.has(LabelSet::NEEDED) && program.elf.is_code(vote.function))
        .collect();
    Ok(found)
}

/// Addresses of instructions that load a label's address.
fn references(
    program: &mut Program<'_, '_>,
    labels: &Labels,
    search: &mut Search,
) -> Result<Vec<u64>, ElfError> {
    let wanted = labels.addresses();
    let mut found = Vec::new();
    let Program { window, elf, arch, .. } = program;
    for segment in elf.code() {
        window.scan(segment.offset, segment.size, 16, |offset, bytes, own| {
            let code = Code {
                bytes,
                address: segment.address.wrapping_add(offset - segment.offset),
                own,
                fixed: elf.fixed,
            };
            arch.references(code, &wanted, &mut found);
            found.len() <= MAX_REFERENCES
        })?;
    }
    found.sort_unstable();
    found.dedup();
    if found.len() > MAX_REFERENCES {
        found.truncate(MAX_REFERENCES);
        search.cut = true;
    }
    Ok(found)
}

/// Follows a label from the reference for as long as something holds it.
fn trace(
    program: &mut Program<'_, '_>,
    labels: &Labels,
    reference: u64,
    mut visit: impl FnMut(&Insn, &State) -> Path,
) -> Result<bool, ElfError> {
    let is_label = |value: Value| match value {
        Value::Constant(address) => labels.at(address) != LabelSet::default(),
        _ => false,
    };
    let key = |state: &State| key_of(state.known().filter(|&(_, _, value)| is_label(value)));
    let cut = program.walk(reference, State::new(), LIMITS, key, |insn, state| {
        let held = insn.address == reference || state.known().any(|(_, _, value)| is_label(value));
        if held { visit(insn, state) } else { Path::End }
    })?;
    Ok(cut)
}
