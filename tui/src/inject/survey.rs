//! The handshakes of a capture, and which secrets there are for them.

use std::collections::{HashMap, HashSet};
use std::io::Read;
use std::net::SocketAddr;

use crate::model::Time;
use crate::pcapng::{Item, ReadError, Reader};
use crate::text::Foreign;
use crate::tls::{ClientRandom, KeyLine, Label, LineId, ParsedLine, Version, parse_line};
use crate::wire::{self, Dropped, Handshakes, Limits, Seen};

/// Most handshakes that are known: up to 100 MiB of memory. What is beyond them is counted.
const MOST_HANDSHAKES: usize = 250_000;
/// Most lines of secrets in the capture that are remembered; what is beyond them may be repeated.
const MOST_LINES: usize = 1_000_000;

/// Labels as bits, in the order of [`Label::SHOWN`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Labels(u8);

impl Labels {
    fn add(&mut self, label: &Label) {
        self.0 |= Self::bit(label);
    }

    fn has(self, label: &Label) -> bool {
        self.0 & Self::bit(label) != 0
    }

    fn bit(label: &Label) -> u8 {
        Label::SHOWN.iter().position(|shown| shown == label).map_or(0, |place| 1 << place)
    }
}

/// One handshake, shortly.
#[derive(Clone, Debug)]
pub(super) struct Handshake {
    /// The section of the capture, from 1; 0 in a pcap file.
    section: u32,
    pub at: Time,
    pub client: SocketAddr,
    pub server: SocketAddr,
    pub server_name: Option<Foreign>,
    pub has_ech: bool,
    pub is_answered: bool,
    /// That was chosen.
    pub version: Option<Version>,
    /// For which there are secrets, in the capture or the key log.
    labels: Labels,
}

/// How far secrets go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Coverage {
    /// All that it takes.
    Whole,
    /// Not all.
    Partial,
    /// None.
    Missing,
    /// There was no ServerHello: nothing was encrypted, or its packets are not there.
    Unanswered,
}

impl Handshake {
    /// How far its secrets go.
    pub fn coverage(&self) -> Coverage {
        let by_schedule = Label::TLS13_COMPLETE.iter().all(|label| self.labels.has(label));
        let by_master = self.labels.has(&Label::ClientRandom);
        let is_whole = match self.version {
            Some(version) if version.has_traffic_secrets() => by_schedule,
            Some(_) => by_master,
            None => by_schedule || by_master,
        };
        match () {
            () if is_whole => Coverage::Whole,
            () if self.labels != Labels::default() => Coverage::Partial,
            () if !self.is_answered => Coverage::Unanswered,
            () => Coverage::Missing,
        }
    }
}

/// What a capture has.
#[derive(Debug, Default)]
pub(super) struct Survey {
    pub packets: u64,
    pub handshakes: HashMap<ClientRandom, Handshake>,
    /// Handshakes that are not known, because there are too many.
    pub beyond: u64,
    /// Of connections that were read.
    pub dropped: Dropped,
    /// Lines of secrets that the capture had.
    pub had: u64,
    /// Those, and what was claimed.
    lines: HashSet<LineId>,
    /// The labels of the lines that the capture had.
    own: HashMap<ClientRandom, Labels>,
}

impl Survey {
    /// Reads a capture.
    ///
    /// # Errors
    ///
    /// When it cannot be read.
    pub fn of(file: impl Read) -> Result<Self, ReadError> {
        let mut survey = Self::default();
        let mut reader = Reader::new(file)?;
        let mut wire = Handshakes::new(Limits::default());
        let mut section = 0;
        while let Some(block) = reader.next_block()? {
            match block.item {
                Item::Section(_) => section += 1,
                Item::Secrets(text) => survey.add_secrets(text),
                Item::Packet(packet) => {
                    survey.packets += 1;
                    let Some(segment) = wire::segment(packet.link, packet.bytes) else { continue };
                    for seen in wire.segment(packet.at, &segment) {
                        survey.add(section, seen);
                    }
                }
                Item::Other => {}
            }
        }
        survey.dropped = wire.dropped();
        for (random, handshake) in &mut survey.handshakes {
            handshake.labels = survey.own.remove(random).unwrap_or_default();
        }
        Ok(survey)
    }

    /// The section that a key line belongs to: of a handshake of the capture that has no such secret yet.
    pub fn claim(&mut self, line: &KeyLine) -> Option<u32> {
        let handshake = self.handshakes.get_mut(&line.client_random)?;
        if line.secret.is_null() || !self.lines.insert(line.id()) {
            return None;
        }
        handshake.labels.add(&line.label);
        Some(handshake.section)
    }

    fn add(&mut self, section: u32, seen: Seen) {
        match seen {
            Seen::Begun(hello) => {
                if self.handshakes.contains_key(&hello.client_random) {
                    return;
                }
                if self.handshakes.len() >= MOST_HANDSHAKES {
                    self.beyond += 1;
                    return;
                }
                let handshake = Handshake {
                    section,
                    at: hello.at,
                    client: hello.client,
                    server: hello.server,
                    server_name: hello.server_name,
                    has_ech: hello.has_ech,
                    is_answered: false,
                    version: None,
                    labels: Labels::default(),
                };
                self.handshakes.insert(hello.client_random, handshake);
            }
            Seen::Answered(answer) if !answer.is_retry => {
                if let Some(handshake) = self.handshakes.get_mut(&answer.client_random) {
                    handshake.is_answered = true;
                    handshake.version = answer.version;
                }
            }
            Seen::Answered(_) | Seen::Ended(_) => {}
        }
    }

    /// Remembers the secrets that the capture has.
    fn add_secrets(&mut self, text: &[u8]) {
        for line in text.split(|&byte| byte == b'\n') {
            let ParsedLine::Key(key) = parse_line(line) else { continue };
            self.had += 1;
            if self.lines.len() < MOST_LINES {
                self.lines.insert(key.id());
                self.own.entry(key.client_random).or_default().add(&key.label);
            }
        }
    }
}
