//! What is written, and when: packets wait until the secrets are there that decrypt them, so that a reader who goes
//! through the file once has each secret before it is needed. Pure.

use std::collections::VecDeque;
use std::io;
use std::time::Duration;

use super::backlog::{Backlog, Held};
use super::connections::{Connections, Ends, Fate, Serial};
use super::keys::Keys;
use super::ring::RETIRE_MS;
use crate::model::{PacketKey, Time};
use crate::tls::{ClientRandom, KeyLine};
use crate::wire::{Dropped, Handshakes, Limits, Link, Seen, Segment, segment};

/// How long a packet may come after another one that is younger: as long as the kernel keeps a block, and a little more.
const SETTLE: Duration = Duration::from_millis(RETIRE_MS as u64 + 10);

/// Which packets are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Scope {
    /// All.
    #[default]
    All,
    /// Those of connections that have a session of a process that is captured.
    Attached,
}

/// What a recording keeps to.
#[derive(Clone, Copy, Debug)]
pub struct Terms {
    /// Which packets.
    pub scope: Scope,
    /// All secrets, also those of connections that are not in the file.
    pub all_secrets: bool,
    /// How long packets wait for the secrets of a connection at the most.
    pub wait: Duration,
    /// Bytes of packets that wait at the most.
    pub held: usize,
}

/// Where it goes.
pub trait Sink {
    /// Writes secrets.
    ///
    /// # Errors
    ///
    /// When the disk did not take everything that is gathered; these are gathered all the same.
    fn secrets(&mut self, lines: &[Box<KeyLine>]) -> io::Result<()>;

    /// Writes a packet, with what is said about it.
    ///
    /// # Errors
    ///
    /// As for [`Sink::secrets`].
    fn packet(&mut self, packet: &Held, comment: Option<&str>) -> io::Result<()>;
}

/// A packet as it was captured.
#[derive(Clone, Copy, Debug)]
pub struct Caught<'b> {
    /// When.
    pub time: Time,
    /// Where.
    pub interface: usize,
    /// What it begins with.
    pub link: Link,
    /// Its bytes on the wire.
    pub original_length: u32,
    /// Those that were captured.
    pub bytes: &'b [u8],
}

/// What was counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Packets written.
    pub packets: u64,
    /// Bytes of them.
    pub bytes: u64,
    /// Secrets written.
    pub secrets: u64,
    /// Connections whose packets could not wait any longer, since too many others did.
    pub hurried: u64,
    /// Packets that there was no room for: the disk took nothing for too long, or it was not known yet whether they are
    /// wanted. A connection that had to be forgotten, and is or may be wanted, counts as one.
    pub dropped: u64,
    /// Secrets that were forgotten before their packets came, or that the disk did not take.
    pub lost: u64,
    /// ClientHellos that were not kept: as far as is known, nothing in the file needs the secrets of such a connection.
    pub hellos: u64,
}

/// How much is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Kept {
    /// Bytes of packets, with what it costs to keep them.
    pub bytes: usize,
    /// Packets.
    pub packets: usize,
    /// Handshakes whose secrets packets wait for.
    pub waits: usize,
    /// Connections.
    pub connections: usize,
    /// Handshakes with secrets, and such in the file without.
    pub randoms: [usize; 2],
}

/// The recording.
pub struct Recording {
    terms: Terms,
    handshakes: Handshakes,
    keys: Keys,
    connections: Connections,
    backlog: Backlog,
    /// By their time.
    waits: VecDeque<Wait>,
    counts: Counts,
}

/// Packets from a time on wait for the secrets of a connection.
#[derive(Clone, Copy, Debug)]
struct Wait {
    from: Time,
    random: ClientRandom,
}

/// What is done with a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    Write,
    /// It is not known yet whether it is wanted.
    Wait,
    /// It is not wanted.
    Leave,
    /// It is not known whether it is wanted, and it can wait no longer.
    Drop,
}

/// How urgent that is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Hurry {
    No,
    /// There is no room for more.
    Full,
    /// Nothing comes any more.
    End,
}

impl Recording {
    /// Nothing yet.
    pub fn new(terms: Terms) -> Self {
        Self {
            terms,
            handshakes: Handshakes::new(Limits::default()),
            keys: Keys::new(terms.all_secrets),
            connections: Connections::default(),
            backlog: Backlog::default(),
            waits: VecDeque::new(),
            counts: Counts::default(),
        }
    }

