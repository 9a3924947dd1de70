//! ELF headers of a file that nobody vouches for: every count, size and offset is checked before it is used.
//!
//! Only the program headers are read here, because they are what the kernel maps; section headers may be absent
//! or false.

use object::elf::{
    ELFCLASS32, ELFCLASS64, ELFDATA2LSB, ELFMAG, EM_AARCH64, EM_X86_64, ET_DYN, ET_EXEC, FileType,
    Machine, PF_W, PF_X, PT_DYNAMIC, PT_GNU_EH_FRAME, PT_INTERP, PT_LOAD, PT_NOTE, ProgramType,
};

use super::bytes::{u16_at, u32_at, u64_at};
use super::window::{ReadError, Window};

/// Linux refuses a program header table of more than 64 KiB (`fs/binfmt_elf.c`, `load_elf_phdrs`).
const MAX_PROGRAM_HEADERS: u16 = (65536 / PROGRAM_HEADER as u32) as u16;
/// Bytes of an `Elf64_Phdr`.
const PROGRAM_HEADER: u16 = 56;
/// File-backed bytes in all segments together. Code and its constants must be within 2 GiB of each other for the
/// 32-bit displacements that are searched for, so a larger file cannot be searched this way.
const MAX_LOADED: u64 = 2 * 1024 * 1024 * 1024;

/// Why a file is not an ELF image that can be planned.
#[derive(Debug, thiserror::Error)]
pub enum ElfError {
    /// A file of no bytes.
    #[error("the file is empty")]
    Empty,
    /// No ELF magic number.
    #[error("not an ELF file")]
    NotElf,
    /// Headers or segments reach beyond the end of the file.
    #[error("truncated ELF file: {what} ends at offset {end:#x}, the file at {length:#x}")]
    Truncated {
        /// What is cut off.
        what: &'static str,
        /// Where it would end.
        end: u64,
        /// Where the file ends.
        length: u64,
    },
    /// ELFCLASS32.
    #[error("32-bit ELF files are not supported")]
    ThirtyTwoBit,
    /// 64-bit ARM.
    #[error("aarch64 is not yet supported")]
    Aarch64,
    /// Another machine.
    #[error("ELF machine {0} is not supported, only x86-64")]
    Machine(u16),
    /// An object file, a core dump, or worse.
    #[error("ELF type {0} is neither an executable nor a shared object")]
    Type(u16),
    /// Headers that contradict themselves.
    #[error("nonsense in the ELF headers: {0}")]
    Nonsense(&'static str),
    /// Nothing in the file can run.
    #[error("no executable segment")]
    NoCode,
    /// More than 2 GiB would be mapped.
    #[error("too large: {0} bytes in loaded segments")]
    TooLarge(u64),
    /// The file could not be read.
    #[error(transparent)]
    Read(#[from] ReadError),
}

/// The file-backed part of a `PT_LOAD` segment, at least one byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Segment {
    /// `p_vaddr`.
    pub address: u64,
    /// `p_offset`.
    pub offset: u64,
    /// `p_filesz`.
    pub size: u64,
    /// `PF_X`.
    pub executable: bool,
    /// `PF_W`.
    pub writable: bool,
}

impl Segment {
    /// Whether `address` lies in the file-backed part.
    pub fn contains(&self, address: u64) -> bool {
        address >= self.address && address - self.address < self.size
    }
}

/// A range of the file named by a program header: inside the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Extent {
    /// Offset in the file.
    pub offset: u64,
    /// Bytes.
    pub size: u64,
}

/// What the headers of an x86-64 image say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Elf {
    /// `ET_EXEC`: linked at a fixed address, so that code may hold addresses as 32-bit constants.
    pub fixed: bool,
    /// Has `PT_INTERP`: an executable, position independent or not.
    pub interpreter: bool,
    /// Segments that are mapped, by address; they do not overlap.
    pub segments: Vec<Segment>,
    /// `PT_DYNAMIC`.
    pub dynamic: Option<Extent>,
    /// `PT_NOTE`.
    pub notes: Vec<Extent>,
    /// Address of `PT_GNU_EH_FRAME`, unchecked.
    pub unwind: Option<u64>,
    /// The section header table, unchecked: offset, entry size, entries. For best effort only.
    pub sections: (u64, u16, u16),
}

