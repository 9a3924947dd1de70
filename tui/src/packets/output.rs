//! The blocks of the file: each interface is described before its first packet, in every file anew.

use std::collections::HashMap;
use std::io;
use std::io::Write as _;
use std::time::{Duration, Instant};

use super::backlog::Held;
use super::file::{FileError, PacketFile};
use super::links::link;
use super::recording::Sink;
use super::ring::Frame;
use crate::pcapng::{Interface, Packet, Writer};
use crate::text::sanitize;
use crate::tls::KeyLine;
use crate::wire::Link;

/// Interfaces that are told apart, also those that are gone: 10 MiB.
const INTERFACES: usize = 65_536;
/// How long the next file is not tried again after it could not be had.
const ROTATE_AGAIN: Duration = Duration::from_secs(10);

/// An interface that packets came from.
struct Known {
    index: u32,
    name: Option<String>,
    link: Link,
    /// Its number in the present file.
    number: Option<u32>,
}

/// Writes packets and secrets.
pub struct Output {
    writer: Writer<PacketFile>,
    interfaces: Vec<Known>,
    /// By index and hardware type; `None`: not recorded.
    places: HashMap<(u32, u16), Option<usize>>,
    rotate_at: Option<Instant>,
    /// The present file has packets.
    has_packets: bool,
    /// Secrets were written last, and the packets that need them come next.
    is_within: bool,
    /// What the user should know.
    warnings: Vec<String>,
}

impl Output {
    /// Begins a file.
    ///
    /// # Errors
    ///
    /// When it cannot be written.
    pub fn new(file: PacketFile) -> io::Result<Self> {
        let mut writer = Writer::new(file);
        writer.section()?;
        writer.get_mut().flush()?;
        Ok(Self {
            writer,
            interfaces: Vec::new(),
            places: HashMap::new(),
            rotate_at: None,
            has_packets: false,
            is_within: false,
            warnings: Vec::new(),
        })
    }

    /// Describes interfaces before there are packets: without any, a file is not one for some tools.
    ///
    /// # Errors
    ///
    /// When the file cannot be written.
    pub fn describe(
        &mut self,
        present: &[(u32, u16)],
        name: impl Fn(u32) -> Option<String>,
    ) -> io::Result<()> {
        for &(index, hardware) in present.iter().filter(|(_, hardware)| link(*hardware).is_some()) {
            let place = self.meet(index, hardware, name(index));
            self.places.insert((index, hardware), place);
        }
        self.describe_all()?;
        self.file().flush()
    }

    /// Describes those that are not, and are still there. Wireshark's tools take the kind of a file from what stands before
    /// its first other block.
    fn describe_all(&mut self) -> io::Result<()> {
        let mut present: Vec<usize> = self.places.values().copied().flatten().collect();
        present.sort_unstable();
        present.into_iter().try_for_each(|place| self.number(place).map(drop))
    }

    /// The file.
    pub fn file(&mut self) -> &mut PacketFile {
        self.writer.get_mut()
    }

    /// What there is to tell since this was asked last.
    pub fn take_warnings(&mut self) -> Vec<String> {
        std::mem::take(&mut self.warnings)
    }

    /// Which interface a packet came from, and what it begins with; `None` when that is of a kind that is not recorded.
    pub fn place(
        &mut self,
        frame: &Frame<'_>,
        name: impl FnOnce(u32) -> Option<String>,
    ) -> Option<(usize, Link)> {
        let key = (frame.interface, frame.hardware);
        let place = match self.places.get(&key) {
            Some(place) => *place,
            None if self.places.len() >= INTERFACES => None,
            None => {
                let place = self.meet(frame.interface, frame.hardware, name(frame.interface));
                self.places.insert(key, place);
                place
            }
        };
        place.map(|place| (place, self.interfaces[place].link))
    }

    fn meet(&mut self, index: u32, hardware: u16, name: Option<String>) -> Option<usize> {
        let Some(link) = link(hardware) else {
            let name = name.map_or_else(|| index.to_string(), |name| sanitize(&name));
            self.warnings.push(format!(
                "packets of interface {name} are not recorded: its hardware type {hardware} is not known"
            ));
            return None;
        };
        if self.interfaces.len() >= INTERFACES {
            return None;
        }
        self.interfaces.push(Known { index, name, link, number: None });
        Some(self.interfaces.len() - 1)
    }

    /// Interfaces changed: those that have another name now are others. Of one that is gone, packets may still come.
    pub fn forget_renamed(&mut self, name: impl Fn(u32) -> Option<String>) {
        let interfaces = &self.interfaces;
        self.places.retain(|(index, _), place| {
            let known = place.and_then(|place| interfaces.get(place));
            known.is_none_or(|known| name(*index).is_none_or(|now| known.name == Some(now)))
        });
    }

    fn rotate(&mut self) {
        // One without packets is never full: the next would be no better.
        if !self.has_packets
            || !self.file().is_full()
            || self.rotate_at.is_some_and(|at| Instant::now() < at)
        {
            return;
        }
        let began = match self.file().rotate() {
            Ok(()) => self.writer.section().map_err(|error| error.to_string()),
            Err(error) => Err(FileError::to_string(&error)),
        };
        match began {
            Ok(()) => {
                self.rotate_at = None;
                self.has_packets = false;
                self.interfaces.iter_mut().for_each(|known| known.number = None);
            }
            Err(error) => {
                self.rotate_at = Some(Instant::now() + ROTATE_AGAIN);
                self.warnings.push(format!("the packets' next file: {error}"));
            }
        }
    }

    fn number(&mut self, place: usize) -> io::Result<u32> {
        let known = &mut self.interfaces[place];
        if let Some(number) = known.number {
            return Ok(number);
        }
        let unnamed = format!("interface {}", known.index);
        let number = self.writer.interface(&Interface {
            name: Some(known.name.as_deref().unwrap_or(&unnamed)),
            link: known.link.number(),
            snap_length: 0,
            time_digits: crate::pcapng::NANOSECONDS,
        })?;
        known.number = Some(number);
        Ok(number)
    }
}

impl Sink for Output {
    fn secrets(&mut self, lines: &[Box<KeyLine>]) -> io::Result<()> {
        self.rotate();
        self.is_within = true;
        self.describe_all()?;
        self.writer.secrets(lines.iter().map(|line| &**line))
    }

    fn packet(&mut self, packet: &Held, comment: Option<&str>) -> io::Result<()> {
        if !std::mem::take(&mut self.is_within) {
            self.rotate();
        }
        if !std::mem::replace(&mut self.has_packets, true) {
            self.file().begins();
        }
        let interface = self.number(packet.interface)?;
        self.writer.packet(&Packet {
            interface,
            time: packet.time.0,
            original_length: packet.original_length,
            bytes: &packet.bytes,
            comment,
        })?;
        self.file().flush_if_full()
    }
}
