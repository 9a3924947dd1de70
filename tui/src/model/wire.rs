//! Handshakes as the wire showed them, and which of them have a secret here.
//!
//! A handshake is one client random with a ServerHello that is no HelloRetryRequest: before that nobody has a secret. It is
//! covered as soon as any secret of its client random is there, that of the client or that of the server: either
//! decrypts the connection. When both ends run here it is one handshake all the same, and two sessions.
//!
//! One for which no secret came in [`GRACE`] is missing. It gets a row where what was chosen is meant to have it: with
//! everything chosen always, else when one of its ends is chosen or excluded. The others are counted apart: who chose one
//! process did not ask for what all others do.

use std::collections::{HashMap, VecDeque};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use super::msg::Effect;
use super::reason::{Reason, Verdict, judge};
use super::store::SessionRef;
use super::target::Process;
use super::{Model, Time};
use crate::text::Foreign;
use crate::tls::{CipherSuite, ClientRandom, Role, Version};
use crate::wire::{Answer, Hello, Seen};

/// How long a handshake waits for its first secret before it counts as missing.
pub const GRACE: Duration = Duration::from_secs(3);
/// How long it waits before it is asked whose it is: most have a secret by then.
const ASK: Duration = Duration::from_millis(100);
/// When after that it is asked for what is known of the machine: files are being looked into meanwhile.
const LOOK: Duration = Duration::from_millis(1500);
/// How often that is asked for.
const LOOKS: Duration = Duration::from_millis(500);
/// Handshakes that are remembered; the oldest ones go first.
pub const REMEMBERED: usize = 100_000;
/// Protocols and versions that are kept of what a ClientHello offers, and bytes of the protocols' names.
const OFFERED: usize = 8;
const NAMES: usize = 256;

/// What the wire view says, and is told.
#[derive(Debug)]
pub enum WireMsg {
    /// What was read off the wire, in its order.
    Seen(Vec<Seen>),
    /// An [`Effect::FindOwners`] was carried out.
    Owners(ClientRandom, Owners),
    /// What was not seen, since the start.
    Lost(Lost),
    /// No more will be seen: whose the undecided ones are is asked now.
    Ending,
    /// No more will be told: what has no secret is missing.
    Ended,
}

/// What the wire view did not see, since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Lost {
    /// Packets for which there was no room.
    pub packets: u64,
    /// Hellos, or beginnings of connections, that could not be kept or read.
    pub hellos: u64,
}

/// Who has the ends of a connection.
#[derive(Clone, Debug, Default)]
pub struct Owners {
    /// The process that opened it.
    pub client: Option<Owner>,
    /// The process that accepted it.
    pub server: Option<Owner>,
    /// Neither address is one of ours.
    pub is_foreign: bool,
}

/// A process at one end.
#[derive(Clone, Debug)]
pub struct Owner {
    /// The process.
    pub process: Arc<Process>,
    /// A runtime with TLS of its own that it has mapped: `Java`.
    pub runtime: Option<&'static str>,
    /// When that was looked at: clock ticks since boot.
    pub found_at: u64,
}

/// What the hellos of a handshake said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OnWire {
    /// Who sent the ClientHello.
    pub client: SocketAddr,
    /// To whom.
    pub server: SocketAddr,
    /// When it was whole.
    pub began: Time,
    /// The name that the client asked for: the outer one, where [`Self::has_ech`].
    pub server_name: Option<Foreign>,
    /// It has the extension of Encrypted ClientHello, in earnest or not.
    pub has_ech: bool,
    /// Whether it offers to resume a session.
    pub is_resumption_offered: bool,
    /// Application protocols that it offers, the first ones.
    pub offered: Box<[Foreign]>,
    /// Versions that it offers, the first ones.
    pub versions: Box<[Version]>,
    /// The server sent a HelloRetryRequest.
    pub was_retried: bool,
    /// The ServerHello.
    pub answer: Option<Chosen>,
}

/// What a ServerHello says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chosen {
    /// When it was whole.
    pub at: Time,
    /// The version.
    pub version: Option<Version>,
    /// The cipher suite.
    pub cipher: CipherSuite,
    /// The application protocol, up to TLS 1.2: later it is encrypted.
    pub alpn: Option<Foreign>,
}

