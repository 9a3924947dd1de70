//! The secrets that wait for the packets of their connections, and the other way round. Pure.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;

use smallvec::SmallVec;

use super::randoms::Randoms;
use crate::model::PacketKey;
use crate::tls::{ClientRandom, KeyLine, Label, LineId};

/// Connections of which something is remembered: 40 MiB when each has all its secrets.
const KEPT: usize = 50_000;
/// Connections in the file that have no secrets, of which whoever sends packets can make as many as he likes: 20 MiB.
const EXPECTED: usize = 131_072;
/// Lines of one connection: all of RFC 9850, and those after some KeyUpdates.
const LINES: usize = 48;

/// Secrets, each in a place of its own: a list that grows or moves leaves copies of what is in it behind.
pub type Lines = Vec<Box<KeyLine>>;

/// What is known of the connections, by client random.
pub struct Keys {
    connections: HashMap<ClientRandom, Known>,
    /// Oldest first.
    order: VecDeque<ClientRandom>,
    /// Connections in the file whose secrets may still come. They are apart from those with secrets, so that forged ones
    /// take no place of these.
    expected: Randoms,
    /// Connections in the file whose secrets were written and are forgotten, of which more may come: apart from both.
    passed: Randoms,
    /// Those with secrets that are to be written now.
    due: HashSet<ClientRandom>,
    /// All secrets are wanted, also those of connections that are not in the file.
    all: bool,
    /// Secrets that were forgotten before their connection came, or too many of one connection.
    pub forgotten: u64,
}

#[derive(Default)]
struct Known {
    waiting: Lines,
    lines: Vec<LineId>,
    labels: u8,
    in_file: bool,
    /// One at each end.
    pids: SmallVec<[u32; 2]>,
    /// Which they are, safe to show.
    who: Option<Arc<str>>,
}

/// The label by itself decrypts a connection, or all of the others together do.
const DECRYPTS: u8 = 1 << Label::TLS13_COMPLETE.len();

fn flag(label: &Label) -> u8 {
    match Label::TLS13_COMPLETE.iter().position(|known| known == label) {
        Some(index) => 1 << index,
        None if *label == Label::ClientRandom => DECRYPTS,
        None => 0,
    }
}

impl Keys {
    /// Nothing yet; with `all` every secret is written, whatever packets there are.
    pub fn new(all: bool) -> Self {
        Self {
            connections: HashMap::new(),
            order: VecDeque::new(),
            expected: Randoms::new(EXPECTED),
            passed: Randoms::new(KEPT),
            due: HashSet::new(),
            all,
            forgotten: 0,
        }
    }

    /// Takes a secret. One that is there already, from the other end, tells only who has it.
    pub fn take(&mut self, key: PacketKey) {
        let random = key.line.client_random;
        let all = self.all;
        let known = self.known(random);
        known.meet(&key);
        let id = key.line.id();
        if known.lines.contains(&id) {
            return;
        }
        if known.lines.len() >= LINES {
            self.forgotten += 1;
            return;
        }
        known.lines.push(id);
        known.labels |= flag(&key.line.label);
        known.waiting.push(key.line);
        if known.in_file || all {
            self.due.insert(random);
        }
    }

    fn known(&mut self, random: ClientRandom) -> &mut Known {
        let is_new = !self.connections.contains_key(&random);
        if is_new {
            self.order.push_back(random);
            if self.order.len() > KEPT
                && let Some(oldest) = self.order.pop_front()
                && let Some(known) = self.connections.remove(&oldest)
            {
                self.due.remove(&oldest);
                self.forgotten += known.waiting.len() as u64;
                if known.in_file {
                    self.passed.insert(oldest);
                }
            }
        }
        let in_file = is_new && (self.expected.remove(&random) | self.passed.remove(&random));
        let known = self.connections.entry(random).or_default();
        known.in_file |= in_file;
        known
    }

    /// Whether there is any secret of a connection.
    pub fn has(&self, random: &ClientRandom) -> bool {
        self.connections.contains_key(random)
    }

