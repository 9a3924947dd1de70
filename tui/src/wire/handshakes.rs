//! The connections whose hellos are not all seen yet, bounded in number and bytes.

use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddr;

use smallvec::SmallVec;

use super::frame::Segment;
use super::hello::{self, Seen};
use super::messages::{CLIENT_HELLO, Refused};
use super::side::Side;
use crate::model::Time;
use crate::tls::ClientRandom;

/// How much is kept. Where it is not enough, the oldest connections go first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Connections, also those whose hellos were seen: they are known until they end, so that a hello that is sent again is
    /// no new one.
    pub connections: usize,
    /// Bytes of all hellos that are not whole.
    pub bytes: usize,
    /// Bytes of one hello.
    pub hello: usize,
    /// Pieces of one side that wait for what comes before them.
    pub pieces: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { connections: 65_536, bytes: 16 << 20, hello: 64 << 10, pieces: 4096 }
    }
}

/// What was not kept, since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Dropped {
    /// Connections that gave way to newer ones with one hello, or a part of one. Those without are any connections.
    pub connections: u64,
    /// Connections with segments that came too far ahead of what was missing, or in too many pieces.
    pub cut: u64,
    /// Of these two, such whose ClientHello was whole.
    pub unanswered: u64,
    /// Hellos that were too long, could not be read, or were cut off: by a reset, or by another connection between the
    /// same addresses.
    pub hellos: u64,
}

/// The handshakes of one network: addresses mean the same connection in all its segments. Each network namespace has
/// one of its own.
///
/// A connection is looked at from its SYN, or else from a segment that begins with the record of a ClientHello: so a
/// handshake that follows other traffic (STARTTLS, a proxy's CONNECT) is found where its ClientHello begins a segment.
#[derive(Debug, Default)]
pub struct Handshakes {
    limits: Limits,
    connections: HashMap<Key, Connection>,
    /// By age.
    order: BTreeMap<u64, Key>,
    count: u64,
    /// Of all connections.
    kept: usize,
    dropped: Dropped,
}

/// Both ends, the lower address first: the same for both directions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Key([SocketAddr; 2]);

impl Key {
    /// The connection, and which of its ends sent the segment.
    fn of(segment: &Segment<'_>) -> (Self, usize) {
        match segment.source <= segment.destination {
            true => (Self([segment.source, segment.destination]), 0),
            false => (Self([segment.destination, segment.source]), 1),
        }
    }
}

#[derive(Debug)]
struct Connection {
    /// Its place in the order.
    number: u64,
    /// In the order of the key.
    sides: [Side; 2],
    stage: Stage,
    /// Some of it was not kept.
    is_cut: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// No hello yet.
    Silent,
    /// The client's hello.
    Begun { client: usize, random: ClientRandom },
    /// The server's too, or something that is none.
    Settled { client: usize, random: ClientRandom },
}

impl Handshakes {
    /// An empty table.
    pub fn new(limits: Limits) -> Self {
        Self { limits, ..Self::default() }
    }

    /// What was not kept, since the start.
    pub fn dropped(&self) -> Dropped {
        self.dropped
    }

    /// Number of connections that are known.
    pub fn len(&self) -> usize {
        self.connections.len()
    }

    /// Whether none is known.
    pub fn is_empty(&self) -> bool {
        self.connections.is_empty()
    }

    /// Bytes that are kept of hellos that are not whole, with what it costs to keep them apart.
    pub fn kept(&self) -> usize {
        self.kept
    }

    /// Takes one segment, in the order of capture, and says what it made known.
    pub fn segment(&mut self, at: Time, segment: &Segment<'_>) -> SmallVec<[Seen; 2]> {
        let (key, side) = Key::of(segment);
        let begins = segment.flags.syn || hello::begins(segment.payload);
        let mut seen = SmallVec::new();
        let known = self.connections.get(&key);
        if segment.flags.rst {
            seen.extend(self.cut_off(&key));
            return seen;
        }
        if begins && known.is_some_and(|connection| connection.is_another(side, segment)) {
            seen.extend(self.cut_off(&key));
        }
        if begins && !self.connections.contains_key(&key) {
            self.insert(key);
        }
        let Some(connection) = self.connections.get_mut(&key) else { return seen };
        self.kept -= connection.kept();
        connection.begin(side, segment);
        let is_room = connection.add(side, segment, self.limits.pieces);
        if !is_room && !std::mem::replace(&mut connection.is_cut, true) {
            self.dropped.cut += 1;
            self.dropped.unanswered += u64::from(connection.is_begun());
        }
        let over = connection.advance(key, at, &self.limits, &mut seen);
        self.kept += connection.kept();
        match over {
            Ok(()) if !connection.has_ended() => {}
            ended => {
                let is_lost = matches!(ended, Err(Refused::TooLong | Refused::Unreadable));
                self.dropped.hellos += u64::from(is_lost);
                seen.extend(self.remove(&key));
            }
        }
        self.make_room();
        seen
    }

    fn insert(&mut self, key: Key) {
        let number = self.count;
        self.count += 1;
        self.order.insert(number, key);
        let (sides, stage) = (Default::default(), Stage::Silent);
        let connection = Connection { number, sides, stage, is_cut: false };
        self.connections.insert(key, connection);
    }

    /// Removes one in the middle of what it may still say.
    fn cut_off(&mut self, key: &Key) -> Option<Seen> {
        let known = self.connections.get(key);
        let is_half = known.is_some_and(|known| known.stage == Stage::Silent && known.has_hello());
        self.dropped.hellos += u64::from(is_half);
        self.remove(key)
    }

    fn remove(&mut self, key: &Key) -> Option<Seen> {
        let connection = self.connections.remove(key)?;
        self.order.remove(&connection.number);
        self.kept -= connection.kept();
        connection.random().map(Seen::Ended)
    }