impl OnWire {
    fn new(hello: Hello) -> Self {
        let mut room = NAMES;
        let fits = |name: &Foreign| {
            let left = room.checked_sub(name.raw().len());
            room = left.unwrap_or(0);
            left.is_some()
        };
        let versions = &hello.versions[..hello.versions.len().min(OFFERED)];
        Self {
            client: hello.client,
            server: hello.server,
            began: hello.at,
            server_name: hello.server_name,
            has_ech: hello.has_ech,
            is_resumption_offered: hello.is_resumption_offered,
            offered: hello.alpn.into_iter().take(OFFERED).filter(fits).collect(),
            versions: versions.into(),
            was_retried: false,
            answer: None,
        }
    }

    /// From the ClientHello to the ServerHello.
    pub fn took(&self) -> Option<Duration> {
        self.answer.as_ref().map(|answer| answer.at.since(self.began))
    }

    /// The application protocol that was chosen, where that is in clear, else those that are offered.
    pub fn protocols(&self) -> impl Iterator<Item = &Foreign> {
        let chosen = self.answer.as_ref().and_then(|answer| answer.alpn.as_ref());
        let offered = self.offered.iter().filter(move |_| chosen.is_none());
        chosen.into_iter().chain(offered)
    }

    /// The other end, as seen from one.
    pub fn peer_of(&self, role: Role) -> SocketAddr {
        match role {
            Role::Client => self.server,
            Role::Server => self.client,
        }
    }
}

/// How much of the wire is looked at.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum WireView {
    /// Nothing.
    #[default]
    Off,
    /// Handshakes with and without a secret are counted.
    Count,
    /// Those without one get a row, too.
    Rows,
}

/// What is known of the handshakes on the wire.
#[derive(Debug, Default)]
pub struct Wire {
    /// How much is looked at.
    pub view: WireView,
    /// What was counted.
    pub coverage: Coverage,
    known: HashMap<ClientRandom, Known>,
    /// By age, with their number: a client random may come again.
    order: VecDeque<(ClientRandom, u64)>,
    next: u64,
    /// Those that were answered, by the time when they are to be looked at next.
    asking: VecDeque<(Time, ClientRandom)>,
    deciding: VecDeque<(Time, ClientRandom)>,
    /// When it is asked for what is known of the machine.
    looks: VecDeque<Time>,
}

/// Handshakes by whether there is a secret for them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Coverage {
    /// There is one.
    pub covered: u64,
    /// There is none, and there should be.
    pub missing: u64,
    /// There is none, and nobody asked for it.
    pub others: u64,
    /// Forgotten before it was known, since too many others came.
    pub forgotten: u64,
    /// What did not come to be seen.
    pub lost: Lost,
}

impl Coverage {
    /// Handshakes that were seen and should have a secret.
    pub fn seen(&self) -> u64 {
        self.covered + self.missing
    }

    /// Packets and handshakes of which it is not known whether there is one.
    pub fn unseen(&self) -> u64 {
        self.forgotten + self.lost.packets + self.lost.hellos
    }
}

#[derive(Debug)]
struct Known {
    number: u64,
    on_wire: Arc<OnWire>,
    stage: Stage,
}

#[derive(Debug)]
enum Stage {
    /// No ServerHello yet.
    Asked,
    /// No secret yet.
    Waiting(Option<Verdict>),
    Covered,
    Missing,
    Other,
}

impl Wire {
    /// What the wire showed of a handshake.
    pub(super) fn of(&self, random: &ClientRandom) -> Option<&Arc<OnWire>> {
        self.known.get(random).map(|known| &known.on_wire)
    }

    /// A secret is there.
    pub(super) fn cover(&mut self, random: &ClientRandom) {
        let Some(known) = self.known.get_mut(random) else { return };
        let before = std::mem::replace(&mut known.stage, Stage::Covered);
        self.coverage.covered += u64::from(!matches!(before, Stage::Covered));
        self.coverage.missing -= u64::from(matches!(before, Stage::Missing));
        self.coverage.others -= u64::from(matches!(before, Stage::Other));
    }

