//! The records of a perf event that reports mappings, programs, forks and exits (perf_event_open(2), "Layout of the
//! samples"), as far as they matter here.
//!
//! The kernel writes them, but names in them were chosen by other processes, and a length that does not fit is no
//! reason to panic: such a record is `None`, and counted.

use crate::text::Foreign;

/// Process and thread id, and the time: what `PERF_SAMPLE_TID | PERF_SAMPLE_TIME` puts at the end of each record.
const SAMPLE_ID: usize = 16;
/// `PERF_RECORD_MISC_COMM_EXEC` (linux/perf_event.h).
const EXEC: u16 = 1 << 13;
/// `PERF_RECORD_MISC_MMAP_BUILD_ID`: then there is no inode in it.
const BUILD_ID: u16 = 1 << 14;
/// `PROT_EXEC` (asm-generic/mman-common.h).
const EXECUTABLE: u32 = 4;

/// A file as the kernel knows it: of an overlay it is the lower or upper file itself, which also holds the probes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct FileKey {
    /// Major and minor number of the device.
    pub device: (u32, u32),
    /// Inode.
    pub inode: u64,
    /// Generation of the inode, which is another when the inode's number is used again; `None` when it was read in
    /// `/proc/PID/maps`, which does not have it.
    pub generation: Option<u64>,
}

/// An executable mapping of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mapped {
    /// Which file.
    pub file: FileKey,
    /// First address.
    pub start: u64,
    /// Bytes.
    pub length: u64,
    /// The path as the process sees it, without the mark of a deleted file.
    pub path: Foreign,
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum What {
    /// A process began.
    Fork {
        /// Who forked.
        parent: u32,
    },
    /// A process has one more thread.
    Thread,
    /// A thread ended.
    Exit {
        /// Its id.
        thread: u32,
    },
    /// A thread has another name.
    Name {
        /// Its id.
        thread: u32,
        /// The name.
        name: Foreign,
        /// The process is another program.
        exec: bool,
    },
    /// A process mapped code.
    Map(Mapped),
    /// There was no room for so many records.
    Lost(u64),
}

/// A record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// Nanoseconds of `CLOCK_BOOTTIME`.
    pub time: u64,
    /// The process; 0 of [`What::Lost`].
    pub pid: u32,
    /// What happened.
    pub what: What,
}

/// What a record's bytes say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Parsed {
    /// Something that matters here.
    Event(Event),
    /// Something else, as kinds of records that are not asked for.
    Other,
    /// It cannot be right.
    Nonsense,
}

/// Reads a record by its kind and flags (`type` and `misc` of its header) and the bytes behind the header.
pub fn parse(kind: u32, misc: u16, bytes: &[u8]) -> Parsed {
    // linux/perf_event.h: `enum perf_event_type`.
    let read = match kind {
        2 => lost,
        3 => name,
        4 => exit,
        7 => fork,
        10 => map,
        _ => return Parsed::Other,
    };
    let Some(body) = bytes.len().checked_sub(SAMPLE_ID) else { return Parsed::Nonsense };
    let (body, id) = bytes.split_at(body);
    let Some(time) = u64_at(id, 8) else { return Parsed::Nonsense };
    match read(misc, body) {
        // 0 and -1 are the ids of those that our pid namespace does not show.
        Some((pid, _)) if pid == u32::MAX => Parsed::Other,
        Some((0, what)) if !matches!(what, What::Lost(_)) => Parsed::Other,
        Some((_, What::Map(mapped))) if mapped.length == 0 => Parsed::Other,
        Some((pid, what)) => Parsed::Event(Event { time, pid, what }),
        None => Parsed::Nonsense,
    }
}

fn lost(_: u16, body: &[u8]) -> Option<(u32, What)> {
    Some((0, What::Lost(u64_at(body, 8)?)))
}

fn name(misc: u16, body: &[u8]) -> Option<(u32, What)> {
    let (pid, thread) = (u32_at(body, 0)?, u32_at(body, 4)?);
    let name = Foreign::from_bytes(text(body.get(8..)?));
    Some((pid, What::Name { thread, name, exec: misc & EXEC != 0 }))
}

fn exit(_: u16, body: &[u8]) -> Option<(u32, What)> {
    Some((u32_at(body, 0)?, What::Exit { thread: u32_at(body, 8)? }))
}

fn fork(_: u16, body: &[u8]) -> Option<(u32, What)> {
    let (pid, parent, thread) = (u32_at(body, 0)?, u32_at(body, 4)?, u32_at(body, 8)?);
    Some((pid, if thread == pid { What::Fork { parent } } else { What::Thread }))
}

