//! The recording of packets as the model sees it: whether there is one, which secrets it gets, and how it is doing.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::msg::Effect;
use super::session::Session;
use super::store::SessionRef;
use super::target::Process;
use super::{Entry, Model};
use crate::tls::{KeyLine, Label, Role};

/// A handshake whose secrets came so long ago may still be going on when a recording begins.
const HANDSHAKE: Duration = Duration::from_secs(3);
/// Secrets that are there already and go to a recording that begins: five of each session that is kept.
const EARLIER: usize = 1 << 19;

/// A secret on its way to the packets that it decrypts.
#[derive(Clone, Debug)]
pub struct PacketKey {
    /// As it stands in a key log. The secret stays in this place: one that moves leaves a copy behind.
    pub line: Box<KeyLine>,
    /// Who has it.
    pub process: Arc<Process>,
    /// At which end.
    pub role: Option<Role>,
}

/// What the recorder counted, since the start.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Recorded {
    /// Packets in the file.
    pub packets: u64,
    /// Bytes of them.
    pub bytes: u64,
    /// Secrets in the file.
    pub secrets: u64,
    /// Packets that were not recorded: the kernel's ring or what waits for the disk had no room.
    pub dropped: u64,
    /// Connections whose packets could not wait for their secrets, since too many others did.
    pub hurried: u64,
    /// Secrets that the recorder or the disk had no room for.
    pub lost: u64,
    /// ClientHellos that were not kept: the secrets of such connections may be missing.
    pub hellos: u64,
    /// Why nothing can be written at the moment.
    pub failing: Option<String>,
}

impl Recorded {
    /// What is not as it should be, and how often.
    pub fn shortfalls(&self) -> [(u64, &'static str); 4] {
        [
            (self.dropped, "packets dropped"),
            (self.lost, "secrets not recorded"),
            (self.hellos, "hellos not kept"),
            (self.hurried, "connections did not wait for their secrets"),
        ]
    }

    fn is_whole(&self) -> bool {
        self.failing.is_none() && self.shortfalls().iter().all(|(count, _)| *count == 0)
    }

    fn add(&mut self, other: Self) {
        self.packets += other.packets;
        self.bytes += other.bytes;
        self.secrets += other.secrets;
        self.dropped += other.dropped;
        self.hurried += other.hurried;
        self.lost += other.lost;
        self.hellos += other.hellos;
        self.failing = other.failing.or(self.failing.take());
    }
}

/// What is told of a recording that has ended.
impl fmt::Display for Recorded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} packets recorded", self.packets)?;
        for (count, what) in self.shortfalls().into_iter().filter(|(count, _)| *count > 0) {
            write!(f, ", {count} {what}")?;
        }
        match &self.failing {
            Some(reason) => write!(f, ": {reason}"),
            None => Ok(()),
        }
    }
}

/// What became of a recording.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RecordingMsg {
    /// It was asked for.
    Starting,
    /// It has begun, to this file.
    Began(PathBuf),
    /// It cannot begin.
    Refused(String),
    /// It has ended.
    Ended,
}

/// Whether packets are recorded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RecordingState {
    /// They are not.
    #[default]
    Off,
    /// The file is being opened.
    Starting,
    /// They are.
    On,
}

/// The recordings of a run, of which there is one at a time.
#[derive(Clone, Debug, Default)]
pub struct Recordings {
    /// Whether there is one now.
    pub state: RecordingState,
    /// What that has done.
    pub current: Recorded,
    /// What those have done that have ended.
    ended: Recorded,
    has_begun: bool,
}

impl Recordings {
    /// Whether packets are recorded.
    pub fn is_on(&self) -> bool {
        self.state == RecordingState::On
    }

    /// What all have done; `None` when there was none.
    pub fn total(&self) -> Option<Recorded> {
        let mut total = self.ended.clone();
        total.add(self.current.clone());
        self.has_begun.then_some(total)
    }
}

