//! Instructions that refer to addresses, and the functions that hold them.

use std::collections::BTreeSet;
use std::ops::Range;

use crate::target::arch::{Addresses, Code, Effect, Flow, Insn, Source};
use crate::target::eh_frame::Frames;
use crate::target::elf::ElfError;
use crate::target::walk::Program;
use crate::target::window::ReadError;

/// Bytes of one function; the longest with a key log's label that was seen has 37 KiB (uv).
const MAX_FUNCTION: u64 = 512 * 1024;

/// What may be instructions that load one of `addresses`, up to `most`.
///
/// # Errors
/// When the file cannot be read.
pub fn references(
    program: &mut Program<'_, '_>,
    addresses: Vec<u64>,
    most: usize,
) -> Result<Vec<u64>, ElfError> {
    let wanted = Addresses::new(addresses);
    let mut found = Vec::new();
    let Program { window, elf, arch, .. } = program;
    for segment in elf.code() {
        window.scan(segment.offset, segment.size, 16, |offset, bytes, own| {
            let address = segment.address.wrapping_add(offset - segment.offset);
            arch.references(Code { bytes, address, own, fixed: elf.fixed }, &wanted, &mut found);
            found.len() <= most
        })?;
    }
    found.sort_unstable();
    found.dedup();
    found.truncate(most);
    Ok(found)
}

/// A function's instructions in memory order, decoded from its start.
#[derive(Clone, Debug)]
pub struct Body {
    /// Its addresses.
    pub range: Range<u64>,
    /// By address.
    pub insns: Vec<Insn>,
    targets: BTreeSet<u64>,
}

impl Body {
    /// Decodes the function that holds `address`; `None` where the unwind table knows none, it is too long, or not all
    /// of it is instructions.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn around(program: &mut Program<'_, '_>, address: u64) -> Result<Option<Self>, ReadError> {
        let elf = program.elf;
        let frames = Frames::find(program.window, elf);
        let function = frames.and_then(|frames| frames.function_at(program.window, address));
        let Some(range) = function.filter(|range| range.end - range.start <= MAX_FUNCTION) else {
            return Ok(None);
        };
        let mut body = Self { range: range.clone(), insns: Vec::new(), targets: BTreeSet::new() };
        let mut at = range.start;
        while at < range.end {
            let Some(insn) = program.decode(at)?.filter(|_| program.budget > 0) else {
                return Ok(None);
            };
            program.budget -= 1;
            if let Flow::Jump(target) | Flow::Branch(target) = insn.flow {
                body.targets.insert(target);
            }
            at = insn.next();
            body.insns.push(insn);
        }
        Ok((at == range.end).then_some(body))
    }

    /// The instruction that starts at `address`, and its place among the others.
    pub fn at(&self, address: u64) -> Option<(usize, &Insn)> {
        let index = self.insns.binary_search_by_key(&address, |insn| insn.address).ok()?;
        Some((index, &self.insns[index]))
    }

    /// The first of up to `most` instructions before the one at `index` from which control only comes to it.
    pub fn block(&self, index: usize, most: usize) -> u64 {
        let mut first = index;
        while first > 0
            && index - first < most
            && !self.targets.contains(&self.insns[first].address)
            && self.insns[first - 1].flow == Flow::Next
        {
            first -= 1;
        }
        self.insns[first].address
    }
}

/// The constant that an instruction puts somewhere.
pub fn loaded(insn: &Insn) -> Option<u64> {
    match insn.effect {
        Effect::Assign(_, source) | Effect::Store(_, source) => match source {
            Source::Constant(address) => Some(address),
            Source::Address(place) if place.base.is_none() && place.index.is_none() => {
                Some(place.offset as u64)
            }
            _ => None,
        },
        _ => None,
    }
}
