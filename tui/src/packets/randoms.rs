//! Client randoms of which nothing more is known than that they are among these, bounded in number. Pure.

use std::collections::{BTreeMap, HashMap};

use crate::tls::ClientRandom;

/// So many at the most; the oldest ones go first.
pub struct Randoms {
    limit: usize,
    /// With their age.
    known: HashMap<ClientRandom, u64>,
    by_age: BTreeMap<u64, ClientRandom>,
    count: u64,
}

impl Randoms {
    /// None yet.
    pub fn new(limit: usize) -> Self {
        Self { limit, known: HashMap::new(), by_age: BTreeMap::new(), count: 0 }
    }

    /// Adds one; one that is there already is as old as before.
    pub fn insert(&mut self, random: ClientRandom) {
        if self.known.contains_key(&random) {
            return;
        }
        self.count += 1;
        self.known.insert(random, self.count);
        self.by_age.insert(self.count, random);
        if self.by_age.len() > self.limit
            && let Some((_, oldest)) = self.by_age.pop_first()
        {
            self.known.remove(&oldest);
        }
    }

    /// Takes one out; `true` when it was there.
    pub fn remove(&mut self, random: &ClientRandom) -> bool {
        let age = self.known.remove(random);
        age.is_some_and(|age| self.by_age.remove(&age).is_some())
    }

    /// Whether it is there.
    pub fn contains(&self, random: &ClientRandom) -> bool {
        self.known.contains_key(random)
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.known.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_that_was_taken_out_and_came_again_is_a_new_one() {
        let [a, b, c, d] = [1, 2, 3, 4].map(|byte| ClientRandom([byte; 32]));
        let mut randoms = Randoms::new(3);
        [a, b].into_iter().for_each(|random| randoms.insert(random));
        assert!(randoms.remove(&a) && !randoms.remove(&a));
        [a, c, b, d].into_iter().for_each(|random| randoms.insert(random));
        assert_eq!([a, b, c, d].map(|random| randoms.contains(&random)), [true, false, true, true]);
        assert_eq!((randoms.len(), randoms.by_age.len()), (3, 3));
    }
}