    fn begin(&mut self, hello: Hello) -> bool {
        let random = hello.client_random;
        if self.known.contains_key(&random) {
            // On another interface, or with other addresses behind a NAT.
            return false;
        }
        let number = self.next;
        self.next += 1;
        let on_wire = Arc::new(OnWire::new(hello));
        self.known.insert(random, Known { number, on_wire, stage: Stage::Asked });
        self.order.push_back((random, number));
        while self.order.len() > REMEMBERED
            && let Some((oldest, number)) = self.order.pop_front()
        {
            if self.known.get(&oldest).is_some_and(|known| known.number == number) {
                let known = self.known.remove(&oldest);
                let is_open = known.is_some_and(|k| matches!(k.stage, Stage::Waiting(_)));
                self.coverage.forgotten += u64::from(is_open);
            }
        }
        true
    }

    fn answer(&mut self, answer: Answer, now: Time) -> Option<Arc<OnWire>> {
        let random = answer.client_random;
        let known = self.known.get_mut(&random)?;
        if known.on_wire.answer.is_some() {
            return None;
        }
        let on_wire = Arc::make_mut(&mut known.on_wire);
        if answer.is_retry {
            on_wire.was_retried = true;
        } else {
            let Answer { at, version, cipher, alpn, .. } = answer;
            let alpn = alpn.filter(|name| name.raw().len() <= NAMES);
            on_wire.answer = Some(Chosen { at, version, cipher, alpn });
            if matches!(known.stage, Stage::Asked) {
                known.stage = Stage::Waiting(None);
                for (queue, after) in [(&mut self.asking, ASK), (&mut self.deciding, GRACE)] {
                    // Those of the oldest are of forgotten ones.
                    if queue.len() > REMEMBERED {
                        queue.pop_front();
                    }
                    queue.push_back((now + after, random));
                }
            }
        }
        Some(Arc::clone(&known.on_wire))
    }

    /// A connection is over: without an answer there was no handshake.
    fn end(&mut self, random: &ClientRandom) {
        if self.known.get(random).is_some_and(|known| matches!(known.stage, Stage::Asked)) {
            self.known.remove(random);
        }
    }

    /// It is to be asked for what is known of the machine, but not at once.
    fn look_later(&mut self, now: Time) {
        let at = now + LOOK;
        if self.looks.back().is_none_or(|last| *last + LOOKS <= at) {
            self.looks.push_back(at);
        }
    }

    fn is_look_due(&mut self, now: Time) -> bool {
        let count = self.looks.iter().take_while(|at| **at <= now).count();
        self.looks.drain(..count).count() > 0
    }

    /// Whose owners are to be asked for by now.
    fn take_unasked(&mut self, now: Time) -> Vec<(ClientRandom, Arc<OnWire>)> {
        let due = due(&mut self.asking, now);
        let waiting = due.into_iter().filter_map(|random| {
            let known = self.known.get(&random)?;
            let is_open = matches!(known.stage, Stage::Waiting(None));
            is_open.then(|| (random, Arc::clone(&known.on_wire)))
        });
        waiting.collect()
    }

    /// What has waited long enough, with what was found out about it.
    fn take_undecided(&mut self, now: Time) -> Vec<(ClientRandom, Arc<OnWire>, Verdict)> {
        let due = due(&mut self.deciding, now);
        let decided = due.into_iter().filter_map(|random| {
            let known = self.known.get_mut(&random)?;
            let Stage::Waiting(verdict) = &mut known.stage else { return None };
            let verdict = verdict.take().unwrap_or_default();
            Some((random, Arc::clone(&known.on_wire), verdict))
        });
        decided.collect()
    }

    fn set_missing(&mut self, random: &ClientRandom, is_other: bool) {
        let Some(known) = self.known.get_mut(random) else { return };
        known.stage = if is_other { Stage::Other } else { Stage::Missing };
        match is_other {
            true => self.coverage.others += 1,
            false => self.coverage.missing += 1,
        }
    }

