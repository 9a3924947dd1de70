//! Go's table of functions (`runtime.pcHeader` in runtime/symtab.go), by which a traceback finds their names: it is in
//! every Go program, also in stripped ones. All of it is read as somebody else's: every number is checked.

use memchr::memmem;

use crate::target::bytes::{u32_at, u64_at};
use crate::target::elf::{Elf, ElfError, Segment};
use crate::target::window::{ReadError, Window};

/// Behind the lowest byte of the magic number: the rest of it, two zeros, the quantum of instructions (1 on x86), and
/// the size of a pointer.
const HEADER: [u8; 7] = [0xff, 0xff, 0xff, 0, 0, 1, 8];
/// The lowest byte of the magic number, and what it says of the form.
const MAGIC: [(u8, Option<Form>); 4] = [
    (0xfb, None),                                    // Go 1.2 to 1.15
    (0xfa, Some(Form { has_text: false, row: 16 })), // Go 1.16 and 1.17
    (0xf0, Some(Form { has_text: true, row: 8 })),   // Go 1.18 and 1.19
    (0xf1, Some(Form { has_text: true, row: 8 })),   // Go 1.20 and later
];
/// Words behind the magic number.
const WORDS: usize = 8;
/// Functions in one table: kubelet, of 120 MiB, has 100,000, a file of 300 MiB 300,000.
const MAX_FUNCTIONS: u64 = 4_000_000;
/// What looks like a header in one file; a file has one table.
const MAX_HEADERS: usize = 64;
/// Tables that are read; a shared object of Go in a file of Go would be a second one.
const MAX_TABLES: usize = 4;
/// Functions that are looked for by one name: as many forks of a package are in no file.
const MAX_NAMES: usize = 8;
/// Bytes of a name: those of generic functions have their types in it.
const MAX_NAME: u64 = 512;
/// Places in the table that may be a function's own record.
const MAX_RECORDS: usize = 256;
/// Pointers to the table.
const MAX_POINTERS: usize = 64;
/// Bytes of `runtime.moduledata` that are read, and the words in it of the names, of where the code starts and ends;
/// the same in Go 1.18 to 1.27.
const MODULE: u64 = 24 * 8;
const MODULE_NAMES: usize = 1;
const MODULE_TEXT: usize = 22;

/// What differs between the versions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Form {
    /// The header says where the code starts, and addresses are 32 bits from there. Otherwise they are addresses.
    has_text: bool,
    /// Bytes of a row: the address of a function, and where its record is.
    row: u64,
}

/// The tables of a file.
#[derive(Clone, Debug, Default)]
pub struct Tables {
    /// Those that can be read.
    pub found: Vec<Table>,
    /// There is one of Go 1.15 or older.
    pub is_old: bool,
}

/// One table, whose numbers fit into the segment that it is in. Offsets are from its start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Table {
    form: Form,
    /// In memory, and in the file.
    address: u64,
    offset: u64,
    /// Bytes from there to the segment's end.
    size: u64,
    functions: u64,
    /// Where the code starts, as the header says it.
    text: u64,
    /// Where the names start and end.
    names: (u64, u64),
    /// Where the rows start; where records are is counted from there.
    rows: u64,
}

/// A function.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Function {
    /// `crypto/tls.(*Config).writeKeyLog`; what is not UTF-8 is replaced.
    pub name: String,
    /// Its address, in code.
    pub entry: u64,
    /// Where the next one starts.
    pub end: u64,
}

/// What the table says of a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Named {
    /// There is a function of it.
    Function(Function),
    /// It has the name but no function of it: it was inlined everywhere, or the table is damaged.
    NameAlone,
}

impl Tables {
    /// Looks for them in all segments: shared objects have no section for it.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn find(window: &mut Window<'_>, elf: &Elf) -> Result<Self, ElfError> {
        let mut tables = Self::default();
        for executable in [false, true] {
            for segment in elf.segments.iter().filter(|segment| segment.executable == executable) {
                for offset in headers(window, segment)? {
                    tables.add(window, segment, offset)?;
                }
            }
            // Only linkers that do not separate code put it there.
            if !tables.found.is_empty() {
                break;
            }
        }
        Ok(tables)
    }

    fn add(
        &mut self,
        window: &mut Window<'_>,
        segment: &Segment,
        offset: u64,
    ) -> Result<(), ReadError> {
        let magic = window.peek(offset, 1)?.first().copied();
        match MAGIC.iter().find(|(byte, _)| Some(*byte) == magic) {
            Some((_, Some(form))) if self.found.len() < MAX_TABLES => {
                self.found.extend(Table::read(window, *form, segment, offset)?);
            }
            Some((_, None)) => self.is_old = true,
            _ => {}
        }
        Ok(())
    }
}

