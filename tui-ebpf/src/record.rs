//! A tap whose values are where the operands of its image say: for libraries with another calling convention, or with
//! the secret in a structure.

use aya_ebpf::EbpfContext as _;
use aya_ebpf::helpers::bpf_get_current_pid_tgid;
use aya_ebpf::helpers::generated::{
    bpf_get_attach_cookie, bpf_get_current_comm, bpf_ktime_get_boot_ns, bpf_probe_read_user,
    bpf_probe_read_user_str,
};
use aya_ebpf::macros::uprobe;
use aya_ebpf::programs::ProbeContext;
use tlskeytop_common::{
    COMM_LEN, Cookie, Counter, FACTS, FOLLOWS, LABEL_MAX, LABEL_ROOM, Operand, RANDOM_LEN,
    REGISTERS, RecordConfig, SECRET_MAX, SecretEvent,
};

use crate::maps::{EVENTS, RECORDS, count, reports, wake_up};
use crate::steps;
use crate::tap::instruction_pointer;
use crate::token;

/// An instruction at which a secret and all that belongs to it can be found.
#[uprobe]
pub fn record(ctx: ProbeContext) -> u32 {
    count(Counter::Hits);
    let pid_tgid = bpf_get_current_pid_tgid();
    if !reports((pid_tgid >> 32) as u32) {
        count(Counter::Filtered);
        return 0;
    }
    submit(&ctx, pid_tgid, in_place);
    0
}

/// The same where the secret is an NSS key: a handle of an object in its softoken.
#[uprobe]
pub fn record_key(ctx: ProbeContext) -> u32 {
    count(Counter::Hits);
    let pid_tgid = bpf_get_current_pid_tgid();
    if !reports((pid_tgid >> 32) as u32) {
        count(Counter::Filtered);
        return 0;
    }
    submit(&ctx, pid_tgid, |registers, config| {
        token::value(pid_tgid, find(registers, &config.secret)?)
    });
    0
}

type Registers = [u64; REGISTERS];

/// Address and length of a secret that is where the operands say.
#[inline(always)]
fn in_place(registers: &Registers, config: &RecordConfig) -> Option<(u64, u64)> {
    Some((find(registers, &config.secret)?, find(registers, &config.secret_length)?))
}

#[inline(always)]
fn submit(
    ctx: &ProbeContext,
    pid_tgid: u64,
    secret: impl Fn(&Registers, &RecordConfig) -> Option<(u64, u64)>,
) {
    // SAFETY: the helper only wants the program's own context.
    let cookie = unsafe { bpf_get_attach_cookie(ctx.as_ptr()) };
    let Some(config) = RECORDS.get(Cookie::unpack(cookie).slot) else {
        return;
    };
    let registers = registers(ctx);
    // Before there is an entry: what is looked up must not be in the way of its release.
    let Some(secret) = secret(&registers, config) else {
        count(Counter::SecretUnreadable);
        return;
    };
    let Some(mut entry) = EVENTS.reserve::<SecretEvent>(0) else {
        count(Counter::RingFull);
        return;
    };
    let event = entry.as_mut_ptr();
    // SAFETY: `event` points to room for one SecretEvent in the ring buffer, which is ours until it
    // is submitted or discarded; each field is written before that.
    let result = unsafe { fill(ctx, event, config, &registers, secret, cookie, pid_tgid) };
    match result {
        Ok(()) => entry.submit(wake_up((pid_tgid >> 32) as u32)),
        Err(counter) => {
            count(counter);
            entry.discard(0);
        }
    }
}

