//! The bytes of one side of a TCP connection, in order (RFC 9293, 3.4).

use std::collections::BTreeMap;

/// What a piece that waits costs beside its bytes: its place in the map.
const PLACE: usize = 64;
/// How far behind the next byte data is kept: more than the longest hello with the headers of its records.
const REACH: u32 = 128 << 10;

/// Pieces that wait for what comes before them. Of bytes that came twice the first ones count.
#[derive(Debug, Default)]
pub(super) struct Stream {
    /// The sequence number of its first byte, when that is known.
    start: Option<u32>,
    /// Bytes that were taken out.
    taken: u32,
    /// By their offset; they do not overlap, and none is before what was taken.
    waiting: BTreeMap<u32, Box<[u8]>>,
    kept: usize,
}

impl Stream {
    /// The sequence number of the first byte, when it is known.
    pub fn start(&self) -> Option<u32> {
        self.start
    }

    /// Sets it, unless it is known.
    pub fn begin(&mut self, sequence: u32) {
        self.start.get_or_insert(sequence);
    }

    /// Whether something is missing before this byte.
    pub fn is_ahead(&self, sequence: u32) -> bool {
        let next = self.start.map(|start| start.wrapping_add(self.taken));
        next.is_some_and(|next| sequence.wrapping_sub(next).cast_signed() > 0)
    }

    /// Memory that is used, in bytes.
    pub fn kept(&self) -> usize {
        self.kept
    }

    /// Adds what is new in these bytes; `false` when some had to be left out: too far ahead, or too many pieces.
    pub fn add(&mut self, sequence: u32, bytes: &[u8], most_pieces: usize) -> bool {
        let Some(start) = self.start else { return true };
        let ahead = sequence.wrapping_sub(start.wrapping_add(self.taken)).cast_signed();
        let before = usize::try_from(ahead.min(0).unsigned_abs()).unwrap_or(usize::MAX);
        let Some(bytes) = bytes.get(before..).filter(|bytes| !bytes.is_empty()) else {
            return true;
        };
        let ahead = ahead.max(0).unsigned_abs();
        let room = REACH.saturating_sub(ahead) as usize;
        let within = bytes.get(..room).unwrap_or(bytes);
        self.fill(self.taken.saturating_add(ahead), within, most_pieces)
            && within.len() == bytes.len()
    }

    /// Puts bytes where there are none.
    fn fill(&mut self, mut offset: u32, mut bytes: &[u8], most_pieces: usize) -> bool {
        // A piece that begins before them may reach into them.
        if let Some((from, piece)) = self.waiting.range(..=offset).next_back() {
            let known = (*from as usize + piece.len()).saturating_sub(offset as usize);
            (offset, bytes) = behind(offset, bytes, known);
        }
        while !bytes.is_empty() {
            let next = self.waiting.range(offset..).next();
            let next = next.map(|(from, piece)| ((*from - offset) as usize, piece.len()));
            let (gap, known) = next.unwrap_or((bytes.len(), 0));
            let new = bytes.get(..gap).unwrap_or(bytes);
            if !new.is_empty() {
                if self.waiting.len() >= most_pieces {
                    return false;
                }
                self.kept += new.len() + PLACE;
                self.waiting.insert(offset, new.into());
            }
            (offset, bytes) = behind(offset, bytes, gap + known);
        }
        true
    }

    /// The next bytes, when they are there.
    pub fn next(&self) -> Option<&[u8]> {
        let (from, piece) = self.waiting.first_key_value()?;
        (*from == self.taken).then_some(piece)
    }

    /// Takes so many of the next bytes out.
    pub fn take(&mut self, count: usize) {
        let Some(piece) = self.waiting.remove(&self.taken) else { return };
        self.kept -= piece.len() + PLACE;
        let count = count.min(piece.len());
        self.taken = self.taken.saturating_add(count as u32);
        if let Some(rest) = piece.get(count..).filter(|rest| !rest.is_empty()) {
            self.kept += rest.len() + PLACE;
            self.waiting.insert(self.taken, rest.into());
        }
    }

    /// Drops what waits.
    pub fn clear(&mut self) {
        self.waiting.clear();
        self.kept = 0;
    }
}

/// What is left of bytes behind the first `count`.
fn behind(offset: u32, bytes: &[u8], count: usize) -> (u32, &[u8]) {
    let count = count.min(bytes.len());
    (offset.saturating_add(count as u32), bytes.get(count..).unwrap_or_default())
}