impl Elf {
    /// Reads and checks the headers.
    ///
    /// # Errors
    /// An [`ElfError`] that says what is wrong with the file.
    pub fn read(window: &mut Window<'_>) -> Result<Self, ElfError> {
        let length = window.length();
        let truncated = |what, end| ElfError::Truncated { what, end, length };
        if length == 0 {
            return Err(ElfError::Empty);
        }
        let start = window.read(0, length.min(64))?;
        if !start.starts_with(&ELFMAG) {
            return Err(ElfError::NotElf);
        }
        match (start.get(4), start.get(5)) {
            (Some(&class), _) if class == ELFCLASS32.0 => return Err(ElfError::ThirtyTwoBit),
            (Some(&class), Some(&data)) if class == ELFCLASS64.0 && data == ELFDATA2LSB.0 => {}
            (Some(_), Some(_)) => return Err(ElfError::Nonsense("class or byte order")),
            _ => return Err(truncated("the file header", 64)),
        }
        if start.len() < 64 {
            return Err(truncated("the file header", 64));
        }
        let header = Header::parse(&start).ok_or(ElfError::Nonsense("file header"))?;
        match Machine(header.machine) {
            EM_X86_64 => {}
            EM_AARCH64 => return Err(ElfError::Aarch64),
            Machine(other) => return Err(ElfError::Machine(other)),
        }
        let fixed = match FileType(header.kind) {
            ET_EXEC => true,
            ET_DYN => false,
            FileType(other) => return Err(ElfError::Type(other)),
        };
        if header.program_entry != PROGRAM_HEADER {
            return Err(ElfError::Nonsense("size of a program header"));
        }
        if header.program_count == 0 || header.program_count > MAX_PROGRAM_HEADERS {
            return Err(ElfError::Nonsense("number of program headers"));
        }
        let size = u64::from(header.program_count) * u64::from(PROGRAM_HEADER);
        let end = header
            .program_offset
            .checked_add(size)
            .ok_or(ElfError::Nonsense("offset of the program headers"))?;
        if end > length {
            return Err(truncated("the program header table", end));
        }
        let table = window.read(header.program_offset, size)?;
        let mut elf = Self {
            fixed,
            interpreter: false,
            segments: Vec::new(),
            dynamic: None,
            notes: Vec::new(),
            unwind: None,
            sections: header.sections,
        };
        for entry in table.chunks_exact(usize::from(PROGRAM_HEADER)) {
            if let Some(entry) = ProgramHeader::parse(entry) {
                elf.add(&entry, length)?;
            }
        }
        elf.check_segments(length)?;
        Ok(elf)
    }

    fn add(&mut self, entry: &ProgramHeader, length: u64) -> Result<(), ElfError> {
        let inside = entry.offset.checked_add(entry.size).is_some_and(|end| end <= length);
        let extent = Extent { offset: entry.offset, size: entry.size };
        match entry.kind {
            PT_LOAD => {
                let end = entry
                    .offset
                    .checked_add(entry.size)
                    .ok_or(ElfError::Nonsense("segment offset"))?;
                if entry.address.checked_add(entry.memory_size).is_none() {
                    return Err(ElfError::Nonsense("segment address"));
                }
                if entry.size > entry.memory_size {
                    return Err(ElfError::Nonsense("segment larger in the file than in memory"));
                }
                if end > length {
                    return Err(ElfError::Truncated { what: "a segment", end, length });
                }
                if entry.size > 0 {
                    self.segments.push(Segment {
                        address: entry.address,
                        offset: entry.offset,
                        size: entry.size,
                        executable: entry.flags & PF_X.0 != 0,
                        writable: entry.flags & PF_W.0 != 0,
                    });
                }
            }
            PT_INTERP => self.interpreter = true,
            // What follows is only asked for names, so that a false entry is as good as none.
            PT_GNU_EH_FRAME => self.unwind = Some(entry.address),
            PT_DYNAMIC if inside => self.dynamic = Some(extent),
            PT_NOTE if inside => self.notes.push(extent),
            _ => {}
        }
        Ok(())
    }

