//! Executable mappings of files: the lines of `/proc/PID/maps` (proc(5)) that can hold a probe.

use std::fs::File;
use std::io::{self, BufRead as _, BufReader, Read as _};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use super::follow::record::{FileKey, Mapped};
use super::process;
use crate::text::Foreign;

/// One executable mapping of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mapping {
    /// First address.
    pub start: u64,
    /// Address after the last.
    pub end: u64,
    /// Device, as the kernel's major and minor numbers, and inode. On overlay and btrfs file systems
    /// it can differ from what `stat` says of the same file.
    pub file: (u32, u32, u64),
    /// The path as the process sees it, without the mark of a deleted file.
    pub path: Foreign,
}

impl Mapping {
    /// The same, as a record would say it.
    pub fn as_mapped(&self) -> Mapped {
        let (major, minor, inode) = self.file;
        Mapped {
            file: FileKey { device: (major, minor), inode, generation: None },
            start: self.start,
            length: self.end.saturating_sub(self.start),
            path: self.path.clone(),
        }
    }
}

/// Most bytes read of a process's maps: a line has about 100, and real programs up to some 10,000 lines. A million lines
/// without a path are 50 MB.
const LIMIT: u64 = 128 << 20;
/// How long reading them may take: a million lines take half a second, unoptimised and with all CPUs busy 10 s.
const TIME: Duration = Duration::from_secs(30);
/// Lines after which the time is looked at.
const LINES: usize = 1024;

/// What was read of a process's maps.
#[derive(Debug)]
pub struct Executable {
    /// The executable mappings of files.
    pub mappings: Vec<Mapping>,
    /// There was no more that could have been read.
    pub is_whole: bool,
}

/// The executable mappings of files in a process; `more` is told that it lets us read on. It may block: the kernel waits
/// for the process's memory.
///
/// # Errors
///
/// When the process has ended, or is not ours to read.
pub fn executable(pid: u32, more: impl Fn()) -> io::Result<Executable> {
    let end = Instant::now() + TIME;
    let file = File::open(format!("/proc/{pid}/maps"))?;
    let mut reader = BufReader::with_capacity(64 << 10, file.take(LIMIT));
    let mut mappings: Vec<Mapping> = Vec::new();
    let mut line = Vec::new();
    let root = process::root_of(pid);
    let (mut lines, mut is_in_time) = (0usize, true);
    while is_in_time && reader.read_until(b'\n', &mut line)? > 0 {
        // One file has seldom more than two executable mappings, one after the other.
        let mapping = parse(&line);
        mappings.extend(mapping.filter(|new| mappings.last().is_none_or(|l| l.file != new.file)));
        line.clear();
        lines += 1;
        if lines.is_multiple_of(LINES) {
            more();
            is_in_time = Instant::now() < end;
        }
    }
    let is_whole = is_in_time && reader.get_ref().limit() > 0;
    if let Some(root) = root {
        for mapping in &mut mappings {
            let path = process::inside(&root, PathBuf::from(mapping.path.raw()));
            mapping.path = Foreign::from(path.as_os_str());
        }
    }
    Ok(Executable { mappings, is_whole })
}

/// `7f…-7f… r-xp 00028000 fe:00 1234    /usr/lib/libssl.so.3 (deleted)`
pub(crate) fn parse(line: &[u8]) -> Option<Mapping> {
    let line = line.strip_suffix(b"\n").unwrap_or(line);
    let mut rest = line;
    let mut field = || {
        let end = rest.iter().position(|&byte| byte == b' ').unwrap_or(rest.len());
        let (field, after) = rest.split_at(end);
        rest = after.trim_ascii_start();
        std::str::from_utf8(field).ok()
    };
    let (start, end) = field()?.split_once('-')?;
    let permissions = field()?;
    let _offset = field()?;
    let (major, minor) = field()?.split_once(':')?;
    let inode = field()?.parse().ok()?;
    if permissions.as_bytes().get(2) != Some(&b'x') || inode == 0 || !rest.starts_with(b"/") {
        return None;
    }
    let number = |text| u32::from_str_radix(text, 16).ok();
    Some(Mapping {
        start: u64::from_str_radix(start, 16).ok()?,
        end: u64::from_str_radix(end, 16).ok()?,
        file: (number(major)?, number(minor)?, inode),
        path: Foreign::from_bytes(rest.strip_suffix(b" (deleted)").unwrap_or(rest)),
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn an_executable_line_is_read() {
        let line = b"7f0e6c1b4000-7f0e6c212000 r-xp 0001e000 fe:00 393229                     /usr/lib/x86_64-linux-gnu/libssl.so.3 (deleted)\n";
        let mapping = parse(line).unwrap();
        assert_eq!((mapping.start, mapping.end), (0x7f0e_6c1b_4000, 0x7f0e_6c21_2000));
        assert_eq!(mapping.file, (0xfe, 0, 393_229));
        assert_eq!(mapping.path.raw(), "/usr/lib/x86_64-linux-gnu/libssl.so.3");
    }

    #[test]
    fn lines_without_code_of_a_file_are_passed_over() {
        for line in [
            &b"7ffc0-7ffd0 r-xp 00000000 00:00 0                          [vdso]"[..],
            b"55d0-55e0 r--p 00000000 fe:00 12 /usr/bin/curl",
            b"55d0-55e0 rwxp 00000000 00:00 0 ",
            b"",
            b"nonsense",
        ] {
            assert_eq!(parse(line), None);
        }
    }

    #[test]
    fn our_own_code_is_found() {
        let exe = std::env::current_exe().unwrap();
        let read = executable(std::process::id(), || {}).unwrap();
        assert!(read.is_whole);
        assert!(read.mappings.iter().any(|mapping| mapping.path == Foreign::from(exe.as_os_str())));
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_without_a_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = parse(&bytes);
        }
    }
}
