//! The recording of packets as the model sees it: which secrets it gets, and how it is doing.

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

/// A secret on its way to the packets that it decrypts.
#[derive(Clone, Debug)]
pub struct PacketKey {
    /// As it stands in a key log.
    pub line: KeyLine,
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

impl Model {
    /// From now on secrets go to the recorder: those that come, and of those that are there what its packets may need. The
    /// newest ones are first, since it may not have room for all.
    pub(super) fn record(&mut self, on: bool, effects: &mut Vec<Effect>) {
        if on == self.recording.is_some() {
            return;
        }
        self.recording = on.then(Recorded::default);
        if !on {
            return;
        }
        // Packets of an older handshake are past: nothing needs its secrets.
        let is_old = |session: &Session| {
            let age = self.now.since(session.last_seen);
            self.recorded_back.is_some_and(|back| age > back + HANDSHAKE)
        };
        let sessions = self.sessions.newest_first().filter(|session| !is_old(session));
        let keys = sessions.flat_map(|session| {
            session.entries.iter().filter_map(|entry| packet_key(session, entry))
        });
        effects.extend(keys.map(Effect::Record));
    }

    /// Gives the recorder a new secret.
    pub(super) fn record_secret(
        &self,
        session: SessionRef,
        label: &Label,
        effects: &mut Vec<Effect>,
    ) {
        let Some(session) = self.sessions.get(session).filter(|_| self.recording.is_some()) else {
            return;
        };
        let newest = session.entries.iter().rfind(|entry| entry.label == *label);
        let key = newest.and_then(|entry| packet_key(session, entry));
        effects.extend(key.map(Effect::Record));
    }
}

/// `None` for what is no secret, or has another value in another process.
fn packet_key(session: &Session, entry: &Entry) -> Option<Box<PacketKey>> {
    (!entry.is_null() && !entry.shadowed).then(|| {
        Box::new(PacketKey {
            line: session.key_line(entry),
            process: Arc::clone(&session.process),
            role: session.facts.role,
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::fixture::{at, everything, process, secret};
    use crate::model::{DEFAULT_SESSION_LIMIT, Msg};

    /// The first bytes of the client randoms whose secrets a recording gets that begins at 202 s.
    fn recorded(back: Option<Duration>) -> Vec<u8> {
        let mut model = Model::new(everything(), "keylog".into(), DEFAULT_SESSION_LIMIT);
        for (random, seconds) in [(1, 100), (2, 199), (3, 201)] {
            let secret = secret(at(seconds), &process(7, "curl"), random, Label::ClientRandom, 1);
            model.update(at(seconds), Msg::Secret(secret));
        }
        model.recorded_back = back;
        let random = |effect| match effect {
            Effect::Record(key) => Some(key.line.client_random.0[0]),
            _ => None,
        };
        model.update(at(202), Msg::Record(true)).into_iter().filter_map(random).collect()
    }

    #[test]
    fn one_that_begins_gets_what_its_packets_may_need_the_newest_first() {
        assert_eq!(recorded(Some(Duration::ZERO)), [3, 2]);
        assert_eq!(recorded(Some(Duration::from_secs(100))), [3, 2, 1]);
        assert_eq!(recorded(None), [3, 2, 1]);
    }
}
