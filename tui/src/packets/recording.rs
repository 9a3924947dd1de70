//! What is written, and when: packets wait until the secrets are there that decrypt them, so that a reader who goes
//! through the file once has each secret before it is needed. Pure.

use std::collections::VecDeque;
use std::io;
use std::time::Duration;

use super::backlog::{Backlog, Ends, Held};
use super::connections::{Connections, Fate};
use super::keys::Keys;
use super::ring::RETIRE_MS;
use crate::model::{PacketKey, Time};
use crate::tls::{ClientRandom, KeyLine};
use crate::wire::{Handshakes, Limits, Link, Seen, segment};

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
    /// Packets written, and their bytes.
    pub packets: u64,
    /// Bytes of them.
    pub bytes: u64,
    /// Secrets written.
    pub secrets: u64,
    /// Connections whose packets could not wait any longer, since too many others did.
    pub hurried: u64,
    /// Packets that were dropped since the disk took nothing for too long.
    pub dropped: u64,
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
    until: Time,
    random: ClientRandom,
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
        self.counts
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
        let ends = segment.as_ref().map(Ends::of);
        if let (Some(segment), Some(ends)) = (&segment, ends) {
            let until = time + self.terms.wait;
            if self.terms.scope == Scope::Attached {
                self.connections.see(ends, segment, until);
            }
            for seen in self.handshakes.segment(time, segment) {
                let Seen::Begun(hello) = seen else { continue };
                let random = hello.client_random;
                self.connections.begin(ends, random, Fate::Undecided(until));
                if self.terms.scope == Scope::All {
                    let at = self.waits.partition_point(|wait| wait.from <= time);
                    self.waits.insert(at, Wait { from: time, until, random });
                }
            }
        }
        let is_unwanted = || ends.is_none_or(|ends| self.connections.fate(&ends) == Fate::Unwanted);
        if self.terms.scope == Scope::Attached && is_unwanted() {
            return;
        }
        self.backlog.push(Held { time, interface, original_length, ends, bytes: bytes.into() });
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
            if !end && !is_full && now < front.time + SETTLE {
                return Ok(());
            }
            if self.waits.front().is_some_and(|wait| wait.from <= front.time) {
                if !is_full {
                    return Ok(());
                }
                self.counts.hurried += 1;
                self.end_wait();
                continue;
            }
            let fate = match front.ends {
                _ if self.terms.scope == Scope::All => Fate::Wanted,
                None => Fate::Unwanted,
                Some(ends) => self.decide(ends, now, end || is_full),
            };
            match fate {
                Fate::Undecided(_) => return Ok(()),
                Fate::Unwanted => drop(self.backlog.pop()),
                // Secrets may have become due by this decision: they come first.
                Fate::Wanted if self.keys.are_due() => {}
                Fate::Wanted => self.write(sink)?,
            }
        }
    }

    /// Drops the oldest packets that there is no room for, while the disk takes nothing.
    pub fn drop_excess(&mut self) {
        while self.backlog.bytes() > self.terms.held && self.backlog.pop().is_some() {
            self.counts.dropped += 1;
        }
        // For what is gone nobody waits.
        let oldest = self.backlog.front().map(|front| front.time);
        while self.waits.front().is_some_and(|wait| oldest.is_none_or(|oldest| wait.from < oldest))
        {
            self.end_wait();
        }
    }

    fn write(&mut self, sink: &mut impl Sink) -> io::Result<()> {
        let Some(packet) = self.backlog.pop() else { return Ok(()) };
        let random = packet.ends.and_then(|ends| self.connections.random(&ends));
        self.counts.packets += 1;
        self.counts.bytes += packet.bytes.len() as u64;
        sink.packet(&packet, random.and_then(|random| self.keys.who(&random)))
    }

    /// Ends the waits of connections that can be decrypted, and those that took too long; not before their packets are
    /// next, so that secrets and packets go to the same file.
    fn end_waits(&mut self, now: Time, end: bool) {
        while let Some(wait) = self.waits.front() {
            if self.backlog.front().is_some_and(|front| front.time < wait.from) {
                return;
            }
            // A clock that was set back must not make anybody wait until it is there again.
            let is_late = now >= wait.until || now < wait.from;
            if !(end || is_late || self.keys.is_complete(&wait.random)) {
                return;
            }
            self.end_wait();
        }
    }

    fn end_wait(&mut self) {
        if let Some(wait) = self.waits.pop_front() {
            self.keys.enter(wait.random);
        }
    }

    /// Whether a connection is one of those that are captured, and with its secrets there.
    fn decide(&mut self, ends: Ends, now: Time, must: bool) -> Fate {
        let Fate::Undecided(until) = self.connections.fate(&ends) else {
            return self.connections.fate(&ends);
        };
        let random = self.connections.random(&ends);
        let is_late = must || now >= until;
        let fate = match random {
            Some(random) if self.keys.is_complete(&random) => Fate::Wanted,
            Some(random) if is_late && self.keys.has(&random) => Fate::Wanted,
            _ if is_late => Fate::Unwanted,
            _ => return Fate::Undecided(until),
        };
        if let (Fate::Wanted, Some(random)) = (fate, random) {
            self.keys.enter(random);
        }
        self.connections.decide(&ends, fate);
        fate
    }
}

#[cfg(test)]
#[path = "recording_tests.rs"]
mod tests;
