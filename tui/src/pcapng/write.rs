//! Writes a pcapng file, each block by one `write_all`.

use std::io::{self, Write};

use zeroize::Zeroizing;

use super::block::{Draft, Order, kind, option};
use crate::tls::KeyLine;

/// The number by which a section says its byte order.
const BYTE_ORDER: u32 = 0x1a2b_3c4d;
/// `TLS Key Log` (draft-ietf-opsawg-pcapng, 4.7): "TLSK".
pub(super) const TLS_KEY_LOG: u32 = 0x544c_534b;
/// Key log lines in one block, so that readers need not take all of them at once.
const MOST_LINES: usize = 4096;
/// No fewer bytes than the longest key log line: a label, a client random and a secret, in hexadecimal.
const LONGEST_LINE: usize = 256;
/// Nanoseconds, as the power of ten that `if_tsresol` wants.
pub const NANOSECONDS: u8 = 9;

/// Where packets were captured.
#[derive(Clone, Copy, Debug)]
pub struct Interface<'a> {
    /// Its name, when it has one.
    pub name: Option<&'a str>,
    /// `LINKTYPE_...`: [`Link::number`](crate::wire::Link::number).
    pub link: u16,
    /// Longest packet that is captured whole; 0: any.
    pub snap_length: u32,
    /// Digits of the second in times: 9 for nanoseconds.
    pub time_digits: u8,
}

/// One packet.
#[derive(Clone, Copy, Debug)]
pub struct Packet<'a> {
    /// The number that [`Writer::interface`] gave.
    pub interface: u32,
    /// When it was captured, in the units of its interface since the Unix epoch; [`Time`](crate::model::Time) has
    /// nanoseconds.
    pub time: u64,
    /// Its bytes on the wire.
    pub original_length: u32,
    /// Those that were captured.
    pub bytes: &'a [u8],
    /// What is said about it, safe to show.
    pub comment: Option<&'a str>,
}

/// Writes blocks. What `out` is given is always one whole block.
#[derive(Debug)]
pub struct Writer<W> {
    out: W,
    block: Draft,
    interfaces: u32,
    /// Bytes of whole blocks.
    written: u64,
}

impl<W: Write> Writer<W> {
    /// Begins with nothing: a section comes first.
    pub fn new(out: W) -> Self {
        Self { out, block: Draft::new(Order::Little), interfaces: 0, written: 0 }
    }

    /// Bytes of the blocks that were written whole: where one could not, the file is good up to here.
    pub fn written(&self) -> u64 {
        self.written
    }

    /// Where it is written to.
    pub fn get_ref(&self) -> &W {
        &self.out
    }

    /// Gives back where it was written to.
    pub fn into_inner(self) -> W {
        self.out
    }

    /// Where it is written to.
    pub fn get_mut(&mut self) -> &mut W {
        &mut self.out
    }

    /// Begins a section, with no interfaces yet.
    ///
    /// # Errors
    ///
    /// When it cannot be written, as for all that follow.
    pub fn section(&mut self) -> io::Result<()> {
        self.follow(Order::Little);
        self.block.begin(kind::SECTION, 64);
        self.block.u32(BYTE_ORDER);
        // Version 1.0; the length of the section is not known (-1).
        self.block.u16(1);
        self.block.u16(0);
        self.block.u32(u32::MAX);
        self.block.u32(u32::MAX);
        self.block
            .option(option::PROGRAM, concat!("tlskeytop ", env!("CARGO_PKG_VERSION")).as_bytes());
        self.put()
    }

    /// Describes an interface, and gives its number in this section.
    ///
    /// # Errors
    ///
    /// See [`Self::section`].
    pub fn interface(&mut self, interface: &Interface<'_>) -> io::Result<u32> {
        let name = interface.name.unwrap_or_default();
        self.block.begin(kind::INTERFACE, name.len());
        self.block.u16(interface.link);
        self.block.u16(0);
        self.block.u32(interface.snap_length);
        if !name.is_empty() {
            self.block.option(option::INTERFACE_NAME, name.as_bytes());
        }
        self.block.option(option::TIME_RESOLUTION, &[interface.time_digits]);
        self.put()?;
        self.interfaces += 1;
        Ok(self.interfaces - 1)
    }

    /// Writes a packet.
    ///
    /// # Errors
    ///
    /// See [`Self::section`]; and `InvalidInput` for one of 4 GiB.
    pub fn packet(&mut self, packet: &Packet<'_>) -> io::Result<()> {
        let length = u32::try_from(packet.bytes.len())
            .map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))?;
        let comment = packet.comment.unwrap_or_default();
        self.block.begin(kind::PACKET, packet.bytes.len() + comment.len());
        self.block.u32(packet.interface);
        self.block.u32((packet.time >> 32) as u32);
        self.block.u32(packet.time as u32);
        self.block.u32(length);
        self.block.u32(packet.original_length);
        self.block.padded(packet.bytes);
        if !comment.is_empty() {
            self.block.option(option::COMMENT, comment.as_bytes());
        }
        self.put()
    }

    /// Writes secrets, before the packets that need them. Without any, nothing is written.
    ///
    /// # Errors
    ///
    /// See [`Self::section`]. Of many secrets some may have been written, in blocks that are whole.
    pub fn secrets<'a>(&mut self, lines: impl IntoIterator<Item = &'a KeyLine>) -> io::Result<()> {
        let lines: Vec<&KeyLine> = lines.into_iter().collect();
        for some in lines.chunks(MOST_LINES) {
            // With room for all of it, no copy is left behind by growing.
            let mut text = Zeroizing::new(Vec::with_capacity(some.len() * LONGEST_LINE));
            for line in some {
                text.extend_from_slice(line.to_text().as_bytes());
            }
            // Of its own, and wiped at once.
            let mut block = self.block.another();
            block.begin(kind::SECRETS, text.len());
            block.u32(TLS_KEY_LOG);
            block.u32(u32::try_from(text.len()).unwrap_or(u32::MAX));
            block.padded(&text);
            self.raw(block.end())?;
        }
        Ok(())
    }

    /// Writes a block of another file as it is.
    ///
    /// # Errors
    ///
    /// See [`Self::section`].
    pub(crate) fn raw(&mut self, block: &[u8]) -> io::Result<()> {
        self.out.write_all(block)?;
        self.written += block.len() as u64;
        Ok(())
    }

    /// Writes blocks from here on in the byte order of a section of another file.
    pub(crate) fn follow(&mut self, order: Order) {
        self.block = Draft::new(order);
        self.interfaces = 0;
    }

    fn put(&mut self) -> io::Result<()> {
        let block = self.block.end();
        self.out.write_all(block)?;
        self.written += block.len() as u64;
        Ok(())
    }
}
