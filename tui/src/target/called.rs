//! Where functions start in a file without an unwind table for them: where something calls.
//!
//! A start is believed when all of this holds: it is aligned as functions are; it is the target of what may be a
//! direct call or jump; no padding of the kind that only linkers put between functions lies between it and the place
//! that is in the function; and following the code from it shows what the function is known to hold, which the
//! caller of this module sees to.

use std::collections::BTreeSet;
use std::ops::Range;

use super::arch::Code;
use super::elf::{ElfError, Segment};
use super::walk::Program;
use super::window::ReadError;

/// A function is at most as long; the longest of those that are looked for has 3 KiB.
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
    let mut candidates = Candidates { reach: Vec::new(), targets: BTreeSet::new() };
    for &place in places {
        if let Some(floor) = floor(program, place)? {
            candidates.reach.push(floor..place.saturating_add(1));
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
    targets: BTreeSet<u64>,
}

impl Candidates {
    /// The possible starts of the function that holds `place`, the nearest first.
    pub fn before(&self, place: u64) -> Vec<u64> {
        let reach = self.reach.iter().find(|reach| reach.end == place.saturating_add(1));
        reach.map_or_else(Vec::new, |reach| {
            self.targets.range(reach.clone()).rev().copied().collect()
        })
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
            found.retain(|target| target.is_multiple_of(alignment));
            candidates.targets.extend(found.drain(..));
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
    fn before(sample: &Sample, place: u64) -> Vec<u64> {
        sample.with(|program, _| {
            let mut found = Vec::new();
            search(program, &[place], |_, candidates| {
                found = candidates.before(place);
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
        sample.at(0x1800).raw(&[0x90; 0x100]);
        assert_eq!(before(&sample, 0x1830), [0x1820, 0x1800]);
        assert_eq!(before(&sample, 0x1810), [0x1800]);
    }

    #[test]
    fn without_padding_or_calls_there_are_none() {
        let mut sample = Sample::new();
        sample.at(0x1800).raw(&[0x90; 0x100]);
        assert!(before(&sample, 0x1830).is_empty());
        assert!(before(&sample, 0).is_empty() && before(&sample, u64::MAX).is_empty());
        let mut sample = Sample::new();
        sample.call(CODE).raw(&[0x90; 0x200]);
        assert!(before(&sample, 0x1100).is_empty());
    }
}
