//! The lines that are in the key log, by their hashes.

use std::collections::VecDeque;

use hashbrown::HashTable;

use super::saving::KnownLine;
use crate::tls::{LineId, ValueTag};

/// Tables that share the numbers. One that grows takes as long as it has lines: one table for a million of them held up
/// the model for 0.15 s, in which the kernel's ring buffer overflows at 40,000 events a second; each of these takes 1 ms.
const TABLES: usize = 256;

/// 16 bytes a line in the order in which they will be forgotten, and 5 to 10 to find it there.
#[derive(Debug)]
pub(super) struct KnownLines {
    lines: VecDeque<KnownLine>,
    /// The numbers of the lines, counted from the first that ever came, modulo 2^32.
    numbers: [HashTable<u32>; TABLES],
    /// The number of the oldest line.
    first: u32,
}

impl Default for KnownLines {
    fn default() -> Self {
        Self { lines: VecDeque::new(), numbers: [const { HashTable::new() }; TABLES], first: 0 }
    }
}

impl KnownLines {
    /// The value that a line has.
    pub fn get(&self, id: &LineId) -> Option<ValueTag> {
        let hash = id.hashed();
        let number = self.numbers[table(hash)].find(hash, |number| self.at(*number).0 == *id);
        number.map(|number| self.at(*number).1)
    }

    fn at(&self, number: u32) -> &KnownLine {
        &self.lines[number.wrapping_sub(self.first) as usize]
    }

    /// Adds a line, or gives it another value.
    pub fn insert(&mut self, line: KnownLine) {
        let (lines, first) = (&mut self.lines, self.first);
        let place = |number: u32| number.wrapping_sub(first) as usize;
        let hash = line.0.hashed();
        let numbers = &mut self.numbers[table(hash)];
        if let Some(number) = numbers.find(hash, |number| lines[place(*number)].0 == line.0) {
            lines[place(*number)] = line;
            return;
        }
        // There are never as many at a time as there are numbers.
        let number = first.wrapping_add(lines.len() as u32);
        lines.push_back(line);
        let hash_of = |number: &u32| lines[place(*number)].0.hashed();
        numbers.insert_unique(hash, number, hash_of);
    }

    /// Drops the line that came first.
    pub fn forget_oldest(&mut self) {
        let Some(oldest) = self.lines.pop_front() else { return };
        let hash = oldest.0.hashed();
        let numbers = &mut self.numbers[table(hash)];
        if let Ok(number) = numbers.find_entry(hash, |number| *number == self.first) {
            number.remove();
        }
        self.first = self.first.wrapping_add(1);
    }

    /// Number of lines.
    pub fn len(&self) -> usize {
        self.lines.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.lines.is_empty()
    }

    /// Forgets all.
    pub fn clear(&mut self) {
        *self = Self::default();
    }
}

/// The table of a hash. It has bits of its own: the tables use the first and the last ones.
fn table(hash: u64) -> usize {
    (hash >> 32) as usize % TABLES
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use proptest::prelude::*;

    use super::*;
    use crate::tls::{ClientRandom, Label, Secret};

    fn line(random: u8, value: u8) -> KnownLine {
        let (label, random) = (Label::ClientRandom, ClientRandom([random; 32]));
        let secret = Secret::new(&label, &[value; 48], 48).unwrap();
        (LineId::new(&label, &random, &secret), ValueTag::new(&random, &secret))
    }

    #[test]
    fn a_line_takes_16_bytes() {
        assert_eq!(size_of::<KnownLine>(), 16);
    }

    proptest! {
        /// As a map and a list of what came first, also where the numbers begin anew.
        #[test]
        fn lines_are_known_until_they_are_forgotten(
            steps in proptest::collection::vec((0..40u8, 1..4u8, any::<bool>()), 0..200),
            first in prop_oneof![Just(0), Just(u32::MAX - 20)],
        ) {
            let mut known = KnownLines { first, ..KnownLines::default() };
            let (mut plain, mut order) = (HashMap::new(), VecDeque::new());
            for (random, value, forget) in steps {
                let (id, tag) = line(random, value);
                known.insert((id, tag));
                if plain.insert(id, tag).is_none() {
                    order.push_back(id);
                }
                if forget {
                    known.forget_oldest();
                    plain.remove(&order.pop_front().unwrap());
                }
                prop_assert_eq!(known.len(), plain.len());
                for random in 0..40 {
                    let (id, _) = line(random, 1);
                    prop_assert_eq!(known.get(&id), plain.get(&id).copied());
                }
            }
        }
    }
}