fn map(misc: u16, body: &[u8]) -> Option<(u32, What)> {
    let path = text(body.get(64..)?);
    let mut mapped = Mapped {
        start: u64_at(body, 8)?,
        length: u64_at(body, 16)?,
        file: FileKey {
            device: (u32_at(body, 32)?, u32_at(body, 36)?),
            inode: u64_at(body, 40)?,
            generation: Some(u64_at(body, 48)?),
        },
        path: Foreign::from_bytes(path.strip_suffix(b" (deleted)").unwrap_or(path)),
    };
    // `[vdso]`, `//anon` and the like are no files.
    let is_file = mapped.file.inode != 0 && path.starts_with(b"/") && !path.starts_with(b"//");
    if !is_file || misc & BUILD_ID != 0 || u32_at(body, 56)? & EXECUTABLE == 0 {
        mapped.length = 0;
    }
    Some((u32_at(body, 0)?, What::Map(mapped)))
}

/// Up to the first NUL.
fn text(bytes: &[u8]) -> &[u8] {
    bytes.split(|byte| *byte == 0).next().unwrap_or_default()
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_ne_bytes(bytes.get(at..at + 8)?.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn bytes(words: &[u32], tail: &[u8]) -> Vec<u8> {
        let mut bytes: Vec<u8> = words.iter().flat_map(|word| word.to_ne_bytes()).collect();
        bytes.extend_from_slice(tail);
        bytes.resize(bytes.len().next_multiple_of(8), 0);
        bytes.extend_from_slice(&[0; 8]);
        bytes.extend_from_slice(&77u64.to_ne_bytes());
        bytes
    }

    fn event(parsed: Parsed) -> Event {
        match parsed {
            Parsed::Event(event) => event,
            other => panic!("{other:?}"),
        }
    }

    fn mapping(protection: u32, path: &[u8]) -> Vec<u8> {
        bytes(&[5, 6, 0x1000, 0, 0x2000, 0, 0, 0, 254, 1, 99, 0, 3, 0, protection, 2], path)
    }

    #[test]
    fn a_mapping_of_code_is_read() {
        let found = event(parse(10, 0, &mapping(5, b"/usr/lib/libssl.so.3 (deleted)\0")));
        assert_eq!((found.time, found.pid), (77, 5));
        let What::Map(mapped) = found.what else { panic!("{found:?}") };
        assert_eq!((mapped.start, mapped.length), (0x1000, 0x2000));
        assert_eq!(mapped.path.raw(), "/usr/lib/libssl.so.3");
        let file = FileKey { device: (254, 1), inode: 99, generation: Some(3) };
        assert_eq!(mapped.file, file);
    }

    #[test]
    fn what_is_no_code_of_a_file_is_passed_over() {
        for (misc, record) in [
            (0, mapping(1, b"/usr/lib/libssl.so.3\0")),
            (0, mapping(5, b"[vdso]\0")),
            (0, mapping(5, b"//anon\0")),
            (BUILD_ID, mapping(5, b"/usr/lib/libssl.so.3\0")),
        ] {
            assert_eq!(parse(10, misc, &record), Parsed::Other);
        }
        assert_eq!(parse(9, 0, &[]), Parsed::Other);
    }

    #[test]
    fn tasks_are_read() {
        let what = |kind, misc, record: Vec<u8>| event(parse(kind, misc, &record)).what;
        assert_eq!(what(7, 0, bytes(&[5, 4, 5, 4, 0, 0], b"")), What::Fork { parent: 4 });
        assert_eq!(what(7, 0, bytes(&[5, 5, 6, 5, 0, 0], b"")), What::Thread);
        assert_eq!(what(4, 0, bytes(&[5, 4, 6, 4, 0, 0], b"")), What::Exit { thread: 6 });
        let name = |exec| What::Name { thread: 5, name: "curl".into(), exec };
        assert_eq!(what(3, EXEC, bytes(&[5, 5], b"curl\0\0\0\0")), name(true));
        assert_eq!(what(3, 0, bytes(&[5, 5], b"curl\0")), name(false));
        assert_eq!(what(2, 0, bytes(&[1, 0, 9, 0], b"")), What::Lost(9));
        assert_eq!(parse(7, 0, &bytes(&[u32::MAX, 4, 5, 4, 0, 0], b"")), Parsed::Other);
        assert_eq!(parse(7, 0, &bytes(&[5, 4, 5], b"")), event_or_nonsense(5));
    }

    /// A record that is cut in the middle of what is not read is as good as a whole one.
    fn event_or_nonsense(pid: u32) -> Parsed {
        Parsed::Event(Event { time: 77, pid, what: What::Fork { parent: 4 } })
    }

    #[test]
    fn a_record_that_is_too_short_is_nonsense() {
        for kind in [2, 3, 4, 7, 10] {
            for length in [0, 7, 15, 16, 17] {
                assert_eq!(parse(kind, 0, &vec![1; length]), Parsed::Nonsense, "{kind} {length}");
            }
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_without_a_panic(
            kind in 0u32..24, misc in any::<u16>(), bytes in proptest::collection::vec(any::<u8>(), 0..400),
        ) {
            let _ = parse(kind, misc, &bytes);
        }
    }
}
