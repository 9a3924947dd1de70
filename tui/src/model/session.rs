//! One handshake as seen in one process.

use std::borrow::Cow;
use std::net::SocketAddr;
use std::sync::Arc;

use super::Time;
use super::reason::{Reason, Verdict};
use super::state::SecretState;
use super::target::{ImageId, Process};
use super::wire::OnWire;
use crate::text::Foreign;
use crate::tls::{CipherSuite, ClientRandom, KeyLine, Label, Role, Secret, Version};

/// How a secret was captured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    /// A probe on the library's own secret-logging function.
    Tap,
    /// A probe on an exported function that reads the library's structures.
    Walk,
}

impl Method {
    /// As it stands in JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Tap => "tap",
            Self::Walk => "walk",
        }
    }
}

/// What the library's structures say of a session, as far as they could be read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Facts {
    /// Protocol version.
    pub version: Option<Version>,
    /// Cipher suite.
    pub cipher: Option<CipherSuite>,
    /// Client or server.
    pub role: Option<Role>,
    /// The session was resumed.
    pub resumed: Option<bool>,
}

/// The ends of a connection, as far as they can be told.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WhoIsWho {
    /// The name that the client asked for.
    pub server_name: Option<Foreign>,
    /// The other end of the connection's socket.
    pub peer: Option<SocketAddr>,
}

/// A secret as the probes delivered it.
#[derive(Clone, Debug)]
pub struct Captured {
    /// When the probe was hit.
    pub time: Time,
    /// The process, as `/proc` knew it when the event was read.
    pub process: Arc<Process>,
    /// The image whose probe was hit.
    pub image: ImageId,
    /// By tap or walk.
    pub method: Method,
    /// The connection's client random.
    pub client_random: ClientRandom,
    /// What the secret is.
    pub label: Label,
    /// The value; its length is right for the label.
    pub secret: Secret,
    /// What else was read at that moment.
    pub facts: Facts,
    /// The ends of the connection, with those secrets that they are read with.
    pub ends: WhoIsWho,
    /// A probe of catching up was hit: the connection's address.
    pub caught_up: Option<u64>,
    /// A KeyUpdate may have replaced the traffic secrets since the handshake, and there is no telling.
    pub may_be_updated: bool,
}

impl Captured {
    /// The session that it belongs to.
    pub fn session_key(&self) -> SessionKey {
        SessionKey { pid: self.process.pid, client_random: self.client_random }
    }
}

/// What names a session: a process id and a client random.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SessionKey {
    /// Process id.
    pub pid: u32,
    /// Client random.
    pub client_random: ClientRandom,
}

/// One label of a session.
#[derive(Debug)]
pub struct Entry {
    /// What the secret is.
    pub label: Label,
    /// The value; all bytes are 0 while the state is null.
    pub secret: Secret,
    /// When it was captured.
    pub time: Time,
    /// By tap or walk.
    pub method: Method,
    /// Whether a line with this value is in the key log.
    pub saved: bool,
    /// The key log's line for this label has another value, from another process or an earlier run.
    pub shadowed: bool,
    /// A KeyUpdate may have replaced the value since the handshake, and there is no telling.
    pub may_be_updated: bool,
    /// It is waiting to be written, or on its way.
    pub(super) queued: bool,
}

impl Entry {
    /// Whether every byte is 0.
    pub fn is_null(&self) -> bool {
        self.secret.is_null()
    }

    /// Whether the key log lacks this entry and should get it.
    pub fn wants_saving(&self) -> bool {
        !self.saved && !self.shadowed && !self.is_null()
    }
}

/// What became of a captured secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// A new label, or the first real value of a null one.
    New,
    /// All zero, and nothing better was there.
    Null,
    /// The value was there already.
    Duplicate,
    /// Another value was there already; it stays.
    Conflict,
    /// There was no room for it: more labels than any library logs, or repeats that are not saved yet.
    NotKept,
}

