//! The connections whose handshake is not over, and a quick answer for all the others: their data is none of our concern.

use core::intrinsics::{AtomicOrdering, atomic_xadd};

use aya_ebpf::bindings::{BPF_ANY, BPF_EXIST, BPF_NOEXIST};
use aya_ebpf::macros::map;
use aya_ebpf::maps::{Array, LruHashMap};
use tlskeytop_common::{Flow, PLACES};

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

/// How many of `FLOWS` belong to each place ([`Flow::place`]). It is never less than there are, unless somebody forges 2^32
/// beginnings at one place. One that made room for another stays counted, and what falls on its place is looked up in vain
/// from then on: where very many connections are begun and never answered, the look-ups come back with time.
#[map]
static COUNTS: Array<u32> = Array::with_max_entries(PLACES, 0);

/// What takes one away when it is added.
const MINUS_ONE: u32 = u32::MAX;

/// A connection begins, or begins anew.
#[inline(always)]
pub fn insert(flow: &Flow, opening: Opening) {
    change(flow, 1);
    if FLOWS.insert(flow, opening, BPF_NOEXIST.into()).is_ok() {
        return;
    }
    if FLOWS.insert(flow, opening, BPF_EXIST.into()).is_ok() {
        change(flow, MINUS_ONE);
    } else {
        // It ended in between. Counted too often is harmless.
        let _ = FLOWS.insert(flow, opening, BPF_ANY.into());
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
        change(flow, MINUS_ONE);
    }
}

/// Whether something may be known of a connection, in either direction: if not, no look-up is needed.
#[inline(always)]
pub fn may_have(flow: &Flow) -> bool {
    // SAFETY: the kernel gave a valid pointer to one number, which is read as a whole.
    COUNTS.get_ptr(flow.place()).is_some_and(|count| unsafe { count.read_volatile() } != 0)
}

#[inline(always)]
fn change(flow: &Flow, by: u32) {
    if let Some(count) = COUNTS.get_ptr_mut(flow.place()) {
        // SAFETY: the kernel gave a valid pointer to one number, which only additions change.
        unsafe { atomic_xadd::<u32, u32, { AtomicOrdering::Relaxed }>(count, by) };
    }
}
