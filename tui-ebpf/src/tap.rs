//! The tap: a probe on the library's own secret-logging function,
//! `ssl_log_secret(connection, label, secret, length)` in OpenSSL, BoringSSL and AWS-LC.

use core::mem::MaybeUninit;

use aya_ebpf::EbpfContext as _;
use aya_ebpf::helpers::bpf_get_current_pid_tgid;
use aya_ebpf::helpers::generated::{
    bpf_get_attach_cookie, bpf_get_current_comm, bpf_ktime_get_boot_ns, bpf_probe_read_user,
    bpf_probe_read_user_str,
};
use aya_ebpf::macros::uprobe;
use aya_ebpf::programs::ProbeContext;
use tlskeytop_common::{
    COMM_LEN, Cookie, Counter, FACTS, FactsConfig, FirstSecretEvent, LABEL_ROOM, NOWHERE,
    RANDOM_LEN, SECRET_MAX, SecretEvent, TapConfig,
};

use crate::look::user;
use crate::maps::{EVENTS, TAPS, count, reports, wake_up};
use crate::{ends, facts, steps};

/// Entry of the secret-logging function, or a place where its arguments are still in their registers.
#[uprobe]
pub fn tap(ctx: ProbeContext) -> u32 {
    count(Counter::Hits);
    let pid_tgid = bpf_get_current_pid_tgid();
    if !reports((pid_tgid >> 32) as u32) {
        count(Counter::Filtered);
        return 0;
    }
    submit(&ctx, pid_tgid);
    0
}

#[inline(always)]
fn submit(ctx: &ProbeContext, pid_tgid: u64) {
    // SAFETY: the helper only wants the program's own context.
    let cookie = unsafe { bpf_get_attach_cookie(ctx.as_ptr()) };
    let Some(tap) = TAPS.get(Cookie::unpack(cookie).slot) else {
        return;
    };
    let connection: u64 = ctx.arg(0).unwrap_or(0);
    let holder = if tap.has_deref == 0 {
        connection
    } else if let Some(holder) = user(connection.wrapping_add(tap.deref as u64)) {
        holder
    } else {
        return count(Counter::RandomUnreadable);
    };
    let mut room = MaybeUninit::uninit();
    let label = Label::read(ctx, steps::zeros(&mut room));
    let hit = Hit { tap, cookie, pid_tgid, connection, holder, label };
    if hit.label.is_first() {
        send::<FirstSecretEvent>(ctx, &hit, |event| {
            // SAFETY: `event` points to room for the whole record, by the contract of `send`.
            unsafe { ends::take(&hit.tap.ends, connection, &raw mut (*event).ends) };
        });
    } else {
        send::<SecretEvent>(ctx, &hit, |_| ());
    }
}

/// What is known before there is a record to write to.
struct Hit<'t> {
    tap: &'t TapConfig,
    cookie: u64,
    pid_tgid: u64,
    connection: u64,
    /// What has the client random: the connection, or a structure that it points to.
    holder: u64,
    label: Label<'t>,
}

impl Hit<'_> {
    /// The structure in which some of the facts are. As a rule the client random is in it, too.
    #[inline(always)]
    fn base(&self, facts: &FactsConfig) -> u64 {
        if facts.base == NOWHERE {
            0
        } else if self.tap.has_deref != 0 && self.tap.deref == facts.base {
            self.holder
        } else {
            user(self.connection.wrapping_add(facts.base as u64)).unwrap_or(0)
        }
    }
}

/// Sends a record that begins with a secret; `end` writes what is behind it.
#[inline(always)]
fn send<T: 'static>(ctx: &ProbeContext, hit: &Hit<'_>, end: impl FnOnce(*mut T)) {
    const { assert!(size_of::<T>() >= size_of::<SecretEvent>()) };
    let Some(mut entry) = EVENTS.reserve::<T>(0) else {
        count(Counter::RingFull);
        return;
    };
    let event = entry.as_mut_ptr();
    // SAFETY: `event` points to room for a record in the ring buffer, which begins with a SecretEvent and is ours until
    // it is submitted or discarded; each field is written before that.
    match unsafe { fill(ctx, event.cast(), hit) } {
        Ok(()) => {
            end(event);
            entry.submit(wake_up((hit.pid_tgid >> 32) as u32));
        }
        Err(counter) => {
            count(counter);
            entry.discard(0);
        }
    }
}

/// Room for a label, in words.
const LABEL_WORDS: usize = LABEL_ROOM / 8;

