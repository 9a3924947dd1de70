//! Where functions start in a stripped file: the unwind table that exceptions and profilers need.
//!
//! Only what the program headers name is read: `PT_GNU_EH_FRAME` holds a table of function starts, sorted for a
//! binary search, each with the address of its record (FDE) in `.eh_frame` (LSB Core 5.0, chapter 10.6). Every
//! byte is hostile: a number that does not fit says that there is no function.

use std::ops::Range;

use super::bytes::u32_at;
use super::elf::Elf;
use super::window::Window;

/// `DW_EH_PE_pcrel | DW_EH_PE_sdata4`: a signed distance of 32 bits from where it stands.
const FROM_HERE: u8 = 0x1b;
/// `DW_EH_PE_udata4`.
const COUNT: u8 = 0x03;
/// `DW_EH_PE_datarel | DW_EH_PE_sdata4`: a signed distance of 32 bits from the start of the header.
const FROM_HEADER: u8 = 0x3b;
/// Version, three encodings, the address of `.eh_frame`, the number of entries.
const HEADER: u64 = 12;
/// Two distances: of the function, of its FDE.
const ENTRY: u64 = 8;
/// Bytes of a CIE that are looked at: its augmentation is at the start.
const CIE: u64 = 48;

/// The table of one file.
#[derive(Clone, Copy, Debug)]
pub struct Frames<'e> {
    elf: &'e Elf,
    header: u64,
    entries: u64,
}

impl<'e> Frames<'e> {
    /// The table, if the file has one in the one form that GNU ld and LLD write.
    pub fn find(window: &mut Window<'_>, elf: &'e Elf) -> Option<Self> {
        let header = elf.unwind?;
        let start = read(window, elf, header, HEADER)?;
        if start.get(..4)? != [1, FROM_HERE, COUNT, FROM_HEADER] {
            return None;
        }
        let entries = u64::from(u32_at(&start, 8)?);
        // The last entry must be there: what follows is then inside the segment.
        let end = header.checked_add(HEADER)?.checked_add(entries.checked_mul(ENTRY)?)?;
        elf.segment_at(header)?.contains(end.checked_sub(1)?).then_some(Self {
            elf,
            header,
            entries,
        })
    }

