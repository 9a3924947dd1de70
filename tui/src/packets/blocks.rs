//! The blocks of a pcapng file as they stand in memory (draft-ietf-opsawg-pcapng).

/// The types of blocks with a packet, and with secrets.
pub const PACKET: u32 = 6;
pub const SECRETS: u32 = 10;
/// Where in a block with a packet its captured length is.
const CAPTURED: usize = 20;
/// Where in a block with secrets these are, behind their length.
const LINES: usize = 16;
/// Type and length of a block.
const HEADER: usize = 8;

/// What some blocks have.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Contents {
    /// Packets.
    pub packets: u64,
    /// Bytes of them.
    pub bytes: u64,
    /// Secrets.
    pub secrets: u64,
}

impl Contents {
    /// Counts what is in whole blocks.
    pub fn of(bytes: &[u8]) -> Self {
        let mut contents = Self::default();
        for block in blocks(bytes) {
            match number(block, 0) {
                Some(PACKET) => {
                    contents.packets += 1;
                    contents.bytes += u64::from(number(block, CAPTURED).unwrap_or(0));
                }
                Some(SECRETS) => {
                    let length = number(block, LINES - 4).unwrap_or(0) as usize;
                    let lines = block.get(LINES..).and_then(|lines| lines.get(..length));
                    let ends = lines.unwrap_or_default().iter().filter(|&&byte| byte == b'\n');
                    contents.secrets += ends.count() as u64;
                }
                _ => {}
            }
        }
        contents
    }
}

/// How many of the first `len` bytes are whole blocks.
pub fn whole_blocks(bytes: &[u8], len: usize) -> usize {
    blocks(&bytes[..len.min(bytes.len())]).map(<[u8]>::len).sum()
}

/// The whole blocks at the beginning of these bytes.
fn blocks(mut bytes: &[u8]) -> impl Iterator<Item = &[u8]> {
    std::iter::from_fn(move || {
        let length = number(bytes, 4).filter(|length| *length as usize >= HEADER)?;
        let (block, rest) = bytes.split_at_checked(length as usize)?;
        bytes = rest;
        Some(block)
    })
}

/// The number at this place of a block.
fn number(block: &[u8], at: usize) -> Option<u32> {
    let four = block.get(at..)?.first_chunk()?;
    Some(u32::from_ne_bytes(*four))
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub fn block(kind: u32, len: u32) -> Vec<u8> {
        let mut block = vec![0x5a; len as usize];
        block[..4].copy_from_slice(&kind.to_ne_bytes());
        block[4..8].copy_from_slice(&len.to_ne_bytes());
        block
    }

    #[test]
    fn whole_blocks_are_counted_and_lies_are_not() {
        let blocks = [block(1, 12), block(2, 20)].concat();
        for (len, whole) in [(0, 0), (11, 0), (12, 12), (31, 12), (32, 32)] {
            assert_eq!(whole_blocks(&blocks, len), whole);
        }
        assert_eq!(whole_blocks(&block(1, 12)[..6], 6), 0);
        assert_eq!(whole_blocks(&blocks[..31], 32), 12);
        let mut lie = block(1, 12);
        lie[4..8].fill(0);
        assert_eq!(whole_blocks(&lie, 12), 0);
    }
}
