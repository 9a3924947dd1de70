//! The search for the library's own secret-logging function (facts, part 1, steps 1 to 4).

use std::collections::{BTreeMap, BTreeSet};

use super::arch::{Addresses, Effect, Flow, Insn, Place, Source};
use super::elf::ElfError;
use super::labels::{LabelSet, Labels};
use super::machine::{State, Value};
use super::walk::{Limits, Path, Program, key_of};

/// The label is the second argument: `ssl_log_secret(ssl, label, secret, length)`.
const LABEL_ARGUMENT: usize = 1;
/// From a reference to the call there are at most 160 instructions, in every file that was measured.
const LIMITS: Limits = Limits { path: 160, walk: 8_000 };
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
    /// Instructions that load one of the other addresses that were asked for, and which one.
    pub others: Vec<(u64, u64)>,
    /// A limit cut the search short.
    pub cut: bool,
}

/// Searches for the function. `others` are addresses whose references are looked for in the same pass over the code.
///
/// # Errors
/// When the file cannot be read.
pub fn search(
    program: &mut Program<'_, '_>,
    labels: &Labels,
    others: &[u64],
) -> Result<Search, ElfError> {
    let mut found = Search::default();
    let references = references(program, labels, others, &mut found)?;
    found.references = references.len();

    found.candidates = votes(program, labels, &references, LABEL_ARGUMENT, &mut found.cut)?
        .into_iter()
        .filter(|vote| vote.labels.has(LabelSet::NEEDED))
        .collect();
    Ok(found)
}

/// The functions that get any label in argument `argument`, by address.
///
/// # Errors
/// When the file cannot be read.
pub fn callees(
    program: &mut Program<'_, '_>,
    labels: &Labels,
    argument: usize,
) -> Result<Vec<Candidate>, ElfError> {
    let mut search = Search::default();
    let references = references(program, labels, &[], &mut search)?;
    votes(program, labels, &references, argument, &mut search.cut)
}

fn votes(
    program: &mut Program<'_, '_>,
    labels: &Labels,
    references: &[u64],
    argument: usize,
    cut: &mut bool,
) -> Result<Vec<Candidate>, ElfError> {
    let argument = program.arch.arguments()[argument];
    let mut votes = Votes::default();
    // Every function that is called anywhere near. Jumps to them are tail calls.
    let mut functions = BTreeSet::new();
    let mut traced = Vec::new();
    for &reference in references {
        let mut seen = Traced { reference, ..Traced::default() };
        *cut |= trace(program, labels, reference, |insn, state| {
            match insn.flow {
                Flow::Call(Some(target)) => {
                    if functions.len() < MAX_TARGETS {
                        functions.insert(target);
                    }
                    seen.calls.extend(Vote::of(labels, insn, target, state.get(argument)));
                }
                Flow::Jump(target) | Flow::Branch(target) => seen.jumps.push(target),
                _ => {}
            }
            Path::On
        })?;
        traced.push(seen);
    }
    for seen in traced {
        if !seen.jumps.iter().any(|target| functions.contains(target)) {
            seen.calls.into_iter().for_each(|vote| votes.add(vote));
            continue;
        }
        // Once more, now that the tail calls are known: they end a path.
        *cut |= trace(program, labels, seen.reference, |insn, state| {
            let (target, end) = match insn.flow {
                Flow::Call(Some(target)) => (target, Path::On),
                Flow::Jump(target) | Flow::Branch(target) if functions.contains(&target) => {
                    (target, Path::End)
                }
                _ => return Path::On,
            };
            if let Some(vote) = Vote::of(labels, insn, target, state.get(argument)) {
                votes.add(vote);
            }
            end
        })?;
    }
    let candidates = votes.0.into_values();
    Ok(candidates.filter(|candidate| program.elf.is_code(candidate.function)).collect())
}

/// What was seen on the way from one reference, before all functions were known.
#[derive(Default)]
struct Traced {
    reference: u64,
    calls: Vec<Vote>,
    /// The targets of its jumps.
    jumps: Vec<u64>,
}

/// A call or tail jump that passes a label.
struct Vote {
    function: u64,
    call: u64,
    label: LabelSet,
}

