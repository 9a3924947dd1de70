//! The connections whose packets are recorded: which handshake each has, and whether it is wanted. Pure.

use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddr;

use slab::Slab;

use crate::model::Time;
use crate::tls::ClientRandom;
use crate::wire::Segment;

/// Connections of one rank that are remembered: 20 MiB.
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
pub struct Serial {
    /// No other one has it.
    number: u64,
    /// Where it is kept.
    slot: usize,
}

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
    number: u64,
    /// Its place among those of its rank.
    place: u64,
    ends: Ends,
    /// The client and the number of its SYN, where that was seen.
    syn: Option<(SocketAddr, u32)>,
    /// Something was said in it.
    has_begun: bool,
    /// What each end sends, in their order.
    has_ended: [bool; 2],
    random: Option<ClientRandom>,
    fate: Fate,
}

/// Each has room of its own: those of one rank displace none of another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Rank {
    /// Nobody wants it, or nothing was said in it.
    Passing,
    /// It may be TLS: whoever sends packets can make as many as he likes.
    Begun,
    /// It was wanted.
    Ended,
    /// It is wanted: there are secrets of it.
    Wanted,
}

/// All of them.
#[derive(Debug, Default)]
pub struct Connections {
    /// The present one between two ends.
    newest: HashMap<Ends, Serial>,
    kept: Slab<Connection>,
    /// The slots of each rank, those first that have had it for longest.
    ranks: [BTreeMap<u64, usize>; 4],
    /// Numbers and places that were given.
    count: u64,
    /// Those that had to go and were wanted, and had not ended, or may have been wanted.
    pub forgotten: u64,
}

impl Connections {
    /// Takes notice of a segment, and says which connection it is of; `None` where that was open before.
    pub fn see(&mut self, ends: Ends, segment: &Segment<'_>, at: Time) -> Option<Serial> {
        let known = self.newest.get(&ends).copied();
        let is_first = segment.flags.syn && !segment.flags.ack;
        if is_first {
            let syn = Some((segment.source, segment.sequence));
            let is_again = |serial| self.get(serial).is_some_and(|known| known.syn == syn);
            return known
                .filter(|serial| is_again(*serial))
                .or_else(|| Some(self.insert(Connection::new(ends, syn, at))));
        }
        self.change(known?, |connection| connection.hear(segment));
        known
    }

    /// A handshake begins in it.
    pub fn begin(&mut self, ends: Ends, random: ClientRandom, at: Time) -> Serial {
        if let Some(serial) = self.newest.get(&ends).copied()
            && let Some(known) = self.get(serial)
            && known.fate != Fate::Unwanted
            && known.random.is_none_or(|before| before == random)
        {
            self.change(serial, |known| {
                known.has_begun = true;
                if known.random.replace(random).is_none() {
                    known.fate = Fate::Undecided(at);
                }
            });
            return serial;
        }
        let (has_begun, random) = (true, Some(random));
        self.insert(Connection { has_begun, random, ..Connection::new(ends, None, at) })
    }

    /// The present one between two ends.
    pub fn newest(&self, ends: Ends) -> Option<Serial> {
        self.newest.get(&ends).copied()
    }

    /// The handshake in it, if there is one.
    pub fn random(&self, serial: Serial) -> Option<ClientRandom> {
        self.get(serial)?.random
    }

    /// What becomes of its packets; `None` when it is forgotten.
    pub fn fate(&self, serial: Serial) -> Option<Fate> {
        Some(self.get(serial)?.fate)
    }

    /// Decides on it.
    pub fn decide(&mut self, serial: Serial, fate: Fate) {
        self.change(serial, |connection| connection.fate = fate);
    }

    /// Number of those that are remembered.
    pub fn len(&self) -> usize {
        self.kept.len()
    }

    fn get(&self, serial: Serial) -> Option<&Connection> {
        self.kept.get(serial.slot).filter(|known| known.number == serial.number)
    }

    fn insert(&mut self, connection: Connection) -> Serial {
        let (number, rank) = (self.next(), connection.rank());
        let (place, ends) = (number, connection.ends);
        let slot = self.kept.insert(Connection { number, place, ..connection });
        let serial = Serial { number, slot };
        self.ranks[rank as usize].insert(place, slot);
        self.make_room(rank);
        if let Some(before) = self.newest.insert(ends, serial) {
            self.change(before, |before| before.has_ended = [true; 2]);
        }
        serial
    }

    /// Changes one, which may have another rank then: it is the newest one of that.
    fn change(&mut self, serial: Serial, change: impl FnOnce(&mut Connection)) {
        let known = self.kept.get_mut(serial.slot);
        let Some(known) = known.filter(|known| known.number == serial.number) else { return };
        let before = known.rank();
        change(known);
        let rank = known.rank();
        if rank != before {
            self.ranks[before as usize].remove(&known.place);
            self.count += 1;
            known.place = self.count;
            self.ranks[rank as usize].insert(known.place, serial.slot);
            self.make_room(rank);
        }
    }

    fn next(&mut self) -> u64 {
        self.count += 1;
        self.count
    }

    /// Lets the oldest one of a rank go that has one too many.
    fn make_room(&mut self, rank: Rank) {
        let places = &mut self.ranks[rank as usize];
        if places.len() <= KEPT {
            return;
        }
        let oldest = places.pop_first();
        let Some(gone) = oldest.and_then(|(_, slot)| self.kept.try_remove(slot)) else { return };
        let has_ended = gone.has_ended == [true; 2];
        self.forgotten += u64::from(matches!(rank, Rank::Wanted | Rank::Begun) && !has_ended);
        if self.newest.get(&gone.ends).is_some_and(|newest| newest.number == gone.number) {
            self.newest.remove(&gone.ends);
        }
    }
}