impl Model {
    /// Takes notice of what became of a recording. Only one that is on gets secrets.
    pub(super) fn recording_says(&mut self, msg: RecordingMsg, effects: &mut Vec<Effect>) {
        let recording = &mut self.recording;
        match (msg, recording.state) {
            (RecordingMsg::Starting, RecordingState::Off) => {
                recording.state = RecordingState::Starting;
            }
            (RecordingMsg::Began(_), RecordingState::Off | RecordingState::Starting) => {
                recording.state = RecordingState::On;
                recording.has_begun = true;
                self.record_earlier(effects);
            }
            (RecordingMsg::Refused(reason), state) => {
                if state == RecordingState::Starting {
                    recording.state = RecordingState::Off;
                }
                effects.push(Effect::Warn(format!("packets are not recorded: {reason}")));
            }
            (RecordingMsg::Ended, state) => {
                recording.state = RecordingState::Off;
                let recorded = std::mem::take(&mut recording.current);
                if state != RecordingState::Off && !recorded.is_whole() {
                    effects.push(Effect::Warn(recorded.to_string()));
                }
                recording.ended.add(recorded);
            }
            (RecordingMsg::Starting | RecordingMsg::Began(_), _) => {}
        }
    }

    /// Takes notice of what a recording has done.
    pub(super) fn recorded(&mut self, recorded: Recorded) {
        if self.recording.state != RecordingState::Off {
            self.recording.current = recorded;
        }
    }

    /// Gives the recorder of the secrets that are there what its packets may need; the newest ones, when they are too many.
    fn record_earlier(&self, effects: &mut Vec<Effect>) {
        // Packets of an older handshake are past: nothing needs its secrets.
        let is_old = |session: &Session| {
            let age = self.now.since(session.last_seen);
            self.recorded_back.is_some_and(|back| age > back + HANDSHAKE)
        };
        let sessions = self.sessions.newest_first().filter(|session| !is_old(session));
        let mut wanted = sessions.flat_map(|session| {
            let entries = session.entries.iter().filter(|entry| is_recorded(entry));
            entries.map(move |entry| (session, entry))
        });
        let newest = wanted.by_ref().take(EARLIER);
        let mut keys: Vec<_> = newest.map(|(session, entry)| packet_key(session, entry)).collect();
        keys.reverse();
        let left_out = wanted.count() as u64;
        if !keys.is_empty() {
            effects.push(Effect::RecordEarlier { keys, left_out });
        }
    }

    /// Gives the recorder a new secret.
    pub(super) fn record_secret(
        &self,
        session: SessionRef,
        label: &Label,
        effects: &mut Vec<Effect>,
    ) {
        let Some(session) = self.sessions.get(session).filter(|_| self.recording.is_on()) else {
            return;
        };
        let newest = session.entries.iter().rfind(|entry| entry.label == *label);
        let wanted = newest.filter(|entry| is_recorded(entry));
        effects.extend(wanted.map(|entry| Effect::Record(packet_key(session, entry))));
    }
}

/// Not what is no secret, or has another value in another process.
fn is_recorded(entry: &Entry) -> bool {
    !entry.is_null() && !entry.shadowed
}

