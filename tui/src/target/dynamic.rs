//! The dynamic section: the file's own name and what it exports. All of it is best effort and bounded, and never
//! fails a plan: what cannot be read is absent.

use memchr::memmem;
use object::elf::{
    DF_1_PIE, DT_FLAGS_1, DT_GNU_HASH, DT_HASH, DT_NEEDED, DT_NULL, DT_RPATH, DT_RUNPATH,
    DT_SONAME, DT_STRSZ, DT_STRTAB, DT_SYMTAB, DynamicTag,
};

use super::bytes::{u16_at, u32_at, u64_at};
use super::elf::Elf;
use super::window::Window;

/// Bytes of the dynamic section that are read: 512 entries, real files have fewer than 60.
const MAX_SECTION: u64 = 512 * 16;
/// Names that the file needs.
const MAX_NEEDED: usize = 128;
/// Bytes of a name.
const MAX_NAME: usize = 256;
/// Bytes of a list of folders: `PATH_MAX`.
const MAX_FOLDERS: usize = 4096;
/// Bytes of the string table in which version names are looked for.
const MAX_STRINGS: u64 = 8 * 1024 * 1024;
/// Symbols with the same hash that are compared.
const MAX_CHAIN: u32 = 10_000;
/// `sizeof(Elf64_Sym)`.
const SYMBOL: u64 = 24;

/// What the dynamic section says.
#[derive(Clone, Debug, Default)]
pub struct Dynamic {
    /// `DT_SONAME`.
    pub soname: Option<String>,
    /// `DT_NEEDED`.
    pub needed: Vec<String>,
    /// `DT_RPATH`.
    pub rpath: Option<String>,
    /// `DT_RUNPATH`.
    pub runpath: Option<String>,
    /// `DF_1_PIE`: a position independent executable.
    pub pie: bool,
    strings: u64,
    strings_size: u64,
    symbols: u64,
    hash: Option<u64>,
    gnu_hash: Option<u64>,
}

impl Dynamic {
    /// Reads the section; an empty one if there is none.
    pub fn read(window: &mut Window<'_>, elf: &Elf) -> Self {
        let mut dynamic = Self::default();
        let Some(extent) = elf.dynamic else {
            return dynamic;
        };
        let Ok(section) = window.read(extent.offset, extent.size.min(MAX_SECTION)) else {
            return dynamic;
        };
        let (mut soname, mut needed) = (None, Vec::new());
        let (mut rpath, mut runpath) = (None, None);
        for entry in section.chunks_exact(16) {
            let (Some(tag), Some(value)) = (u64_at(entry, 0), u64_at(entry, 8)) else {
                break;
            };
            match DynamicTag(tag as i64) {
                DT_NULL => break,
                DT_SONAME => soname = Some(value),
                DT_RPATH => rpath = Some(value),
                DT_RUNPATH => runpath = Some(value),
                DT_NEEDED if needed.len() < MAX_NEEDED => needed.push(value),
                DT_STRTAB => dynamic.strings = value,
                DT_STRSZ => dynamic.strings_size = value,
                DT_SYMTAB => dynamic.symbols = value,
                DT_HASH => dynamic.hash = Some(value),
                DT_GNU_HASH => dynamic.gnu_hash = Some(value),
                DT_FLAGS_1 => dynamic.pie = value & DF_1_PIE.0 != 0,
                _ => {}
            }
        }
        dynamic.soname = soname.and_then(|at| dynamic.string(window, elf, at));
        // A list of folders may be longer than a name.
        dynamic.rpath = rpath.and_then(|at| dynamic.text(window, elf, at, MAX_FOLDERS));
        dynamic.runpath = runpath.and_then(|at| dynamic.text(window, elf, at, MAX_FOLDERS));
        dynamic.needed =
            needed.into_iter().filter_map(|at| dynamic.string(window, elf, at)).collect();
        dynamic
    }

    /// The address of the exported symbol `name`, if the file defines it.
    pub fn export(&self, window: &mut Window<'_>, elf: &Elf, name: &str) -> Option<u64> {
        match (self.gnu_hash, self.hash) {
            (Some(table), _) => self.gnu_lookup(window, elf, table, name),
            (None, Some(table)) => self.sysv_lookup(window, elf, table, name),
            (None, None) => None,
        }
    }

    /// Whether any string of the dynamic string table starts with `prefix`.
    pub fn has_string(&self, window: &mut Window<'_>, elf: &Elf, prefix: &str) -> bool {
        let needle = [b"\0", prefix.as_bytes()].concat();
        let Some(offset) = elf.file_offset(self.strings) else {
            return false;
        };
        let size = self.strings_size.min(MAX_STRINGS);
        let mut found = false;
        let scanned = window.scan(offset, size, needle.len() as u64, |_, bytes, _| {
            found = memmem::find(bytes, &needle).is_some();
            !found
        });
        scanned.is_ok() && found
    }

