//! Finding the labels of the key log format in a file.

use memchr::memmem;

use super::arch::Addresses;
use super::elf::{Elf, ElfError, Segment};
use super::plan::LabelAt;
use super::window::Window;

/// What every label but the first one contains: one search finds them all.
const COMMON: &str = "_SECRET";

/// The labels of RFC 9850 and those that libraries add, as they are in a file: with the NUL that ends them. The first
/// two are the ones that every library has. `N` is a letter: OpenSSL logs later traffic secrets under that name.
const LABELS: [&str; 11] = [
    "CLIENT_RANDOM\0",
    "EXPORTER_SECRET\0",
    "CLIENT_HANDSHAKE_TRAFFIC_SECRET\0",
    "SERVER_HANDSHAKE_TRAFFIC_SECRET\0",
    "CLIENT_TRAFFIC_SECRET_0\0",
    "SERVER_TRAFFIC_SECRET_0\0",
    "CLIENT_EARLY_TRAFFIC_SECRET\0",
    "EARLY_EXPORTER_SECRET\0",
    "CLIENT_TRAFFIC_SECRET_N\0",
    "SERVER_TRAFFIC_SECRET_N\0",
    "ECH_SECRET\0",
];

/// Bytes after a step of the scan that complete a label: the longest has 32.
const OVERLAP: u64 = 64;
/// Labels without a NUL behind them that are kept; a file with rustls has 7, one of Go about as many.
const MAX_SLICES: usize = 64;
/// The largest file that is searched as a whole, as for segments that are loaded.
const MAX_FILE: u64 = 2 << 30;
/// Copies of labels that are kept; real files have fewer than 50.
const MAX_FOUND: usize = 512;

/// A set of labels, one bit for each.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LabelSet(u16);

impl LabelSet {
    /// The labels that every library passes to its secret-logging function.
    pub const NEEDED: Self = Self(0b11);
    /// `CLIENT_RANDOM`, the one label of TLS 1.2.
    pub const CLIENT_RANDOM: Self = Self(0b01);
    /// `EXPORTER_SECRET`, a label of TLS 1.3.
    pub const EXPORTER: Self = Self(0b10);

    /// Adds all labels of `other`.
    pub fn add(&mut self, other: Self) {
        self.0 |= other.0;
    }

    /// Whether all labels of `other` are in this set.
    pub fn has(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }
}

/// The labels of a file and their addresses.
#[derive(Clone, Debug, Default)]
pub struct Labels {
    /// By address.
    found: Vec<(u64, LabelSet)>,
    /// What else begins like a label: of languages whose strings are not ended by a NUL. By address.
    pub slices: Vec<LabelAt>,
    /// There were more than are kept: no real file.
    pub cut: bool,
}