fn packet_key(session: &Session, entry: &Entry) -> PacketKey {
    PacketKey {
        line: KeyLine::boxed(entry.label.clone(), session.key.client_random, &entry.secret),
        process: Arc::clone(&session.process),
        role: session.facts.role,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::fixture::{at, everything, process, secret};
    use crate::model::{DEFAULT_SESSION_LIMIT, Msg};

    fn model() -> Model {
        Model::new(everything(), "keylog".into(), DEFAULT_SESSION_LIMIT)
    }

    fn says(model: &mut Model, msg: RecordingMsg) -> Vec<Effect> {
        model.update(at(202), Msg::Recording(msg))
    }

    fn begins(model: &mut Model) -> Vec<Effect> {
        says(model, RecordingMsg::Began("x.pcapng".into()))
    }

    fn warnings(effects: Vec<Effect>) -> Vec<String> {
        let text = |effect| match effect {
            Effect::Warn(text) => Some(text),
            _ => None,
        };
        effects.into_iter().filter_map(text).collect()
    }

    /// The first bytes of the client randoms whose secrets a recording gets that begins at 202 s.
    fn earlier(back: Option<Duration>) -> Vec<u8> {
        let mut model = model();
        for (random, seconds) in [(1, 100), (2, 199), (3, 201)] {
            let secret = secret(at(seconds), &process(7, "curl"), random, Label::ClientRandom, 1);
            model.update(at(seconds), Msg::Secret(secret));
        }
        model.recorded_back = back;
        let effects = begins(&mut model);
        let [Effect::RecordEarlier { keys, left_out: 0 }] = &effects[..] else {
            panic!("{effects:?}")
        };
        keys.iter().map(|key| key.line.client_random.0[0]).collect()
    }

    #[test]
    fn one_that_begins_gets_what_its_packets_may_need_at_one_time() {
        assert_eq!(earlier(Some(Duration::ZERO)), [2, 3]);
        assert_eq!(earlier(Some(Duration::from_secs(100))), [1, 2, 3]);
        assert_eq!(earlier(None), [1, 2, 3]);
    }

    #[test]
    fn only_one_that_is_on_gets_new_secrets() {
        let mut model = model();
        let gets = |model: &mut Model, random| {
            let secret = secret(at(203), &process(7, "curl"), random, Label::ClientRandom, 1);
            let effects = model.update(at(203), Msg::Secret(secret));
            effects.iter().any(|effect| matches!(effect, Effect::Record(_)))
        };
        assert!(!gets(&mut model, 1));
        says(&mut model, RecordingMsg::Starting);
        assert!(!gets(&mut model, 2));
        begins(&mut model);
        assert!(gets(&mut model, 3));
        says(&mut model, RecordingMsg::Ended);
        assert!(!gets(&mut model, 4));
    }

    #[test]
    fn what_all_recordings_did_adds_up_and_what_each_lost_is_told_at_its_end() {
        let mut model = model();
        assert_eq!(model.recording.total(), None);
        let recorded = Recorded { packets: 7, bytes: 70, secrets: 5, ..Recorded::default() };
        let short = Recorded { dropped: 3, hurried: 2, lost: 1, ..recorded.clone() };
        let mut told = Vec::new();
        for recorded in [&recorded, &short, &recorded] {
            says(&mut model, RecordingMsg::Starting);
            begins(&mut model);
            model.update(at(202), Msg::Recorded(recorded.clone()));
            told.push(warnings(says(&mut model, RecordingMsg::Ended)));
        }
        let losses = "7 packets recorded, 3 packets dropped, 1 secrets not recorded, \
            2 connections did not wait for their secrets";
        assert_eq!(told, [vec![], vec![losses.to_owned()], vec![]]);
        // What is told of one that has ended changes nothing.
        model.update(at(202), Msg::Recorded(recorded));
        let total = Recorded { packets: 21, bytes: 210, secrets: 15, ..short };
        assert_eq!(model.recording.total(), Some(total));
    }

    #[test]
    fn why_one_failed_stays_known_when_it_has_ended() {
        let mut model = model();
        begins(&mut model);
        let failing = Some("it ended by itself".to_owned());
        model.update(at(202), Msg::Recorded(Recorded { failing, ..Recorded::default() }));
        let told = warnings(says(&mut model, RecordingMsg::Ended));
        assert_eq!(told, ["0 packets recorded: it ended by itself"]);
        let total = model.recording.total().unwrap();
        assert_eq!(total.failing.as_deref(), Some("it ended by itself"));
    }

    #[test]
    fn one_that_is_refused_is_off_again() {
        let mut model = model();
        says(&mut model, RecordingMsg::Starting);
        assert_eq!(model.recording.state, RecordingState::Starting);
        let told = warnings(says(&mut model, RecordingMsg::Refused("no room".to_owned())));
        assert_eq!(told, ["packets are not recorded: no room"]);
        assert!(warnings(says(&mut model, RecordingMsg::Ended)).is_empty());
        assert_eq!(model.recording.state, RecordingState::Off);
        assert_eq!(model.recording.total(), None);
    }
}
