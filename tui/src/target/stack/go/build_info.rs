//! Go's note about the build (debug/buildinfo): that a file was made by Go, and by which version.

use memchr::memmem;

use crate::target::bytes::u64_at;
use crate::target::elf::{Elf, ElfError, Segment};
use crate::target::window::Window;

/// What the note starts with; 16 bytes later, aligned to 16, comes its head.
const MAGIC: &[u8] = b"\xff Go buildinf:";
/// The size of a pointer, behind the magic string.
const POINTER: u8 = 8;
/// A flag in the byte after it, from Go 1.18 on: the strings are in the note itself.
const INLINE: u8 = 2;
/// Where the strings start, each with its length before it; older ones have the address of the first one's header at 16.
const STRINGS: usize = 32;
/// Bytes of the note that are read, which is enough for the version: the longest are those of builds from a repository,
/// `devel go1.22-27f41bb153 Thu Jul 20 22:03:35 2023 +0000`.
const NOTE: u64 = 160;

/// A note.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BuildInfo {
    /// `1.21.13`; `None` where it cannot be read.
    pub version: Option<String>,
}

impl BuildInfo {
    /// Looks for a note where there must be one, in the data that is writable: in most files that is little.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn find(window: &mut Window<'_>, elf: &Elf) -> Result<Option<Self>, ElfError> {
        let finder = memmem::Finder::new(MAGIC);
        let mut found = None;
        for segment in elf.segments.iter().filter(|segment| segment.writable) {
            window.scan(segment.offset, segment.size, NOTE, |offset, bytes, own| {
                let is_note = |at: &usize| {
                    let address =
                        segment.address.wrapping_add(offset - segment.offset + *at as u64);
                    *at < own && address % 16 == 0 && bytes.get(at + MAGIC.len()) == Some(&POINTER)
                };
                found = finder.find_iter(bytes).find(is_note).map(|at| {
                    let note = &bytes[at..];
                    note[..note.len().min(NOTE as usize)].to_vec()
                });
                found.is_none()
            })?;
            if let Some(note) = found {
                let version = inline(&note).or_else(|| pointed_to(window, elf, &note));
                return Ok(Some(Self { version }));
            }
        }
        Ok(None)
    }
}

/// The version in a note that has its strings in it.
fn inline(note: &[u8]) -> Option<String> {
    if note.get(MAGIC.len() + 1)? & INLINE == 0 {
        return None;
    }
    // A varint; one of more than a byte would be no version.
    let length = usize::from(*note.get(STRINGS)?);
    version(note.get(STRINGS + 1..(STRINGS + 1).checked_add(length)?)?)
}

/// The version in a note that points to Go's string, which is an address and a length.
fn pointed_to(window: &mut Window<'_>, elf: &Elf, note: &[u8]) -> Option<String> {
    if *note.get(MAGIC.len() + 1)? != 0 {
        return None;
    }
    let string = read(window, elf, u64_at(note, 16)?, 16)?;
    let (address, length) = (u64_at(&string, 0)?, u64_at(&string, 8)?);
    version(&read(window, elf, address, length.min(NOTE))?)
}

fn read(window: &mut Window<'_>, elf: &Elf, address: u64, length: u64) -> Option<Vec<u8>> {
    let segment: &Segment = elf.segment_at(address)?;
    let left = segment.size - (address - segment.address);
    window.read(elf.file_offset(address)?, length.min(left)).ok()
}

/// The number behind `go`: what follows it are experiments, and dates of builds from a repository.
fn version(text: &[u8]) -> Option<String> {
    let start = memmem::find(text, b"go")? + 2;
    let is_part = |byte: &&u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'+');
    let number: Vec<u8> = text[start..].iter().take_while(is_part).copied().collect();
    let number = String::from_utf8(number).ok()?;
    number.starts_with(|digit: char| digit.is_ascii_digit()).then_some(number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_read_from_all_kinds_of_notes() {
        assert_eq!(version(b"go1.21.13"), Some("1.21.13".to_owned()));
        assert_eq!(version(b"go1.27.3 X:nocoverageredesign"), Some("1.27.3".to_owned()));
        let devel = b"devel go1.22-27f41bb153 Thu Jul 20 22:03:35 2023 +0000";
        assert_eq!(version(devel), Some("1.22-27f41bb153".to_owned()));
        assert_eq!(version(b"gopher"), None);
        assert_eq!(version(b""), None);
        let mut note = MAGIC.to_vec();
        note.extend([8, 2]);
        note.resize(32, 0);
        note.extend(b"\x08go1.27.3");
        assert_eq!(inline(&note), Some("1.27.3".to_owned()));
        for length in 0..note.len() {
            assert_eq!(inline(&note[..length]), None);
        }
    }
}
