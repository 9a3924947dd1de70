//! Notes and the symbol table. Best effort and bounded: what cannot be read is absent.

use std::collections::HashMap;

use memchr::memmem;
use object::elf::{NT_GNU_BUILD_ID, SHT_SYMTAB, STT_FUNC};

use super::bytes::{u16_at, u32_at, u64_at};
use super::elf::Elf;
use super::window::Window;

/// Bytes of one note segment that are read.
const MAX_NOTES: u64 = 64 * 1024;
/// Build ids are 8 to 32 bytes.
const MAX_BUILD_ID: usize = 64;
/// Sections that are looked at.
const MAX_SECTIONS: u16 = 4096;
/// Bytes of a symbol table that are searched; node has 3 MiB, a debug build of Chromium 100 MiB.
const MAX_SYMBOLS: u64 = 256 * 1024 * 1024;
/// Bytes of its string table that are searched.
const MAX_STRINGS: u64 = 256 * 1024 * 1024;
/// Bytes of a name.
const MAX_NAME: u64 = 512;
/// `sizeof(Elf64_Shdr)` and `sizeof(Elf64_Sym)`.
const SECTION: u64 = 64;
const SYMBOL: usize = 24;

/// The GNU build id.
pub fn build_id(window: &mut Window<'_>, elf: &Elf) -> Option<Vec<u8>> {
    elf.notes.iter().find_map(|extent| {
        let notes = window.read(extent.offset, extent.size.min(MAX_NOTES)).ok()?;
        build_id_in(&notes)
    })
}

/// Notes are name size, description size, type, name, description; name and description padded to 4 bytes.
fn build_id_in(notes: &[u8]) -> Option<Vec<u8>> {
    let mut rest = notes;
    loop {
        let name_size = u32_at(rest, 0)? as usize;
        let size = u32_at(rest, 4)? as usize;
        let kind = u32_at(rest, 8)?;
        let name = rest.get(12..12usize.checked_add(name_size)?)?;
        let start = 12usize.checked_add(name_size.checked_next_multiple_of(4)?)?;
        let description = rest.get(start..start.checked_add(size)?)?;
        if kind == NT_GNU_BUILD_ID.0 && name == b"GNU\0" {
            return (1..=MAX_BUILD_ID).contains(&size).then(|| description.to_vec());
        }
        rest = rest.get(start.checked_add(size.checked_next_multiple_of(4)?)?..)?;
    }
}

/// The full symbol table of a file that was not stripped.
#[derive(Clone, Copy, Debug)]
pub struct SymbolTable {
    offset: u64,
    size: u64,
    names: u64,
    names_size: u64,
}

impl SymbolTable {
    /// Finds it by the section headers.
    pub fn find(window: &mut Window<'_>, elf: &Elf) -> Option<Self> {
        let (offset, entry, count) = elf.sections;
        if u64::from(entry) != SECTION || count > MAX_SECTIONS {
            return None;
        }
        let headers = window.read(offset, u64::from(count) * SECTION).ok()?;
        let section = |index: usize| {
            let from = index.checked_mul(SECTION as usize)?;
            headers.get(from..from.checked_add(SECTION as usize)?)
        };
        let table = headers
            .chunks_exact(SECTION as usize)
            .find(|header| u32_at(header, 4) == Some(SHT_SYMTAB.0))?;
        let names = section(u32_at(table, 40)? as usize)?;
        Some(Self {
            offset: u64_at(table, 24)?,
            size: u64_at(table, 32)?,
            names: u64_at(names, 24)?,
            names_size: u64_at(names, 32)?,
        })
    }

