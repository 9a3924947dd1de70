//! The socket filter of the wire view: of all packets only those with which a TLS handshake begins, up to the ServerHello.
//! It is generous: what passes is looked at with care in user space.

use aya_ebpf::EbpfContext as _;
use aya_ebpf::helpers::generated::{bpf_skb_load_bytes, bpf_skb_load_bytes_relative};
use aya_ebpf::macros::socket_filter;
use aya_ebpf::programs::SkBuffContext;
use tlskeytop_common::{Flow, mapped};

use crate::openings::{self, Opening};

/// Bytes of a packet that are kept: all.
const ALL: i64 = 1 << 18;
/// The loopback's index, in every network namespace (`net/flow.h`).
const LOOPBACK: u32 = 1;
/// `PACKET_OUTGOING` (`linux/if_packet.h`).
const OUTGOING: u32 = 4;
/// `BPF_HDR_START_NET` (`linux/bpf.h`).
const NET: u32 = 1;
/// Bytes of an Ethernet header, also the loopback's.
const ETHERNET: u32 = 14;
/// Ether types of VLAN tags that are still in the packet (IEEE 802.1Q), as they stand in it.
const TAGS: [u16; 2] = [0x8100u16.to_be(), 0x88a8u16.to_be()];
/// Behind the addresses: the type of the tag, the tag, the type of what follows.
const AFTER_ADDRESSES: u32 = 12;
const TAG: u32 = 4;
const TCP: u8 = 6;
/// Bytes of an IPv4 header without options.
const PLAIN: u32 = 20;
/// Extension headers of IPv6 that can stand before TCP (RFC 8200, 4), and how many are looked through.
const HOP_BY_HOP: u8 = 0;
const ROUTING: u8 = 43;
const FRAGMENT: u8 = 44;
const DESTINATION: u8 = 60;
const EXTENSIONS: usize = 4;
/// Flags of a TCP header (RFC 9293, 3.1).
const FIN: u8 = 1;
const SYN: u8 = 2;
const RST: u8 = 4;
const ACK: u8 = 16;
/// A record of a handshake, and two messages in it (RFC 8446, 4 and 5.1).
const HANDSHAKE: u8 = 22;
const CLIENT_HELLO: u8 = 1;
const SERVER_HELLO: u8 = 2;
/// The start of the random of a ServerHello that is a HelloRetryRequest (RFC 8446, 4.1.3).
const RETRY: [u8; 8] = [0xcf, 0x21, 0xad, 0x74, 0xe5, 0x9a, 0x61, 0x11];
/// Bytes of both sides that pass of a connection before one of them has begun a handshake.
const SILENT: u32 = 16 << 10;
/// Bytes of both sides that pass for one handshake: the longest hello that user space reads, twice.
const BUDGET: u32 = 128 << 10;
/// What a segment counts at the least, so that few pass: 4096 for a handshake, which is what user space keeps of one side.
const LEAST: u32 = 32;
/// Bytes of data that are kept where a side begins with something else: user space sees that, and forgets the connection.
const OTHER: u32 = 8;
/// Bytes that still pass when a ServerHello has begun and is not whole.
const REST: u32 = 16 << 10;

/// Takes the packet, or not.
#[socket_filter]
pub fn handshakes(ctx: SkBuffContext) -> i64 {
    kept(&ctx).unwrap_or(0)
}

/// Reads from the packet, also what is not in its first piece.
#[inline(always)]
fn read<const N: usize>(ctx: &SkBuffContext, at: u32) -> Option<[u8; N]> {
    let mut bytes = [0; N];
    fill(ctx, at, &mut bytes)?;
    Some(bytes)
}

/// The same for what is too large to be moved: a program's stack has 512 bytes.
#[inline(always)]
fn fill<const N: usize>(ctx: &SkBuffContext, at: u32, bytes: &mut [u8; N]) -> Option<()> {
    let to = bytes.as_mut_ptr().cast();
    // SAFETY: `bytes` has room for N bytes, and the helper checks that the packet has them.
    let failed = unsafe { bpf_skb_load_bytes(ctx.as_ptr(), at, to, N as u32) };
    (failed == 0).then_some(())
}

/// The start of the IP header, which is in the packet's first piece.
#[inline(always)]
fn read_ip(ctx: &SkBuffContext) -> Option<[u8; 16]> {
    let mut bytes = [0; 16];
    let to = bytes.as_mut_ptr().cast();
    // SAFETY: as above.
    let failed = unsafe { bpf_skb_load_bytes_relative(ctx.as_ptr(), 0, to, 16, NET) };
    (failed == 0).then_some(bytes)
}

/// A TCP segment that has data, or begins or ends something.
struct Segment {
    flow: Flow,
    sequence: u32,
    flags: u8,
    payload: u32,
    len: u32,
}

