//! The error records that a function files: they name it, in any build that is not stripped of its error messages.
//!
//! `ERR_put_error(library, function, reason, file, line)` in OpenSSL 1.1, BoringSSL and AWS-LC (`crypto/err/err.c`);
//! `ERR_set_debug(file, line, function)` from OpenSSL 3.0 (`include/openssl/err.h`, `ERR_raise`).

use std::collections::BTreeSet;

use super::arch::{Flow, Insn, Reg};
use super::machine::{State, Value};
use super::walk::{Limits, Path, Program, key_of};
use super::window::ReadError;

/// The longest function on the data path that was measured has 600 instructions.
const LIMITS: Limits = Limits { path: 1_500, walk: 12_000 };
/// From a reference to the file's name to the call, when all other arguments come after it: five, and a jump.
const NEAR: Limits = Limits { path: 12, walk: 24 };
/// Functions that one function is seen to pass its argument to.
const MAX_PASSED: usize = 64;

/// The arguments of a call that files an error record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Record {
    /// By numbers.
    Coded {
        /// `ERR_LIB_SSL`, or another.
        library: u64,
        /// The function's number; 0 in BoringSSL.
        function: u64,
        /// `SSL_R_UNINITIALIZED`, or another.
        reason: u64,
        /// In the source file.
        line: u64,
    },
    /// By the function's name: where the name is in the image.
    Named(u64),
}

/// What the records hold that is looked for.
pub trait Strings {
    /// Whether the name of the source file is at `address`.
    fn is_file(&self, address: u64) -> bool;
    /// Whether the name of a function that is looked for is at `address`.
    fn is_name(&self, address: u64) -> bool;
}

/// What one function does with its argument 0, and its records.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Body {
    /// The records that it files.
    pub records: BTreeSet<Record>,
    /// Offset from what argument 0 points to, and size, of each load; bytes.
    pub reads: BTreeSet<(i64, u8)>,
    /// Functions that get argument 0 as their own argument 0, by call or tail jump.
    pub passed: BTreeSet<u64>,
}

impl Body {
    /// Follows the code from `start` along all its paths.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn of(
        program: &mut Program<'_, '_>,
        start: u64,
        strings: &impl Strings,
    ) -> Result<Self, ReadError> {
        let registers = program.arch.arguments();
        let root = registers[0];
        let mut body = Self::default();
        // Compilers join the ends of error paths: what differs is the constants that they come with.
        let key = |state: &State| {
            let matters = |value| match value {
                Value::Constant(_) => true,
                Value::Initial { root: from, .. } => from == root,
                _ => false,
            };
            key_of(state.known().filter(move |&(_, slot, value)| {
                matters(value) && (slot.is_none() || !matches!(value, Value::Constant(_)))
            }))
        };
        program.walk(start, State::new(), LIMITS, key, |insn, state| {
            body.look(insn, state, registers, strings);
            Path::On
        })?;
        Ok(body)
    }

    fn look(&mut self, insn: &Insn, state: &State, registers: &[Reg], strings: &impl Strings) {
        let root = registers[0];
        if let Some(place) = insn.reads
            && let Value::Initial { root: from, offset } = state.address(&place)
            && from == root
        {
            self.reads.insert((offset, place.size));
        }
        if let Flow::Call(Some(target)) | Flow::Jump(target) = insn.flow
            && state.get(root) == (Value::Initial { root, offset: 0 })
            && self.passed.len() < MAX_PASSED
        {
            self.passed.insert(target);
        }
        if matches!(insn.flow, Flow::Call(_)) {
            self.records.extend(record(state, registers, strings));
        }
    }
}

/// The record of the first call after `reference`, where the file's name is the first of the arguments to be set, as
/// Clang does.
///
/// # Errors
/// When the file cannot be read.
pub fn near(
    program: &mut Program<'_, '_>,
    reference: u64,
    strings: &impl Strings,
) -> Result<Option<Record>, ReadError> {
    let registers = program.arch.arguments();
    let mut found = None;
    program.walk(
        reference,
        State::new(),
        NEAR,
        |_| key_of([0u8].iter()),
        |insn, state| match insn.flow {
            Flow::Call(_) => {
                found = found.or_else(|| record(state, registers, strings));
                Path::End
            }
            _ => Path::On,
        },
    )?;
    Ok(found)
}

