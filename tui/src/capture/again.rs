//! Connections whose reading was rejected are read again: another thread may have been changing them, or a page was
//! not resident. A few times in a while only, since what is no connection at all stays that.

use std::collections::HashMap;

use aya::maps::{HashMap as BpfHashMap, MapData};
use tlskeytop_common::SeenBy;

/// How often one connection is read again within [`WHILE`].
const TIMES: u8 = 3;
/// Nanoseconds; after them there may be another connection at the address.
const WHILE: u64 = 10_000_000_000;
/// Connections remembered at a time.
const LIMIT: usize = 4096;

/// The kernel side's memory of what it has sent, by connection and process.
pub(crate) type Seen = BpfHashMap<MapData, [u64; 2], u64>;

/// A connection's address, and who saw it.
type Key = [u64; 2];

/// How often it was rejected since when.
#[derive(Clone, Copy, Debug)]
struct Rejected {
    since: u64,
    times: u8,
}

/// Whom to read again.
#[derive(Debug)]
pub(crate) struct Again {
    /// `None` in tests of the decoder alone.
    seen: Option<Seen>,
    rejected: HashMap<Key, Rejected>,
}

impl Again {
    pub fn new(seen: Option<Seen>) -> Self {
        Self { seen, rejected: HashMap::new() }
    }

    /// A reading was rejected at `time_ns`: the next hook of the connection sends another, unless it was tried often
    /// enough.
    pub fn rejected(&mut self, connection: u64, by: SeenBy, time_ns: u64) {
        let key = [connection, by.pack()];
        if self.is_tried_again(key, time_ns)
            && let Some(seen) = &mut self.seen
        {
            // It fails when the kernel has forgotten it already.
            let _ = seen.remove(&key);
        }
    }

    /// A reading was believed.
    pub fn believed(&mut self, connection: u64, by: SeenBy) {
        self.rejected.remove(&[connection, by.pack()]);
    }

    fn is_tried_again(&mut self, key: Key, time_ns: u64) -> bool {
        if self.rejected.len() >= LIMIT && !self.rejected.contains_key(&key) {
            self.rejected.clear();
        }
        let fresh = Rejected { since: time_ns, times: 0 };
        let rejected = self.rejected.entry(key).or_insert(fresh);
        if time_ns.saturating_sub(rejected.since) >= WHILE {
            *rejected = fresh;
        }
        rejected.times = rejected.times.saturating_add(1);
        rejected.times <= TIMES
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BY: SeenBy = SeenBy { pid: 2, slot: 5 };

    #[test]
    fn a_few_times_until_one_is_believed_or_time_has_passed() {
        let mut again = Again::new(None);
        let key = [1, BY.pack()];
        let tried = |again: &mut Again, time| -> Vec<bool> {
            (0..5).map(|_| again.is_tried_again(key, time)).collect()
        };
        let expected = [true, true, true, false, false];
        assert_eq!(tried(&mut again, 0), expected);
        again.believed(1, BY);
        assert_eq!(tried(&mut again, 1), expected);
        assert!(again.is_tried_again([3, BY.pack()], 1));
        assert_eq!(tried(&mut again, 1 + WHILE), expected);
    }

    #[test]
    fn memory_is_bounded() {
        let mut again = Again::new(None);
        for connection in 0..3 * LIMIT as u64 {
            again.rejected(connection, BY, 0);
            assert!(again.rejected.len() <= LIMIT);
        }
    }
}