/// The label, as the library passed it.
struct Label<'a> {
    text: &'a [u64; LABEL_WORDS],
    /// Bytes without the NUL; 0 when it could not be read.
    len: u32,
}

impl<'a> Label<'a> {
    #[inline(always)]
    fn read(ctx: &ProbeContext, text: &'a mut [u64; LABEL_WORDS]) -> Self {
        let label: u64 = ctx.arg(1).unwrap_or(0);
        let to = (&raw mut *text).cast();
        // SAFETY: `text` has the room, and the helper checks the address.
        let read = unsafe { bpf_probe_read_user_str(to, LABEL_ROOM as u32, label as *const _) };
        // The page of .rodata may not be resident: user space then reads the label from the file.
        let len = if read > 0 {
            (read - 1) as u32
        } else {
            count(Counter::LabelUnreadable);
            0
        };
        Self { text, len }
    }

    /// Whether the facts are told with it: those of a client's secrets, of which each session has one or two, since the
    /// facts are the same with all of them.
    #[inline(always)]
    fn has_facts(&self) -> bool {
        self.len == 0 || self.text[0] as u8 == b'C'
    }

    /// Whether it is the one with which the ends of a connection are told, of those that each session has: the ends
    /// stay the same, and to read them is half of what a hit costs.
    #[inline(always)]
    fn is_first(&self) -> bool {
        const RANDOM: u64 = u64::from_ne_bytes(*b"CLIENT_R");
        const HANDSHAKE: u64 = u64::from_ne_bytes(*b"CLIENT_H");
        self.len == 0 || self.text[0] == RANDOM || self.text[0] == HANDSHAKE
    }
}

/// Writes every field of `event`.
///
/// # Safety
///
/// `event` must point to writable room for one [`SecretEvent`].
#[inline(always)]
unsafe fn fill(ctx: &ProbeContext, event: *mut SecretEvent, hit: &Hit<'_>) -> Result<(), Counter> {
    let (tap, pid_tgid) = (hit.tap, hit.pid_tgid);
    let label: u64 = ctx.arg(1).unwrap_or(0);
    let secret: u64 = ctx.arg(2).unwrap_or(0);
    let length: u64 = ctx.arg(3).unwrap_or(0);

    // SAFETY: `event` is valid by this function's contract, and the helpers check user addresses.
    unsafe {
        (*event).time_ns = bpf_ktime_get_boot_ns();
        (*event).cookie = hit.cookie;
        (*event).connection = hit.connection;
        (*event).label_delta = label.wrapping_sub(instruction_pointer(ctx)) as i64;
        (*event).pid = (pid_tgid >> 32) as u32;
        (*event).tid = pid_tgid as u32;
        (*event).label_number = 0;
        (*event).reserved = 0;
        // The helper fills it to its end.
        bpf_get_current_comm((&raw mut (*event).comm).cast(), COMM_LEN as u32);

        let random = hit.holder.wrapping_add(tap.offset as u64);
        let to = (&raw mut (*event).client_random).cast();
        if bpf_probe_read_user(to, RANDOM_LEN as u32, random as *const _) != 0 {
            return Err(Counter::RandomUnreadable);
        }

        steps::clear::<SECRET_MAX>((&raw mut (*event).secret).cast());
        // One that is longer is carried with its first 64 bytes and its true length, to be rejected.
        let room = length.min(SECRET_MAX as u64);
        let to = (&raw mut (*event).secret).cast();
        if !steps::read::<{ SECRET_MAX as u64 }>(to, room, secret) {
            return Err(Counter::SecretUnreadable);
        }
        (*event).secret_len = if length > u32::MAX as u64 { u32::MAX } else { length as u32 };

        let room = (&raw mut (*event).facts).cast::<u8>();
        steps::clear::<FACTS>(room);
        if hit.label.has_facts() {
            facts::take(&tap.facts, hit.connection, hit.base(&tap.facts), room.cast());
        }

        (*event).label_len = hit.label.len;
        let to = (&raw mut (*event).label).cast::<u64>();
        for (at, word) in hit.label.text.iter().enumerate() {
            // Word by word: see `steps::zeros`.
            to.add(at).write_volatile(*word);
        }
    }
    Ok(())
}

/// Address of the probed instruction: the kernel sets it to the breakpoint's own.
#[inline(always)]
pub fn instruction_pointer(ctx: &ProbeContext) -> u64 {
    // SAFETY: a uprobe's context is a whole pt_regs.
    unsafe { (*ctx.regs).rip }
}