    /// The addresses of the function, or of the cold part of one, that covers `address`; `None` where the table
    /// knows none.
    pub fn function_at(&self, window: &mut Window<'_>, address: u64) -> Option<Range<u64>> {
        let (mut low, mut high) = (0, self.entries);
        while low < high {
            let middle = low + (high - low) / 2;
            let (start, _) = self.entry(window, middle)?;
            if start <= address {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        let (start, record) = self.entry(window, low.checked_sub(1)?)?;
        let function = start..start.checked_add(self.length(window, record, start)?)?;
        function.contains(&address).then_some(function)
    }

    fn entry(&self, window: &mut Window<'_>, index: u64) -> Option<(u64, u64)> {
        let at = self.header.checked_add(HEADER)?.checked_add(index.checked_mul(ENTRY)?)?;
        let entry = read(window, self.elf, at, ENTRY)?;
        let place = |at| Some(distance(self.header, u32_at(&entry, at)?));
        Some((place(0)?, place(4)?))
    }

    /// The bytes of code that the FDE at `record` is for, if it is the record of `start`.
    fn length(&self, window: &mut Window<'_>, record: u64, start: u64) -> Option<u64> {
        // Length, distance back to the CIE, start, bytes of code.
        let fde = read(window, self.elf, record, 16)?;
        let back = u64::from(u32_at(&fde, 4)?);
        let cie = record.checked_add(4)?.checked_sub(back)?;
        if back == 0 || !self.is_from_here(window, cie)? {
            return None;
        }
        let begin = distance(record.checked_add(8)?, u32_at(&fde, 8)?);
        (begin == start).then_some(u64::from(u32_at(&fde, 12)?))
    }

    /// Whether the CIE at `cie` says that its records hold starts as distances of 32 bits.
    fn is_from_here(&self, window: &mut Window<'_>, cie: u64) -> Option<bool> {
        let bytes = read(window, self.elf, cie, CIE)?;
        if u32_at(&bytes, 4)? != 0 || !matches!(bytes.get(8)?, 1 | 3) {
            return Some(false);
        }
        let names = bytes.get(9..)?;
        let end = memchr::memchr(0, names)?;
        let (names, mut rest) = (names.get(..end)?, names.get(end + 1..)?);
        if names.first() != Some(&b'z') {
            return Some(false);
        }
        // Code and data alignment, return register, length of what the names describe.
        for _ in 0..4 {
            rest = after_leb128(rest)?;
        }
        for name in &names[1..] {
            match name {
                b'R' => return Some(rest.first() == Some(&FROM_HERE)),
                b'L' => rest = rest.get(1..)?,
                // The personality routine: its encoding, then 4 or 8 bytes.
                b'P' => {
                    let size = match rest.first()? & 0x0f {
                        0x03 | 0x0b => 4,
                        0x00 | 0x04 | 0x0c => 8,
                        _ => return Some(false),
                    };
                    rest = rest.get(1 + size..)?;
                }
                b'S' | b'B' => {}
                _ => return Some(false),
            }
        }
        Some(false)
    }
}

fn distance(from: u64, distance: u32) -> u64 {
    from.wrapping_add_signed(i64::from(distance as i32))
}

fn after_leb128(bytes: &[u8]) -> Option<&[u8]> {
    let last = bytes.iter().position(|byte| byte & 0x80 == 0)?;
    bytes.get(last + 1..)
}

/// `length` bytes at `address`, all in one segment; at most 64.
fn read(window: &mut Window<'_>, elf: &Elf, address: u64, length: u64) -> Option<Vec<u8>> {
    let segment = elf.segment_at(address)?;
    let within = address - segment.address;
    let most = (segment.size - within).min(length);
    let bytes = window.peek(segment.offset.checked_add(within)?, most as usize).ok()?;
    // A CIE near the end of its segment is shorter; what has a fixed size is asked for by its fields.
    Some(bytes.to_vec())
}

#[cfg(test)]
mod tests {
    use super::super::sample::file_of;
    use super::super::sample::{one_segment, unwind_table};
    use super::*;
    use proptest::prelude::*;

    const AT: u64 = 0x2000;

    fn table(functions: &[Range<u64>]) -> Vec<u8> {
        unwind_table(AT, functions)
    }

    fn function_at(table: &[u8], address: u64) -> Option<Range<u64>> {
        let elf = Elf { unwind: Some(AT), ..one_segment(AT, table.len(), false) };
        let file = file_of(table);
        let mut window = Window::new(&file).unwrap();
        Frames::find(&mut window, &elf)?.function_at(&mut window, address)
    }

    const FUNCTIONS: [Range<u64>; 3] = [0x1000..0x1010, 0x1010..0x1080, 0x1100..0x1101];

    #[test]
    fn the_function_that_covers_an_address() {
        let table = table(&FUNCTIONS);
        for function in FUNCTIONS {
            for address in [function.start, function.end - 1] {
                assert_eq!(function_at(&table, address), Some(function.clone()));
            }
        }
        for address in [0, 0xfff, 0x1080, 0x10ff, 0x1101, u64::MAX] {
            assert_eq!(function_at(&table, address), None, "{address:#x}");
        }
    }

    #[test]
    fn other_forms_are_no_table() {
        let bytes = table(&FUNCTIONS);
        for at in 0..4 {
            let mut other = bytes.clone();
            other[at] ^= 0x10;
            assert_eq!(function_at(&other, 0x1000), None);
        }
        // More entries than there are bytes.
        let mut other = bytes.clone();
        other[11] = 0x7f;
        assert_eq!(function_at(&other, 0x1000), None);
        // Another encoding of the starts.
        let header = (HEADER + ENTRY * 3) as usize;
        let mut other = bytes;
        assert_eq!(other[header + 4 + 20], FROM_HERE);
        other[header + 4 + 20] = 0;
        assert_eq!(function_at(&other, 0x1000), None);
    }

    proptest! {
        #[test]
        fn changed_bytes_never_panic(
            changes in proptest::collection::vec((0usize..200, any::<u8>()), 1..12),
            cut in 0usize..200,
            address in 0x0f00u64..0x1200,
        ) {
            let mut bytes = table(&FUNCTIONS);
            for (at, value) in changes {
                if let Some(byte) = bytes.get_mut(at) {
                    *byte = value;
                }
            }
            bytes.truncate(bytes.len() - cut.min(bytes.len() - 1));
            if let Some(function) = function_at(&bytes, address) {
                prop_assert!(function.contains(&address));
            }
        }
    }
}
