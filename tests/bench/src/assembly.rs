//! Instructions of eBPF (RFC 9669), as far as the bench needs them.

use std::mem;
use std::os::fd::{AsRawFd as _, OwnedFd};

use aya_obj::generated::{
    BPF_ADD, BPF_ALU64, BPF_CALL, BPF_DW, BPF_EXIT, BPF_IMM, BPF_JEQ, BPF_JMP, BPF_K, BPF_LDX,
    BPF_MEM, BPF_MOV, BPF_PSEUDO_MAP_FD, BPF_RB_NO_WAKEUP, BPF_STX, BPF_X, bpf_func_id, bpf_insn,
};

/// What a function returns, and the program itself.
pub const R0: u8 = 0;
/// Arguments of a function; the first is the program's context.
const R1: u8 = 1;
const R2: u8 = 2;
const R3: u8 = 3;
/// Kept over calls.
const R6: u8 = 6;
const R7: u8 = 7;

/// Bytes from the context, `struct pt_regs`, to rdi and rdx, arguments 0 and 2 of the probed function.
const ARGUMENT_0: i16 = 112;
const ARGUMENT_2: i16 = 96;
/// `BPF_LD`.
const LOAD: u32 = 0;

/// Bytes of a client random, and of a secret of SHA-384.
const RANDOM: i32 = 32;
const SECRET: i32 = 48;
/// Bytes of what is told: both, the time, and who it was.
const TOLD: i32 = RANDOM + SECRET + 16;

/// See `Program::least`.
pub fn least(ring: &OwnedFd, random: u32) -> Vec<bpf_insn> {
    let mut program = vec![copy(R6, R1)];
    program.extend(map(R1, ring));
    program.extend([
        number(R2, TOLD),
        number(R3, 0),
        call(bpf_func_id::BPF_FUNC_ringbuf_reserve),
        // To the end: the ring is full.
        instruction(BPF_JMP | BPF_JEQ | BPF_K, R0, 0, 18, 0),
        copy(R7, R0),
        copy(R1, R7),
        number(R2, RANDOM),
        load(R3, R6, ARGUMENT_0),
        add(R3, random as i32),
        call(bpf_func_id::BPF_FUNC_probe_read_user),
        copy(R1, R7),
        add(R1, RANDOM),
        number(R2, SECRET),
        load(R3, R6, ARGUMENT_2),
        call(bpf_func_id::BPF_FUNC_probe_read_user),
        call(bpf_func_id::BPF_FUNC_ktime_get_boot_ns),
        store(R7, (RANDOM + SECRET) as i16, R0),
        call(bpf_func_id::BPF_FUNC_get_current_pid_tgid),
        store(R7, (RANDOM + SECRET) as i16 + 8, R0),
        copy(R1, R7),
        number(R2, BPF_RB_NO_WAKEUP as i32),
        call(bpf_func_id::BPF_FUNC_ringbuf_submit),
        number(R0, 0),
        exit(),
    ]);
    program
}

/// Sets a register.
pub fn number(to: u8, number: i32) -> bpf_insn {
    instruction(BPF_ALU64 | BPF_MOV | BPF_K, to, 0, 0, number)
}

/// Ends the program.
pub fn exit() -> bpf_insn {
    instruction(BPF_JMP | BPF_EXIT, 0, 0, 0, 0)
}

fn copy(to: u8, from: u8) -> bpf_insn {
    instruction(BPF_ALU64 | BPF_MOV | BPF_X, to, from, 0, 0)
}

fn add(to: u8, number: i32) -> bpf_insn {
    instruction(BPF_ALU64 | BPF_ADD | BPF_K, to, 0, 0, number)
}

fn load(to: u8, from: u8, at: i16) -> bpf_insn {
    instruction(BPF_LDX | BPF_MEM | BPF_DW, to, from, at, 0)
}

fn store(to: u8, at: i16, from: u8) -> bpf_insn {
    instruction(BPF_STX | BPF_MEM | BPF_DW, to, from, at, 0)
}

fn call(function: bpf_func_id) -> bpf_insn {
    instruction(BPF_JMP | BPF_CALL, 0, 0, 0, function as i32)
}

/// Sets a register to a map: two instructions.
fn map(to: u8, map: &OwnedFd) -> [bpf_insn; 2] {
    let first =
        instruction(LOAD | BPF_IMM | BPF_DW, to, BPF_PSEUDO_MAP_FD as u8, 0, map.as_raw_fd());
    [first, instruction(0, 0, 0, 0, 0)]
}

fn instruction(code: u32, to: u8, from: u8, offset: i16, number: i32) -> bpf_insn {
    // SAFETY: integers and a bit field of them, of which zeros are one.
    let mut instruction: bpf_insn = unsafe { mem::zeroed() };
    instruction.code = code as u8;
    instruction.set_dst_reg(to);
    instruction.set_src_reg(from);
    instruction.off = offset;
    instruction.imm = number;
    instruction
}
