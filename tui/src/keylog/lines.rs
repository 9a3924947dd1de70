//! The lines of a key log that is there.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, BufRead as _, Read};

use zeroize::{Zeroize as _, Zeroizing};

use super::wiped::WipedReader;
use crate::model::{KnownLine, LINES_REMEMBERED};
use crate::tls::{KeyLine, ParsedLine, parse_line};

/// Longer ones are no key lines: a label of 48, 64 and 128 digits.
const LONGEST: u64 = 4096;

/// What is in a file.
pub(super) struct Lines {
    /// The last million of its key lines.
    pub known: Vec<KnownLine>,
    /// Its last line lacks a newline.
    pub needs_newline: bool,
    /// There are whole lines, and none is a key or a comment: a private key, perhaps.
    pub is_other: bool,
}

/// Reads the lines of our own file.
pub(super) fn read_lines(file: &File) -> io::Result<Lines> {
    let mut known: VecDeque<KnownLine> = VecDeque::new();
    let (mut has_ours, mut has_others) = (false, false);
    let needs_newline = each_line(file, |line| {
        // A last line without its newline may be cut; even a whole one is only repeated.
        if !line.ends_with(b"\n") {
            return;
        }
        let parsed = parse_line(line);
        let is_empty = line.trim_ascii().is_empty();
        has_ours |= !is_empty && !matches!(parsed, ParsedLine::Foreign);
        has_others |= matches!(parsed, ParsedLine::Foreign);
        if let ParsedLine::Key(key) = parsed {
            known.push_back(key.name());
            if known.len() > LINES_REMEMBERED {
                known.pop_front();
            }
        }
    })?;
    Ok(Lines { known: known.into(), needs_newline, is_other: has_others && !has_ours })
}

/// Gives each key of a key log, in its order; other lines are passed over. Whether it may be one: that is not so where there
/// are lines, and none is a key or a comment.
///
/// # Errors
///
/// When it cannot be read.
pub fn keys(reader: impl Read, mut each: impl FnMut(KeyLine)) -> io::Result<bool> {
    let (mut has_ours, mut has_others) = (false, false);
    each_line(reader, |line| match parse_line(line) {
        ParsedLine::Key(key) => {
            has_ours = true;
            each(key);
        }
        ParsedLine::Blank => has_ours |= !line.trim_ascii().is_empty(),
        ParsedLine::Foreign => has_others = true,
    })?;
    Ok(has_ours || !has_others)
}

/// Gives each line that is not too long, with its newline; says whether the last one lacks it.
fn each_line(reader: impl Read, mut each: impl FnMut(&[u8])) -> io::Result<bool> {
    let mut reader = WipedReader::new(reader);
    // With room for the longest, no copy is left behind by growing.
    let mut line = Zeroizing::new(Vec::with_capacity(LONGEST as usize));
    let mut ends_with_newline = true;
    let mut in_long_line = false;
    loop {
        line.zeroize();
        if reader.by_ref().take(LONGEST).read_until(b'\n', &mut line)? == 0 {
            return Ok(!ends_with_newline);
        }
        ends_with_newline = line.last() == Some(&b'\n');
        let is_whole = !in_long_line;
        in_long_line = !ends_with_newline && line.len() as u64 == LONGEST;
        if is_whole && !in_long_line {
            each(&line);
        }
    }
}
