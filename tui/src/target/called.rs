//! Where functions start in a file without an unwind table for them: where something calls.
//!
//! A start is believed when all of this holds: it is aligned as functions are; it is the target of what may be a
//! direct call or jump; no padding of the kind that only linkers put between functions lies between it and the place
//! that is in the function; and following the code from it shows what the function is known to hold, which the
//! caller of this module sees to.

use std::collections::BTreeMap;
use std::ops::Range;

use super::arch::Code;
use super::elf::{ElfError, Segment};
use super::walk::Program;
use super::window::ReadError;

/// Functions that are looked for are shorter, in every file that was measured. Bytes.
const MAX_FUNCTION: u64 = 16 * 1024;
/// Calls are looked for at this distance first, then further: the callers within the library are beside the
/// function, those in the program (Chromium: 5 MiB, bun: 10 MiB) are not. Bytes.
const RINGS: [u64; 4] = [1 << 20, 8 << 20, 64 << 20, u64::MAX];
/// Targets that are kept.
const MAX_TARGETS: usize = 4_096;

/// Looks for the start of the functions that hold `places`. `settle` gets the candidates within reach that were
/// found so far, and returns whether they are enough.
///
/// # Errors
/// When the file cannot be read.
pub fn search(
    program: &mut Program<'_, '_>,
    places: &[u64],
    mut settle: impl FnMut(&mut Program<'_, '_>, &Candidates) -> Result<bool, ReadError>,
) -> Result<(), ElfError> {
    let mut candidates = Candidates { reach: Vec::new(), targets: BTreeMap::new() };
    for &place in places {
        if let (Some(start), Some(end)) = (floor(program, place)?, ceiling(program, place)?) {
            candidates.reach.push(start..end);
        }
    }
    let Some(span) = span(&candidates.reach) else {
        return Ok(());
    };
    let mut done = span.start..span.start;
    for distance in RINGS {
        let next = span.start.saturating_sub(distance)..span.end.saturating_add(distance);
        for part in [next.start..done.start, done.end..next.end] {
            scan(program, &part, &mut candidates)?;
        }
        done = next;
        if settle(program, &candidates)? || candidates.targets.len() > MAX_TARGETS {
            break;
        }
    }
    Ok(())
}

/// Where something calls, near the places that were asked for.
#[derive(Clone, Debug)]
pub struct Candidates {
    reach: Vec<Range<u64>>,
    /// And whether one of them is a call.
    targets: BTreeMap<u64, bool>,
}

impl Candidates {
    /// What may be the function that holds `place`, from each possible start to the next function that is called, or
    /// to the padding; the shortest first.
    pub fn around(&self, place: u64) -> Vec<Range<u64>> {
        let Some(reach) = self.reach.iter().find(|reach| reach.contains(&place)) else {
            return Vec::new();
        };
        // Jumps also go to places within a function.
        let mut after = self.targets.range(place..reach.end);
        let next = after.find(|&(&target, &is_called)| target > place && is_called);
        let end = next.map_or(reach.end, |(&target, _)| target);
        self.targets.range(reach.start..=place).rev().map(|(&start, _)| start..end).collect()
    }
}

/// The nearest aligned address up to `place` that follows padding between functions.
fn floor(program: &mut Program<'_, '_>, place: u64) -> Result<Option<u64>, ReadError> {
    let (alignment, fill) = program.arch.padding();
    let mut address = place - place % alignment;
    while place - address < MAX_FUNCTION {
        let Some(before) = address.checked_sub(1) else {
            break;
        };
        match program.bytes_at(before)? {
            Some(bytes) if bytes.first() == Some(&fill) => return Ok(Some(address)),
            Some(_) => {}
            None => break,
        }
        let Some(lower) = address.checked_sub(alignment) else {
            break;
        };
        address = lower;
    }
    Ok(None)
}

/// The nearest aligned address after `place` that follows padding between functions.
fn ceiling(program: &mut Program<'_, '_>, place: u64) -> Result<Option<u64>, ReadError> {
    let (alignment, fill) = program.arch.padding();
    let mut address = place - place % alignment;
    while address < place.saturating_add(MAX_FUNCTION) {
        let Some(next) = address.checked_add(alignment) else {
            break;
        };
        address = next;
        let Some(bytes) = program.bytes_at(address - 1)? else {
            break;
        };
        if bytes.first() == Some(&fill) {
            return Ok(Some(address));
        }
    }
    Ok(None)
}

fn span(reach: &[Range<u64>]) -> Option<Range<u64>> {
    let start = reach.iter().map(|reach| reach.start).min()?;
    Some(start..reach.iter().map(|reach| reach.end).max()?)
}

/// Adds what the code at addresses within `part` calls.
fn scan(
    program: &mut Program<'_, '_>,
    part: &Range<u64>,
    candidates: &mut Candidates,
) -> Result<(), ReadError> {
    let (alignment, _) = program.arch.padding();
    let mut found = Vec::new();
    let Program { window, elf, arch, .. } = program;
    for &Segment { address: start, offset, size, .. } in elf.code() {
        let from = part.start.clamp(start, start.saturating_add(size));
        let to = part.end.clamp(from, start.saturating_add(size));
        window.scan(offset + (from - start), to - from, 16, |at, bytes, own| {
            let address = start.wrapping_add(at - offset);
            let code = Code { bytes, address, own, fixed: elf.fixed };
            arch.call_targets(code, &candidates.reach, &mut found);
            found.retain(|(target, _)| target.is_multiple_of(alignment));
            for (target, is_called) in found.drain(..) {
                *candidates.targets.entry(target).or_default() |= is_called;
            }
            candidates.targets.len() <= MAX_TARGETS
        })?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::sample::{CODE, Sample};
    use super::*;

    /// The candidates for `place` in a sample, once all code was seen.
    fn around(sample: &Sample, place: u64) -> Vec<Range<u64>> {
        sample.with(|program, _| {
            let mut found = Vec::new();
            search(program, &[place], |_, candidates| {
                found = candidates.around(place);
                Ok(false)
            })
            .unwrap();
            found
        })
    }

    #[test]
    fn aligned_targets_after_the_padding_are_candidates_the_nearest_first() {
        let mut sample = Sample::new();
        // Before the padding, after it, within the function, not aligned, after the place.
        for target in [0x17e0, 0x1800, 0x1820, 0x1823, 0x1840] {
            sample.call(target);
        }
        sample.jmp(0x1860).at(0x1800).raw(&[0x90; 0xf3]).at(0x1900);
        assert_eq!(around(&sample, 0x1830), [0x1820..0x1840, 0x1800..0x1840]);
        assert!(around(&sample, 0x1810).iter().eq([&(0x1800..0x1820)]));
        assert_eq!(around(&sample, 0x1850), [0x1840..0x1900, 0x1820..0x1900, 0x1800..0x1900]);
    }

    #[test]
    fn without_padding_or_calls_there_are_none() {
        let mut sample = Sample::new();
        sample.at(0x1800).raw(&[0x90; 0xf3]).at(0x1900);
        assert!(around(&sample, 0x1830).is_empty());
        assert!(around(&sample, 0).is_empty() && around(&sample, u64::MAX).is_empty());
        let mut sample = Sample::new();
        sample.call(CODE).raw(&[0x90; 0x200]);
        assert!(around(&sample, 0x1100).is_empty());
    }
}
