//! Packets that wait to be written, in the order of time. Pure.

use std::collections::VecDeque;

use super::connections::Serial;
use crate::model::Time;
use crate::tls::ClientRandom;

/// What a packet costs besides its bytes.
const COST: usize = size_of::<Held>();

/// Packets that one which comes too late can pass: as many as another CPU receives in 2 ms.
const PASSED: usize = 1000;

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
    /// too late is of a clock that was set back.
    pub fn push(&mut self, packet: Held) {
        self.bytes += packet.bytes.len() + COST;
        let later = |held: &&Held| held.time > packet.time;
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

    /// Bytes of all of them, with what it costs to keep them.
    pub fn bytes(&self) -> usize {
        self.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn they_come_out_in_the_order_of_time() {
        let mut backlog = Backlog::default();
        for time in [1, 5, 3, 4, 4, 2, 6] {
            backlog.push(Held {
                time: Time(time),
                interface: 0,
                original_length: 3,
                connection: None,
                begins: None,
                bytes: Box::new([0; 3]),
            });
        }
        assert_eq!(backlog.bytes(), 7 * (3 + COST));
        let times: Vec<u64> =
            std::iter::from_fn(|| backlog.pop()).map(|packet| packet.time.0).collect();
        assert_eq!(times, [1, 2, 3, 4, 4, 5, 6]);
        assert_eq!(backlog.bytes(), 0);
    }
}
