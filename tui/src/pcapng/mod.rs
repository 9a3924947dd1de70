//! Packets and the secrets that decrypt them in one file: pcapng (draft-ietf-opsawg-pcapng), and pcap to read.
//!
//! Writing is our own: pcap-file (2.0) knows no Decryption Secrets Block, and pcap-parser builds each packet from lists of
//! its own. Reading leaves to pcap-parser what is in a block; where blocks begin and end is looked at here, so that one
//! that is no concern of ours is passed on as it is, and an error says where it stands.

mod block;
mod write;

pub use block::Order;
pub use write::{Interface, NANOSECONDS, Packet, Writer};
