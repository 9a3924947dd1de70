//! A receive ring of an AF_PACKET socket, TPACKET_V3 (`linux/if_packet.h`, Documentation/networking/packet_mmap.rst): the
//! kernel fills blocks of many packets, and hands each over as a whole.
//!
//! Our own: the crate `af_packet` is GPL-3.0 and binds to one interface by name, as `netring` does.

use std::io;
use std::mem::offset_of;
use std::os::fd::{AsFd, OwnedFd};
use std::ptr::{self, NonNull};
use std::sync::atomic::{AtomicU32, Ordering};

use rustix::mm::{MapFlags, ProtFlags, mmap, munmap};

use crate::model::Time;
use crate::packets::socket;

/// How large a ring is.
#[derive(Clone, Copy, Debug)]
pub struct Size {
    /// Blocks.
    pub blocks: usize,
    /// Bytes of each, a multiple of a page. What is larger than a block is cut.
    pub block: usize,
}

/// A block that is not full is handed over after so many milliseconds.
pub const RETIRE_MS: u32 = 50;
/// Every structure in a block begins at a multiple of this.
const HEADER: usize = libc::TPACKET_ALIGNMENT * size_of::<libc::tpacket3_hdr>().div_ceil(16);

/// The ring: memory that the kernel shares with us.
pub struct Ring {
    memory: NonNull<u8>,
    size: Size,
    next: usize,
}

// SAFETY: the memory belongs to the ring alone, and the kernel does not mind which thread reads it.
unsafe impl Send for Ring {}

impl Ring {
    /// Gives a packet socket a ring. What it received before is dropped.
    ///
    /// # Errors
    ///
    /// The kernel's: it has no memory for it, or it does not know TPACKET_V3.
    pub fn new(socket: &OwnedFd, size: Size) -> io::Result<Self> {
        let version = libc::tpacket_versions::TPACKET_V3 as libc::c_int;
        socket::set(socket.as_fd(), libc::SOL_PACKET, libc::PACKET_VERSION, &version)?;
        let too_many = |_| io::Error::from(io::ErrorKind::InvalidInput);
        let count = u32::try_from(size.blocks).map_err(too_many)?;
        let block = u32::try_from(size.block).map_err(too_many)?;
        let request = libc::tpacket_req3 {
            tp_block_size: block,
            tp_block_nr: count,
            // Not used by this version but to be checked.
            tp_frame_size: 1 << 11,
            tp_frame_nr: count * (block >> 11),
            tp_retire_blk_tov: RETIRE_MS,
            tp_sizeof_priv: 0,
            tp_feature_req_word: 0,
        };
        socket::set(socket.as_fd(), libc::SOL_PACKET, libc::PACKET_RX_RING, &request)?;
        let access = ProtFlags::READ | ProtFlags::WRITE;
        let len = size.blocks * size.block;
        // SAFETY: a new mapping at an address of the kernel's choice replaces nothing.
        let memory = unsafe { mmap(ptr::null_mut(), len, access, MapFlags::SHARED, socket, 0) }?;
        let memory = NonNull::new(memory.cast()).ok_or(io::ErrorKind::OutOfMemory)?;
        Ok(Self { memory, size, next: 0 })
    }

    /// The next block that the kernel has handed over; it gets it back when that is dropped.
    pub fn next_block(&mut self) -> Option<Block<'_>> {
        let start = self.memory.as_ptr().wrapping_add(self.next * self.size.block);
        let at = offset_of!(libc::tpacket_block_desc, hdr)
            + offset_of!(libc::tpacket_hdr_v1, block_status);
        // SAFETY: within a block of the mapping, which begins at a page, so that it is aligned. The kernel changes it
        // too, as user space may only do atomically.
        let status = unsafe { AtomicU32::from_ptr(start.wrapping_add(at).cast()) };
        if status.load(Ordering::Acquire) & libc::TP_STATUS_USER == 0 {
            return None;
        }
        // SAFETY: the status says that the block is ours until it is given back, which dropping it does.
        let bytes = unsafe { std::slice::from_raw_parts(start, self.size.block) };
        self.next = (self.next + 1) % self.size.blocks;
        Some(Block { bytes, status })
    }
}

