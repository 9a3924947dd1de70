//! The instructions that were decoded last: walks go through the same code again and again.

use super::arch::Insn;

/// Instructions that are kept, one for each value of the lowest bits of their addresses.
const KEPT: usize = 1024;

/// They are dropped as others come to their places.
#[derive(Default)]
pub struct Decoded(Vec<Option<Insn>>);

impl Decoded {
    /// The instruction at `address`, if it is kept.
    pub fn get(&self, address: u64) -> Option<Insn> {
        self.0.get(place(address)).copied().flatten().filter(|insn| insn.address == address)
    }

    /// Keeps `insn`.
    pub fn keep(&mut self, insn: Insn) {
        if self.0.is_empty() {
            self.0.resize(KEPT, None);
        }
        self.0[place(insn.address)] = Some(insn);
    }
}

fn place(address: u64) -> usize {
    address as usize % KEPT
}
