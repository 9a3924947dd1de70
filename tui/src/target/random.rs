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

#[cfg(test)]
mod tests {
    use super::super::sample::{FUNCTION, Sample};
    use super::*;

    fn evidence(body: &[u8]) -> Evidence {
        let mut sample = Sample::new();
        sample.at(FUNCTION).raw(body).raw(&[0xc3]);
        sample.with(|program, _| Evidence::of(program, FUNCTION).unwrap())
    }

    fn path(body: &[u8]) -> Option<(Option<u32>, u32, Rule)> {
        evidence(body).path().map(|(path, rule)| (path.deref, path.offset, rule))
    }

    #[test]
    fn an_expression_followed_by_32_in_a_tail_jump() {
        let body = [
            0x48, 0x89, 0xf8, // mov rax, rdi
            0x48, 0x8d, 0x90, 0x60, 0x01, 0, 0, // lea rdx, [rax+0x160]
            0xb9, 0x20, 0, 0, 0, // mov ecx, 0x20
            0xe9, 0x10, 0, 0, 0, // jmp
        ];
        assert_eq!(path(&body), Some((None, 0x160, Rule::Argument)));
    }

    #[test]
    fn an_expression_through_a_pointer_that_was_spilled() {
        let body = [
            0x48, 0x89, 0x7c, 0x24, 0xf8, // mov [rsp-8], rdi
            0xe8, 0, 0, 0, 0, // call
            0x48, 0x8b, 0x44, 0x24, 0xf8, // mov rax, [rsp-8]
            0x48, 0x8b, 0x70, 0x30, // mov rsi, [rax+0x30]
            0x48, 0x83, 0xc6, 0x30, // add rsi, 0x30
            0xba, 0x20, 0, 0, 0, // mov edx, 0x20
            0xe8, 0, 0, 0, 0, // call
        ];
        assert_eq!(path(&body), Some((Some(0x30), 0x30, Rule::Argument)));
    }

    #[test]
    fn the_lowest_load_when_the_callee_was_inlined() {
        let body = [
            0x49, 0x89, 0xfc, // mov r12, rdi
            0x48, 0x8b, 0x97, 0xa8, 0x09, 0, 0, // mov rdx, [rdi+0x9a8]: 8 bytes, not a random
            0x4d, 0x8d, 0xbc, 0x24, 0x88, 0x01, 0, 0, // lea r15, [r12+0x188]
            0x41, 0x0f, 0xb6, 0x17, // movzx edx, byte [r15]
            0x49, 0x83, 0xc7, 0x01, // add r15, 1
            0x75, 0xf6, // jne back to the load
        ];
        assert_eq!(path(&body), Some((None, 0x188, Rule::Load)));
    }

    #[test]
    fn vector_loads_and_indexed_loads() {
        let vector = [
            0x48, 0x8b, 0x47, 0x30, // mov rax, [rdi+0x30]
            0xf3, 0x0f, 0x6f, 0x48, 0x40, // movdqu xmm1, [rax+0x40]
            0xf3, 0x0f, 0x6f, 0x40, 0x30, // movdqu xmm0, [rax+0x30]
        ];
        assert_eq!(path(&vector), Some((Some(0x30), 0x30, Rule::Load)));
        // movzx eax, byte [rdi+rbx+0x148] with rbx unknown
        let indexed = [0x0f, 0xb6, 0x84, 0x1f, 0x48, 0x01, 0, 0];
        assert_eq!(path(&indexed), Some((None, 0x148, Rule::Load)));
    }

    #[test]
    fn other_pointers_and_the_pointer_itself_are_nothing() {
        // mov ecx, 0x20; mov rdx, rdi; call: argument 0 itself is not the random.
        assert_eq!(path(&[0xb9, 0x20, 0, 0, 0, 0x48, 0x89, 0xfa, 0xe8, 0, 0, 0, 0]), None);
        // movzx eax, byte [rsi+5]: not through argument 0.
        assert_eq!(path(&[0x0f, 0xb6, 0x46, 0x05]), None);
        // movzx eax, byte [rdi-8]
        assert_eq!(path(&[0x0f, 0xb6, 0x47, 0xf8]), None);
    }
}