/// File offsets of what looks like a header.
fn headers(window: &mut Window<'_>, segment: &Segment) -> Result<Vec<u64>, ReadError> {
    let mut found = Vec::new();
    let finder = memmem::Finder::new(&HEADER);
    window.scan(segment.offset, segment.size, HEADER.len() as u64, |offset, bytes, own| {
        // The lowest byte of the magic number is the one before: it belongs to the step that has it.
        let starts = finder.find_iter(bytes).filter_map(|at| at.checked_sub(1));
        found.extend(starts.filter(|&at| at < own).map(|at| offset + at as u64));
        found.len() <= MAX_HEADERS
    })?;
    found.truncate(MAX_HEADERS);
    Ok(found)
}

impl Table {
    /// `None` where the numbers cannot be right.
    fn read(
        window: &mut Window<'_>,
        form: Form,
        segment: &Segment,
        offset: u64,
    ) -> Result<Option<Self>, ReadError> {
        let within = offset - segment.offset;
        let size = segment.size - within;
        let length = 8 + 8 * WORDS as u64;
        if size < length {
            return Ok(None);
        }
        let header = window.read(offset, length)?;
        let mut words = header[8..].chunks_exact(8).filter_map(|word| u64_at(word, 0));
        let mut word = || words.next().unwrap_or(u64::MAX);
        let (functions, _files) = (word(), word());
        let text = if form.has_text { word() } else { 0 };
        let (names, end_of_names) = (word(), word());
        let (_files, _pcs, rows) = (word(), word(), word());
        let is_sound = (1..=MAX_FUNCTIONS).contains(&functions)
            && names < end_of_names
            && end_of_names <= rows
            // One row more than functions, which says where the last one ends.
            && rows.checked_add((functions + 1) * form.row).is_some_and(|end| end <= size);
        let address = segment.address.wrapping_add(within);
        let names = (names, end_of_names);
        Ok(is_sound.then_some(Self { form, address, offset, size, functions, text, names, rows }))
    }

