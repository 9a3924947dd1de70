//! Steps through the structures of a library, as its layout lists them.

use core::mem::MaybeUninit;

use aya_ebpf::helpers::generated::bpf_probe_read_user;
use tlskeytop_common::{COPY_MAX, POINTERS, Step, StepKind};

/// Fills the `ROOM` bytes at `payload` with zeros.
///
/// # Safety
///
/// `payload` must point to `ROOM` writable bytes, aligned for u64.
#[inline(always)]
pub unsafe fn clear<const ROOM: usize>(payload: *mut u8) {
    let words = payload.cast::<u64>();
    for word in 0..ROOM / 8 {
        // SAFETY: within the payload by the loop's bound; volatile, so that it stays a loop and does not
        // become a call of memset.
        unsafe { words.add(word).write_volatile(0) };
    }
}

/// Reads `length` bytes of the target's memory; nothing when it is more than `MOST`. Whether they could be read.
///
/// # Safety
///
/// `to` must point to `MOST` writable bytes.
#[inline(always)]
pub unsafe fn read<const MOST: u64>(to: *mut u8, length: u64, from: u64) -> bool {
    // The bound is said right before the call, and of a value that the compiler knows nothing of: the verifier of Linux 6.1
    // forgets what it knew of one that was on the stack meanwhile.
    let length = core::hint::black_box(length);
    if length > MOST {
        return false;
    }
    // SAFETY: `to` has the room by this function's contract, and the helper checks `from`.
    unsafe { bpf_probe_read_user(to.cast(), length as u32, from as *const _) == 0 }
}

/// Zeros on the stack, word by word and in their place: those of an array's own are a call of memset, and a move is one of
/// memcpy, both of which go byte by byte.
#[inline(always)]
pub fn zeros<const N: usize>(room: &mut MaybeUninit<[u64; N]>) -> &mut [u64; N] {
    let words = room.as_mut_ptr().cast::<u64>();
    for word in 0..N {
        // SAFETY: within the array by the loop's bound.
        unsafe { words.add(word).write_volatile(0) };
    }
    // SAFETY: all of it was written.
    unsafe { room.assume_init_mut() }
}

/// Takes the first `count` steps, of which each copies `MOST` bytes at the most. What cannot be read stays as it is.
///
/// # Safety
///
/// `payload` must point to `ROOM` writable bytes.
#[inline(always)]
pub unsafe fn take<const N: usize, const ROOM: usize, const MOST: usize>(
    steps: &[Step; N],
    count: u32,
    connection: u64,
    payload: *mut u8,
) {
    const { assert!(MOST <= COPY_MAX && MOST <= ROOM) };
    let mut room = MaybeUninit::uninit();
    let pointers: &mut [u64; POINTERS] = zeros(&mut room);
    pointers[0] = connection;
    for (index, step) in steps.iter().enumerate() {
        if index >= count as usize || step.kind == StepKind::End as u8 {
            break;
        }
        let base = pointers[step.from as usize % POINTERS];
        if base == 0 {
            continue;
        }
        let from = base.wrapping_add(step.offset as u64) as *const core::ffi::c_void;
        if step.kind == StepKind::Follow as u8 {
            let mut pointer = 0u64;
            // SAFETY: `pointer` has room for the 8 bytes, and the helper checks `from`.
            let failed = unsafe { bpf_probe_read_user((&raw mut pointer).cast(), 8, from) };
            pointers[step.to as usize % POINTERS] = if failed == 0 { pointer } else { 0 };
        } else {
            let at = step.at as usize;
            let len = step.len as usize;
            if at <= ROOM - MOST && len <= MOST {
                // SAFETY: `at + len` is within the payload by the check above, and the helper checks `from`.
                unsafe { bpf_probe_read_user(payload.add(at).cast(), len as u32, from) };
            }
        }
    }
}