    fn check_segments(&mut self, length: u64) -> Result<(), ElfError> {
        self.segments.sort_by_key(|segment| segment.address);
        let mut total = 0u64;
        let mut end = 0;
        for segment in &self.segments {
            if segment.address < end {
                return Err(ElfError::Nonsense("overlapping segments"));
            }
            // Cannot overflow: checked against the size in memory, which is not smaller.
            end = segment.address.saturating_add(segment.size);
            total = total.saturating_add(segment.size);
        }
        // Linkers let segments share a page. What is read more often than that costs time that the file does not have.
        if total > length.saturating_mul(2) {
            return Err(ElfError::Nonsense("many segments of the same bytes"));
        }
        if total > MAX_LOADED {
            return Err(ElfError::TooLarge(total));
        }
        if !self.segments.iter().any(|segment| segment.executable) {
            return Err(ElfError::NoCode);
        }
        Ok(())
    }

    /// The segment whose file-backed part holds `address`.
    pub fn segment_at(&self, address: u64) -> Option<&Segment> {
        let after = self.segments.partition_point(|segment| segment.address <= address);
        let segment = self.segments.get(after.checked_sub(1)?)?;
        segment.contains(address).then_some(segment)
    }

    /// File offset of `address`: `address - p_vaddr + p_offset`.
    pub fn file_offset(&self, address: u64) -> Option<u64> {
        let segment = self.segment_at(address)?;
        Some(address - segment.address + segment.offset)
    }

    /// Whether `address` lies in code.
    pub fn is_code(&self, address: u64) -> bool {
        self.segment_at(address).is_some_and(|segment| segment.executable)
    }

    /// Segments with code.
    pub fn code(&self) -> impl Iterator<Item = &Segment> {
        self.segments.iter().filter(|segment| segment.executable)
    }
}

/// The fields of `Elf64_Ehdr` that matter here.
struct Header {
    kind: u16,
    machine: u16,
    program_offset: u64,
    program_entry: u16,
    program_count: u16,
    sections: (u64, u16, u16),
}

impl Header {
    fn parse(bytes: &[u8]) -> Option<Self> {
        Some(Self {
            kind: u16_at(bytes, 16)?,
            machine: u16_at(bytes, 18)?,
            program_offset: u64_at(bytes, 32)?,
            program_entry: u16_at(bytes, 54)?,
            program_count: u16_at(bytes, 56)?,
            sections: (u64_at(bytes, 40)?, u16_at(bytes, 58)?, u16_at(bytes, 60)?),
        })
    }
}

/// `Elf64_Phdr`.
struct ProgramHeader {
    kind: ProgramType,
    flags: u32,
    offset: u64,
    address: u64,
    size: u64,
    memory_size: u64,
}

