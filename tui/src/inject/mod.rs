//! `tlskeytop inject`: adds to a capture exactly the secrets that its handshakes need.
//!
//! The file is read twice and never held: once for its handshakes, and once to copy it. Of each section, the secrets stand
//! before its first packet.

mod output;
mod report;
mod survey;

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use self::output::Output;
pub use self::report::Report;
use self::survey::Survey;
use crate::keylog;
use crate::pcapng::{Interface, Item, Packet, ReadError, Reader, Writer};
use crate::text::Foreign;
use crate::tls::KeyLine;

/// Most secrets that are added, to bound what is held of a hostile key log.
const MOST_LINES: usize = 1_000_000;

/// What to do.
#[derive(Clone, Debug)]
pub struct Injection {
    /// The key log.
    pub keys: PathBuf,
    /// The capture: pcap or pcapng.
    pub input: PathBuf,
    /// The pcapng file that is made.
    pub output: PathBuf,
}

/// Why it was not done.
#[derive(Debug, thiserror::Error)]
pub enum InjectError {
    /// A file that is read is something else.
    #[error("{0}: not a regular file")]
    NotAFile(Foreign),
    /// A file that is read cannot be opened or read.
    #[error("{path}: {source}")]
    Read {
        /// The file.
        path: Foreign,
        /// What happened.
        source: io::Error,
    },
    /// What should be a key log is something else.
    #[error(
        "{0}: has other contents than a key log; name the file with the secrets (SSLKEYLOGFILE)"
    )]
    NotAKeyLog(Foreign),
    /// The capture cannot be read.
    #[error("{path}: {source}")]
    Capture {
        /// The file.
        path: Foreign,
        /// Where and why.
        source: ReadError,
    },
    /// There is something at the path of the output.
    #[error("{0}: exists already, and nothing is overwritten; name another path")]
    Exists(Foreign),
    /// The output cannot be written. What there was of it is removed.
    #[error("writing {path}: {source}")]
    Write {
        /// The file.
        path: Foreign,
        /// What happened.
        source: io::Error,
    },
}

/// Does it, with the rights of the calling thread, and says what was found. Nobody else can read the output.
///
/// # Errors
///
/// [`InjectError`]; there is no output then.
pub fn inject(injection: &Injection) -> Result<Report, InjectError> {
    let Injection { keys, input, output } = injection;
    let capture = |source| InjectError::Capture { path: shown(input), source };
    let write = |source: io::Error| match source.kind() {
        io::ErrorKind::AlreadyExists => InjectError::Exists(shown(output)),
        _ => InjectError::Write { path: shown(output), source },
    };
    let keys_file = open(keys)?;
    let mut survey = Survey::of(open(input)?).map_err(capture)?;
    let mut lines: Vec<(u32, KeyLine)> = Vec::new();
    let read = keylog::keys(keys_file, |line| {
        if lines.len() < MOST_LINES
            && let Some(section) = survey.claim(&line)
        {
            lines.push((section, line));
        }
    });
    let is_keylog = read.map_err(|source| InjectError::Read { path: shown(keys), source })?;
    if !is_keylog {
        return Err(InjectError::NotAKeyLog(shown(keys)));
    }
    // In the order of the key log, section by section.
    lines.sort_by_key(|(section, _)| *section);
    let mut reader = Reader::new(open(input)?).map_err(capture)?;
    let mut writer = Writer::new(Output::create(output).map_err(write)?);
    copy(&mut reader, &mut writer, &lines).map_err(|failed| match failed {
        Failed::Reading(source) => capture(source),
        Failed::Writing(source) => write(source),
    })?;
    writer.into_inner().finish().map_err(write)?;
    Ok(Report::new(survey, lines.len(), shown(output), reader.cut()))
}

enum Failed {
    Reading(ReadError),
    Writing(io::Error),
}

impl From<ReadError> for Failed {
    fn from(error: ReadError) -> Self {
        Self::Reading(error)
    }
}

impl From<io::Error> for Failed {
    fn from(error: io::Error) -> Self {
        Self::Writing(error)
    }
}

/// Copies the capture, with the secrets of each section before its first packet.
fn copy(
    reader: &mut Reader<File>,
    writer: &mut Writer<Output>,
    lines: &[(u32, KeyLine)],
) -> Result<(), Failed> {
    if let Some(classic) = reader.classic() {
        writer.section()?;
        let (link, snap_length) = (classic.link, classic.snap_length);
        let time_digits = classic.time_digits;
        writer.interface(&Interface { name: None, link, snap_length, time_digits })?;
    }
    let is_classic = reader.classic().is_some();
    let (mut section, mut rest) = (0, lines);
    while let Some(block) = reader.next_block()? {
        match block.item {
            Item::Section(order) => {
                section += 1;
                writer.follow(order);
                writer.raw(&without_length(block.raw))?;
                continue;
            }
            Item::Packet(packet) => {
                let count = rest.partition_point(|(of, _)| *of <= section);
                let (now, later) = rest.split_at(count);
                rest = later;
                writer.secrets(now.iter().map(|(_, line)| line))?;
                if is_classic {
                    writer.packet(&Packet {
                        interface: 0,
                        time: packet.units,
                        original_length: packet.original_length,
                        bytes: packet.bytes,
                        comment: None,
                    })?;
                    continue;
                }
            }
            Item::Secrets(_) | Item::Other => {}
        }
        writer.raw(block.raw)?;
    }
    Ok(())
}

/// The header of a section that does not say its length: it gets longer. 8 bytes from the 16th on, -1 for "not known".
fn without_length(header: &[u8]) -> Vec<u8> {
    let mut header = header.to_vec();
    if let Some(length) = header.get_mut(16..24) {
        length.fill(0xff);
    }
    header
}

/// Opens a file to read it. A symbolic link is followed; a FIFO or a device is not waited for.
fn open(path: &Path) -> Result<File, InjectError> {
    let failed = |source| InjectError::Read { path: shown(path), source };
    let flags = libc::O_NONBLOCK | libc::O_NOCTTY | libc::O_CLOEXEC;
    let file = OpenOptions::new().read(true).custom_flags(flags).open(path).map_err(failed)?;
    match file.metadata().map_err(failed)?.is_file() {
        true => Ok(file),
        false => Err(InjectError::NotAFile(shown(path))),
    }
}

fn shown(path: &Path) -> Foreign {
    Foreign::from(path.as_os_str())
}

#[cfg(test)]
mod tests;