/// The record that a call files whose arguments are in `registers`.
fn record(state: &State, registers: &[Reg], strings: &impl Strings) -> Option<Record> {
    let constant = |index: usize| match state.get(*registers.get(index)?) {
        Value::Constant(value) => Some(value),
        _ => None,
    };
    if constant(0).is_some_and(|file| strings.is_file(file)) {
        return constant(2).filter(|&name| strings.is_name(name)).map(Record::Named);
    }
    constant(3).filter(|&file| strings.is_file(file))?;
    Some(Record::Coded {
        library: constant(0)?,
        function: constant(1)?,
        reason: constant(2)?,
        line: constant(4)?,
    })
}

#[cfg(test)]
mod tests {
    use super::super::sample::{CLIENT_RANDOM, EXPORTER, FUNCTION, Sample};
    use super::*;

    /// The label `CLIENT_RANDOM` stands for the file's name, `EXPORTER_SECRET` for a function's.
    struct Labels;

    impl Strings for Labels {
        fn is_file(&self, address: u64) -> bool {
            address == CLIENT_RANDOM
        }

        fn is_name(&self, address: u64) -> bool {
            address == EXPORTER
        }
    }

    fn body(sample: &Sample) -> Body {
        sample.with(|program, _| Body::of(program, FUNCTION, &Labels).unwrap())
    }

    fn coded(reason: u64, line: u64) -> Record {
        Record::Coded { library: 16, function: 0, reason, line }
    }

    #[test]
    fn records_whose_ends_were_joined() {
        let mut sample = Sample::new();
        // cmp [rdi+0x30], 0; mov edx, 226; mov r8d, 900; je over; mov edx, 66; mov r8d, 901; over:
        sample.at(FUNCTION).raw(&[0x48, 0x83, 0x7f, 0x30, 0]);
        sample.raw(&[0xba, 226, 0, 0, 0, 0x41, 0xb8, 0x84, 3, 0, 0, 0x74, 11]);
        sample.raw(&[0xba, 66, 0, 0, 0, 0x41, 0xb8, 0x85, 3, 0, 0]);
        // mov edi, 16; xor esi, esi; lea rcx, file; call; ret
        let reference = sample.here() + 7;
        sample.raw(&[0xbf, 16, 0, 0, 0, 0x31, 0xf6]).to(&[0x48, 0x8d, 0x0d], CLIENT_RANDOM);
        sample.call(0x1900).raw(&[0xc3]).at(0x1900).raw(&[0xc3]);
        let body = body(&sample);
        assert_eq!(body.records, BTreeSet::from([coded(66, 901), coded(226, 900)]));
        assert_eq!(body.reads, BTreeSet::from([(0x30, 8)]));
        assert!(body.passed.is_empty());
        // What is set before the reference is not seen from there.
        let near = sample.with(|program, _| near(program, reference, &Labels).unwrap());
        assert_eq!(near, None);
    }

    #[test]
    fn the_record_after_a_reference() {
        let mut sample = Sample::new();
        // lea rcx, file; mov edi, 16; xor esi, esi; mov edx, 134; mov r8d, 731; jmp to the call
        sample.at(FUNCTION).to(&[0x48, 0x8d, 0x0d], CLIENT_RANDOM);
        sample.raw(&[0xbf, 16, 0, 0, 0, 0x31, 0xf6, 0xba, 134, 0, 0, 0]);
        sample.raw(&[0x41, 0xb8, 0xdb, 2, 0, 0, 0xeb, 0]).call(0x1900).raw(&[0xc3]);
        let near = sample.with(|program, _| near(program, FUNCTION, &Labels).unwrap());
        assert_eq!(near, Some(coded(134, 731)));
    }

    #[test]
    fn a_record_by_name_and_a_connection_that_is_passed_on() {
        let mut sample = Sample::new();
        // push rbx; mov rbx, rdi; call (passes it); call (does not)
        sample.at(FUNCTION).raw(&[0x53, 0x48, 0x89, 0xfb]).call(0x1900).call(0x1910);
        // lea rdx, name; lea rdi, file; call; mov rdi, rbx; pop rbx; jmp (passes it)
        sample.to(&[0x48, 0x8d, 0x15], EXPORTER).to(&[0x48, 0x8d, 0x3d], CLIENT_RANDOM);
        sample.call(0x1920).raw(&[0x48, 0x89, 0xdf, 0x5b]).jmp(0x1930);
        for function in [0x1900, 0x1910, 0x1920, 0x1930] {
            sample.at(function).raw(&[0xc3]);
        }
        let body = body(&sample);
        assert_eq!(body.records, BTreeSet::from([Record::Named(EXPORTER)]));
        assert_eq!(body.passed, BTreeSet::from([0x1900, 0x1930]));
    }
}