    /// Whether its traffic can be decrypted with what is there.
    pub fn is_complete(&self, random: &ClientRandom) -> bool {
        let labels = self.connections.get(random).map_or(0, |known| known.labels);
        labels & DECRYPTS != 0 || labels == DECRYPTS - 1
    }

    /// The packets of a connection go to the file: so do its secrets, those that are there and those that will come.
    pub fn enter(&mut self, random: ClientRandom) {
        match self.connections.get_mut(&random) {
            Some(known) => {
                known.in_file = true;
                if !known.waiting.is_empty() {
                    self.due.insert(random);
                }
            }
            None if self.passed.contains(&random) => {}
            None => self.expected.insert(random),
        }
    }

    /// Whether there are secrets that are to be written now.
    pub fn are_due(&self) -> bool {
        !self.due.is_empty()
    }

    /// How many connections there are of which something is remembered: with secrets, and without.
    pub fn len(&self) -> [usize; 2] {
        [self.connections.len(), self.expected.len() + self.passed.len()]
    }

    /// The secrets that are to be written now.
    pub fn take_due(&mut self) -> Lines {
        let mut lines = Lines::new();
        for random in std::mem::take(&mut self.due) {
            if let Some(known) = self.connections.get_mut(&random) {
                lines.append(&mut known.waiting);
            }
        }
        lines
    }

    /// Whose connection it is: `client curl (4711), server nginx (42)`.
    pub fn who(&self, random: &ClientRandom) -> Option<&str> {
        self.connections.get(random)?.who.as_deref()
    }
}