impl Labels {
    /// Searches the file-backed part of all segments. Those with code come last, and are left out when the others
    /// hold both needed labels: only linkers that do not separate code put constants there.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn find(window: &mut Window<'_>, elf: &Elf) -> Result<Self, ElfError> {
        let mut labels = Self::default();
        for executable in [false, true] {
            for segment in elf.segments.iter().filter(|segment| segment.executable == executable) {
                labels.search(window, segment)?;
            }
            if labels.all().has(LabelSet::NEEDED) {
                break;
            }
        }
        labels.found.sort_unstable_by_key(|&(address, _)| address);
        labels.found.dedup();
        labels.slices.sort_unstable_by_key(|slice| slice.address);
        Ok(labels)
    }

    /// Searches a file whose segments are not known; the addresses are offsets in it.
    ///
    /// # Errors
    /// When the file cannot be read, or is larger than an image may be.
    pub fn find_anywhere(window: &mut Window<'_>) -> Result<Self, ElfError> {
        let size = window.length();
        if size > MAX_FILE {
            return Err(ElfError::TooLarge(size));
        }
        let whole = Segment { address: 0, offset: 0, size, executable: false, writable: false };
        let mut labels = Self::default();
        labels.search(window, &whole)?;
        Ok(labels)
    }

    fn search(&mut self, window: &mut Window<'_>, segment: &Segment) -> Result<(), ElfError> {
        let common = memmem::Finder::new(COMMON);
        let client_random = memmem::Finder::new(name_of(0));
        // A step of the scan sees the bytes after it but not those before: a label belongs to the step it starts in.
        window.scan(segment.offset, segment.size, OVERLAP, |offset, bytes, own| {
            let address = segment.address.wrapping_add(offset - segment.offset);
            for at in client_random.find_iter(bytes) {
                self.see(bytes, address, at, own, 0);
            }
            for at in common.find_iter(bytes) {
                for (number, label) in LABELS.iter().enumerate().skip(1) {
                    let start = label.find(COMMON).and_then(|before| at.checked_sub(before));
                    if let Some(start) = start
                        && bytes[start..].starts_with(name_of(number).as_bytes())
                    {
                        self.see(bytes, address, start, own, number);
                    }
                }
            }
            !self.cut
        })?;
        Ok(())
    }

    fn see(&mut self, bytes: &[u8], address: u64, start: usize, own: usize, number: usize) {
        if bytes[start..].starts_with(LABELS[number].as_bytes()) {
            self.add(address, start, own, number);
        } else if start < own && self.slices.len() < MAX_SLICES {
            let address = address.wrapping_add(start as u64);
            self.slices.push(LabelAt { address, name: name_of(number) });
        }
    }

    fn add(&mut self, address: u64, start: usize, own: usize, number: usize) {
        if start >= own {
            return;
        }
        if self.found.len() >= MAX_FOUND {
            self.cut = true;
            return;
        }
        self.found.push((address.wrapping_add(start as u64), LabelSet(1 << number)));
    }

    /// Which label is at `address`; the empty set if none is.
    pub fn at(&self, address: u64) -> LabelSet {
        match self.found.binary_search_by_key(&address, |&(at, _)| at) {
            Ok(index) => self.found[index].1,
            Err(_) => LabelSet::default(),
        }
    }

    /// All labels that were found.
    pub fn all(&self) -> LabelSet {
        let mut all = LabelSet::default();
        for &(_, label) in &self.found {
            all.add(label);
        }
        all
    }

    /// Their addresses and names, for the plan.
    pub fn named(&self) -> Vec<LabelAt> {
        let named = |&(address, label): &(u64, LabelSet)| {
            let number = label.0.trailing_zeros() as usize;
            (number < LABELS.len()).then(|| LabelAt { address, name: name_of(number) })
        };
        self.found.iter().filter_map(named).collect()
    }

    /// Their addresses.
    pub fn addresses(&self) -> Addresses {
        Addresses::new(self.found.iter().map(|&(address, _)| address).collect())
    }
}

/// A label as it is in the key log.
fn name_of(number: usize) -> &'static str {
    LABELS[number].trim_end_matches('\0')
}

#[cfg(test)]
mod tests {
    use super::super::sample::one_segment;
    use super::*;
    use std::io::Write;

    fn labels_of(bytes: &[u8], executable: bool) -> Labels {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(bytes).unwrap();
        let elf = one_segment(0x1000, bytes.len(), executable);
        Labels::find(&mut Window::new(&file).unwrap(), &elf).unwrap()
    }

    #[test]
    fn labels_merged_into_the_tail_of_others_are_found() {
        let labels = labels_of(
            b"xEARLY_EXPORTER_SECRET\0CLIENT_RANDOM\0CLIENT_RANDOM \0EXPORTER_SECRETS\0",
            true,
        );
        assert_eq!(labels.addresses().as_slice(), [0x1001, 0x1007, 0x1017]);
        assert!(labels.all().has(LabelSet::NEEDED));
        assert_eq!(labels.at(0x1007), LabelSet(1 << 1));
        assert_eq!(labels.at(0x1008), LabelSet::default());
    }

    #[test]
    fn labels_across_steps_are_found_once() {
        for shift in 0..40 {
            let mut bytes = vec![b'.'; 256 * 1024 - shift];
            bytes.extend(b"CLIENT_HANDSHAKE_TRAFFIC_SECRET\0");
            bytes.extend([b'.'; 5]);
            let labels = labels_of(&bytes, false);
            assert_eq!(labels.found, [(0x1000 + 256 * 1024 - shift as u64, LabelSet(1 << 2))]);
        }
    }

    #[test]
    fn too_many_copies_are_cut() {
        let labels = labels_of(&b"CLIENT_RANDOM\0".repeat(MAX_FOUND + 1), false);
        assert!(labels.cut);
        assert_eq!(labels.found.len(), MAX_FOUND);
    }

    #[test]
    fn without_segments_the_whole_file_is_searched() {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(b"..CLIENT_RANDOM\0..EXPORTER_SECRET\0").unwrap();
        let labels = Labels::find_anywhere(&mut Window::new(&file).unwrap()).unwrap();
        assert!(labels.all().has(LabelSet::NEEDED));
    }
}