    fn make_room(&mut self) {
        while self.connections.len() > self.limits.connections || self.kept > self.limits.bytes {
            let Some((_, key)) = self.order.pop_first() else { return };
            let Some(connection) = self.connections.remove(&key) else { continue };
            self.kept -= connection.kept();
            self.dropped.connections += u64::from(connection.has_hello());
            self.dropped.unanswered += u64::from(connection.is_begun());
        }
    }
}

impl Connection {
    fn random(&self) -> Option<ClientRandom> {
        match self.stage {
            Stage::Silent => None,
            Stage::Begun { random, .. } | Stage::Settled { random, .. } => Some(random),
        }
    }

    fn kept(&self) -> usize {
        self.sides.iter().map(Side::kept).sum()
    }

    /// Whether the client's hello was whole, and the server's is still to come.
    fn is_begun(&self) -> bool {
        matches!(self.stage, Stage::Begun { .. })
    }

    /// Whether it has a hello, or a part of one, and the other is still to come.
    fn has_hello(&self) -> bool {
        match self.stage {
            Stage::Silent => self.kept() > 0,
            Stage::Begun { .. } => true,
            Stage::Settled { .. } => false,
        }
    }

    fn has_ended(&self) -> bool {
        let mut ended = self.sides.iter().map(|side| side.has_ended);
        match self.stage {
            // Whichever side it is, no handshake follows.
            Stage::Silent => self.kept() == 0 && ended.any(|ended| ended),
            _ => ended.all(|ended| ended),
        }
    }

    /// Whether a segment that begins something begins another connection between the same addresses.
    fn is_another(&self, side: usize, segment: &Segment<'_>) -> bool {
        if segment.flags.syn {
            let start = self.sides.get(side).and_then(|side| side.stream.start());
            return start.is_some_and(|start| start != first_byte(segment));
        }
        match self.stage {
            // Other words came before, and were not seen.
            Stage::Silent => {
                let own = self.sides.get(side).filter(|_| self.kept() == 0);
                own.is_some_and(|own| own.stream.is_ahead(first_byte(segment)))
            }
            Stage::Begun { client, random } | Stage::Settled { client, random } => {
                let new = hello::random_of(segment.payload);
                client == side && new.is_some_and(|new| new != random)
            }
        }
    }

    /// Learns where the sides begin: by SYN, by the ClientHello, and by what each has had of the other.
    fn begin(&mut self, side: usize, segment: &Segment<'_>) {
        let [own, other] = self.ends(side);
        if segment.flags.syn || hello::begins(segment.payload) {
            own.stream.begin(first_byte(segment));
        }
        if segment.flags.ack {
            other.stream.begin(segment.acknowledgement);
        }
    }

    /// Adds the data; `false` when some of it had to be left out.
    fn add(&mut self, side: usize, segment: &Segment<'_>, most_pieces: usize) -> bool {
        let is_read = match self.stage {
            Stage::Silent => true,
            // Of the client nothing more is needed: a second hello has the same random.
            Stage::Begun { client, .. } => client != side,
            Stage::Settled { .. } => false,
        };
        let [own, _] = self.ends(side);
        own.has_ended |= segment.flags.fin;
        !is_read || own.stream.add(first_byte(segment), segment.payload, most_pieces)
    }

    /// Reads what has become whole; an error when this is no TLS.
    fn advance(
        &mut self,
        key: Key,
        at: Time,
        limits: &Limits,
        seen: &mut SmallVec<[Seen; 2]>,
    ) -> Result<(), Refused> {
        if self.stage == Stage::Silent {
            for side in [0, 1] {
                if self.read_client(side, key, at, limits, seen)? {
                    break;
                }
            }
        }
        while let Stage::Begun { client, random } = self.stage {
            let [_, server] = self.ends(client);
            let is_settled = match server.read(limits.hello) {
                Ok(None) => return Ok(()),
                Ok(Some(message)) => match hello::server(message, random, at) {
                    Some(answer) => {
                        let is_retry = answer.is_retry;
                        seen.push(Seen::Answered(answer));
                        server.next();
                        !is_retry
                    }
                    None => true,
                },
                // An alert, for one: the client gets no other answer.
                Err(_) => true,
            };
            if is_settled {
                self.settle(client, random);
            }
        }
        Ok(())
    }

    fn settle(&mut self, client: usize, random: ClientRandom) {
        self.sides.iter_mut().for_each(Side::clear);
        self.stage = Stage::Settled { client, random };
    }

    /// Reads a ClientHello of one side.
    fn read_client(
        &mut self,
        side: usize,
        Key(ends): Key,
        at: Time,
        limits: &Limits,
        seen: &mut SmallVec<[Seen; 2]>,
    ) -> Result<bool, Refused> {
        let [own, _] = self.ends(side);
        // The other side's hello waits for this one's.
        let Some(message) = own.read(limits.hello)? else { return Ok(false) };
        if message.first() != Some(&CLIENT_HELLO) {
            return Ok(false);
        }
        let ends = if side == 0 { ends } else { [ends[1], ends[0]] };
        let hello = hello::client(message, ends, at).ok_or(Refused::Unreadable)?;
        own.clear();
        self.stage = Stage::Begun { client: side, random: hello.client_random };
        seen.push(Seen::Begun(hello));
        Ok(true)
    }

    /// The side, and the other one.
    fn ends(&mut self, side: usize) -> [&mut Side; 2] {
        let [first, second] = &mut self.sides;
        if side == 0 { [first, second] } else { [second, first] }
    }
}

/// The sequence number of the first byte of data: SYN has one of its own.
fn first_byte(segment: &Segment<'_>) -> u32 {
    segment.sequence.wrapping_add(u32::from(segment.flags.syn))
}