impl Known {
    fn meet(&mut self, key: &PacketKey) {
        let pid = key.process.pid;
        if self.pids.len() >= 2 || self.pids.contains(&pid) {
            return;
        }
        self.pids.push(pid);
        let role = key.role.map(|role| format!("{} ", role.as_str())).unwrap_or_default();
        let process = format!("{role}{} ({pid})", key.process.comm);
        self.who = Some(match &self.who {
            Some(before) => format!("{before}, {process}").into(),
            None => process.into(),
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::packets::fixture::key;
    use crate::tls::Role;

    #[test]
    fn a_connection_is_complete_with_one_master_secret_or_four_traffic_secrets() {
        let mut keys = Keys::new(false);
        let (old, new) = (ClientRandom([1; 32]), ClientRandom([2; 32]));
        keys.take(key(&Label::Exporter, 1, 1, 7, Role::Client));
        assert!(keys.has(&old) && !keys.is_complete(&old));
        keys.take(key(&Label::ClientRandom, 1, 1, 7, Role::Client));
        assert!(keys.is_complete(&old));
        for label in &Label::TLS13_COMPLETE {
            assert!(!keys.is_complete(&new));
            keys.take(key(label, 2, 1, 7, Role::Client));
        }
        assert!(keys.is_complete(&new));
    }

    #[test]
    fn a_secret_stays_in_the_place_where_it_was_made() {
        let mut keys = Keys::new(true);
        let key = key(&Label::ClientRandom, 1, 1, 7, Role::Client);
        let place = std::ptr::from_ref(&*key.line);
        keys.take(key);
        assert!(std::ptr::eq(place, &*keys.take_due()[0]));
    }

    #[test]
    fn secrets_are_due_once_and_only_of_connections_in_the_file() {
        let mut keys = Keys::new(false);
        let random = ClientRandom([1; 32]);
        keys.take(key(&Label::ClientRandom, 1, 1, 7, Role::Client));
        keys.take(key(&Label::ClientRandom, 2, 1, 7, Role::Client));
        assert!(!keys.are_due() && keys.take_due().is_empty());
        keys.enter(random);
        assert_eq!(keys.take_due().len(), 1);
        // The same from the other end, and one that comes late.
        keys.take(key(&Label::ClientRandom, 1, 1, 8, Role::Server));
        assert!(!keys.are_due());
        keys.take(key(&Label::Exporter, 1, 1, 8, Role::Server));
        assert_eq!(keys.take_due().len(), 1);
        assert_eq!(keys.who(&random).unwrap(), "client curl (7), server curl (8)");

        let mut all = Keys::new(true);
        all.take(key(&Label::ClientRandom, 9, 1, 7, Role::Client));
        assert_eq!(all.take_due().len(), 1);
    }

    /// Client randoms that differ.
    fn random(number: u32) -> ClientRandom {
        let mut random = ClientRandom([0; 32]);
        random.0[..4].copy_from_slice(&number.to_be_bytes());
        random
    }

    #[test]
    fn connections_that_never_come_are_forgotten_oldest_first() {
        let mut keys = Keys::new(false);
        for number in 0..KEPT as u32 + 3 {
            let mut key = key(&Label::ClientRandom, 0, 1, 7, Role::Client);
            key.line.client_random = random(number);
            keys.take(key);
        }
        assert_eq!(keys.forgotten, 3);
        assert!(!keys.has(&random(2)) && keys.has(&random(3)));
    }

    #[test]
    fn handshakes_without_secrets_take_no_place_of_those_with_some() {
        let mut keys = Keys::new(false);
        keys.enter(ClientRandom([0xe1; 32]));
        keys.take(key(&Label::ClientRandom, 0xe2, 1, 7, Role::Client));
        keys.enter(ClientRandom([0xe2; 32]));
        assert_eq!(keys.take_due().len(), 1);
        (0..EXPECTED as u32).for_each(|number| keys.enter(random(number)));
        // Of both connections something comes late; nobody waits for the first one any more.
        for random in [0xe1, 0xe2] {
            keys.take(key(&Label::Exporter, random, 1, 7, Role::Client));
        }
        let due = keys.take_due();
        assert_eq!(due.len(), 1);
        assert_eq!(due[0].client_random, ClientRandom([0xe2; 32]));
        assert_eq!(keys.len(), [2, EXPECTED]);
    }

    #[test]
    fn one_in_the_file_is_remembered_when_others_take_its_place() {
        let mut keys = Keys::new(false);
        let early = ClientRandom([0xe1; 32]);
        keys.enter(early);
        keys.take(key(&Label::ClientRandom, 0xe1, 1, 7, Role::Client));
        assert_eq!(keys.take_due().len(), 1);
        for number in 0..KEPT as u32 {
            let mut key = key(&Label::ClientRandom, 0, 1, 7, Role::Client);
            key.line.client_random = random(number);
            keys.take(key);
        }
        assert!(!keys.has(&early));
        // Nor do handshakes without secrets take it, whoever makes them.
        (0..=EXPECTED as u32).for_each(|number| keys.enter(random(number | 1 << 31)));
        keys.take(key(&Label::Exporter, 0xe1, 1, 7, Role::Client));
        assert_eq!(keys.take_due().len(), 1);
        assert_eq!(keys.len(), [KEPT, EXPECTED]);
    }

    /// Its secrets came, are forgotten, and come again when others have taken its old place.
    #[test]
    fn one_that_is_expected_twice_is_as_young_as_the_second_time() {
        let mut keys = Keys::new(false);
        let twice = ClientRandom([0xe1; 32]);
        keys.enter(twice);
        keys.take(key(&Label::ClientRandom, 0xe1, 1, 7, Role::Client));
        keys.connections.remove(&twice);
        (0..EXPECTED as u32 - 1).for_each(|number| keys.enter(random(number)));
        keys.enter(twice);
        keys.enter(random(u32::MAX));
        keys.take(key(&Label::Exporter, 0xe1, 1, 7, Role::Client));
        assert_eq!(keys.take_due().len(), 1);
    }

    #[test]
    fn what_is_too_much_of_one_connection_is_counted() {
        let mut keys = Keys::new(false);
        for number in 0..LINES + 2 {
            let label = Label::Other(Box::new(format!("SECRET_{number}").into()));
            keys.take(key(&label, 1, 1, 7, Role::Client));
        }
        assert_eq!(keys.forgotten, 2);
    }
}
