//! The connections whose packets are recorded: which handshake each has, and whether it is wanted. Pure.

use std::collections::{HashMap, VecDeque};

use super::backlog::Ends;
use crate::model::Time;
use crate::tls::ClientRandom;
use crate::wire::Segment;

/// Connections that are remembered; the oldest ones go first.
const KEPT: usize = 65_536;
/// A record of a handshake (RFC 8446, 5.1), with which a connection that is TLS begins.
const HANDSHAKE: u8 = 22;

/// What becomes of a connection's packets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It is not known yet, and will not be after this time.
    Undecided(Time),
    /// Written.
    Wanted,
    /// Left out.
    Unwanted,
}

#[derive(Debug)]
struct Connection {
    serial: u64,
    random: Option<ClientRandom>,
    fate: Fate,
}

/// All of them.
#[derive(Debug, Default)]
pub struct Connections {
    of: HashMap<Ends, Connection>,
    order: VecDeque<(Ends, u64)>,
    next: u64,
}

impl Connections {
    /// Takes notice of a segment, that is decided on by `until`; what came before its ClientHello is then known as well.
    pub fn see(&mut self, ends: Ends, segment: &Segment<'_>, until: Time) {
        let is_first = segment.flags.syn && !segment.flags.ack;
        let known = self.of.get_mut(&ends);
        match known {
            _ if is_first => self.insert(ends, None, Fate::Undecided(until)),
            // It was open before.
            None => self.insert(ends, None, Fate::Unwanted),
            Some(connection) => {
                let is_other = segment.payload.first().is_some_and(|first| *first != HANDSHAKE);
                if is_other && connection.random.is_none() {
                    connection.fate = Fate::Unwanted;
                }
            }
        }
    }

    /// A handshake begins in it.
    pub fn begin(&mut self, ends: Ends, random: ClientRandom, fate: Fate) {
        self.insert(ends, Some(random), fate);
    }

    /// The handshake in it, if there is one.
    pub fn random(&self, ends: &Ends) -> Option<ClientRandom> {
        self.of.get(ends)?.random
    }

    /// What becomes of its packets.
    pub fn fate(&self, ends: &Ends) -> Fate {
        self.of.get(ends).map_or(Fate::Unwanted, |connection| connection.fate)
    }

    /// Decides on it.
    pub fn decide(&mut self, ends: &Ends, fate: Fate) {
        if let Some(connection) = self.of.get_mut(ends) {
            connection.fate = fate;
        }
    }

    fn insert(&mut self, ends: Ends, random: Option<ClientRandom>, fate: Fate) {
        let serial = self.next;
        self.next += 1;
        self.of.insert(ends, Connection { serial, random, fate });
        self.order.push_back((ends, serial));
        while self.order.len() > KEPT
            && let Some((oldest, serial)) = self.order.pop_front()
        {
            if self.of.get(&oldest).is_some_and(|connection| connection.serial == serial) {
                self.of.remove(&oldest);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use super::*;
    use crate::wire::Flags;

    fn segment(port: u16, syn: bool, payload: &[u8]) -> Segment<'_> {
        Segment {
            source: SocketAddr::from(([127, 0, 0, 1], port)),
            destination: SocketAddr::from(([127, 0, 0, 1], 443)),
            sequence: 0,
            acknowledgement: 0,
            flags: Flags { syn, ack: !syn, fin: false, rst: false },
            payload,
        }
    }

    #[test]
    fn what_does_not_begin_with_a_handshake_is_not_wanted() {
        let mut connections = Connections::default();
        let mut see = |port, syn, payload| {
            let segment = segment(port, syn, payload);
            let ends = Ends::of(&segment);
            connections.see(ends, &segment, Time(9));
            connections.fate(&ends)
        };
        assert_eq!(see(1, false, &[22, 3]), Fate::Unwanted, "open before");
        assert_eq!(see(2, true, &[]), Fate::Undecided(Time(9)));
        assert_eq!(see(2, false, &[]), Fate::Undecided(Time(9)));
        assert_eq!(see(2, false, &[22]), Fate::Undecided(Time(9)));
        assert_eq!(see(3, true, &[]), Fate::Undecided(Time(9)));
        assert_eq!(see(3, false, b"GET /"), Fate::Unwanted);
        assert_eq!(see(3, true, &[]), Fate::Undecided(Time(9)), "another one");
    }

    #[test]
    fn the_oldest_ones_are_forgotten() {
        let mut connections = Connections::default();
        let random = ClientRandom([7; 32]);
        let ends = |host: u32, port| {
            let server = SocketAddr::from(([127, 0, 0, 1], 443));
            Ends::new(SocketAddr::from((host.to_be_bytes(), port)), server)
        };
        for number in 0..=KEPT as u32 {
            connections.begin(ends(number, 1), random, Fate::Wanted);
        }
        assert_eq!(connections.random(&ends(0, 1)), None);
        assert_eq!(connections.random(&ends(1, 1)), Some(random));
        assert_eq!(connections.of.len(), KEPT);
        // One that begins again and again takes no more room.
        for _ in 0..2 * KEPT {
            connections.begin(ends(5, 5), random, Fate::Wanted);
        }
        assert_eq!((connections.of.len(), connections.order.len()), (1, KEPT));
    }
}