/// So many bytes of the packet are kept.
#[inline(always)]
fn kept(ctx: &SkBuffContext) -> Option<i64> {
    // SAFETY: the kernel gives a valid context, whose fields the verifier knows.
    let (kind, interface, protocol) =
        unsafe { ((*ctx.skb.skb).pkt_type, (*ctx.skb.skb).ifindex, (*ctx.skb.skb).protocol) };
    // The loopback shows its packets twice.
    if interface == LOOPBACK && kind == OUTGOING {
        return None;
    }
    let segment = segment(ctx, network(ctx, interface, protocol as u16)?)?;
    Some(pass(ctx, &segment))
}

/// Where the IP header is: behind VLAN tags, behind an Ethernet header, or at the start, as with tunnels. The kernel tells it
/// only to what cannot read further than the packet's first piece.
#[inline(always)]
fn network(ctx: &SkBuffContext, interface: u32, protocol: u16) -> Option<u32> {
    if TAGS.contains(&protocol) {
        let inner: [u8; 2] = read(ctx, AFTER_ADDRESSES + TAG)?;
        let tags = if TAGS.contains(&u16::from_ne_bytes(inner)) { 2 } else { 1 };
        return Some(AFTER_ADDRESSES + TAG * tags + 2);
    }
    // Its packets have an Ethernet header, always.
    if interface == LOOPBACK {
        return Some(ETHERNET);
    }
    let header = read_ip(ctx)?;
    if read(ctx, ETHERNET) == Some(header) {
        return Some(ETHERNET);
    }
    (read(ctx, 0) == Some(header)).then_some(0)
}

#[inline(always)]
fn segment(ctx: &SkBuffContext, ip: u32) -> Option<Segment> {
    // The whole header of IPv6, and what IPv4 and TCP have at the least: each read is a call.
    let mut start = [0; 40];
    fill(ctx, ip, &mut start)?;
    let (client, server, at, end);
    if start[0] >> 4 == 4 {
        // Not the first fragment.
        let fragment = u16::from_be_bytes([start[6], start[7]]) & 0x1fff;
        if start[9] != TCP || fragment != 0 {
            return None;
        }
        client = mapped([start[12], start[13], start[14], start[15]]);
        server = mapped([start[16], start[17], start[18], start[19]]);
        at = (start[0] & 15) as u32 * 4;
        end = u16::from_be_bytes([start[2], start[3]]) as u32;
    } else if start[0] >> 4 == 6 {
        client = part::<8, 16>(&start);
        server = part::<24, 16>(&start);
        at = behind_extensions(ctx, ip, start[6])?;
        let len = u16::from_be_bytes([start[4], start[5]]) as u32;
        end = if len == 0 { 0 } else { 40 + len };
    } else {
        return None;
    }
    let header: [u8; 14] = if at == PLAIN { part::<20, 14>(&start) } else { read(ctx, ip + at)? };
    let payload = at + (header[12] >> 4) as u32 * 4;
    // Packets of more than 64 KiB, which are none yet on the wire, have the length 0.
    let len = if end == 0 { REST } else { end.saturating_sub(payload) };
    let flags = header[13];
    if len == 0 && flags & (SYN | FIN | RST) == 0 {
        return None;
    }
    Some(Segment {
        flow: Flow {
            client,
            server,
            client_port: [header[0], header[1]],
            server_port: [header[2], header[3]],
        },
        sequence: u32::from_be_bytes([header[4], header[5], header[6], header[7]]),
        flags,
        payload: ip + payload,
        len,
    })
}

/// `N` bytes from `AT` on.
#[inline(always)]
fn part<const AT: usize, const N: usize>(bytes: &[u8; 40]) -> [u8; N] {
    const { assert!(AT + N <= 40) }
    core::array::from_fn(|at| bytes[AT + at])
}

/// Where TCP begins in an IPv6 packet.
#[inline(always)]
fn behind_extensions(ctx: &SkBuffContext, ip: u32, mut next: u8) -> Option<u32> {
    let mut at = 40;
    for _ in 0..EXTENSIONS {
        match next {
            TCP => return Some(at),
            HOP_BY_HOP | ROUTING | DESTINATION => {
                let [following, len]: [u8; 2] = read(ctx, ip + at)?;
                next = following;
                at += (len as u32 + 1) * 8;
            }
            FRAGMENT => {
                let [following, _, high, low]: [u8; 4] = read(ctx, ip + at)?;
                if u16::from_be_bytes([high, low]) & 0xfff8 != 0 {
                    return None;
                }
                next = following;
                at += 8;
            }
            _ => return None,
        }
    }
    (next == TCP).then_some(at)
}