/// One handshake in one process.
#[derive(Debug)]
pub struct Session {
    /// Counts sessions since the start: a name that is never used again.
    pub serial: u64,
    /// Process id and client random.
    pub key: SessionKey,
    /// The process.
    pub process: Arc<Process>,
    /// The image whose probe reported it first.
    pub image: ImageId,
    /// Of the first event.
    pub first_seen: Time,
    /// Of the last event that told something new.
    pub last_seen: Time,
    /// As far as the labels and the library's structures tell.
    pub facts: Facts,
    /// The name that the client asked for, where it is known.
    pub server_name: Option<Foreign>,
    /// The other end of the connection, where it is known.
    pub peer: Option<SocketAddr>,
    /// What the wire showed of it.
    pub wire: Option<Arc<OnWire>>,
    /// Why there is no secret, while there is none.
    pub reason: Option<Reason>,
    /// In the order of arrival.
    pub entries: Vec<Entry>,
    /// Values that were there already.
    pub duplicates: u32,
    /// Values that differed, within the session or from another process's.
    pub conflicts: u32,
    /// Found again after each change: for tables of many sessions, whose secrets are far apart in memory.
    state: SecretState,
    /// The labels of [`Label::SHOWN`] that are captured, found with the state.
    labels: u8,
    /// Something changed since `take_changed`.
    pub(super) changed: bool,
    /// It is complete and saved, as the store has noted.
    pub(super) is_done: bool,
}

/// Values kept of a label that repeats (traffic secrets after KeyUpdate): enough to look at, and
/// bounded, since analysers derive them from the first by themselves.
const REPEATS_KEPT: usize = 16;
/// Labels kept of one session: all of RFC 9850, the repeating ones, and room for what is new.
const ENTRIES_KEPT: usize = 2 * REPEATS_KEPT + 16;

impl Session {
    pub(super) fn new(serial: u64, event: &Captured) -> Self {
        Self {
            serial,
            key: event.session_key(),
            process: Arc::clone(&event.process),
            image: event.image,
            first_seen: event.time,
            last_seen: event.time,
            facts: Facts::default(),
            server_name: None,
            peer: None,
            wire: None,
            reason: None,
            entries: Vec::new(),
            duplicates: 0,
            conflicts: 0,
            state: SecretState::Waiting,
            labels: 0,
            changed: true,
            is_done: false,
        }
    }

    /// A handshake without a secret.
    pub(super) fn missing_one(
        serial: u64,
        client_random: ClientRandom,
        on_wire: &Arc<OnWire>,
        verdict: Verdict,
    ) -> Self {
        let Verdict { owner, role, image, reason, .. } = verdict;
        let process = owner.map_or_else(|| Arc::new(Process::unknown()), |owner| owner.process);
        let mut session = Self {
            serial,
            key: SessionKey { pid: process.pid, client_random },
            process,
            image: image.unwrap_or(ImageId::NONE),
            first_seen: on_wire.began,
            last_seen: on_wire.began,
            facts: Facts { role, ..Facts::default() },
            server_name: None,
            peer: None,
            wire: None,
            reason: Some(reason),
            entries: Vec::new(),
            duplicates: 0,
            conflicts: 0,
            state: SecretState::Missing,
            labels: 0,
            changed: true,
            is_done: false,
        };
        session.meet_wire(on_wire);
        session
    }

    /// Becomes the session of a process that has a secret after all.
    pub(super) fn adopt(&mut self, event: &Captured) {
        self.key = event.session_key();
        self.process = Arc::clone(&event.process);
        self.image = event.image;
        self.reason = None;
        // What the process says comes before what the wire says.
        (self.facts, self.server_name, self.peer) = (Facts::default(), None, None);
        self.look_again();
        self.changed = true;
    }

    /// Whether nothing but the wire is known of it.
    pub fn is_missing(&self) -> bool {
        self.reason.is_some()
    }

    /// Its process id, where it is known whose it is.
    pub fn pid(&self) -> Option<u32> {
        (self.key.pid != 0).then_some(self.key.pid)
    }

