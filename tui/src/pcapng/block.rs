//! What blocks of a pcapng file are made of; one is made whole in memory: nothing is written by halves.

use zeroize::Zeroizing;

/// The byte order of a section.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Order {
    /// Of this machine's kind, x86-64.
    #[default]
    Little,
    /// Network byte order.
    Big,
}

impl Order {
    /// The number of two bytes at a place; 0 where there are none.
    pub(super) fn u16_at(self, bytes: &[u8], at: usize) -> u16 {
        let Some(&bytes) = bytes.get(at..).and_then(<[u8]>::first_chunk) else { return 0 };
        match self {
            Self::Little => u16::from_le_bytes(bytes),
            Self::Big => u16::from_be_bytes(bytes),
        }
    }

    /// The number of four bytes at a place; 0 where there are none.
    pub(super) fn u32_at(self, bytes: &[u8], at: usize) -> u32 {
        let Some(&bytes) = bytes.get(at..).and_then(<[u8]>::first_chunk) else { return 0 };
        match self {
            Self::Little => u32::from_le_bytes(bytes),
            Self::Big => u32::from_be_bytes(bytes),
        }
    }
}

/// Block types (draft-ietf-opsawg-pcapng, 11.1).
pub(super) mod kind {
    pub const SECTION: u32 = 0x0a0d_0d0a;
    pub const INTERFACE: u32 = 1;
    pub const OLD_PACKET: u32 = 2;
    pub const SIMPLE_PACKET: u32 = 3;
    pub const PACKET: u32 = 6;
    pub const SECRETS: u32 = 10;
}

/// Option codes; those above 1 mean something else in each block.
pub(super) mod option {
    pub const END: u16 = 0;
    pub const COMMENT: u16 = 1;
    pub const INTERFACE_NAME: u16 = 2;
    pub const PROGRAM: u16 = 4;
    pub const TIME_RESOLUTION: u16 = 9;
    pub const TIME_OFFSET: u16 = 14;
}

/// A block that is being made. It is wiped when it is dropped, as it may hold secrets; not for each block that it is used
/// for, which would take longer than to write it.
#[derive(Debug)]
pub(super) struct Draft {
    bytes: Zeroizing<Vec<u8>>,
    order: Order,
    has_options: bool,
}

impl Draft {
    /// One that is used again for each block.
    pub fn new(order: Order) -> Self {
        Self { bytes: Zeroizing::default(), order, has_options: false }
    }

    /// Another one in the same byte order.
    pub fn another(&self) -> Self {
        Self::new(self.order)
    }

    /// Begins anew. With room for `content` bytes no copy is left behind by growing.
    pub fn begin(&mut self, kind: u32, content: usize) {
        /// Type, both lengths, and options without their texts.
        const AROUND: usize = 64;
        self.bytes.clear();
        self.bytes.reserve(content + AROUND);
        self.has_options = false;
        self.u32(kind);
        // Its length, which is known at the end.
        self.u32(0);
    }

    /// Adds a number of two bytes.
    pub fn u16(&mut self, value: u16) {
        self.bytes.extend_from_slice(&match self.order {
            Order::Little => value.to_le_bytes(),
            Order::Big => value.to_be_bytes(),
        });
    }

    /// Adds a number of four bytes.
    pub fn u32(&mut self, value: u32) {
        let bytes = self.number(value);
        self.bytes.extend_from_slice(&bytes);
    }

    /// Adds bytes, and zeros up to the next multiple of four.
    pub fn padded(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
        let whole = self.bytes.len().next_multiple_of(4);
        self.bytes.resize(whole, 0);
    }

    /// Adds an option. It is cut to the longest that there can be.
    pub fn option(&mut self, code: u16, value: &[u8]) {
        let length = u16::try_from(value.len()).unwrap_or(u16::MAX);
        self.u16(code);
        self.u16(length);
        self.padded(value.get(..usize::from(length)).unwrap_or(value));
        self.has_options = true;
    }

    /// Ends it.
    pub fn end(&mut self) -> &[u8] {
        if self.has_options {
            self.u16(option::END);
            self.u16(0);
        }
        let length = u32::try_from(self.bytes.len() + 4).unwrap_or(u32::MAX);
        self.u32(length);
        let length = self.number(length);
        if let Some(place) = self.bytes.get_mut(4..8) {
            place.copy_from_slice(&length);
        }
        &self.bytes
    }

    fn number(&self, value: u32) -> [u8; 4] {
        match self.order {
            Order::Little => value.to_le_bytes(),
            Order::Big => value.to_be_bytes(),
        }
    }
}