impl Vote {
    /// If `argument` is a label.
    fn of(labels: &Labels, insn: &Insn, function: u64, argument: Value) -> Option<Self> {
        let Value::Constant(address) = argument else {
            return None;
        };
        let label = labels.at(address);
        (label != LabelSet::default()).then_some(Self { function, call: insn.address, label })
    }
}

/// The votes by function.
#[derive(Default)]
struct Votes(BTreeMap<u64, Candidate>);

impl Votes {
    fn add(&mut self, Vote { function, call, label }: Vote) {
        let candidate = self.0.entry(function).or_insert_with(|| Candidate {
            function,
            labels: LabelSet::default(),
            calls: BTreeSet::new(),
        });
        candidate.labels.add(label);
        candidate.calls.insert(call);
    }
}

/// Addresses of instructions that load a label's address; those that load another go to `search`.
fn references(
    program: &mut Program<'_, '_>,
    labels: &Labels,
    others: &[u64],
    search: &mut Search,
) -> Result<Vec<u64>, ElfError> {
    let labels = labels.addresses();
    let wanted = Addresses::new([labels.as_slice(), others].concat());
    let mut found = Vec::new();
    program.scan_code(|arch, code| {
        arch.references(code, &wanted, &mut found);
        found.len() <= MAX_REFERENCES
    })?;
    found.sort_unstable();
    found.dedup();
    if found.len() > MAX_REFERENCES {
        found.truncate(MAX_REFERENCES);
        search.cut = true;
    }
    if others.is_empty() {
        return Ok(found);
    }
    let others = Addresses::new(others.to_vec());
    let mut to_labels = Vec::new();
    for reference in found {
        match program.decode(reference)?.and_then(|insn| loaded(&insn)) {
            Some(address) if others.contains(address) => search.others.push((reference, address)),
            _ => to_labels.push(reference),
        }
    }
    Ok(to_labels)
}

