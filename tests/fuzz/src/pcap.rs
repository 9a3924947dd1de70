//! Captures: what is read can be written, and is read back as the same.

use tlskeytop::pcapng::{Interface, Item, NANOSECONDS, Packet, ReadError, Reader, Writer};

use crate::shown::assert_harmless;

/// Magic numbers, and types of blocks.
pub const WORDS: &[&str] =
    &["\n\r\r\n", "M<+\x1a", "\x06\0\0\0", "\n\0\0\0", "KSLT", "\x1c\0\0\0", "\t\0\x01\0"];

/// Reads it.
///
/// # Panics
/// When something does not hold.
pub fn run(bytes: &[u8]) {
    let packets = match packets(bytes) {
        Ok(packets) => packets,
        Err(error) => return assert_harmless(&error.to_string()),
    };
    let mut writer = Writer::new(Vec::new());
    writer.section().expect("memory");
    let lo = Interface { name: Some("lo"), link: 1, snap_length: 0, time_digits: NANOSECONDS };
    writer.interface(&lo).expect("memory");
    for (time, original_length, bytes) in &packets {
        let (time, original_length) = (*time, *original_length);
        let packet = Packet { interface: 0, time, original_length, bytes, comment: None };
        writer.packet(&packet).expect("memory");
    }
    assert_eq!(writer.written(), writer.get_ref().len() as u64);
    assert_eq!(self::packets(writer.get_ref()).expect("our own file"), packets);
}

/// Time, length and bytes of each.
fn packets(bytes: &[u8]) -> Result<Vec<(u64, u32, Vec<u8>)>, ReadError> {
    let mut reader = Reader::new(bytes)?;
    let is_classic = reader.classic().is_some();
    let mut packets = Vec::new();
    let mut rest = bytes;
    while let Some(block) = reader.next_block()? {
        if !is_classic {
            rest = rest.strip_prefix(block.raw).expect("blocks follow each other");
        }
        match block.item {
            Item::Packet(packet) => {
                packets.push((packet.at.0, packet.original_length, packet.bytes.to_vec()));
            }
            Item::Secrets(text) => assert!(text.len() + 20 <= block.raw.len()),
            Item::Section(_) | Item::Other => {}
        }
    }
    match reader.cut() {
        Some(offset) => assert!(offset < bytes.len() as u64),
        None => assert!(is_classic || rest.is_empty()),
    }
    Ok(packets)
}
