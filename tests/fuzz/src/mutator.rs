//! Inputs from inputs, by chance: what libFuzzer's mutators do, without its knowledge of the code that was reached.

use crate::random::Random;

/// Most changes of one input.
const CHANGES: usize = 8;
/// Most bytes that one change adds or takes away.
const PIECE: usize = 64;
/// Numbers at which programs break.
const NUMBERS: [u64; 12] = [
    0,
    1,
    2,
    0x7f,
    0x80,
    0xff,
    0x7fff,
    0xffff,
    0x7fff_ffff,
    0xffff_ffff,
    0x7fff_ffff_ffff_ffff,
    0xffff_ffff_ffff_ffff,
];

/// Makes inputs.
#[derive(Debug)]
pub struct Mutator<'a> {
    /// Chance.
    pub random: Random,
    /// Inputs to begin with.
    pub corpus: &'a [Vec<u8>],
    /// Words of the language.
    pub words: &'a [&'a str],
    /// Most bytes of an input.
    pub longest: usize,
}

impl Mutator<'_> {
    /// The next input.
    pub fn input(&mut self) -> Vec<u8> {
        let mut bytes = self.random.one_of(self.corpus).cloned().unwrap_or_default();
        for _ in 0..=self.random.below(CHANGES) {
            self.change(&mut bytes);
        }
        bytes.truncate(self.longest);
        bytes
    }

    fn change(&mut self, bytes: &mut Vec<u8>) {
        let at = self.random.below(bytes.len() + 1);
        match self.random.below(8) {
            0 => {
                if let Some(byte) = bytes.get_mut(at) {
                    *byte ^= 1 << (self.random.number() % 8);
                }
            }
            1 => {
                if let Some(byte) = bytes.get_mut(at) {
                    *byte = self.random.number() as u8;
                }
            }
            2 => self.set_number(bytes, at),
            3 => {
                let most = PIECE.min(bytes.len() / 4 + 1);
                let end = bytes.len().min(at + 1 + self.random.below(most));
                bytes.drain(at..end);
            }
            4 => {
                let piece = self.piece_of_other();
                bytes.splice(at..at, piece);
            }
            5 => {
                let piece = self.piece_of_other();
                let end = bytes.len().min(at + piece.len());
                bytes.splice(at..end, piece);
            }
            6 => {
                let word = self.random.one_of(self.words).map_or(&b""[..], |word| word.as_bytes());
                bytes.splice(at..at, word.iter().copied());
            }
            _ => {
                let piece: Vec<u8> =
                    (0..self.random.below(PIECE)).map(|_| self.random.number() as u8).collect();
                bytes.splice(at..at, piece);
            }
        }
    }

    /// Puts a number there: one at which programs break, or one near to what is there.
    fn set_number(&mut self, bytes: &mut [u8], at: usize) {
        let size = 1 << self.random.below(4);
        let Some(place) = bytes.get_mut(at..at + size) else { return };
        let mut old = [0; 8];
        old[..size].copy_from_slice(place);
        let near =
            u64::from_le_bytes(old).wrapping_add(self.random.below(33) as u64).wrapping_sub(16);
        let number = match self.random.below(2) {
            0 => self.random.one_of(&NUMBERS).copied().unwrap_or(0),
            _ => near,
        };
        place.copy_from_slice(&number.to_le_bytes()[..size]);
    }

    fn piece_of_other(&mut self) -> Vec<u8> {
        let Some(other) = self.random.one_of(self.corpus) else { return Vec::new() };
        let from = self.random.below(other.len());
        let length = self.random.below(PIECE.min(other.len() - from) + 1);
        other[from..from + length].to_vec()
    }
}