/// The constant that an instruction puts somewhere.
fn loaded(insn: &Insn) -> Option<u64> {
    match insn.effect {
        Effect::Assign(_, source) | Effect::Store(_, source) => match source {
            Source::Constant(address) => Some(address),
            Source::Address(Place { base: None, index: None, offset, .. }) => Some(offset as u64),
            _ => None,
        },
        _ => None,
    }
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

#[cfg(test)]
mod tests {
    use super::super::sample::{CLIENT_RANDOM, EARLY_EXPORTER, EXPORTER, FUNCTION, Sample};
    use super::*;

    fn search_in(sample: &Sample) -> Search {
        sample.with(|program, labels| search(program, labels, &[]).unwrap())
    }

    fn functions(sample: &Sample) -> Vec<u64> {
        search_in(sample).candidates.iter().map(|found| found.function).collect()
    }

    #[test]
    fn labels_in_the_second_argument_of_direct_calls() {
        let sample = Sample::with_function(&[0xc3]);
        let found = search_in(&sample);
        assert_eq!(found.references, 2);
        assert_eq!(found.candidates.len(), 1);
        assert_eq!(found.candidates[0].function, FUNCTION);
        assert_eq!(found.candidates[0].calls, BTreeSet::from([0x1007, 0x1014]));
        assert!(!found.cut);
    }

    #[test]
    fn references_to_other_addresses_are_told_apart() {
        let mut sample = Sample::with_function(&[0xc3]);
        let reference = sample.at(0x1900).here();
        sample.lea_rax(0x2030);
        let found = sample.with(|program, labels| search(program, labels, &[0x2030]).unwrap());
        assert_eq!((found.references, found.others), (2, vec![(reference, 0x2030)]));
        assert_eq!(found.candidates.len(), 1);
    }

    #[test]
    fn another_argument_or_one_label_alone_is_no_vote() {
        let mut sample = Sample::new();
        // lea rax, label; mov rdi, rax; call: the label is argument 0.
        for label in [CLIENT_RANDOM, EXPORTER] {
            sample.lea_rax(label).raw(&[0x48, 0x89, 0xc7]).call(FUNCTION).raw(&[0xc3]);
        }
        sample.lea_rsi(EXPORTER).call(FUNCTION).raw(&[0xc3]);
        sample.at(FUNCTION).raw(&[0xc3]);
        assert!(functions(&sample).is_empty());
    }

    #[test]
    fn labels_move_through_registers_slots_and_conditional_moves() {
        let mut sample = Sample::new();
        // lea rax, label; mov [rsp+0x30], rax; call elsewhere; mov rsi, [rsp+0x30]; call
        sample.lea_rax(EXPORTER).raw(&[0x48, 0x89, 0x44, 0x24, 0x30]).call(0x1700);
        sample.raw(&[0x48, 0x8b, 0x74, 0x24, 0x30]).call(FUNCTION).raw(&[0xc3]);
        // lea rax, label; lea rsi, other; test edx, edx; cmove rsi, rax; call
        sample.lea_rax(CLIENT_RANDOM).lea_rsi(EARLY_EXPORTER);
        sample.raw(&[0x85, 0xd2, 0x48, 0x0f, 0x44, 0xf0]).call(FUNCTION).raw(&[0xc3]);
        sample.at(0x1700).raw(&[0xc3]);
        sample.at(FUNCTION).raw(&[0xc3]);
        assert_eq!(functions(&sample), [FUNCTION]);
    }

    #[test]
    fn a_call_drops_the_registers_that_it_may_change() {
        let mut sample = Sample::new();
        for label in [CLIENT_RANDOM, EXPORTER] {
            // lea rsi, label; call elsewhere; call: rsi is no longer the label.
            sample.lea_rsi(label).call(0x1700).call(FUNCTION).raw(&[0xc3]);
        }
        sample.at(0x1700).raw(&[0xc3]);
        sample.at(FUNCTION).raw(&[0xc3]);
        assert_eq!(functions(&sample), [0x1700]);
    }

    #[test]
    fn both_sides_of_conditional_jumps_are_followed() {
        let mut sample = Sample::new();
        for label in [CLIENT_RANDOM, EXPORTER] {
            let there = sample.here() + 7 + 6 + 1;
            sample.lea_rsi(label).je(there).raw(&[0xc3]).call(FUNCTION).raw(&[0xc3]);
        }
        sample.at(FUNCTION).raw(&[0xc3]);
        assert_eq!(functions(&sample), [FUNCTION]);
    }

    #[test]
    fn tail_jumps_into_functions_are_votes_and_are_not_followed() {
        let mut sample = Sample::new();
        sample.lea_rsi(CLIENT_RANDOM).call(FUNCTION).raw(&[0xc3]);
        let jump = sample.here() + 7;
        sample.lea_rsi(EXPORTER).jmp(FUNCTION);
        // The function passes its label on as argument 1 of another: not what is looked for.
        sample.at(FUNCTION).call(0x1900).raw(&[0xc3]);
        sample.at(0x1900).raw(&[0xc3]);
        let found = search_in(&sample);
        assert_eq!(found.candidates.len(), 1);
        assert_eq!(found.candidates[0].function, FUNCTION);
        assert!(found.candidates[0].calls.contains(&jump));
    }

    #[test]
    fn constants_in_images_at_a_fixed_address() {
        let mut sample = Sample::new();
        sample.fixed = true;
        // mov esi, label; call. movq [rsp+8], label; mov rsi, [rsp+8]; jmp.
        sample.raw(&[0xbe]).raw(&(CLIENT_RANDOM as u32).to_le_bytes()).call(FUNCTION).raw(&[0xc3]);
        sample.raw(&[0x48, 0xc7, 0x44, 0x24, 0x08]).raw(&(EXPORTER as u32).to_le_bytes());
        sample.raw(&[0x48, 0x8b, 0x74, 0x24, 0x08]).jmp(FUNCTION);
        sample.at(FUNCTION).raw(&[0xc3]);
        assert_eq!(functions(&sample), [FUNCTION]);
        sample.fixed = false;
        assert!(functions(&sample).is_empty());
    }

    #[test]
    fn work_is_bounded_and_the_result_says_so() {
        let mut sample = Sample::with_function(&[0xc3]);
        let cut = sample.with(|program, labels| {
            program.budget = 3;
            search(program, labels, &[]).unwrap().cut
        });
        assert!(cut);
        // A loop that would never end.
        sample.at(0x1f00).lea_rsi(CLIENT_RANDOM).raw(&[0xeb, 0xfe]);
        assert_eq!(functions(&sample), [FUNCTION]);
    }
}