impl Drop for Ring {
    fn drop(&mut self) {
        // SAFETY: the mapping was made with this length, and no block outlives the ring.
        let _ = unsafe { munmap(self.memory.as_ptr().cast(), self.size.blocks * self.size.block) };
    }
}

/// Packets that the kernel has handed over together.
pub struct Block<'r> {
    bytes: &'r [u8],
    status: &'r AtomicU32,
}

impl Block<'_> {
    /// Its packets, in the order of their arrival.
    pub fn frames(&self) -> Frames<'_> {
        frames(self.bytes)
    }
}

impl Drop for Block<'_> {
    fn drop(&mut self) {
        self.status.store(libc::TP_STATUS_KERNEL, Ordering::Release);
    }
}

/// The packets of a block, which begins with a `tpacket_block_desc`.
pub fn frames(block: &[u8]) -> Frames<'_> {
    let at = |field| offset_of!(libc::tpacket_block_desc, hdr) + field;
    let number = |field| u32_at(block, at(field)).unwrap_or(0);
    Frames {
        block,
        at: number(offset_of!(libc::tpacket_hdr_v1, offset_to_first_pkt)) as usize,
        left: number(offset_of!(libc::tpacket_hdr_v1, num_pkts)),
    }
}

/// The packets of a block.
pub struct Frames<'b> {
    block: &'b [u8],
    at: usize,
    left: u32,
}

/// One packet as the kernel describes it.
#[derive(Clone, Copy, Debug)]
pub struct Frame<'b> {
    /// When it came or went, by the real-time clock.
    pub time: Time,
    /// Index of the interface.
    pub interface: u32,
    /// Hardware type of the interface: `ARPHRD_*` (`linux/if_arp.h`).
    pub hardware: u16,
    /// It was on its way out.
    pub is_outgoing: bool,
    /// Bytes that it has, of which the kernel may have kept less.
    pub original_len: u32,
    /// Type and value of the VLAN tag that the kernel or the card took out.
    pub vlan: Option<[u16; 2]>,
    /// From the link-layer header on.
    pub bytes: &'b [u8],
}

impl<'b> Iterator for Frames<'b> {
    type Item = Frame<'b>;

    fn next(&mut self) -> Option<Frame<'b>> {
        self.left = self.left.checked_sub(1)?;
        let header = self.block.get(self.at..)?;
        let frame = frame(header)?;
        let next = u32_at(header, offset_of!(libc::tpacket3_hdr, tp_next_offset))?;
        self.at += next as usize;
        if next == 0 {
            // The last one (`prb_close_block` in net/packet/af_packet.c), whatever their number is said to be.
            self.left = 0;
        }
        Some(frame)
    }
}

/// Reads what begins with a `tpacket3_hdr`, behind which is a `sockaddr_ll`.
fn frame(header: &[u8]) -> Option<Frame<'_>> {
    use libc::{sockaddr_ll, tpacket_hdr_variant1, tpacket3_hdr};
    let word = |at| u32_at(header, at);
    let half = |at| u16_at(header, at);
    let tag = |field| offset_of!(tpacket3_hdr, hv1) + field;
    let status = word(offset_of!(tpacket3_hdr, tp_status))?;
    let seconds = word(offset_of!(tpacket3_hdr, tp_sec))?;
    let part = word(offset_of!(tpacket3_hdr, tp_nsec))?;
    let kept = word(offset_of!(tpacket3_hdr, tp_snaplen))? as usize;
    let start = half(offset_of!(tpacket3_hdr, tp_mac))? as usize;
    let vlan = match status & libc::TP_STATUS_VLAN_VALID {
        0 => None,
        _ => {
            let value = word(tag(offset_of!(tpacket_hdr_variant1, tp_vlan_tci)))? as u16;
            let kind = match status & libc::TP_STATUS_VLAN_TPID_VALID {
                0 => libc::ETH_P_8021Q as u16,
                _ => half(tag(offset_of!(tpacket_hdr_variant1, tp_vlan_tpid)))?,
            };
            Some([kind, value])
        }
    };
    let kind = header.get(HEADER + offset_of!(sockaddr_ll, sll_pkttype))?;
    Some(Frame {
        time: Time(u64::from(seconds) * 1_000_000_000 + u64::from(part)),
        interface: word(HEADER + offset_of!(sockaddr_ll, sll_ifindex))?,
        hardware: half(HEADER + offset_of!(sockaddr_ll, sll_hatype))?,
        is_outgoing: *kind == libc::PACKET_OUTGOING,
        original_len: word(offset_of!(tpacket3_hdr, tp_len))?,
        vlan,
        bytes: header.get(start..)?.get(..kept)?,
    })
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    let four = bytes.get(at..)?.first_chunk()?;
    Some(u32::from_ne_bytes(*four))
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    let two = bytes.get(at..)?.first_chunk()?;
    Some(u16::from_ne_bytes(*two))
}