impl Connection {
    /// One in which nothing was said.
    fn new(ends: Ends, syn: Option<(SocketAddr, u32)>, at: Time) -> Self {
        Self {
            number: 0,
            place: 0,
            ends,
            syn,
            has_begun: false,
            has_ended: [false; 2],
            random: None,
            fate: Fate::Undecided(at),
        }
    }

    fn rank(&self) -> Rank {
        match self.fate {
            Fate::Wanted if self.has_ended == [true; 2] => Rank::Ended,
            Fate::Wanted => Rank::Wanted,
            Fate::Undecided(_) if self.has_begun => Rank::Begun,
            Fate::Undecided(_) | Fate::Unwanted => Rank::Passing,
        }
    }

    /// What is said first tells whether this is TLS from its beginning: then the client begins a handshake.
    fn hear(&mut self, segment: &Segment<'_>) {
        self.hear_end(segment);
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

    /// Who says more has not ended: a reset may be forged.
    fn hear_end(&mut self, segment: &Segment<'_>) {
        let Segment { flags, payload, .. } = segment;
        if flags.rst {
            self.has_ended = [true; 2];
            return;
        }
        let end = usize::from(self.ends.0[0] != segment.source);
        self.has_ended[end] = flags.fin || (self.has_ended[end] && payload.is_empty());
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
            see(&mut connections, &segment).and_then(|serial| connections.fate(serial))
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

    /// The ends of one of many connections.
    fn ends(number: u32) -> Ends {
        let server = SocketAddr::from(([127, 0, 0, 1], 443));
        Ends::new(SocketAddr::from((number.to_be_bytes(), 1)), server)
    }

    /// So many others of a kind.
    fn make(connections: &mut Connections, count: usize, fate: Fate, has_begun: bool) {
        for number in 0..count as u32 {
            let connection =
                Connection { has_begun, fate, ..Connection::new(ends(number), None, AT) };
            connections.insert(connection);
        }
    }

    #[test]
    fn the_oldest_ones_are_forgotten() {
        let mut connections = Connections::default();
        let random = |byte| ClientRandom([byte; 32]);
        let begun: Vec<Serial> = (0..=KEPT as u32)
            .map(|number| connections.begin(ends(number), random(7), AT))
            .collect();
        assert_eq!(connections.random(begun[0]), None);
        assert_eq!(connections.fate(begun[0]), None);
        assert_eq!(connections.random(begun[1]), Some(random(7)));
        assert_eq!((connections.newest.len(), connections.len()), (KEPT, KEPT));
        // One that begins again and again takes no more room.
        for number in 0..2 * KEPT {
            connections.begin(ends(u32::MAX), random(number as u8), AT);
        }
        assert_eq!((connections.newest.len(), connections.len()), (1, KEPT));
        assert_eq!(connections.forgotten, KEPT as u64 + 1, "each may have been wanted");
    }

    #[test]
    fn those_that_nobody_wants_take_no_place_of_those_that_are_wanted() {
        let mut connections = Connections::default();
        let of = |port| segment(port, true, 4, &[]);
        let wanted = see(&mut connections, &of(1)).unwrap();
        let begun = see(&mut connections, &of(2)).unwrap();
        let silent = see(&mut connections, &of(3)).unwrap();
        connections.decide(wanted, Fate::Wanted);
        assert_eq!(see(&mut connections, &segment(2, false, 5, &[HANDSHAKE])), Some(begun));
        make(&mut connections, KEPT, NEW, false);
        let fates = [wanted, begun, silent].map(|serial| connections.fate(serial));
        assert_eq!(fates, [Some(Fate::Wanted), Some(NEW), None]);
        make(&mut connections, KEPT, NEW, true);
        let fates = [wanted, begun].map(|serial| connections.fate(serial));
        assert_eq!(fates, [Some(Fate::Wanted), None]);
        assert_eq!(see(&mut connections, &segment(1, false, 5, &[HANDSHAKE])), Some(wanted));
        assert_eq!((connections.len(), connections.forgotten), (2 * KEPT + 1, 1));
    }

    #[test]
    fn wanted_ones_that_do_not_end_take_no_place_of_short_ones() {
        let mut connections = Connections::default();
        make(&mut connections, KEPT, Fate::Wanted, true);
        let [reset, forged] = [2, 3].map(|port| {
            let serial = see(&mut connections, &segment(port, true, 4, &[])).unwrap();
            let mut last = segment(port, false, 5, &[]);
            last.flags.rst = true;
            see(&mut connections, &last);
            serial
        });
        see(&mut connections, &segment(3, false, 5, &[HANDSHAKE]));
        // It ended before its first packet could be judged.
        connections.decide(reset, Fate::Wanted);
        assert_eq!((connections.fate(reset), connections.forgotten), (Some(Fate::Wanted), 0));
        // One that says more after a reset has not ended.
        connections.decide(forged, Fate::Wanted);
        assert_eq!((connections.fate(forged), connections.forgotten), (Some(Fate::Wanted), 1));
        // Another one between the same ends ends the one before.
        let again = see(&mut connections, &segment(3, true, 9, &[])).unwrap();
        connections.decide(again, Fate::Wanted);
        assert_eq!(connections.fate(forged), Some(Fate::Wanted));
        assert_eq!(connections.forgotten, 1, "it took the place of the one before");
        make(&mut connections, KEPT, Fate::Wanted, true);
        assert_eq!(connections.fate(again), None);
        assert_eq!(connections.fate(forged), Some(Fate::Wanted));
    }
}
