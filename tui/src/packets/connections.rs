//! The connections whose packets are recorded: which handshake each has, and whether it is wanted. Pure.

use std::collections::{HashMap, VecDeque};
use std::net::SocketAddr;

use crate::model::Time;
use crate::tls::ClientRandom;
use crate::wire::Segment;

/// Connections that are remembered; the oldest ones go first.
const KEPT: usize = 65_536;
/// A record of a handshake (RFC 8446, 5.1), with which a connection that is TLS begins.
const HANDSHAKE: u8 = 22;

/// Both ends of a connection, the lower address first: the same for both directions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Ends([SocketAddr; 2]);

impl Ends {
    /// In any order.
    pub fn new(one: SocketAddr, other: SocketAddr) -> Self {
        if one <= other { Self([one, other]) } else { Self([other, one]) }
    }

    /// Those of a segment.
    pub fn of(segment: &Segment<'_>) -> Self {
        Self::new(segment.source, segment.destination)
    }
}

/// One connection: another one than that which had the same ends before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Serial(u64);

/// What becomes of a connection's packets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It is not known yet, and that counts from this time on.
    Undecided(Time),
    /// Written.
    Wanted,
    /// Left out.
    Unwanted,
}

#[derive(Debug)]
struct Connection {
    ends: Ends,
    /// The client and the number of its SYN, where that was seen.
    syn: Option<(SocketAddr, u32)>,
    /// Something was said in it.
    has_begun: bool,
    random: Option<ClientRandom>,
    fate: Fate,
}

/// All of them.
#[derive(Debug, Default)]
pub struct Connections {
    /// The present one between two ends.
    newest: HashMap<Ends, Serial>,
    /// By serial.
    kept: VecDeque<Connection>,
    /// The serial of the first one that is kept.
    first: u64,
}

impl Connections {
    /// Takes notice of a segment, and says which connection it is of; `None` where that was open before.
    pub fn see(&mut self, ends: Ends, segment: &Segment<'_>, at: Time) -> Option<Serial> {
        let known = self.newest.get(&ends).copied();
        let is_first = segment.flags.syn && !segment.flags.ack;
        if is_first {
            let syn = Some((segment.source, segment.sequence));
            let is_again = |serial| self.get(serial).is_some_and(|known| known.syn == syn);
            return known.filter(|serial| is_again(*serial)).or_else(|| {
                let fate = Fate::Undecided(at);
                Some(self.insert(Connection { ends, syn, has_begun: false, random: None, fate }))
            });
        }
        self.get_mut(known?)?.hear(segment);
        known
    }

    /// A handshake begins in it.
    pub fn begin(&mut self, ends: Ends, random: ClientRandom, at: Time) -> Serial {
        let fate = Fate::Undecided(at);
        if let Some(serial) = self.newest.get(&ends).copied()
            && let Some(known) = self.get_mut(serial)
            && known.fate != Fate::Unwanted
            && known.random.is_none_or(|before| before == random)
        {
            if known.random.replace(random).is_none() {
                known.fate = fate;
            }
            return serial;
        }
        let random = Some(random);
        self.insert(Connection { ends, syn: None, has_begun: true, random, fate })
    }

    /// The handshake in it, if there is one.
    pub fn random(&self, serial: Serial) -> Option<ClientRandom> {
        self.get(serial)?.random
    }

    /// What becomes of its packets.
    pub fn fate(&self, serial: Serial) -> Fate {
        self.get(serial).map_or(Fate::Unwanted, |connection| connection.fate)
    }

    /// Decides on it.
    pub fn decide(&mut self, serial: Serial, fate: Fate) {
        if let Some(connection) = self.get_mut(serial) {
            connection.fate = fate;
        }
    }

    /// Number of those that are remembered.
    pub fn len(&self) -> usize {
        self.kept.len()
    }

    fn place(&self, serial: Serial) -> Option<usize> {
        usize::try_from(serial.0.checked_sub(self.first)?).ok()
    }

    fn get(&self, serial: Serial) -> Option<&Connection> {
        self.kept.get(self.place(serial)?)
    }

    fn get_mut(&mut self, serial: Serial) -> Option<&mut Connection> {
        let place = self.place(serial)?;
        self.kept.get_mut(place)
    }

    fn insert(&mut self, connection: Connection) -> Serial {
        let serial = Serial(self.first + self.kept.len() as u64);
        self.newest.insert(connection.ends, serial);
        self.kept.push_back(connection);
        if self.kept.len() > KEPT
            && let Some(oldest) = self.kept.pop_front()
        {
            let gone = Serial(self.first);
            self.first += 1;
            if self.newest.get(&oldest.ends) == Some(&gone) {
                self.newest.remove(&oldest.ends);
            }
        }
        serial
    }
}

