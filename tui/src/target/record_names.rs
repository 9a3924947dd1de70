//! Which function an error record belongs to, by library: tables, and the strings that they need.

use std::collections::BTreeSet;
use std::ops::Range;

use memchr::memmem;

use super::elf::{Elf, ElfError, Segment};
use super::error_records::{self, Record};
use super::plan::Library;
use super::window::Window;

/// The source file of all functions that are looked for, as the end of a path; BoringSSL's is C++.
const FILES: [&[u8]; 2] = [b"ssl_lib.c\0", b"ssl_lib.cc\0"];
/// What comes before it, at most: the path of a build folder.
const MAX_PATH: u64 = 240;
/// Strings of a kind that are kept: a limit for hostile files.
const MAX_STRINGS: usize = 64;

/// OpenSSL's `ERR_LIB_SSL`.
const OPENSSL_LIBRARY: u64 = 20;
/// OpenSSL's functions with their numbers in 1.1 (`SSL_F_SSL_READ` in `sslerr.h`). Those that call others come first:
/// where the compiler has put one into another, the function is known by the outer one.
const OPENSSL: [(&str, u64); 8] = [
    ("SSL_read", 223),
    ("SSL_peek", 270),
    ("SSL_write", 208),
    ("ssl_read_internal", 523),
    ("ssl_peek_internal", 522),
    ("ssl_write_internal", 524),
    ("SSL_shutdown", 224),
    ("SSL_do_handshake", 180),
];

/// BoringSSL's `ERR_LIB_SSL`.
const BORINGSSL_LIBRARY: u64 = 16;
/// `SSL_R_CONNECTION_TYPE_NOT_SET`: only `SSL_do_handshake` says it.
const NOT_SET: u64 = 134;
/// `SSL_R_UNINITIALIZED`.
const UNINITIALIZED: u64 = 226;
/// `ERR_R_SHOULD_NOT_HAVE_BEEN_CALLED`: on QUIC connections.
const NOT_CALLED: u64 = 66;
/// The order of these three reasons by line in BoringSSL's `ssl_lib.cc`, from `SSL_do_handshake` on, and the functions
/// that are looked for; 66 may also stand between the first two. Read in curl_cffi 0.17, grpcio 1.85, bun 1.4 and
/// Chromium 156, where the last two are five lines apart: a build without the record of SSL_write must not give the
/// next function's.
const BORINGSSL: [(u64, Option<&str>); 5] = [
    (NOT_SET, Some("SSL_do_handshake")),
    (UNINITIALIZED, Some("ssl_read_impl")),
    // SSL_peek, then SSL_write itself.
    (NOT_CALLED, None),
    (NOT_CALLED, None),
    (UNINITIALIZED, Some("SSL_write")),
];
/// The most lines between the two records of SSL_write.
const WRITE_LINES: u64 = 10;
/// As for OpenSSL: outer functions first.
const BORINGSSL_RANKS: [&str; 3] = ["SSL_write", "ssl_read_impl", "SSL_do_handshake"];

/// How the records of a library name their function.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// OpenSSL from 3.0: by its name.
    Named,
    /// OpenSSL 1.1: by a number.
    Numbered,
    /// BoringSSL and AWS-LC: not at all, but by the order of their lines.
    Ordered,
}

impl Family {
    /// The family of a library, if it is known.
    pub fn of(library: &Library) -> Option<Self> {
        let version = library.version.as_deref().unwrap_or_default();
        match library.name {
            "OpenSSL" | "quictls" if version.starts_with("1.") => Some(Self::Numbered),
            "OpenSSL" | "quictls" => Some(Self::Named),
            "BoringSSL" | "AWS-LC" => Some(Self::Ordered),
            _ => None,
        }
    }
}

/// The names of source files and functions in an image.
#[derive(Clone, Debug, Default)]
pub struct Strings {
    /// Where the path of the source file may start. Linkers put strings into the ends of others, and constants before
    /// strings, so that its first byte is not known.
    files: Vec<Range<u64>>,
    names: Vec<(u64, &'static str)>,
    by_name: bool,
}

impl Strings {
    /// Looks for what the family needs: where constants are, or in code where they are not found elsewhere.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn find(window: &mut Window<'_>, elf: &Elf, family: Family) -> Result<Self, ElfError> {
        let by_name = family == Family::Named;
        let mut strings = Self { by_name, ..Self::default() };
        for executable in [false, true] {
            let among = |segment: &&Segment| segment.executable == executable;
            for segment in elf.segments.iter().filter(among) {
                strings.search(window, segment)?;
            }
            if !strings.files.is_empty() && (!by_name || !strings.names.is_empty()) {
                break;
            }
        }
        Ok(strings)
    }