    /// The table of `DT_GNU_HASH`: counts of buckets, the first hashed symbol, bloom words (64 bits each) and a
    /// shift, then bloom words, buckets, and one hash for each symbol, whose lowest bit ends a chain.
    fn gnu_lookup(
        &self,
        window: &mut Window<'_>,
        elf: &Elf,
        table: u64,
        name: &str,
    ) -> Option<u64> {
        let header =
            |window: &mut Window<'_>, index: u64| word(window, elf, table.checked_add(index * 4)?);
        let buckets = header(window, 0)?;
        let first = header(window, 1)?;
        let bloom = header(window, 2)?;
        let hash = gnu_hash(name);
        let bucket_table = table.checked_add(16)?.checked_add(u64::from(bloom).checked_mul(8)?)?;
        let chain_table = bucket_table.checked_add(u64::from(buckets).checked_mul(4)?)?;
        let bucket = u64::from(hash.checked_rem(buckets)?);
        let start = word(window, elf, bucket_table.checked_add(bucket * 4)?)?;
        let from = start.checked_sub(first)?;
        for step in 0..MAX_CHAIN {
            let other = word(
                window,
                elf,
                chain_table.checked_add(u64::from(from.checked_add(step)?) * 4)?,
            )?;
            if other | 1 == hash | 1
                && let Some(address) = self.symbol(window, elf, start.checked_add(step)?, name)
            {
                return Some(address);
            }
            if other & 1 == 1 {
                break;
            }
        }
        None
    }

    /// The table of `DT_HASH`: counts of buckets and chains, buckets, chains.
    fn sysv_lookup(
        &self,
        window: &mut Window<'_>,
        elf: &Elf,
        table: u64,
        name: &str,
    ) -> Option<u64> {
        let at = |window: &mut Window<'_>, index: u64| {
            word(window, elf, table.checked_add(index.checked_mul(4)?)?)
        };
        let buckets = at(window, 0)?;
        let mut index = at(window, 2 + u64::from(sysv_hash(name).checked_rem(buckets)?))?;
        for _ in 0..MAX_CHAIN {
            if index == 0 {
                break;
            }
            if let Some(address) = self.symbol(window, elf, index, name) {
                return Some(address);
            }
            index = at(window, 2 + u64::from(buckets) + u64::from(index))?;
        }
        None
    }

    /// The value of the dynamic symbol `index`, if it is called `name` and defined here.
    fn symbol(&self, window: &mut Window<'_>, elf: &Elf, index: u32, name: &str) -> Option<u64> {
        let address = self.symbols.checked_add(u64::from(index) * SYMBOL)?;
        let symbol = loaded(window, elf, address, SYMBOL as usize)?.to_vec();
        let defined = u16_at(&symbol, 6)? != 0;
        let value = u64_at(&symbol, 8)?;
        let found = self.string(window, elf, u64::from(u32_at(&symbol, 0)?))?;
        (defined && found == name).then_some(value)
    }

    fn string(&self, window: &mut Window<'_>, elf: &Elf, at: u64) -> Option<String> {
        self.text(window, elf, at, MAX_NAME)
    }

    fn text(&self, window: &mut Window<'_>, elf: &Elf, at: u64, most: usize) -> Option<String> {
        let address = self.strings.checked_add(at)?;
        let mut name = Vec::new();
        while name.len() < most {
            let bytes = loaded(window, elf, address.checked_add(name.len() as u64)?, 64)?;
            if let Some(end) = memchr::memchr(0, bytes) {
                name.extend_from_slice(&bytes[..end]);
                return String::from_utf8(name).ok();
            }
            name.extend_from_slice(bytes);
        }
        None
    }
}

fn word(window: &mut Window<'_>, elf: &Elf, address: u64) -> Option<u32> {
    u32_at(loaded(window, elf, address, 4)?, 0)
}

/// Up to `most` bytes at a virtual address, at least one.
fn loaded<'w>(
    window: &'w mut Window<'_>,
    elf: &Elf,
    address: u64,
    most: usize,
) -> Option<&'w [u8]> {
    let segment = elf.segment_at(address)?;
    let within = address - segment.address;
    let most = (segment.size - within).min(most as u64) as usize;
    window.peek(segment.offset + within, most).ok()
}

/// The hash of `DT_GNU_HASH`.
fn gnu_hash(name: &str) -> u32 {
    name.bytes().fold(5381u32, |hash, byte| hash.wrapping_mul(33).wrapping_add(u32::from(byte)))
}

/// The hash of `DT_HASH` (System V ABI, chapter 5).
fn sysv_hash(name: &str) -> u32 {
    name.bytes().fold(0u32, |hash, byte| {
        let hash = (hash << 4).wrapping_add(u32::from(byte));
        let high = hash & 0xf000_0000;
        (hash ^ (high >> 24)) & !high
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hashes_are_those_of_the_specifications() {
        // Values that are published for both functions.
        assert_eq!(gnu_hash("printf"), 0x156b_2bb8);
        assert_eq!(sysv_hash("printf"), 0x077905a6);
        assert_eq!(gnu_hash(""), 5381);
    }
}