    /// What was counted.
    pub fn counts(&self) -> Counts {
        let counts = &self.counts;
        let gone = match self.terms.scope {
            // What is forgotten is not known by its process any more, but written.
            Scope::All => 0,
            Scope::Attached => self.connections.forgotten,
        };
        // A ClientHello is enough.
        let Dropped { connections, cut, unanswered, hellos } = self.handshakes.dropped();
        Counts {
            lost: counts.lost + self.keys.forgotten,
            dropped: counts.dropped + gone,
            hellos: connections + cut - unanswered + hellos,
            ..*counts
        }
    }

    /// Whether a packet waits to be written.
    pub fn is_waiting(&self) -> bool {
        self.backlog.front().is_some()
    }

    /// Takes a secret.
    pub fn key(&mut self, key: PacketKey) {
        self.keys.take(key);
    }

    /// Takes a packet.
    pub fn packet(&mut self, caught: Caught<'_>) {
        let Caught { time, interface, link, original_length, bytes } = caught;
        let segment = segment(link, bytes);
        let (connection, begins) = segment.map_or((None, None), |segment| self.see(time, &segment));
        let fate = connection.and_then(|serial| self.connections.fate(serial));
        if self.terms.scope == Scope::Attached && matches!(fate, None | Some(Fate::Unwanted)) {
            return;
        }
        let begins = begins.map(Box::new);
        let bytes = bytes.into();
        self.backlog.push(Held { time, interface, original_length, connection, begins, bytes });
    }

    /// Takes notice of a segment: its connection, and the handshake that begins with it.
    fn see(&mut self, at: Time, segment: &Segment<'_>) -> (Option<Serial>, Option<ClientRandom>) {
        let ends = Ends::of(segment);
        let mut seen = (self.connections.see(ends, segment, at), None);
        for told in self.handshakes.segment(at, segment) {
            let Seen::Begun(hello) = told else { continue };
            let random = hello.client_random;
            seen = (Some(self.connections.begin(ends, random, at)), Some(random));
            if self.terms.scope == Scope::All {
                let place = self.waits.partition_point(|wait| wait.from <= at);
                self.waits.insert(place, Wait { from: at, random });
            }
        }
        seen
    }

    /// Writes what needs to wait no longer; at the end everything.
    ///
    /// # Errors
    ///
    /// The sink's: then the rest waits for the next time.
    pub fn release(&mut self, now: Time, end: bool, sink: &mut impl Sink) -> io::Result<()> {
        loop {
            self.end_waits(now, end);
            if self.keys.are_due() {
                let lines = self.keys.take_due();
                self.counts.secrets += lines.len() as u64;
                sink.secrets(&lines)?;
            }
            let Some(front) = self.backlog.front() else { return Ok(()) };
            let is_full = self.backlog.bytes() > self.terms.held;
            let is_settled = now >= front.time + SETTLE || is_ahead(front.time, now);
            if !end && !is_full && !is_settled {
                return Ok(());
            }
            if self.waits.front().is_some_and(|wait| wait.from <= front.time) {
                if !is_full {
                    return Ok(());
                }
                self.counts.hurried += 1;
                self.waits.pop_front();
                continue;
            }
            let hurry = match (end, is_full) {
                (true, _) => Hurry::End,
                (_, true) => Hurry::Full,
                _ => Hurry::No,
            };
            let connection = front.connection;
            match self.judge(connection, now, hurry) {
                Verdict::Wait => return Ok(()),
                Verdict::Leave => drop(self.backlog.pop()),
                Verdict::Drop => {
                    self.counts.dropped += 1;
                    self.backlog.pop();
                }
                // The secrets of the handshake that begins with it come first.
                Verdict::Write if self.enter() => {}
                Verdict::Write => self.write(sink)?,
            }
        }
    }

    /// Drops the oldest packets that there is no room for, while the disk takes nothing.
    pub fn drop_excess(&mut self, now: Time) {
        while self.backlog.bytes() > self.terms.held
            && let Some(packet) = self.backlog.pop()
        {
            let verdict = self.judge(packet.connection, now, Hurry::Full);
            self.counts.dropped += u64::from(verdict != Verdict::Leave);
            // For what is gone nobody waits.
            let Some(random) = packet.begins else { continue };
            let first = self.waits.partition_point(|wait| wait.from < packet.time);
            let same = self.waits.range(first..).take_while(|wait| wait.from == packet.time);
            if let Some(further) = same.map(|wait| wait.random).position(|other| other == *random) {
                self.waits.remove(first + further);
            }
        }
    }