#[inline(always)]
fn pass(ctx: &SkBuffContext, segment: &Segment) -> i64 {
    let flow = &segment.flow;
    if segment.flags & (SYN | ACK) == SYN {
        let first = segment.sequence.wrapping_add(1);
        openings::insert(flow, Opening { first, left: SILENT, has_begun: 0 });
        return ALL;
    }
    if openings::may_have(flow) {
        if let Some(opening) = openings::get(flow) {
            // SAFETY: the kernel gave a valid pointer to the element; another CPU changes its fields as a whole.
            return unsafe { from_client(ctx, segment, opening) };
        }
        let reversed = flow.reversed();
        if let Some(opening) = openings::get(&reversed) {
            // SAFETY: as above.
            return unsafe { from_server(ctx, segment, &reversed, opening) };
        }
    }
    // The start was not seen, or was something else: it may be one in the middle of a connection.
    if !matches!(read(ctx, segment.payload), Some([HANDSHAKE, 3, _, _, _, CLIENT_HELLO])) {
        return 0;
    }
    openings::insert(flow, Opening { first: 0, left: BUDGET, has_begun: 1 });
    ALL
}

/// # Safety
///
/// `opening` must point to the element of `openings` for the segment's flow.
#[inline(always)]
unsafe fn from_client(ctx: &SkBuffContext, segment: &Segment, opening: *mut Opening) -> i64 {
    // SAFETY: by this function's contract.
    let is_first = unsafe { (*opening).first } == segment.sequence;
    // SAFETY: as above.
    if is_first && segment.len > 0 && !unsafe { begins(ctx, segment, opening) } {
        return other(segment, &segment.flow);
    }
    // SAFETY: as above.
    unsafe { spend(segment, &segment.flow, opening) }
}

/// # Safety
///
/// `opening` must point to the element of `openings` for `flow`.
#[inline(always)]
unsafe fn from_server(
    ctx: &SkBuffContext,
    segment: &Segment,
    flow: &Flow,
    opening: *mut Opening,
) -> i64 {
    if segment.flags & SYN != 0 {
        return ALL;
    }
    // SAFETY: by this function's contract.
    let has_begun = unsafe { (*opening).has_begun } != 0;
    // With TLS the client speaks first; where it has, its hello may have come with its SYN (RFC 7413).
    // SAFETY: as above.
    if !has_begun && segment.len > 0 && !unsafe { begins(ctx, segment, opening) } {
        return other(segment, flow);
    }
    if let Some(start) = read::<19>(ctx, segment.payload) {
        let [kind, major, _, len0, len1, message, rest @ ..] = start;
        let [_, _, _, _, _, random @ ..] = rest;
        if kind == HANDSHAKE && major == 3 && message == SERVER_HELLO && random != RETRY {
            let record = 5 + u16::from_be_bytes([len0, len1]) as u32;
            if record <= segment.len {
                openings::remove(flow);
                return ALL;
            }
            // SAFETY: by this function's contract.
            unsafe { (*opening).left = REST };
        }
    }
    // SAFETY: by this function's contract.
    unsafe { spend(segment, flow, opening) }
}

/// Whether a segment begins a handshake; from then on more passes.
///
/// # Safety
///
/// `opening` must point to the segment's element of `openings`.
#[inline(always)]
unsafe fn begins(ctx: &SkBuffContext, segment: &Segment, opening: *mut Opening) -> bool {
    if !matches!(read(ctx, segment.payload), Some([HANDSHAKE])) {
        return false;
    }
    // SAFETY: by this function's contract. What is sent again gets no more.
    unsafe {
        if (*opening).has_begun == 0 {
            (*opening).has_begun = 1;
            (*opening).left = BUDGET;
        }
    }
    true
}

/// The connection begins with something else. A handshake may follow, which begins with a segment of its own.
#[inline(always)]
fn other(segment: &Segment, flow: &Flow) -> i64 {
    openings::remove(flow);
    i64::from(segment.payload + OTHER)
}

/// Takes the segment from what is left for the connection.
///
/// # Safety
///
/// `opening` must point to the element of `openings` for `flow`.
#[inline(always)]
unsafe fn spend(segment: &Segment, flow: &Flow, opening: *mut Opening) -> i64 {
    // SAFETY: by this function's contract.
    let left = unsafe { (*opening).left };
    let cost = if segment.len < LEAST { LEAST } else { segment.len };
    if segment.flags & (FIN | RST) != 0 || (segment.len > 0 && cost >= left) {
        openings::remove(flow);
        return ALL;
    }
    if segment.len == 0 {
        return 0;
    }
    // SAFETY: by this function's contract.
    unsafe { (*opening).left = left - cost };
    ALL
}
