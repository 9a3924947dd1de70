//! Connections whose reading was rejected are read again: another thread may have been changing them, or a page was
//! not resident. A few times only, since what is no connection at all stays that.

use std::collections::HashMap;

use aya::maps::{HashMap as BpfHashMap, MapData};

/// How often one connection is read again.
const TIMES: u8 = 3;
/// Connections remembered at a time.
const LIMIT: usize = 4096;

/// The kernel side's memory of what it has sent, by connection and process.
pub(super) type Seen = BpfHashMap<MapData, [u64; 2], u64>;

/// A connection: its address, and the process.
type Key = (u64, u32);

/// Whom to read again.
#[derive(Debug)]
pub(super) struct Again {
    /// `None` in tests of the decoder alone.
    seen: Option<Seen>,
    rejected: HashMap<Key, u8>,
}

impl Again {
    pub fn new(seen: Option<Seen>) -> Self {
        Self { seen, rejected: HashMap::new() }
    }

    /// A reading was rejected: the next hook of the connection sends another, unless it was tried often enough.
    pub fn rejected(&mut self, connection: u64, pid: u32) {
        if self.is_tried_again((connection, pid))
            && let Some(seen) = &mut self.seen
        {
            // It fails when the kernel has forgotten it already.
            let _ = seen.remove(&[connection, u64::from(pid)]);
        }
    }

    /// A reading was believed.
    pub fn believed(&mut self, connection: u64, pid: u32) {
        self.rejected.remove(&(connection, pid));
    }

    fn is_tried_again(&mut self, key: Key) -> bool {
        if self.rejected.len() >= LIMIT && !self.rejected.contains_key(&key) {
            self.rejected.clear();
        }
        let times = self.rejected.entry(key).or_default();
        *times = times.saturating_add(1);
        *times <= TIMES
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_few_times_until_one_is_believed() {
        let mut again = Again::new(None);
        let tried = |again: &mut Again| (0..5).map(|_| again.is_tried_again((1, 2))).collect();
        let expected = [true, true, true, false, false];
        let found: Vec<bool> = tried(&mut again);
        assert_eq!(found, expected);
        again.believed(1, 2);
        let found: Vec<bool> = tried(&mut again);
        assert_eq!(found, expected);
        assert!(again.is_tried_again((3, 2)));
    }

    #[test]
    fn memory_is_bounded() {
        let mut again = Again::new(None);
        for connection in 0..3 * LIMIT as u64 {
            again.rejected(connection, 1);
            assert!(again.rejected.len() <= LIMIT);
        }
    }
}