impl ProgramHeader {
    fn parse(bytes: &[u8]) -> Option<Self> {
        Some(Self {
            kind: ProgramType(u32_at(bytes, 0)?),
            flags: u32_at(bytes, 4)?,
            offset: u64_at(bytes, 8)?,
            address: u64_at(bytes, 16)?,
            size: u64_at(bytes, 32)?,
            memory_size: u64_at(bytes, 40)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::sample::{CODE, Sample, file_of};
    use super::*;

    fn read(bytes: &[u8]) -> Result<Elf, ElfError> {
        Elf::read(&mut Window::new(&file_of(bytes)).unwrap())
    }

    /// The sample with some bytes replaced.
    fn read_with(changes: &[(usize, &[u8])]) -> Result<Elf, ElfError> {
        let mut bytes = Sample::with_function(&[0xc3]).bytes();
        for (at, new) in changes {
            bytes[*at..*at + new.len()].copy_from_slice(new);
        }
        read(&bytes)
    }

    /// Where field `field` of program header `index` is.
    fn field(index: usize, field: usize) -> usize {
        64 + index * 56 + field
    }

    #[test]
    fn segments_and_addresses() {
        let elf = read_with(&[]).unwrap();
        assert_eq!(elf.segments.len(), 3);
        assert!(elf.is_code(CODE) && !elf.is_code(0x2000) && !elf.is_code(CODE - 1));
        assert_eq!(elf.file_offset(0x2005), Some(0x2005));
        assert_eq!(elf.file_offset(0x2fff), None);
        assert_eq!(elf.file_offset(u64::MAX), None);
    }

    #[test]
    fn what_is_not_supported_has_its_own_error() {
        assert!(matches!(read(b""), Err(ElfError::Empty)));
        assert!(matches!(read(b"#!/bin/sh\n"), Err(ElfError::NotElf)));
        assert!(matches!(read(b"\x7fEL"), Err(ElfError::NotElf)));
        assert!(matches!(read(b"\x7fELF"), Err(ElfError::Truncated { .. })));
        assert!(matches!(read_with(&[(4, &[1])]), Err(ElfError::ThirtyTwoBit)));
        assert!(matches!(read_with(&[(5, &[2])]), Err(ElfError::Nonsense(_))));
        assert!(matches!(read_with(&[(18, &[183])]), Err(ElfError::Aarch64)));
        assert!(matches!(read_with(&[(18, &[243])]), Err(ElfError::Machine(243))));
        assert!(matches!(read_with(&[(16, &[4])]), Err(ElfError::Type(4))));
        assert!(matches!(read_with(&[(field(0, 4), &[4])]), Err(ElfError::NoCode)));
    }

    #[test]
    fn headers_are_not_trusted() {
        let nonsense = |changes: &[(usize, &[u8])]| {
            let result = read_with(changes);
            assert!(matches!(result, Err(ElfError::Nonsense(_))), "{changes:x?}: {result:?}");
        };
        let most = u64::MAX.to_le_bytes();
        nonsense(&[(54, &[55])]);
        nonsense(&[(56, &[0, 0])]);
        nonsense(&[(56, &[0xff, 0xff])]);
        nonsense(&[(32, &most)]);
        nonsense(&[(field(0, 8), &most)]);
        nonsense(&[(field(0, 16), &most)]);
        nonsense(&[(field(1, 32), &0x1_0000u64.to_le_bytes())]);
        // The constants at the address of the code.
        nonsense(&[(field(1, 16), &CODE.to_le_bytes())]);
        assert!(matches!(read_with(&[(56, &[200, 1])]), Err(ElfError::Truncated { .. })));
        let far = 0x10_0000u64.to_le_bytes();
        assert!(matches!(read_with(&[(field(0, 8), &far)]), Err(ElfError::Truncated { .. })));
    }

    #[test]
    fn segments_may_share_a_page_but_not_the_whole_file() {
        let length = Sample::with_function(&[0xc3]).bytes().len() as u64;
        let mut bytes = Sample::with_function(&[0xc3]).bytes();
        let mut put =
            |at: usize, value: u64| bytes[at..at + 8].copy_from_slice(&value.to_le_bytes());
        for index in 0..3 {
            put(field(index, 8), 0);
            put(field(index, 16), index as u64 * 0x10_0000);
            put(field(index, 32), length);
            put(field(index, 40), length);
        }
        let result = read(&bytes);
        assert!(matches!(result, Err(ElfError::Nonsense(_))), "{result:?}");
    }

    #[test]
    fn more_than_two_gibibytes_are_refused() {
        let file = file_of(&Sample::with_function(&[0xc3]).bytes());
        file.set_len(3 << 30).unwrap();
        let mut head = vec![0; 64 + 3 * 56];
        std::os::unix::fs::FileExt::read_exact_at(&file, &mut head, 0).unwrap();
        for at in [field(2, 32), field(2, 40)] {
            head[at..at + 8].copy_from_slice(&((2u64 << 30) + 1).to_le_bytes());
        }
        std::os::unix::fs::FileExt::write_all_at(&file, &head, 0).unwrap();
        let result = Elf::read(&mut Window::new(&file).unwrap());
        assert!(matches!(result, Err(ElfError::TooLarge(_))), "{result:?}");
    }
}