    pub(super) fn clock_was_set_back(&mut self, now: Time) {
        self.looks.clear();
        for (at, _) in self.asking.iter_mut() {
            *at = (*at).min(now + ASK);
        }
        for (at, _) in self.deciding.iter_mut() {
            *at = (*at).min(now + GRACE);
        }
    }
}

fn due(queue: &mut VecDeque<(Time, ClientRandom)>, now: Time) -> Vec<ClientRandom> {
    let count = queue.iter().take_while(|(at, _)| *at <= now).count();
    queue.drain(..count).map(|(_, random)| random).collect()
}

impl Model {
    pub(super) fn wire_says(&mut self, msg: WireMsg, effects: &mut Vec<Effect>) {
        match msg {
            WireMsg::Seen(seen) => {
                for seen in seen {
                    self.seen(seen);
                }
                self.ask_owners(self.now, effects);
            }
            WireMsg::Owners(random, owners) => {
                let verdict = judge(owners, self.wire.of(&random), &self.targets, &self.missed);
                if verdict.owner.is_some() && verdict.reason == Reason::Unknown {
                    self.wire.look_later(self.now);
                }
                let known = self.wire.known.get_mut(&random);
                if let Some(Stage::Waiting(found)) = known.map(|known| &mut known.stage) {
                    *found = Some(verdict);
                }
            }
            WireMsg::Lost(lost) => self.wire.coverage.lost = lost,
            WireMsg::Ending => self.ask_owners(Time(u64::MAX), effects),
            WireMsg::Ended => self.decide(Time(u64::MAX)),
        }
    }

    /// Time went on.
    pub(super) fn wire_tick(&mut self, effects: &mut Vec<Effect>) {
        self.ask_owners(self.now, effects);
        effects.extend(self.wire.is_look_due(self.now).then_some(Effect::Report));
        self.decide(self.now);
    }

    fn seen(&mut self, seen: Seen) {
        match seen {
            Seen::Begun(hello) => {
                let random = hello.client_random;
                if self.wire.begin(*hello)
                    && let Some(on_wire) = self.wire.of(&random)
                    && self.sessions.meet(&random, on_wire)
                {
                    self.wire.cover(&random);
                }
            }
            Seen::Answered(answer) => {
                let random = answer.client_random;
                if let Some(on_wire) = self.wire.answer(answer, self.now) {
                    self.sessions.meet(&random, &on_wire);
                }
            }
            Seen::Ended(random) => self.wire.end(&random),
        }
    }

    fn ask_owners(&mut self, now: Time, effects: &mut Vec<Effect>) {
        let asked = self.wire.take_unasked(now).into_iter();
        // With everything chosen the owner makes a difference for the row alone.
        let is_needed = self.wire.view == WireView::Rows || !self.targets.selection.all;
        effects.extend(asked.filter(|_| is_needed).map(|(client_random, on_wire)| {
            Effect::FindOwners { client_random, client: on_wire.client, server: on_wire.server }
        }));
    }

    fn decide(&mut self, now: Time) {
        for (random, on_wire, verdict) in self.wire.take_undecided(now) {
            let verdict = verdict.again(&on_wire, &self.targets, &self.missed);
            let is_other = !self.targets.selection.all
                && matches!(
                    verdict.reason,
                    Reason::NotChosen | Reason::Forwarded | Reason::Unknown
                )
                && !verdict.is_chosen;
            self.wire.set_missing(&random, is_other);
            // A session with null secrets is a row already.
            if self.wire.view == WireView::Rows && !is_other && !self.sessions.knows(&random) {
                self.sessions.miss(random, on_wire, verdict);
                self.make_room();
            }
        }
    }

    /// A secret came: its session learns what the wire said.
    pub(super) fn meet_wire(&mut self, session: SessionRef) {
        if self.wire.view == WireView::Off {
            return;
        }
        let Some(session) = self.sessions.get(session) else { return };
        let random = session.key.client_random;
        let is_covered = session.entries.iter().any(|entry| !entry.is_null());
        if session.wire.is_none()
            && let Some(on_wire) = self.wire.of(&random)
        {
            self.sessions.meet(&random, on_wire);
        }
        if is_covered {
            self.wire.cover(&random);
        }
    }
}
