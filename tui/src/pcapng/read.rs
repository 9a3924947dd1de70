//! Reads pcapng and pcap files block by block.

use std::io::{self, Read};

use super::block::{Order, kind, option};
use super::input::Input;
use super::write::TLS_KEY_LOG;
use crate::model::Time;
use crate::wire::Link;

/// Largest block that is read; a block of secrets may hold the key log of a long time.
const LARGEST: u32 = 64 << 20;
/// Most interfaces of a section that are known; packets of others are not looked into.
const MOST_INTERFACES: usize = 65_536;
/// Bytes of the headers of a pcap file and of its packets (draft-ietf-opsawg-pcap, 4 and 5).
const FILE_HEADER: usize = 24;
const PACKET_HEADER: usize = 16;
/// Bytes of a block before its content, and of the least block.
const BLOCK_HEADER: usize = 8;
const LEAST_BLOCK: u32 = 12;

/// How a pcap file begins: its byte order, and the digits of the second in its times.
const CLASSIC: [([u8; 4], Order, u8); 4] = [
    ([0xd4, 0xc3, 0xb2, 0xa1], Order::Little, 6),
    ([0xa1, 0xb2, 0xc3, 0xd4], Order::Big, 6),
    ([0x4d, 0x3c, 0xb2, 0xa1], Order::Little, 9),
    ([0xa1, 0xb2, 0x3c, 0x4d], Order::Big, 9),
];
/// How files begin that hold another file.
const PACKED: [(&[u8], &str); 4] = [
    (&[0x1f, 0x8b], "gzip"),
    (&[0x28, 0xb5, 0x2f, 0xfd], "zstd"),
    (&[0xfd, b'7', b'z', b'X', b'Z'], "xz"),
    (&[0x04, 0x22, 0x4d, 0x18], "lz4"),
];

/// Why a file cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The system refused.
    #[error("at byte {offset}: {source}")]
    Io {
        /// From where it was read.
        offset: u64,
        /// What happened.
        source: io::Error,
    },
    /// It is another kind of file.
    #[error("neither pcap nor pcapng")]
    NotACapture,
    /// It is compressed.
    #[error("compressed by {0}: unpack it first")]
    Packed(&'static str),
    /// Something in it cannot be.
    #[error("at byte {offset}: {what}")]
    Broken {
        /// Where the block or packet begins.
        offset: u64,
        /// What is wrong.
        what: &'static str,
    },
}

/// One block of the file; of a pcap file, one packet.
#[derive(Debug)]
pub struct Block<'a> {
    /// What is in it.
    pub item: Item<'a>,
    /// All of it as it stands in a pcapng file; empty in a pcap file.
    pub raw: &'a [u8],
}

/// What blocks are of concern here.
#[derive(Debug)]
pub enum Item<'a> {
    /// A section begins, in this byte order; its interfaces count from 0.
    Section(Order),
    /// A packet.
    Packet(Captured<'a>),
    /// Lines of a TLS key log.
    Secrets(&'a [u8]),
    /// Another block.
    Other,
}

/// A packet that was captured.
#[derive(Clone, Copy, Debug)]
pub struct Captured<'a> {
    /// What it begins with.
    pub link: Link,
    /// When; the epoch where the file does not say.
    pub at: Time,
    /// When, in units of the file.
    pub units: u64,
    /// Its bytes on the wire.
    pub original_length: u32,
    /// Those that were captured.
    pub bytes: &'a [u8],
}

/// What a pcap file says of all its packets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Classic {
    order: Order,
    /// `LINKTYPE_...`.
    pub link: u16,
    /// Longest packet that is captured whole.
    pub snap_length: u32,
    /// Digits of the second in times.
    pub time_digits: u8,
}

/// What an interface says of its packets.
#[derive(Clone, Copy, Debug)]
struct Interface {
    link: Link,
    snap_length: u32,
    /// `if_tsresol`: a power of ten, or of two with the highest bit.
    resolution: u8,
    /// `if_tsoffset`: seconds.
    offset: i64,
}

#[derive(Debug)]
enum Format {
    Classic(Classic),
    Blocks(Order, Vec<Interface>),
}

/// Reads a file from its start to its end.
#[derive(Debug)]
pub struct Reader<R> {
    input: Input<R>,
    format: Format,
    /// Bytes of the block that was given last.
    given: usize,
    cut: Option<u64>,
}

