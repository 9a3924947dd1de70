//! The walk: a probe on an exported function of the library that takes the connection as its first
//! argument. It takes the steps of the image's layout and sends what they copied.

use core::mem::MaybeUninit;

use aya_ebpf::EbpfContext as _;
use aya_ebpf::helpers::bpf_get_current_pid_tgid;
use aya_ebpf::helpers::generated::{
    bpf_get_attach_cookie, bpf_get_current_comm, bpf_ktime_get_boot_ns,
};
use aya_ebpf::macros::{uprobe, uretprobe};
use aya_ebpf::programs::{ProbeContext, RetProbeContext};
use tlskeytop_common::{
    COMM_LEN, COPY_MAX, Cookie, Counter, PAYLOAD, PidRule, QUICK, QUICK_STEPS, STEPS, SeenBy,
    WalkConfig, WalkEvent,
};

use crate::maps::{CALLS, EVENTS, SEEN, WALKS, count, reports, rule, wake_up};
use crate::{ends, steps};

/// Entry of a function at which a finished handshake can be read: `SSL_get_error`, `SSL_shutdown`,
/// `SSL_free`, and for catching up `SSL_read` and `SSL_write`.
#[uprobe]
pub fn walk(ctx: ProbeContext) -> u32 {
    count(Counter::Hits);
    let pid_tgid = bpf_get_current_pid_tgid();
    if !reports((pid_tgid >> 32) as u32) {
        count(Counter::Filtered);
        return 0;
    }
    // SAFETY: the helper only wants the program's own context.
    let cookie = unsafe { bpf_get_attach_cookie(ctx.as_ptr()) };
    walk_connection(ctx.arg(0).unwrap_or(0), cookie, pid_tgid);
    0
}

/// Entry of `SSL_do_handshake`, `SSL_connect`, `SSL_accept`: remembers the connection for the return.
#[uprobe]
pub fn walk_enter(ctx: ProbeContext) -> u32 {
    let pid_tgid = bpf_get_current_pid_tgid();
    if reports((pid_tgid >> 32) as u32) {
        let connection: u64 = ctx.arg(0).unwrap_or(0);
        // A full map loses a walk at this hook; the next hook of the connection makes it up.
        let _ = CALLS.insert(pid_tgid, connection, 0);
    }
    0
}

/// Return of the same functions: 1 says that the handshake is done.
#[uretprobe]
pub fn walk_return(ctx: RetProbeContext) -> u32 {
    let pid_tgid = bpf_get_current_pid_tgid();
    // SAFETY: the value is copied at once, and only this thread writes it.
    let Some(connection) = (unsafe { CALLS.get(pid_tgid) }).copied() else {
        return 0;
    };
    let _ = CALLS.remove(pid_tgid);
    count(Counter::Hits);
    // SAFETY: the helper only wants the program's own context.
    let cookie = unsafe { bpf_get_attach_cookie(ctx.as_ptr()) };
    let is_wanted = |config: &WalkConfig| config.any_result != 0 || ctx.ret::<i32>() == 1;
    if WALKS.get(Cookie::unpack(cookie).slot).is_some_and(is_wanted) {
        walk_connection(connection, cookie, pid_tgid);
    }
    0
}

#[inline(always)]
fn walk_connection(connection: u64, cookie: u64, pid_tgid: u64) {
    let pid = (pid_tgid >> 32) as u32;
    let slot = Cookie::unpack(cookie).slot;
    let (Some(config), Some(rule)) = (WALKS.get(slot), rule(pid)) else {
        return;
    };
    let key = (connection, SeenBy { pid, slot }.pack());
    let quick = quick_hash(config, connection, rule);
    // SAFETY: the value is copied at once; a race between threads only lets a repeat through.
    if (unsafe { SEEN.get(key) }).is_some_and(|seen| *seen == quick) {
        return;
    }
    let Some(mut entry) = EVENTS.reserve::<WalkEvent>(0) else {
        count(Counter::RingFull);
        return;
    };
    let event = entry.as_mut_ptr();
    // SAFETY: `event` points to room for one WalkEvent in the ring buffer, which is ours until it is
    // submitted; each field is written before that.
    unsafe {
        (*event).time_ns = bpf_ktime_get_boot_ns();
        (*event).cookie = cookie;
        (*event).connection = connection;
        (*event).pid = pid;
        (*event).tid = pid_tgid as u32;
        // The helper fills it to its end.
        bpf_get_current_comm((&raw mut (*event).comm).cast(), COMM_LEN as u32);
        let payload = (&raw mut (*event).payload).cast::<u8>();
        steps::clear::<PAYLOAD>(payload);
        let every = STEPS as u32;
        steps::take::<STEPS, PAYLOAD, COPY_MAX>(&config.steps, every, connection, payload);
        ends::take(&config.ends, connection, &raw mut (*event).ends);
    }
    // Only now: one that found no room is tried again at its next hook.
    let _ = SEEN.insert(key, quick, 0);
    entry.submit(wake_up(pid));
}

/// A hash of what the quick steps copy, and of the rule by which the process reports. Repeats of the same bytes
/// are told apart by it, so it need not be more than FNV-1a over words.
#[inline(always)]
fn quick_hash(config: &WalkConfig, connection: u64, rule: PidRule) -> u64 {
    let mut room = MaybeUninit::uninit();
    let quick: &mut [u64; QUICK / 8] = steps::zeros(&mut room);
    let Some(steps) = config.steps.first_chunk::<QUICK_STEPS>() else {
        return 0;
    };
    // SAFETY: the array has room for QUICK bytes.
    unsafe {
        let payload = quick.as_mut_ptr().cast::<u8>();
        steps::take::<QUICK_STEPS, QUICK, 32>(steps, config.quick, connection, payload);
    }
    let mut hash = 0xcbf2_9ce4_8422_2325u64 ^ u64::from(rule.0);
    for word in quick {
        hash = (hash ^ *word).wrapping_mul(0x0100_0000_01b3);
    }
    hash
}