    /// Takes over what the wire showed and the process did not.
    pub(super) fn meet_wire(&mut self, on_wire: &Arc<OnWire>) {
        if self.wire.as_ref().is_some_and(|known| Arc::ptr_eq(known, on_wire)) {
            return;
        }
        self.wire = Some(Arc::clone(on_wire));
        self.changed = true;
        self.look_at_wire();
        self.look_again();
    }

    fn look_at_wire(&mut self) {
        let Some(on_wire) = &self.wire else { return };
        let answer = on_wire.answer.as_ref();
        let (chosen, cipher) = (answer.and_then(|a| a.version), answer.map(|a| a.cipher));
        self.facts.version = refined(self.facts.version, chosen);
        self.facts.cipher = self.facts.cipher.or(cipher);
        if self.server_name.is_none() {
            self.server_name.clone_from(&on_wire.server_name);
        }
        self.peer = self.peer.or(self.facts.role.map(|role| on_wire.peer_of(role)));
    }

    /// Takes one secret by the rules of the model: the first value that is not null wins.
    pub(super) fn take(&mut self, event: Captured) -> Outcome {
        let repeats = event.label.repeats();
        let same_line = |entry: &Entry| {
            entry.label == event.label && (!repeats || entry.secret == event.secret)
        };
        let null = event.secret.is_null();
        let time = event.time;
        let new = !self.entries.iter().any(same_line);
        let full = new && self.is_full(&event.label) && !self.make_room(&event.label);
        self.learn(&event.label, event.facts);
        self.meet(&event.ends);
        self.look_at_wire();
        let outcome = match self.entries.iter_mut().find(|entry| same_line(entry)) {
            Some(held) if held.secret == event.secret || null || event.may_be_updated => {
                Outcome::Duplicate
            }
            Some(held) if held.is_null() => {
                *held = Entry::new(event);
                Outcome::New
            }
            Some(_) => Outcome::Conflict,
            None if full => Outcome::NotKept,
            None => {
                self.push(Entry::new(event));
                if null { Outcome::Null } else { Outcome::New }
            }
        };
        match outcome {
            Outcome::New | Outcome::Null => self.last_seen = time,
            Outcome::Duplicate => self.duplicates = self.duplicates.saturating_add(1),
            Outcome::Conflict => self.conflicts = self.conflicts.saturating_add(1),
            Outcome::NotKept => {}
        }
        self.look_again();
        self.changed |= outcome != Outcome::Duplicate;
        outcome
    }

    /// Takes over what is new. The labels are certain of the version; what structures say may only refine it.
    fn learn(&mut self, label: &Label, facts: Facts) {
        let before = self.facts;
        let known = self.facts.version.or(label.version());
        self.facts.version = refined(known, facts.version);
        // With the secrets of 0-RTT data the structures still have the cipher of the session that is resumed.
        if !matches!(label, Label::ClientEarlyTraffic | Label::EarlyExporter) {
            self.facts.cipher = self.facts.cipher.or(facts.cipher);
        }
        self.facts.role = self.facts.role.or(facts.role);
        self.facts.resumed = self.facts.resumed.or(facts.resumed);
        self.changed |= self.facts != before;
    }

    /// Takes over what was not known.
    fn meet(&mut self, ends: &WhoIsWho) {
        if self.server_name.is_none() && ends.server_name.is_some() {
            self.server_name.clone_from(&ends.server_name);
            self.changed = true;
        }
        if self.peer.is_none() && ends.peer.is_some() {
            self.peer = ends.peer;
            self.changed = true;
        }
    }

    /// Drops the oldest repeat of a label that is in the key log already.
    fn make_room(&mut self, label: &Label) -> bool {
        let done = |entry: &Entry| entry.label == *label && entry.saved;
        let oldest = self.entries.iter().position(done).filter(|_| label.repeats());
        oldest.map(|index| self.entries.remove(index)).is_some()
    }

    fn is_full(&self, label: &Label) -> bool {
        let same = self.entries.iter().filter(|entry| entry.label == *label).count();
        self.entries.len() >= ENTRIES_KEPT || same >= REPEATS_KEPT
    }

