//! Packets that wait to be written, in the order of time. Pure.

use std::collections::VecDeque;
use std::time::Duration;

use super::connections::Serial;
use crate::model::Time;
use crate::tls::ClientRandom;

/// What a packet costs besides its bytes.
const COST: usize = size_of::<Held>();

/// Packets that one which comes too late can pass: as many as another CPU receives in 2 ms.
const PASSED: usize = 1000;
/// One that is by so much older than another one is of a clock that was set back, and does not pass it.
const SET_BACK: Duration = Duration::from_secs(1);

/// A packet that waits.
#[derive(Debug)]
pub struct Held {
    /// When it was captured.
    pub time: Time,
    /// Where.
    pub interface: usize,
    /// Its bytes on the wire.
    pub original_length: u32,
    /// Its connection, if it is of one whose beginning was seen.
    pub connection: Option<Serial>,
    /// The handshake whose ClientHello is whole with it.
    pub begins: Option<Box<ClientRandom>>,
    /// Those that were captured.
    pub bytes: Box<[u8]>,
}

/// The packets.
#[derive(Debug, Default)]
pub struct Backlog {
    packets: VecDeque<Held>,
    bytes: usize,
}

impl Backlog {
    /// Adds a packet. The CPUs note the time each on its own, so that one may come a little too late; one that comes much
    /// too late is of a clock that was set back, and comes out when it came in.
    pub fn push(&mut self, packet: Held) {
        self.bytes += packet.bytes.len() + COST;
        let until = packet.time + SET_BACK;
        let later = |held: &&Held| held.time > packet.time && held.time < until;
        let passed = self.packets.iter().rev().take(PASSED).take_while(later).count();
        let at = if passed == PASSED { self.packets.len() } else { self.packets.len() - passed };
        self.packets.insert(at, packet);
    }

    /// The oldest one.
    pub fn front(&self) -> Option<&Held> {
        self.packets.front()
    }

    /// The handshake that begins with the oldest one; told once.
    pub fn take_beginning(&mut self) -> Option<ClientRandom> {
        self.packets.front_mut()?.begins.take().map(|random| *random)
    }

    /// Takes the oldest one.
    pub fn pop(&mut self) -> Option<Held> {
        let packet = self.packets.pop_front()?;
        self.bytes -= packet.bytes.len() + COST;
        Some(packet)
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.packets.len()
    }

    /// Bytes of all of them, with what it costs to keep them.
    pub fn bytes(&self) -> usize {
        self.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packet(time: u64) -> Held {
        Held {
            time: Time(time),
            interface: 0,
            original_length: 3,
            connection: None,
            begins: None,
            bytes: Box::new([0; 3]),
        }
    }

    fn times(mut backlog: Backlog) -> Vec<u64> {
        let times = std::iter::from_fn(|| backlog.pop()).map(|packet| packet.time.0).collect();
        assert_eq!(backlog.bytes(), 0);
        times
    }

    #[test]
    fn they_come_out_in_the_order_of_time() {
        let mut backlog = Backlog::default();
        [1, 5, 3, 4, 4, 2, 6].into_iter().for_each(|time| backlog.push(packet(time)));
        assert_eq!(backlog.bytes(), 7 * (3 + COST));
        assert_eq!(times(backlog), [1, 2, 3, 4, 4, 5, 6]);
    }

    #[test]
    fn those_of_a_clock_that_was_set_back_do_not_pass_those_before() {
        const HOUR: u64 = 3_600_000_000_000;
        let mut backlog = Backlog::default();
        let set_back = [HOUR + 1, HOUR + 3, HOUR + 2, 5, 4, 6];
        set_back.into_iter().for_each(|time| backlog.push(packet(time)));
        assert_eq!(times(backlog), [HOUR + 1, HOUR + 2, HOUR + 3, 4, 5, 6]);
    }
}
