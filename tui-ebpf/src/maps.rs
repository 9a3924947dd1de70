//! The maps that the programs share with user space.

use core::intrinsics::{AtomicOrdering, atomic_xadd};

use aya_ebpf::bindings::{BPF_RB_FORCE_WAKEUP, BPF_RB_NO_WAKEUP};
use aya_ebpf::macros::map;
use aya_ebpf::maps::{Array, HashMap, LruHashMap, PerCpuArray, RingBuf};
use tlskeytop_common::{
    COUNTERS as COUNTER_COUNT, Counter, KernelLayout, Opened, Owner, PidRule, RecordConfig,
    Settings, TAP_SLOTS, TapConfig, TokenConfig, WALK_SLOTS, WalkConfig,
};

/// Entries of `GREETED`.
const GREETED_PIDS: u32 = 16_384;

/// Secrets on their way to user space: 4 MiB hold 18,000 of them. User space may ask for another size.
#[map]
pub static EVENTS: RingBuf = RingBuf::with_byte_size(4 << 20, 0);

/// For each attached tap, by the cookie's slot: where its client random is.
#[map]
pub static TAPS: Array<TapConfig> = Array::with_max_entries(TAP_SLOTS, 0);

/// For each attached tap whose values are where operands say, by the same slots.
#[map]
pub static RECORDS: Array<RecordConfig> = Array::with_max_entries(TAP_SLOTS, 0);

/// For each attached softoken, by the same slots: where its objects are.
#[map]
pub static TOKENS: Array<TokenConfig> = Array::with_max_entries(TAP_SLOTS, 0);

/// Thread (`pid_tgid`) to the object that it was about to give a handle.
#[map]
pub static NAMELESS: LruHashMap<u64, Object> = LruHashMap::with_max_entries(16_384, 0);

/// Process, slot and handle to an object. What it says is a hint: the object is looked at when it is needed. A handshake
/// makes some 30, so that this is good for 500 at a time.
#[map]
pub static OBJECTS: LruHashMap<Handle, Object> = LruHashMap::with_max_entries(16_384, 0);
/// Where this kernel's structures have the fields that lead to the peer of a socket.
#[map]
pub static KERNEL: Array<KernelLayout> = Array::with_max_entries(1, 0);

/// For each attached walk, by the cookie's slot: its steps.
#[map]
pub static WALKS: Array<WalkConfig> = Array::with_max_entries(WALK_SLOTS, 0);

/// Thread (`pid_tgid`) to the connection whose handshake function it is in.
#[map]
pub static CALLS: LruHashMap<u64, u64> = LruHashMap::with_max_entries(16_384, 0);

/// Connection, process and slot to a hash of the quick part of what was last sent of it. By slot, since catching up
/// with a process is told of each of its connections once, known or not.
#[map]
pub static SEEN: LruHashMap<(u64, u64), u64> = LruHashMap::with_max_entries(65_536, 0);

/// Process id to `PidRule`. 65,536 decisions at a time are plenty: pids that end are removed.
#[map]
pub static PIDS: HashMap<u32, u32> = HashMap::with_max_entries(65_536, 0);

/// What holds for all processes.
#[map]
pub static SETTINGS: Array<Settings> = Array::with_max_entries(1, 0);

/// 1 while user space looks into the ring by itself: then it need not be woken, which costs a target ten
/// times what the rest of a hit does.
#[map]
pub static READER: Array<u32> = Array::with_max_entries(1, 0);

/// Processes that have reported before, each at its number modulo the entries: a look-up is all that a hit does of it. The
/// first time, user space is woken at once, so that it looks at the process while it still lives. Of two processes at one
/// place each wakes it again.
#[map]
pub static GREETED: Array<u32> = Array::with_max_entries(GREETED_PIDS, 0);

/// What happened, per CPU, by `Counter`.
#[map]
pub static COUNTERS: PerCpuArray<u64> = PerCpuArray::with_max_entries(COUNTER_COUNT, 0);

/// Sockets (`struct sock`) that are connecting, and who they belong to.
#[map]
pub static CONNECTING: LruHashMap<u64, Owner> = LruHashMap::with_max_entries(16_384, 0);

/// Connections that were opened on this machine, in whatever network namespace, and by whom.
#[map]
pub static OWNERS: LruHashMap<Opened, Owner> = LruHashMap::with_max_entries(65_536, 0);

/// An object of a softoken.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct Object {
    /// Where it is.
    pub address: u64,
    /// The probed instruction, from which the image's extent is known.
    pub instruction: u64,
    /// The slot in the map `TOKENS`.
    pub token: u64,
}

/// What PKCS #11 knows an object by.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct Handle {
    /// The process.
    pub pid: u64,
    /// `CK_SLOT_ID`: each slot counts its handles from the start.
    pub slot: u64,
    /// `CK_OBJECT_HANDLE`.
    pub handle: u64,
}

/// Adds one to a counter of this CPU.
#[inline(always)]
pub fn count(counter: Counter) {
    if let Some(value) = COUNTERS.get_ptr_mut(counter as u32) {
        // SAFETY: the kernel gave a valid pointer to this CPU's own element, which only additions change.
        // They are atomic since a program may be preempted by another one on the same CPU.
        unsafe { atomic_xadd::<u64, u64, { AtomicOrdering::Relaxed }>(value, 1) };
    }
}

/// Whether this process's secrets are wanted, as far as the kernel's side can tell.
#[inline(always)]
pub fn reports(pid: u32) -> bool {
    rule(pid).is_some()
}

/// The rule by which a process reports; `None` when it does not.
#[inline(always)]
pub fn rule(pid: u32) -> Option<PidRule> {
    // SAFETY: the value is one word that user space replaces as a whole.
    let rule = match unsafe { PIDS.get(pid) } {
        Some(rule) => PidRule(*rule),
        None if SETTINGS.get(0).is_some_and(|settings| settings.report_unknown != 0) => {
            PidRule::YES
        }
        None => PidRule::NO,
    };
    rule.reports().then_some(rule)
}

/// Flags for `submit`: whether user space has to be woken for an event of this process.
#[inline(always)]
pub fn wake_up(pid: u32) -> u64 {
    if let Some(greeted) = GREETED.get_ptr_mut(pid % GREETED_PIDS) {
        // SAFETY: the kernel gave a valid pointer to one number, which is read and written as a whole; when two programs
        // write at the same time, one process is greeted once more.
        unsafe {
            if greeted.read_volatile() != pid {
                greeted.write_volatile(pid);
                return u64::from(BPF_RB_FORCE_WAKEUP);
            }
        }
    }
    match READER.get(0) {
        Some(1) => u64::from(BPF_RB_NO_WAKEUP),
        _ => 0,
    }
}