    /// Grows by hand: a `Vec` that grows frees the old memory with the secrets still in it.
    fn push(&mut self, entry: Entry) {
        if self.entries.len() == self.entries.capacity() {
            // A TLS 1.2 session has one entry, one of TLS 1.3 five.
            let room = if self.entries.is_empty() { 1 } else { self.entries.len() + 4 };
            let mut grown = Vec::with_capacity(room);
            grown.extend(self.entries.iter_mut().map(Entry::take));
            self.entries = grown;
        }
        self.entries.push(entry);
    }

    /// How much of its secrets is there.
    pub fn state(&self) -> SecretState {
        debug_assert_eq!(self.state, self.found_state());
        self.state
    }

    /// How many of the labels that have a letter in the table are captured.
    pub fn labels(&self) -> u8 {
        self.labels
    }

    fn look_again(&mut self) {
        let captured = |label: &&Label| {
            self.entries.iter().any(|entry| entry.label == **label && !entry.is_null())
        };
        self.labels = Label::SHOWN.iter().filter(captured).count() as u8;
        self.state = self.found_state();
    }

    fn found_state(&self) -> SecretState {
        match self.is_missing() {
            true => SecretState::Missing,
            false => SecretState::of(&self.entries, self.facts.version),
        }
    }

    /// The secrets with which it would be complete, and which did not come; none while the version is not known.
    pub fn missing(&self) -> impl Iterator<Item = &'static Label> {
        let wanted = match self.facts.version {
            None => &[][..],
            Some(version) if version.has_traffic_secrets() => &Label::TLS13_COMPLETE,
            Some(_) => &[Label::ClientRandom],
        };
        wanted.iter().filter(|label| !self.entries.iter().any(|entry| entry.label == **label))
    }

    /// Whether it has only null secrets.
    pub fn is_null(&self) -> bool {
        self.state() == SecretState::Null
    }

    /// Whether [`Session::server`] says anything.
    pub(super) fn is_named(&self) -> bool {
        let is_on_wire = self.is_missing() && self.wire.is_some();
        self.server_name.is_some() || self.peer.is_some() || is_on_wire
    }

    /// The server name, or else the peer, or the server where it is not known which end this is.
    pub fn server(&self) -> Option<Cow<'_, str>> {
        let name = self.server_name.as_ref().map(Foreign::shown);
        let server = || self.wire.as_ref().filter(|_| self.is_missing()).map(|wire| wire.server);
        name.or_else(|| self.peer.or_else(server).map(|peer| peer.to_string().into()))
    }

    /// Whether every secret that can be written is in the key log, and there is one.
    pub fn is_saved(&self) -> bool {
        let mut real = self.entries.iter().filter(|entry| !entry.is_null()).peekable();
        real.peek().is_some() && real.all(|entry| entry.saved || entry.shadowed)
    }

    /// The key lines of all secrets that are not null, in the order of arrival.
    pub fn key_lines(&self) -> impl Iterator<Item = KeyLine> + '_ {
        self.entries.iter().filter(|entry| !entry.is_null()).map(|entry| self.key_line(entry))
    }

    /// The key line of one of its entries.
    pub fn key_line(&self, entry: &Entry) -> KeyLine {
        KeyLine {
            label: entry.label.clone(),
            client_random: self.key.client_random,
            secret: entry.secret.clone(),
        }
    }
}

/// What is certain, or what agrees with it and is more exact.
fn refined(known: Option<Version>, told: Option<Version>) -> Option<Version> {
    match (known, told) {
        (Some(known), Some(exact)) if known.is_refined_by(exact) => Some(exact),
        (known, exact) => known.or(exact),
    }
}

impl Entry {
    fn new(event: Captured) -> Self {
        Self {
            label: event.label,
            secret: event.secret,
            time: event.time,
            method: event.method,
            saved: false,
            shadowed: false,
            may_be_updated: event.may_be_updated,
            queued: false,
        }
    }

    fn take(&mut self) -> Self {
        Self { label: self.label.clone(), secret: self.secret.take(), ..*self }
    }
}