impl Connection {
    /// What is said first tells whether this is TLS from its beginning: then the client begins a handshake.
    fn hear(&mut self, segment: &Segment<'_>) {
        let Some((client, syn)) = self.syn else { return };
        let Some(&byte) = segment.payload.first() else { return };
        let is_client = segment.source == client;
        // What the client said later may come earlier.
        let is_late = is_client && segment.sequence != syn.wrapping_add(1);
        if self.has_begun || is_late {
            return;
        }
        self.has_begun = true;
        if self.random.is_none() && !(is_client && byte == HANDSHAKE) {
            self.fate = Fate::Unwanted;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::Flags;

    const AT: Time = Time(9);
    const NEW: Fate = Fate::Undecided(AT);

    fn segment(port: u16, syn: bool, sequence: u32, payload: &[u8]) -> Segment<'_> {
        Segment {
            source: SocketAddr::from(([127, 0, 0, 1], port)),
            destination: SocketAddr::from(([127, 0, 0, 1], 443)),
            sequence,
            acknowledgement: 0,
            flags: Flags { syn, ack: !syn, fin: false, rst: false },
            payload,
        }
    }

    fn see(connections: &mut Connections, segment: &Segment<'_>) -> Option<Serial> {
        connections.see(Ends::of(segment), segment, AT)
    }

    #[test]
    fn what_does_not_begin_with_a_handshake_is_not_wanted() {
        let mut connections = Connections::default();
        let mut fate = |segment: Segment<'_>| {
            see(&mut connections, &segment).map(|serial| connections.fate(serial))
        };
        assert_eq!(fate(segment(1, false, 5, &[22, 3])), None, "open before");
        assert_eq!(fate(segment(2, true, 4, &[])), Some(NEW));
        assert_eq!(fate(segment(2, false, 5, &[])), Some(NEW));
        // In three segments, of which the last one comes first.
        assert_eq!(fate(segment(2, false, 7, b"b")), Some(NEW));
        assert_eq!(fate(segment(2, false, 5, &[22])), Some(NEW));
        assert_eq!(fate(segment(2, false, 6, b"a")), Some(NEW));
        assert_eq!(fate(segment(3, true, 4, &[])), Some(NEW));
        assert_eq!(fate(segment(3, false, 5, b"GET /")), Some(Fate::Unwanted));
        assert_eq!(fate(segment(3, true, 4, &[])), Some(Fate::Unwanted), "the same SYN again");
        assert_eq!(fate(segment(3, true, 8, &[])), Some(NEW), "another connection");
        // The server speaks first.
        let greeting = segment(3, false, 0, b"220 ");
        let (source, destination) = (greeting.destination, greeting.source);
        assert_eq!(fate(Segment { source, destination, ..greeting }), Some(Fate::Unwanted));
    }

    #[test]
    fn each_connection_keeps_its_handshake_when_its_ends_have_another_one() {
        let mut connections = Connections::default();
        let ends = Ends::of(&segment(1, true, 0, &[]));
        let first = see(&mut connections, &segment(1, true, 4, &[])).unwrap();
        let random = |byte| ClientRandom([byte; 32]);
        assert_eq!(connections.begin(ends, random(1), AT), first);
        let second = see(&mut connections, &segment(1, true, 9, &[])).unwrap();
        assert_eq!(see(&mut connections, &segment(1, false, 10, b"GET")), Some(second));
        assert_eq!(connections.random(first), Some(random(1)));
        assert_eq!(connections.random(second), None);
        // Behind other words, and without a SYN.
        let third = connections.begin(ends, random(3), AT);
        let fourth = connections.begin(ends, random(4), AT);
        assert_eq!(connections.begin(ends, random(4), AT), fourth);
        let randoms = [first, second, third, fourth].map(|serial| connections.random(serial));
        assert_eq!(randoms, [Some(random(1)), None, Some(random(3)), Some(random(4))]);
    }

    #[test]
    fn the_oldest_ones_are_forgotten() {
        let mut connections = Connections::default();
        let random = |byte| ClientRandom([byte; 32]);
        let ends = |host: u32, port| {
            let server = SocketAddr::from(([127, 0, 0, 1], 443));
            Ends::new(SocketAddr::from((host.to_be_bytes(), port)), server)
        };
        let begun: Vec<Serial> = (0..=KEPT as u32)
            .map(|number| connections.begin(ends(number, 1), random(7), AT))
            .collect();
        assert_eq!(connections.random(begun[0]), None);
        assert_eq!(connections.fate(begun[0]), Fate::Unwanted);
        assert_eq!(connections.random(begun[1]), Some(random(7)));
        assert_eq!((connections.newest.len(), connections.len()), (KEPT, KEPT));
        // One that begins again and again takes no more room.
        for number in 0..2 * KEPT {
            connections.begin(ends(5, 5), random(number as u8), AT);
        }
        assert_eq!((connections.newest.len(), connections.len()), (1, KEPT));
    }
}
