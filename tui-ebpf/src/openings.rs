//! The connections whose handshake is not over, and a quick answer for all the others: their data is none of our concern.

use core::intrinsics::{AtomicOrdering, atomic_xadd};

use aya_ebpf::bindings::{BPF_EXIST, BPF_NOEXIST};
use aya_ebpf::macros::map;
use aya_ebpf::maps::{Array, LruHashMap};
use tlskeytop_common::Flow;

/// What is known of a connection whose handshake is not over.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct Opening {
    /// The number of the client's first byte; 0 where its SYN was not seen.
    pub first: u32,
    /// Bytes that still pass.
    pub left: u32,
    /// 1 once a side's first byte is that of a handshake.
    pub has_begun: u32,
}

/// By connection, as its client sees it.
#[map]
static FLOWS: LruHashMap<Flow, Opening> = LruHashMap::with_max_entries(16_384, 0);

/// Entries of `PLACES`, as a power of two.
const PLACE_BITS: u32 = 12;

/// How many of `FLOWS` belong to each place, by [`place`]. It is never less than there are: one that made room for another
/// stays counted, and what falls on its place is looked up in vain from then on.
#[map]
static PLACES: Array<u32> = Array::with_max_entries(1 << PLACE_BITS, 0);

/// A connection begins, or begins anew.
#[inline(always)]
pub fn insert(flow: &Flow, opening: Opening) {
    add(flow, 1);
    if FLOWS.insert(flow, opening, BPF_NOEXIST.into()).is_err() {
        add(flow, NONE_LESS_ONE);
        let _ = FLOWS.insert(flow, opening, BPF_EXIST.into());
    }
}

/// What is known of a connection; the kernel gives a valid pointer to it.
#[inline(always)]
pub fn get(flow: &Flow) -> Option<*mut Opening> {
    FLOWS.get_ptr_mut(flow)
}

/// Forgets it.
#[inline(always)]
pub fn remove(flow: &Flow) {
    if FLOWS.remove(flow).is_ok() {
        add(flow, NONE_LESS_ONE);
    }
}

/// Whether something may be known of a connection, in either direction: if not, no look-up is needed.
#[inline(always)]
pub fn may_have(flow: &Flow) -> bool {
    // SAFETY: the kernel gave a valid pointer to one number, which is read as a whole.
    PLACES.get_ptr(place(flow)).is_some_and(|count| unsafe { count.read_volatile() } != 0)
}

/// Added to a number it takes one away.
const NONE_LESS_ONE: u32 = u32::MAX;

#[inline(always)]
fn add(flow: &Flow, number: u32) {
    if let Some(count) = PLACES.get_ptr_mut(place(flow)) {
        // SAFETY: the kernel gave a valid pointer to one number, which only additions change.
        unsafe { atomic_xadd::<u32, u32, { AtomicOrdering::Relaxed }>(count, number) };
    }
}

/// The same for both directions.
#[inline(always)]
fn place(flow: &Flow) -> u32 {
    let [.., a, b, c, d] = flow.client;
    let [.., e, f, g, h] = flow.server;
    let addresses = u32::from_ne_bytes([a, b, c, d]) ^ u32::from_ne_bytes([e, f, g, h]);
    let ports = u16::from_ne_bytes(flow.client_port) ^ u16::from_ne_bytes(flow.server_port);
    // Fibonacci hashing: the upper bits depend on all.
    (addresses ^ ports as u32).wrapping_mul(0x9e37_79b1) >> (u32::BITS - PLACE_BITS)
}
