//! The maps that the programs share with user space.

use core::intrinsics::{AtomicOrdering, atomic_xadd};

use aya_ebpf::macros::map;
use aya_ebpf::maps::{Array, HashMap, PerCpuArray, RingBuf};
use tlskeytop_common::{COUNTERS as COUNTER_COUNT, Counter, Settings, TAP_SLOTS, TapConfig};

/// Secrets on their way to user space: 4 MiB hold 18,000 of them. User space may ask for another size.
#[map]
pub static EVENTS: RingBuf = RingBuf::with_byte_size(4 << 20, 0);

/// For each attached tap, by the cookie's slot: where its client random is.
#[map]
pub static TAPS: Array<TapConfig> = Array::with_max_entries(TAP_SLOTS, 0);

/// Process id to `PidRule`. 65,536 decisions at a time are plenty: pids that end are removed.
#[map]
pub static PIDS: HashMap<u32, u8> = HashMap::with_max_entries(65_536, 0);

/// What holds for all processes.
#[map]
pub static SETTINGS: Array<Settings> = Array::with_max_entries(1, 0);

/// What happened, per CPU, by `Counter`.
#[map]
pub static COUNTERS: PerCpuArray<u64> = PerCpuArray::with_max_entries(COUNTER_COUNT, 0);

/// Adds one to a counter of this CPU.
#[inline(always)]
pub fn count(counter: Counter) {
    if let Some(value) = COUNTERS.get_ptr_mut(counter as u32) {
        // SAFETY: the kernel gave a valid pointer to this CPU's own element, which only additions change.
        // They are atomic since a program may be preempted by another one on the same CPU.
        unsafe { atomic_xadd::<u64, u64, { AtomicOrdering::Relaxed }>(value, 1) };
    }
}
