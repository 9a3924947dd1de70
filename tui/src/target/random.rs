//! The path from the connection pointer to the client random, read from code (facts, part 1, rules R1 and R2).

use super::arch::{Flow, Insn, Reg};
use super::machine::{State, Value};
use super::plan::RandomPath;
use super::walk::{Limits, Path, Program, key_of};
use super::window::ReadError;

/// `SSL3_RANDOM_SIZE`.
const RANDOM_SIZE: u64 = 32;
/// The longest `ssl_log_secret` that was measured has about 250 instructions.
const LIMITS: Limits = Limits { path: 600, walk: 6_000 };
/// Structures that hold the client random are smaller than this.
const MAX_OFFSET: i64 = 0x4000;

/// Which rule gave the path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rule {
    /// R1: an expression of argument 0 and then 32, as arguments of a call.
    Argument,
    /// R2: the lowest load of 1 or 16 bytes.
    Load,
}

/// What a function says about the client random.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Evidence {
    /// Expressions of argument 0 that are followed by the constant 32 in a call's arguments, as found.
    pub arguments: Vec<RandomPath>,
    /// Expressions of argument 0 that are arguments of any call, or the result of the function.
    pub passed: Vec<RandomPath>,
    /// Loads of 1 or 16 bytes through argument 0, by offset.
    pub loads: Vec<RandomPath>,
}

impl Evidence {
    /// Walks `function`.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn of(program: &mut Program<'_, '_>, function: u64) -> Result<Self, ReadError> {
        let registers = program.arch.arguments();
        let root = registers[0];
        let mut found = Self::default();
        let key = |state: &State| {
            key_of(state.known().filter(|&(_, _, value)| path_of(value, root).is_some()))
        };
        program.walk(function, State::new(), LIMITS, key, |insn, state| {
            found.look(insn, state, registers);
            Path::On
        })?;
        found.loads.sort_unstable_by_key(|path| (path.offset, path.deref));
        Ok(found)
    }

    fn look(&mut self, insn: &Insn, state: &State, registers: &[Reg]) {
        let root = registers[0];
        if let Some(place) = insn.reads
            && matches!(place.size, 1 | 16)
            && let Some(path) = path_of(state.address(&place), root)
        {
            push(&mut self.loads, path);
        }
        if matches!(insn.flow, Flow::Call(_) | Flow::Jump(_)) {
            for pair in registers.windows(2) {
                let Some(path) = path_of(state.get(pair[0]), root) else {
                    continue;
                };
                push(&mut self.passed, path);
                if state.get(pair[1]) == Value::Constant(RANDOM_SIZE) {
                    push(&mut self.arguments, path);
                }
            }
        }
    }

    /// The path that rule R1 gives, or else R2.
    pub fn path(&self) -> Option<(RandomPath, Rule)> {
        let first = |paths: &[RandomPath], rule| paths.first().map(|&path| (path, rule));
        first(&self.arguments, Rule::Argument).or_else(|| first(&self.loads, Rule::Load))
    }

    /// Whether `path` occurs in any form.
    pub fn mentions(&self, path: RandomPath) -> bool {
        self.passed.contains(&path) || self.loads.contains(&path)
    }

    /// Whether nothing at all was found.
    pub fn is_empty(&self) -> bool {
        self.passed.is_empty() && self.loads.is_empty()
    }
}

fn push(paths: &mut Vec<RandomPath>, path: RandomPath) {
    if !paths.contains(&path) {
        paths.push(path);
    }
}

/// `value` as a path from argument 0. The start of a structure is not one: no client random is there, and the
/// pointer itself is passed around everywhere.
fn path_of(value: Value, argument: Reg) -> Option<RandomPath> {
    let small = |offset: i64| {
        (0..MAX_OFFSET).contains(&offset).then(|| u32::try_from(offset).ok()).flatten()
    };
    let (root, deref, offset) = match value {
        Value::Initial { root, offset } => (root, None, small(offset)?),
        Value::Loaded { root, at, offset } => (root, Some(small(at)?), small(offset)?),
        _ => return None,
    };
    (root == argument && offset != 0).then_some(RandomPath { deref, offset })
}