/// Writes every field of `event`.
///
/// # Safety
///
/// `event` must point to writable room for one [`SecretEvent`].
#[inline(always)]
unsafe fn fill(
    ctx: &ProbeContext,
    event: *mut SecretEvent,
    config: &RecordConfig,
    registers: &Registers,
    (secret, length): (u64, u64),
    cookie: u64,
    pid_tgid: u64,
) -> Result<(), Counter> {
    let label = find(registers, &config.label).unwrap_or(0);
    let random = find(registers, &config.client_random).ok_or(Counter::RandomUnreadable)?;

    // SAFETY: `event` is valid by this function's contract, and the helpers check user addresses.
    unsafe {
        (*event).time_ns = bpf_ktime_get_boot_ns();
        (*event).cookie = cookie;
        (*event).connection = find(registers, &config.connection).unwrap_or(0);
        (*event).label_delta = label.wrapping_sub(instruction_pointer(ctx)) as i64;
        (*event).pid = (pid_tgid >> 32) as u32;
        (*event).tid = pid_tgid as u32;
        (*event).label_number = find(registers, &config.label_number).unwrap_or(0) as u32;
        (*event).reserved = 0;
        // The helper fills it to its end.
        bpf_get_current_comm((&raw mut (*event).comm).cast(), COMM_LEN as u32);

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
        steps::clear::<FACTS>((&raw mut (*event).facts).cast());

        steps::clear::<LABEL_ROOM>((&raw mut (*event).label).cast());
        (*event).label_len = match config.label.is_there {
            0 => 0,
            _ => read_label(&raw mut (*event).label, label, find(registers, &config.label_length)),
        };
    }
    Ok(())
}

/// The label's length; 0 when it could not be read. One that is too long is not read, and keeps its length.
///
/// # Safety
///
/// `to` must point to writable room for a label.
#[inline(always)]
unsafe fn read_label(to: *mut [u8; LABEL_ROOM], label: u64, length: Option<u64>) -> u32 {
    let room = to.cast();
    // SAFETY: `to` has room for LABEL_ROOM bytes, and no more are asked for; the helpers check the address.
    let read = unsafe {
        match length {
            None => bpf_probe_read_user_str(room, LABEL_ROOM as u32, label as *const _) - 1,
            Some(length) if length > LABEL_MAX as u64 => return LABEL_MAX as u32 + 1,
            Some(length) if steps::read::<{ LABEL_MAX as u64 }>(room.cast(), length, label) => {
                length as i64
            }
            Some(_) => -1,
        }
    };
    if read < 0 {
        // The page of .rodata may not be resident: user space then reads the label from the file.
        count(Counter::LabelUnreadable);
        return 0;
    }
    read as u32
}

/// What an operand says; `None` where there is none, or a pointer could not be followed.
#[inline(always)]
fn find(registers: &Registers, operand: &Operand) -> Option<u64> {
    if operand.is_there == 0 {
        return None;
    }
    if operand.is_there == Operand::CONSTANT {
        return Some(operand.add as i64 as u64);
    }
    let mut value = registers[operand.register as usize % REGISTERS];
    for step in 0..FOLLOWS {
        if step >= operand.follows as usize {
            break;
        }
        let mut next = 0u64;
        let from = value.wrapping_add(operand.at[step] as i64 as u64);
        // SAFETY: `next` has room for the 8 bytes, and the helper checks `from`.
        if unsafe { bpf_probe_read_user((&raw mut next).cast(), 8, from as *const _) } != 0 {
            return None;
        }
        value = next;
    }
    value = value.wrapping_add(operand.add as i64 as u64);
    Some(if operand.is_half != 0 { value & u64::from(u32::MAX) } else { value })
}

/// The general purpose registers, by their numbers in the instruction set.
#[inline(always)]
fn registers(ctx: &ProbeContext) -> Registers {
    // SAFETY: a uprobe's context is a whole pt_regs.
    let regs = unsafe { &*ctx.regs };
    [
        regs.rax, regs.rcx, regs.rdx, regs.rbx, regs.rsp, regs.rbp, regs.rsi, regs.rdi, regs.r8,
        regs.r9, regs.r10, regs.r11, regs.r12, regs.r13, regs.r14, regs.r15,
    ]
}