impl<'b> Frame<'b> {
    /// The packet as it was on the wire: with its VLAN tag, which is put in with the help of `room`.
    pub fn whole<'t>(&'t self, room: &'t mut Vec<u8>) -> &'t [u8] {
        /// Both addresses of an Ethernet header; the tag is behind them (IEEE 802.1Q).
        const ADDRESSES: usize = 12;
        let (Some([kind, value]), Some((addresses, rest))) =
            (self.vlan, self.bytes.split_at_checked(ADDRESSES))
        else {
            return self.bytes;
        };
        room.clear();
        room.extend_from_slice(addresses);
        room.extend_from_slice(&kind.to_be_bytes());
        room.extend_from_slice(&value.to_be_bytes());
        room.extend_from_slice(rest);
        room
    }

    /// Bytes that it has, with the VLAN tag.
    pub fn whole_len(&self) -> u32 {
        self.original_len + if self.vlan.is_some() { 4 } else { 0 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_vlan_tag_is_put_back_behind_the_addresses() {
        let bytes: Vec<u8> = (0..60).collect();
        let mut frame = Frame {
            time: Time(0),
            interface: 1,
            hardware: libc::ARPHRD_ETHER,
            is_outgoing: false,
            original_len: 60,
            vlan: None,
            bytes: &bytes,
        };
        let mut room = Vec::new();
        assert_eq!(frame.whole(&mut room), &bytes[..]);
        frame.vlan = Some([0x8100, 0x2007]);
        let tagged = frame.whole(&mut room);
        assert_eq!(tagged[..16], [&bytes[..12], &[0x81, 0, 0x20, 7]].concat());
        assert_eq!(tagged[16..], bytes[12..]);
        assert_eq!(frame.whole_len(), 64);
    }

    #[test]
    fn a_header_that_lies_is_no_packet() {
        let mut header = vec![0; 200];
        let put = |header: &mut Vec<u8>, at: usize, value: u32| {
            header[at..at + 4].copy_from_slice(&value.to_ne_bytes());
        };
        put(&mut header, offset_of!(libc::tpacket3_hdr, tp_mac), 82);
        put(&mut header, offset_of!(libc::tpacket3_hdr, tp_snaplen), 60);
        assert_eq!(frame(&header).unwrap().bytes.len(), 60);
        put(&mut header, offset_of!(libc::tpacket3_hdr, tp_snaplen), 150);
        assert!(frame(&header).is_none());
        put(&mut header, offset_of!(libc::tpacket3_hdr, tp_mac), 0xffff);
        assert!(frame(&header).is_none());
        assert!(frame(&header[..70]).is_none());
        let mut frames = Frames { block: &header, at: usize::MAX - 1, left: 3 };
        assert!(frames.next().is_none());
        put(&mut header, offset_of!(libc::tpacket3_hdr, tp_mac), 82);
        put(&mut header, offset_of!(libc::tpacket3_hdr, tp_snaplen), 60);
        let frames = Frames { block: &header, at: 0, left: u32::MAX };
        assert_eq!(frames.count(), 1, "none follows");
    }
}
