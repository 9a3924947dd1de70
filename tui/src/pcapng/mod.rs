//! Packets and the secrets that decrypt them in one file: pcapng (draft-ietf-opsawg-pcapng), and pcap to read.
//!
//! Blocks are written and read by our own code. pcap-file (2.0) knows no Decryption Secrets Block. pcap-parser (0.17)
//! refuses a whole file for one bad option in any block, reads no time resolution that is a power of two and times of
//! big-endian files wrong, and builds each packet that is written from lists of its own.

mod block;
mod input;
mod read;
mod write;

pub use block::Order;
pub use read::{Block, Captured, Item, ReadError, Reader};
pub use write::{Interface, NANOSECONDS, Packet, Writer};

#[cfg(test)]
mod tests;