    /// The addresses of the functions called `names`, in their order; for local functions of a file that exports
    /// none of them. Of several with one name none counts.
    pub fn addresses(&self, window: &mut Window<'_>, names: &[&str]) -> Vec<Option<u64>> {
        let mut found = vec![None; names.len()];
        let Some(offsets) = self.name_offsets(window, names) else {
            return found;
        };
        let mut several = vec![false; names.len()];
        let scanned = self.each(window, |symbol| {
            let Some(index) = u32_at(symbol, 0).and_then(|name| offsets.get(&name)) else {
                return true;
            };
            let address = u64_at(symbol, 8).filter(|_| u16_at(symbol, 6) != Some(0));
            if symbol[4] & 0xf == STT_FUNC.0 && address.is_some() {
                several[*index] |= found[*index].is_some_and(|known| Some(known) != address);
                found[*index] = address;
            }
            true
        });
        for (address, several) in found.iter_mut().zip(several) {
            *address = address.filter(|_| scanned.is_some() && !several);
        }
        found
    }

    /// Where the string table has the `names`, also as the ends of longer ones: linkers merge them.
    fn name_offsets(&self, window: &mut Window<'_>, names: &[&str]) -> Option<HashMap<u32, usize>> {
        let mut offsets = HashMap::new();
        let size = self.names_size.min(MAX_STRINGS);
        let start = self.names;
        let common = memmem::Finder::new("SSL_");
        let scanned = window.scan(start, size, MAX_NAME, |offset, bytes, own| {
            for at in common.find_iter(bytes).take_while(|at| *at < own) {
                let named = |name: &&str| {
                    bytes[at..]
                        .strip_prefix(name.as_bytes())
                        .is_some_and(|rest| rest.first() == Some(&0))
                };
                if let Some(index) = names.iter().position(named)
                    && let Ok(name) = u32::try_from(offset - start + at as u64)
                {
                    offsets.insert(name, index);
                }
            }
            true
        });
        scanned.is_ok().then_some(offsets)
    }

    /// The name of the function at `address`.
    pub fn name_at(&self, window: &mut Window<'_>, address: u64) -> Option<String> {
        let mut name = None;
        self.each(window, |symbol| {
            let function = symbol[4] & 0xf == STT_FUNC.0;
            if function && u64_at(symbol, 8) == Some(address) && u16_at(symbol, 6) != Some(0) {
                name = u32_at(symbol, 0);
            }
            name.is_none()
        })?;
        let at = u64::from(name?);
        let length = self.names_size.checked_sub(at)?.min(MAX_NAME);
        let bytes = window.read(self.names.checked_add(at)?, length).ok()?;
        let end = memchr::memchr(0, &bytes)?;
        String::from_utf8(bytes[..end].to_vec()).ok()
    }

    /// Shows the symbols to `visit`, [`SYMBOL`] bytes each, while it returns that it wants more.
    fn each(&self, window: &mut Window<'_>, mut visit: impl FnMut(&[u8]) -> bool) -> Option<()> {
        let size = self.size.min(MAX_SYMBOLS);
        let size = size - size % SYMBOL as u64;
        // A symbol may straddle two steps of the scan, since 24 does not divide a step: take those that start here.
        let scanned = window.scan(self.offset, size, SYMBOL as u64, |offset, bytes, own| {
            let skip =
                (offset - self.offset).next_multiple_of(SYMBOL as u64) - (offset - self.offset);
            for start in (skip as usize..own).step_by(SYMBOL) {
                let Some(symbol) = bytes.get(start..start + SYMBOL) else {
                    break;
                };
                if !visit(symbol) {
                    return false;
                }
            }
            true
        });
        scanned.ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_the_build_id_among_notes() {
        let mut notes = Vec::new();
        for (name, kind, text) in
            [(&b"GNU\0"[..], 1u32, &b"0123456789abcdef"[..]), (b"GNU\0", 3, b"\x01\x02\x03")]
        {
            notes.extend((name.len() as u32).to_le_bytes());
            notes.extend((text.len() as u32).to_le_bytes());
            notes.extend(kind.to_le_bytes());
            notes.extend(name);
            notes.extend(text);
        }
        assert_eq!(build_id_in(&notes), Some(vec![1, 2, 3]));
        for length in 0..notes.len() {
            assert_eq!(build_id_in(&notes[..length]), None);
        }
        assert_eq!(build_id_in(&[0xff; 64]), None);
    }
}