    fn search(&mut self, window: &mut Window<'_>, segment: &Segment) -> Result<(), ElfError> {
        let file = memmem::Finder::new("ssl_lib.c");
        let functions: Vec<_> = match self.by_name {
            true => OPENSSL.iter().map(|&(name, _)| (name, memmem::Finder::new(name))).collect(),
            false => Vec::new(),
        };
        let mut files = Vec::new();
        window.scan(segment.offset, segment.size, 64, |offset, bytes, own| {
            let address = segment.address.wrapping_add(offset - segment.offset);
            let starts = |at: usize, ends: &[u8]| bytes[at..].starts_with(ends);
            for at in file.find_iter(bytes).take_while(|at| *at < own) {
                if FILES.iter().any(|ends| starts(at, ends)) && files.len() < MAX_STRINGS {
                    files.push(address + at as u64);
                }
            }
            for (name, finder) in &functions {
                for at in finder.find_iter(bytes).take_while(|at| *at < own) {
                    if bytes.get(at + name.len()) == Some(&0) && self.names.len() < MAX_STRINGS {
                        self.names.push((address + at as u64, name));
                    }
                }
            }
            true
        })?;
        for file in files {
            let before = (file - segment.address).min(MAX_PATH);
            let path = window.read(file - before - segment.address + segment.offset, before)?;
            let length = path.iter().rev().take_while(|byte| matches!(byte, b' '..=b'~')).count();
            self.files.push(file - length as u64..file + 1);
        }
        Ok(())
    }

    /// The addresses whose references tell where the records are.
    pub fn addresses(&self) -> Vec<u64> {
        match self.by_name {
            true => self.names.iter().map(|&(address, _)| address).collect(),
            false => self.files.iter().flat_map(Clone::clone).collect(),
        }
    }

    /// The function that the string at `address` names.
    fn name_at(&self, address: u64) -> Option<&'static str> {
        self.names.iter().find(|&&(at, _)| at == address).map(|&(_, name)| name)
    }
}

impl error_records::Strings for Strings {
    fn is_file(&self, address: u64) -> bool {
        self.files.iter().any(|file| file.contains(&address))
    }

    fn is_name(&self, address: u64) -> bool {
        self.name_at(address).is_some()
    }
}

/// The functions that the records of one image belong to.
#[derive(Clone, Debug)]
pub enum Functions<'s> {
    /// Known by their names.
    Named(&'s Strings),
    /// Known by their numbers.
    Numbered,
    /// Known by their lines.
    Lines(Vec<(u64, &'static str)>),
}

impl<'s> Functions<'s> {
    /// Judges by all `records` of an image; `None` when they are not in the known order.
    pub fn of(family: Family, strings: &'s Strings, records: &BTreeSet<Record>) -> Option<Self> {
        match family {
            Family::Named => Some(Self::Named(strings)),
            Family::Numbered => Some(Self::Numbered),
            Family::Ordered => ordered(records).map(Self::Lines),
        }
    }

    /// The function that a record belongs to.
    pub fn name(&self, record: &Record) -> Option<&'static str> {
        match (self, *record) {
            (Self::Named(strings), Record::Named(address)) => strings.name_at(address),
            (Self::Numbered, Record::Coded { library: OPENSSL_LIBRARY, function, .. }) => {
                OPENSSL.iter().find(|&&(_, number)| number == function).map(|&(name, _)| name)
            }
            (Self::Lines(lines), Record::Coded { library: BORINGSSL_LIBRARY, line, .. }) => {
                lines.iter().find(|&&(known, _)| known == line).map(|&(_, name)| name)
            }
            _ => None,
        }
    }

    /// All names in their order: the first of those whose records are in one function is the function's.
    pub fn ranks(&self) -> Vec<&'static str> {
        match self {
            Self::Named(_) | Self::Numbered => OPENSSL.iter().map(|&(name, _)| name).collect(),
            Self::Lines(_) => BORINGSSL_RANKS.to_vec(),
        }
    }
}

