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
/// Without an unwind table: how far before a place the functions are that something calls, and how far behind it the
/// code is looked at. Bytes.
const BEFORE: u64 = 16 * 1024;
const BEHIND: u64 = 4 * 1024;
/// How far from them the calls are; those in the same crate are much nearer. Bytes.
const CALLERS: u64 = 1 << 20;
/// Calls that are kept.
const MAX_TARGETS: usize = 4_096;
/// How many of those functions must start where an instruction does, behind one that does not go on, out of the nearest
/// so many: what looks like a call may be none.
const STARTS: usize = 4;
const MAX_STARTS: usize = 32;

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
    program.scan_code(|arch, code| {
        arch.references(code, &wanted, &mut found);
        found.len() <= most
    })?;
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
    /// Decodes the code around `address`: the function that holds it, or without an unwind table what follows the
    /// nearest address before that something calls and where a function may start, if decoding from further ones comes
    /// to both.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn around(program: &mut Program<'_, '_>, address: u64) -> Result<Option<Self>, ReadError> {
        let elf = program.elf;
        match Frames::find(program.window, elf) {
            Some(_) => Self::function(program, address),
            None => Self::after_calls(program, address),
        }
    }

    /// Decodes the function that holds `address`; `None` where the unwind table knows none, it is too long, or not all
    /// of it is instructions.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn function(
        program: &mut Program<'_, '_>,
        address: u64,
    ) -> Result<Option<Self>, ReadError> {
        let elf = program.elf;
        let Some(frames) = Frames::find(program.window, elf) else {
            return Ok(None);
        };
        let function = frames.function_at(program.window, address);
        let Some(range) = function.filter(|range| range.end - range.start <= MAX_FUNCTION) else {
            return Ok(None);
        };
        let end = range.end;
        let body = Self::decoded(program, range)?;
        Ok(body.filter(|body| body.range.end == end))
    }

    fn after_calls(program: &mut Program<'_, '_>, address: u64) -> Result<Option<Self>, ReadError> {
        let within = address.saturating_sub(BEFORE)..address + 1;
        let mut targets = Vec::new();
        let Program { window, elf, arch, .. } = program;
        if let Some(segment) = elf.segment_at(address).filter(|segment| segment.executable) {
            let from = segment.address.max(address.saturating_sub(CALLERS));
            let end = segment.address.saturating_add(segment.size);
            let to = end.min(address.saturating_add(CALLERS));
            let offset = segment.offset + (from - segment.address);
            window.scan(offset, to - from, 16, |at, bytes, own| {
                let code = Code { bytes, address: from + (at - offset), own, fixed: elf.fixed };
                arch.call_targets(code, std::slice::from_ref(&within), &mut targets);
                targets.len() <= MAX_TARGETS
            })?;
        }
        targets.retain(|&(_, is_called)| is_called);
        targets.sort_unstable_by_key(|&(target, _)| std::cmp::Reverse(target));
        targets.dedup();
        let nearest = || targets.iter().take(MAX_STARTS).map(|target| target.0);
        let Some(farthest) = nearest().next_back() else {
            return Ok(None);
        };
        let Some(before) = Self::decoded(program, farthest..address)? else {
            return Ok(None);
        };
        let mut starts = nearest().filter(|&start| before.may_start(start)).peekable();
        let Some(&first) = starts.peek() else {
            return Ok(None);
        };
        if before.range.end != address || starts.count() < STARTS {
            return Ok(None);
        }
        let body = Self::decoded(program, first..address.saturating_add(BEHIND))?;
        Ok(body.filter(|body| body.at(address).is_some()))
    }

    /// Whether one of the instructions starts at `address`, and the one before does not go on to it: so a function may
    /// start there.
    fn may_start(&self, address: u64) -> bool {
        let Some((index, _)) = self.at(address) else {
            return false;
        };
        let before = index.checked_sub(1).map(|index| &self.insns[index]);
        before.is_none_or(|insn| match insn.flow {
            Flow::Next => insn.is_nop(),
            Flow::Branch(_) => false,
            Flow::Jump(_) | Flow::Call(_) | Flow::End => true,
        })
    }

    /// Decodes from a start at least to the end of the range, or as far as there are instructions.
    fn decoded(
        program: &mut Program<'_, '_>,
        range: Range<u64>,
    ) -> Result<Option<Self>, ReadError> {
        let mut body = Self { range: range.clone(), insns: Vec::new(), targets: BTreeSet::new() };
        let mut at = range.start;
        while at < range.end && program.budget > 0 {
            let Some(insn) = program.decode(at)? else {
                break;
            };
            program.budget -= 1;
            if let Flow::Jump(target) | Flow::Branch(target) = insn.flow {
                body.targets.insert(target);
            }
            at = insn.next();
            body.insns.push(insn);
        }
        body.range.end = at;
        Ok((!body.insns.is_empty()).then_some(body))
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