    /// Where the code starts that the table's addresses count from: as the runtime's own description of the module says
    /// it, or as the header does, which is 0 from Go 1.26 on. `None` where neither says it, or they disagree.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn text(&self, window: &mut Window<'_>, elf: &Elf) -> Result<Option<u64>, ElfError> {
        if !self.form.has_text {
            return Ok(Some(0));
        }
        let header = (self.text != 0).then_some(self.text);
        let text = match (self.module_text(window, elf)?, header) {
            (Some(text), Some(header)) if text != header => None,
            (text, header) => text.or(header),
        };
        Ok(text.filter(|&text| elf.is_code(text)))
    }

    /// `runtime.moduledata` begins with a pointer to the table, and another one to its names.
    fn module_text(&self, window: &mut Window<'_>, elf: &Elf) -> Result<Option<u64>, ElfError> {
        let needle = self.address.to_le_bytes();
        let finder = memmem::Finder::new(&needle);
        let mut left = MAX_POINTERS;
        for segment in elf.segments.iter().filter(|segment| segment.writable) {
            let mut found = Vec::new();
            window.scan(segment.offset, segment.size, 7, |offset, bytes, own| {
                let starts = finder.find_iter(bytes).take_while(|&at| at < own);
                found.extend(starts.take(left - found.len()).map(|at| offset + at as u64));
                found.len() < left
            })?;
            left -= found.len();
            for offset in found {
                if segment.offset + segment.size - offset < MODULE {
                    continue;
                }
                let module = window.read(offset, MODULE)?;
                let names = u64_at(&module, 8 * MODULE_NAMES);
                if names == self.address.checked_add(self.names.0) {
                    return Ok(u64_at(&module, 8 * MODULE_TEXT));
                }
            }
        }
        Ok(None)
    }

    /// The functions whose name ends in `suffix`, with the start of the code as [`Table::text`] says it.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn functions(
        &self,
        window: &mut Window<'_>,
        elf: &Elf,
        text: u64,
        suffix: &str,
    ) -> Result<Vec<Named>, ElfError> {
        let mut found = Vec::new();
        for (number, name) in self.names_with(window, suffix)? {
            let function = self.function(window, text, number)?;
            found.push(match function {
                Some((entry, end)) if elf.is_code(entry) && entry < end => {
                    Named::Function(Function { name, entry, end })
                }
                _ => Named::NameAlone,
            });
        }
        Ok(found)
    }

    /// Whether there is a name with this suffix: the first and cheapest question.
    ///
    /// # Errors
    /// When the file cannot be read.
    fn names_with(
        &self,
        window: &mut Window<'_>,
        suffix: &str,
    ) -> Result<Vec<(u32, String)>, ReadError> {
        let needle = [suffix.as_bytes(), b"\0"].concat();
        let finder = memmem::Finder::new(&needle);
        let start = self.offset + self.names.0;
        let mut ends = Vec::new();
        window.scan(
            start,
            self.names.1 - self.names.0,
            needle.len() as u64 - 1,
            |offset, bytes, own| {
                let own = finder.find_iter(bytes).take_while(|&at| at < own);
                ends.extend(own.map(|at| offset + (at + suffix.len()) as u64));
                ends.len() < MAX_NAMES
            },
        )?;
        ends.truncate(MAX_NAMES);
        let mut names = Vec::new();
        for end in ends {
            let from = end.saturating_sub(MAX_NAME).max(start);
            let bytes = window.read(from, end - from)?;
            let before = memchr::memrchr(0, &bytes).map(|at| at + 1);
            // The first name has nothing before it; one that is too long is no name.
            let Some(at) = before.or((from == start).then_some(0)) else {
                continue;
            };
            if let Ok(number) = u32::try_from(from + at as u64 - start) {
                names.push((number, String::from_utf8_lossy(&bytes[at..]).into_owned()));
            }
        }
        Ok(names)
    }

    /// Where the function with this name starts and ends. Its record (`runtime._func`) is its address and the number
    /// of its name; it is one if the rows, which are in the order of addresses, name it.
    fn function(
        &self,
        window: &mut Window<'_>,
        text: u64,
        name: u32,
    ) -> Result<Option<(u64, u64)>, ReadError> {
        let before = self.form.row / 2;
        let needle = name.to_le_bytes();
        let finder = memmem::Finder::new(&needle);
        let records = self.offset + self.rows + self.functions * self.form.row;
        let end = self.offset + self.size;
        let mut found = Vec::new();
        window.scan(records, end - records, 3, |offset, bytes, own| {
            let starts = finder.find_iter(bytes).take_while(|&at| at < own);
            let starts = starts.take(MAX_RECORDS - found.len());
            found.extend(starts.filter_map(|at| (offset + at as u64).checked_sub(before)));
            found.len() < MAX_RECORDS
        })?;
        for record in found.into_iter().filter(|&record| record >= records) {
            let address = self.number(window, record)?;
            let (mut low, mut high) = (0, self.functions);
            while low < high {
                let middle = low + (high - low) / 2;
                if self.row(window, middle)?.0 < address {
                    low = middle + 1;
                } else {
                    high = middle;
                }
            }
            if low < self.functions
                && self.row(window, low)? == (address, record - self.offset - self.rows)
            {
                let next = self.row(window, low + 1)?.0;
                let in_memory = |address| text.checked_add(address);
                return Ok(in_memory(address).zip(in_memory(next)));
            }
        }
        Ok(None)
    }

    /// A row: an address, and where the record is. `index` is at most the number of functions.
    fn row(&self, window: &mut Window<'_>, index: u64) -> Result<(u64, u64), ReadError> {
        let at = self.offset + self.rows + index * self.form.row;
        Ok((self.number(window, at)?, self.number(window, at + self.form.row / 2)?))
    }

    /// Half a row, which is also the size of a record's address.
    fn number(&self, window: &mut Window<'_>, offset: u64) -> Result<u64, ReadError> {
        let size = self.form.row / 2;
        let bytes = window.peek(offset, size as usize)?;
        let number = if size == 8 { u64_at(bytes, 0) } else { u32_at(bytes, 0).map(u64::from) };
        number.ok_or(ReadError::Short { end: offset.saturating_add(size) })
    }
}