impl<R: Read> Reader<R> {
    /// Looks at how the file begins.
    ///
    /// # Errors
    ///
    /// [`ReadError`] when it is no capture.
    pub fn new(reader: R) -> Result<Self, ReadError> {
        let mut input = Input::new(reader);
        let start =
            input.peek(FILE_HEADER).map_err(|source| ReadError::Io { offset: 0, source })?;
        if let Some((_, name)) = PACKED.iter().find(|(magic, _)| start.starts_with(magic)) {
            return Err(ReadError::Packed(name));
        }
        let row = CLASSIC.iter().find(|(magic, ..)| start.starts_with(magic));
        let format = match row {
            Some(&(_, order, time_digits)) if start.len() == FILE_HEADER => {
                Format::Classic(Classic {
                    order,
                    snap_length: order.u32_at(start, 16),
                    // The higher half says whether there is a checksum behind each packet.
                    link: (order.u32_at(start, 20) & 0xffff) as u16,
                    time_digits,
                })
            }
            None if start.starts_with(&kind::SECTION.to_le_bytes()) => {
                Format::Blocks(Order::Little, Vec::new())
            }
            _ => return Err(ReadError::NotACapture),
        };
        let given = if matches!(format, Format::Classic(_)) { FILE_HEADER } else { 0 };
        Ok(Self { input, format, given, cut: None })
    }

    /// What a pcap file says of its packets; `None` of a pcapng file.
    pub fn classic(&self) -> Option<Classic> {
        match self.format {
            Format::Classic(classic) => Some(classic),
            Format::Blocks(..) => None,
        }
    }

    /// Where the last block begins, when the file ends within it. It is not given.
    pub fn cut(&self) -> Option<u64> {
        self.cut
    }

    /// The next block; `None` at the end of the file, also where that is within a block.
    ///
    /// # Errors
    ///
    /// [`ReadError`] when it cannot be read; there is no way on from there.
    pub fn next_block(&mut self) -> Result<Option<Block<'_>>, ReadError> {
        self.input.skip(std::mem::take(&mut self.given));
        let offset = self.input.offset();
        match &mut self.format {
            Format::Classic(classic) => {
                let header = peek(&mut self.input, PACKET_HEADER)?;
                let length = classic.order.u32_at(header, 8);
                if length > LARGEST {
                    return Err(ReadError::Broken { offset, what: "a packet of more than 64 MiB" });
                }
                let whole = PACKET_HEADER + length as usize;
                let Some(bytes) = whole_or_cut(&mut self.input, whole, &mut self.cut)? else {
                    return Ok(None);
                };
                self.given = whole;
                Ok(Some(Block { item: Item::Packet(classic.packet(bytes)), raw: &[] }))
            }
            Format::Blocks(order, interfaces) => {
                let header = peek(&mut self.input, LEAST_BLOCK as usize)?;
                let length = match block_length(header, order) {
                    Ok(length) => length as usize,
                    Err(what) => return Err(ReadError::Broken { offset, what }),
                };
                let Some(raw) = whole_or_cut(&mut self.input, length, &mut self.cut)? else {
                    return Ok(None);
                };
                self.given = length;
                let item = item(raw, *order, interfaces);
                let item = item.map_err(|what| ReadError::Broken { offset, what })?;
                Ok(Some(Block { item, raw }))
            }
        }
    }
}

fn peek<R: Read>(input: &mut Input<R>, count: usize) -> Result<&[u8], ReadError> {
    let offset = input.offset();
    input.peek(count).map_err(|source| ReadError::Io { offset, source })
}

/// So many bytes; where the file ends before, notes it unless nothing follows at all.
fn whole_or_cut<'a, R: Read>(
    input: &'a mut Input<R>,
    count: usize,
    cut: &mut Option<u64>,
) -> Result<Option<&'a [u8]>, ReadError> {
    let offset = input.offset();
    let bytes = peek(input, count)?;
    if bytes.len() < count {
        *cut = (!bytes.is_empty()).then_some(offset);
        return Ok(None);
    }
    Ok(Some(bytes))
}

/// The length of the block that begins so. One that is cut has the least length. A section sets the byte order.
fn block_length(header: &[u8], order: &mut Order) -> Result<u32, &'static str> {
    if header.len() < LEAST_BLOCK as usize {
        return Ok(LEAST_BLOCK);
    }
    let is_section = order.u32_at(header, 0) == kind::SECTION;
    if is_section {
        *order = match header.get(BLOCK_HEADER..) {
            Some([0x4d, 0x3c, 0x2b, 0x1a]) => Order::Little,
            Some([0x1a, 0x2b, 0x3c, 0x4d]) => Order::Big,
            _ => return Err("a section without a byte order"),
        };
    }
    match order.u32_at(header, 4) {
        length if length > LARGEST => Err("a block of more than 64 MiB"),
        length if length % 4 != 0 => Err("a block whose length is no multiple of 4"),
        length if length < if is_section { 28 } else { LEAST_BLOCK } => Err("a block too short"),
        length => Ok(length),
    }
}