    /// How much is kept.
    pub fn kept(&self) -> Kept {
        Kept {
            bytes: self.backlog.bytes(),
            packets: self.backlog.len(),
            waits: self.waits.len(),
            connections: self.connections.len(),
            randoms: self.keys.len(),
        }
    }

    /// Gives up what could not be written at the end.
    pub fn give_up(&mut self) {
        while let Some(packet) = self.backlog.pop() {
            let verdict = self.judge(packet.connection, packet.time, Hurry::End);
            self.counts.dropped += u64::from(verdict != Verdict::Leave);
        }
        self.counts.lost += self.keys.take_due().len() as u64;
        self.waits = VecDeque::new();
    }

    /// Whether a packet that is not taken any more would be in the file, as far as that is known.
    pub fn is_missed(&self, link: Link, bytes: &[u8]) -> bool {
        let fate = |segment: Segment<'_>| {
            let serial = self.connections.newest(Ends::of(&segment))?;
            Some((self.connections.fate(serial)?, self.connections.random(serial)))
        };
        self.terms.scope == Scope::All
            || match segment(link, bytes).and_then(fate) {
                Some((Fate::Wanted, _)) => true,
                Some((Fate::Undecided(_), Some(random))) => self.keys.has(&random),
                _ => false,
            }
    }

    fn write(&mut self, sink: &mut impl Sink) -> io::Result<()> {
        let Some(packet) = self.backlog.pop() else { return Ok(()) };
        let random = packet.connection.and_then(|serial| self.connections.random(serial));
        self.counts.packets += 1;
        self.counts.bytes += packet.bytes.len() as u64;
        let who = random.and_then(|random| self.keys.who(&random));
        if let Some(serial) = packet.connection.filter(|_| who.is_some()) {
            self.connections.decide(serial, Fate::Wanted);
        }
        sink.packet(&packet, who)
    }

    /// Ends the waits of connections that can be decrypted, and those that took too long.
    fn end_waits(&mut self, now: Time, end: bool) {
        while let Some(wait) = self.waits.front() {
            let is_over = end || self.is_late(wait.from, now);
            if !is_over && !self.keys.is_complete(&wait.random) {
                return;
            }
            self.waits.pop_front();
        }
    }

    /// Whether what has waited since then has waited long enough.
    fn is_late(&self, since: Time, now: Time) -> bool {
        now >= since + self.terms.wait || is_ahead(since, now)
    }

    /// The handshake that begins with the oldest packet, if one does, is one of the file; `true` when there are secrets of it.
    fn enter(&mut self) -> bool {
        if let Some(random) = self.backlog.take_beginning() {
            self.keys.enter(random);
        }
        self.keys.are_due()
    }

    /// What is done with a packet of this connection.
    fn judge(&mut self, connection: Option<Serial>, now: Time, hurry: Hurry) -> Verdict {
        let serial = match connection {
            _ if self.terms.scope == Scope::All => return Verdict::Write,
            None => return Verdict::Leave,
            Some(serial) => serial,
        };
        match self.decide(serial, now, hurry) {
            Some(Fate::Wanted) => Verdict::Write,
            Some(Fate::Unwanted) => Verdict::Leave,
            Some(Fate::Undecided(_)) if hurry == Hurry::No => Verdict::Wait,
            Some(Fate::Undecided(_)) => Verdict::Drop,
            // It is counted where it was forgotten.
            None => Verdict::Leave,
        }
    }

    /// Whether a connection is one of those that are captured, with its secrets there; `None` when it is forgotten. Where
    /// there is only no room, those that come later are still wanted.
    fn decide(&mut self, serial: Serial, now: Time, hurry: Hurry) -> Option<Fate> {
        let fate = self.connections.fate(serial)?;
        let Fate::Undecided(since) = fate else { return Some(fate) };
        let is_late = hurry == Hurry::End || self.is_late(since, now);
        let decided = match self.connections.random(serial) {
            Some(random) if self.keys.is_complete(&random) => Fate::Wanted,
            Some(random) if is_late && self.keys.has(&random) => Fate::Wanted,
            Some(random) if hurry == Hurry::Full && self.keys.has(&random) => {
                self.counts.hurried += 1;
                Fate::Wanted
            }
            _ if is_late => Fate::Unwanted,
            _ => return Some(fate),
        };
        self.connections.decide(serial, decided);
        Some(decided)
    }
}

/// Whether the clock was set back since then: nobody waits until it is there again.
fn is_ahead(time: Time, now: Time) -> bool {
    time > now + SETTLE
}

#[cfg(test)]
#[path = "recording_tests.rs"]
mod tests;