/// The lines of the functions that are looked for, if the records of BoringSSL's `ssl_lib.cc` are in the known order.
fn ordered(records: &BTreeSet<Record>) -> Option<Vec<(u64, &'static str)>> {
    let mut lines = BTreeSet::new();
    for record in records {
        if let Record::Coded { library: BORINGSSL_LIBRARY, function: 0, reason, line } = *record
            && [NOT_SET, UNINITIALIZED, NOT_CALLED].contains(&reason)
        {
            lines.insert((line, reason));
        }
    }
    let mut handshakes = lines.iter().filter(|&&(_, reason)| reason == NOT_SET);
    let &(first, _) = handshakes.next()?;
    if handshakes.next().is_some() {
        return None;
    }
    let mut rest = lines.range((first, 0)..).peekable();
    let (mut found, mut last) = (Vec::new(), 0);
    for (index, &(wanted, name)) in BORINGSSL.iter().enumerate() {
        while index == 1 && rest.next_if(|&&(_, reason)| reason == NOT_CALLED).is_some() {}
        let &(line, reason) = rest.next()?;
        let is_far = index + 1 == BORINGSSL.len() && line - last > WRITE_LINES;
        if reason != wanted || is_far {
            return None;
        }
        last = line;
        found.extend(name.map(|name| (line, name)));
    }
    Some(found)
}

#[cfg(test)]
mod tests {
    use super::super::error_records::Strings as _;
    use super::super::sample::file_of;
    use super::super::sample::one_segment;
    use super::*;
    use proptest::prelude::*;

    fn coded((reason, line): (u64, u64)) -> Record {
        Record::Coded { library: BORINGSSL_LIBRARY, function: 0, reason, line }
    }

    fn lines(records: &[(u64, u64)]) -> Option<Vec<(u64, &'static str)>> {
        ordered(&records.iter().copied().map(coded).collect())
    }

    /// As in Chromium 156.
    const CHROMIUM: [(u64, u64); 8] = [
        (66, 706),
        (134, 731),
        (66, 819),
        (226, 846),
        (66, 940),
        (66, 962),
        (226, 967),
        (226, 1030),
    ];

    #[test]
    fn boringssl_by_the_order_of_lines() {
        let expected = [(731, "SSL_do_handshake"), (846, "ssl_read_impl"), (967, "SSL_write")];
        assert_eq!(lines(&CHROMIUM).unwrap(), expected);
        // Without any one of them, and with another handshake, the order is not the known one.
        for without in [1, 3, 4, 5, 6] {
            let mut less = CHROMIUM.to_vec();
            less.remove(without);
            assert_eq!(lines(&less), None, "{without}");
        }
        assert_eq!(lines(&[&CHROMIUM[..], &[(134, 1400)]].concat()), None);
        assert_eq!(lines(&[]), None);
    }

    fn strings(bytes: &[u8], family: Family) -> Strings {
        let elf = one_segment(0x1000, bytes.len(), false);
        let file = file_of(bytes);
        Strings::find(&mut Window::new(&file).unwrap(), &elf, family).unwrap()
    }

    #[test]
    fn the_path_may_start_after_other_bytes() {
        let bytes = b"\x00666ssl/ssl_lib.c\0SSL_read\0ssl_lib.cpp\0SSL_reads\0";
        let found = strings(bytes, Family::Numbered);
        assert_eq!(found.addresses(), (0x1001..=0x1008).collect::<Vec<u64>>());
        assert!(found.is_file(0x1004) && !found.is_file(0x1000) && !found.is_file(0x1009));
        let found = strings(bytes, Family::Named);
        assert_eq!(found.addresses(), [0x1012]);
        assert!(found.is_name(0x1012) && found.is_file(0x1004));
    }

    proptest! {
        #[test]
        fn any_records_and_bytes_never_panic(
            records in proptest::collection::vec((prop_oneof![Just(66u64), Just(134), Just(226)], 0u64..12), 0..12),
            bytes in proptest::collection::vec(any::<u8>(), 1..64),
        ) {
            let _ = lines(&records);
            let mut text = bytes;
            text.extend(b"ssl_lib.cc\0SSL_write\0");
            prop_assert_eq!(strings(&text, Family::Named).names.len(), 1);
        }
    }
}