fn item<'a>(
    raw: &'a [u8],
    order: Order,
    interfaces: &mut Vec<Interface>,
) -> Result<Item<'a>, &'static str> {
    let end = raw.len() - 4;
    if order.u32_at(raw, end) != order.u32_at(raw, 4) {
        return Err("a block with two different lengths");
    }
    let content = raw.get(BLOCK_HEADER..end).unwrap_or_default();
    match order.u32_at(raw, 0) {
        kind::SECTION => {
            interfaces.clear();
            Ok(Item::Section(order))
        }
        kind::INTERFACE => {
            if interfaces.len() < MOST_INTERFACES {
                interfaces.push(Interface::read(content, order));
            }
            Ok(Item::Other)
        }
        kind::PACKET => {
            let interface = order.u32_at(content, 0);
            packet(content, order, interfaces.get(interface as usize)).map(Item::Packet)
        }
        kind::OLD_PACKET => {
            let interface = order.u16_at(content, 0);
            packet(content, order, interfaces.get(usize::from(interface))).map(Item::Packet)
        }
        kind::SIMPLE_PACKET => {
            let original_length = order.u32_at(content, 0);
            let interface = interfaces.first().ok_or("a packet before any interface")?;
            let bytes = content.get(4..).unwrap_or_default();
            let most = match interface.snap_length {
                0 => original_length,
                most => most.min(original_length),
            };
            let bytes = bytes.get(..most as usize).unwrap_or(bytes);
            let at = Time::default();
            let link = interface.link;
            Ok(Item::Packet(Captured { link, at, units: 0, original_length, bytes }))
        }
        kind::SECRETS if order.u32_at(content, 0) == TLS_KEY_LOG => {
            let length = order.u32_at(content, 4) as usize;
            let text = content.get(8..).and_then(|text| text.get(..length));
            text.map(Item::Secrets).ok_or("secrets that are longer than their block")
        }
        _ => Ok(Item::Other),
    }
}

/// What the enhanced and the old block of packets have in common.
fn packet<'a>(
    content: &'a [u8],
    order: Order,
    interface: Option<&Interface>,
) -> Result<Captured<'a>, &'static str> {
    let [high, low, length, original_length] = [4, 8, 12, 16].map(|at| order.u32_at(content, at));
    let units = u64::from(high) << 32 | u64::from(low);
    let bytes = content.get(20..).and_then(|bytes| bytes.get(..length as usize));
    Ok(Captured {
        link: interface.map_or(Link::Other(u16::MAX), |interface| interface.link),
        at: interface.map_or_else(Time::default, |interface| interface.time(units)),
        units,
        original_length,
        bytes: bytes.ok_or("a packet that is longer than its block")?,
    })
}

impl Classic {
    /// A packet with its header.
    fn packet<'a>(&self, bytes: &'a [u8]) -> Captured<'a> {
        let [seconds, fraction, _, original_length] =
            [0, 4, 8, 12].map(|at| self.order.u32_at(bytes, at));
        let a_second = 10u64.pow(self.time_digits.into());
        let units = u64::from(seconds) * a_second + u64::from(fraction);
        Captured {
            link: Link::from_number(self.link),
            at: Time(units.saturating_mul(1_000_000_000 / a_second)),
            units,
            original_length,
            bytes: bytes.get(PACKET_HEADER..).unwrap_or_default(),
        }
    }
}

impl Interface {
    fn read(content: &[u8], order: Order) -> Self {
        let mut interface = Self {
            link: Link::from_number(order.u16_at(content, 0)),
            snap_length: order.u32_at(content, 4),
            // Microseconds.
            resolution: 6,
            offset: 0,
        };
        let mut rest = content.get(8..).unwrap_or_default();
        while let Some((code, value, after)) = option(rest, order) {
            match (code, value) {
                (option::END, _) => break,
                (option::TIME_RESOLUTION, [resolution, ..]) => interface.resolution = *resolution,
                (option::TIME_OFFSET, &[_, _, _, _, _, _, _, _]) => {
                    let halves = [order.u32_at(value, 0), order.u32_at(value, 4)];
                    let [high, low] = match order {
                        Order::Little => [halves[1], halves[0]],
                        Order::Big => halves,
                    };
                    interface.offset = (u64::from(high) << 32 | u64::from(low)).cast_signed();
                }
                _ => {}
            }
            rest = after;
        }
        interface
    }

    /// The time of a packet; the nearest there is where it is out of range.
    fn time(&self, units: u64) -> Time {
        const A_SECOND: i128 = 1_000_000_000;
        let exponent = u32::from(self.resolution & 0x7f);
        let base: i128 = if self.resolution & 0x80 == 0 { 10 } else { 2 };
        // Finer than any clock: all times are the same.
        let in_a_second = base.checked_pow(exponent).unwrap_or(i128::MAX);
        let nanoseconds = i128::from(units) * A_SECOND / in_a_second;
        let time = nanoseconds + i128::from(self.offset) * A_SECOND;
        Time(u64::try_from(time.max(0)).unwrap_or(u64::MAX))
    }
}

/// Code and value of the first option, and what follows.
fn option(bytes: &[u8], order: Order) -> Option<(u16, &[u8], &[u8])> {
    let length = usize::from(order.u16_at(bytes.get(..4)?, 2));
    let value = bytes.get(4..)?.get(..length)?;
    let after = bytes.get(4 + length.next_multiple_of(4)..).unwrap_or_default();
    Some((order.u16_at(bytes, 0), value, after))
}
