//! What the Linux kernel does with a uprobe on an instruction (`arch/x86/kernel/uprobes.c`).
//!
//! `branch_setup_xol_ops` and `push_setup_xol_ops` emulate direct branches and pushes of a register; the rest is
//! single-stepped out of line. `is_prefix_bad` and the tables of good opcodes refuse some instructions. Only
//! instructions that compilers put at the start of functions are called usable here; the rest are not needed.

use iced_x86::{Decoder, DecoderOptions, FlowControl, Mnemonic};

use crate::target::arch::ProbeCost;

/// Prefixes with which a probe is refused or never fires: segments ES, CS, SS, DS, FS, GS, and LOCK.
const BAD_PREFIXES: [u8; 7] = [0x26, 0x2e, 0x36, 0x3e, 0x64, 0x65, 0xf0];
/// The other legacy prefixes: operand size, address size, REPNE (`bnd`), REPE.
const OTHER_PREFIXES: [u8; 4] = [0x66, 0x67, 0xf2, 0xf3];

/// The cost of a hit on the instruction at the start of `bytes`.
pub fn cost(bytes: &[u8]) -> ProbeCost {
    let prefixes = bytes
        .iter()
        .take_while(|byte| BAD_PREFIXES.contains(byte) || OTHER_PREFIXES.contains(byte))
        .count();
    if bytes[..prefixes].iter().any(|byte| BAD_PREFIXES.contains(byte)) {
        return ProbeCost::Unusable;
    }
    if prefixes == 0 && is_emulated(bytes) {
        return ProbeCost::Emulated;
    }
    let instruction = Decoder::with_ip(64, bytes, 0, DecoderOptions::NONE).decode();
    if instruction.is_invalid() {
        return ProbeCost::Unusable;
    }
    match instruction.mnemonic() {
        Mnemonic::Endbr64
        | Mnemonic::Nop
        | Mnemonic::Mov
        | Mnemonic::Movzx
        | Mnemonic::Movsx
        | Mnemonic::Movsxd
        | Mnemonic::Movups
        | Mnemonic::Movaps
        | Mnemonic::Movdqu
        | Mnemonic::Movdqa
        | Mnemonic::Movq
        | Mnemonic::Movd
        | Mnemonic::Pxor
        | Mnemonic::Xorps
        | Mnemonic::Lea
        | Mnemonic::Add
        | Mnemonic::Sub
        | Mnemonic::And
        | Mnemonic::Or
        | Mnemonic::Xor
        | Mnemonic::Cmp
        | Mnemonic::Test
        | Mnemonic::Push => ProbeCost::SingleStepped,
        // `default_post_xol_op` puts the return address right (UPROBE_FIX_CALL).
        _ if matches!(
            instruction.flow_control(),
            FlowControl::ConditionalBranch | FlowControl::IndirectCall
        ) =>
        {
            ProbeCost::SingleStepped
        }
        _ => ProbeCost::Unusable,
    }
}

/// Exactly the forms that the kernel emulates, without any prefix but REX 41 of a push.
fn is_emulated(bytes: &[u8]) -> bool {
    matches!(
        bytes,
        [0x50..=0x57, ..]
            | [0x41, 0x50..=0x57, ..]
            | [0xe8 | 0xe9, _, _, _, _, ..]
            | [0xeb | 0x70..=0x7f, _, ..]
            | [0x0f, 0x80..=0x8f, _, _, _, _, ..]
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pushes_and_branches_are_emulated() {
        for bytes in [
            &[0x55][..],
            &[0x41, 0x57],
            &[0xe8, 1, 2, 3, 4],
            &[0xe9, 1, 2, 3, 4],
            &[0xeb, 5],
            &[0x74, 5],
            &[0x0f, 0x84, 1, 2, 3, 4],
        ] {
            assert_eq!(cost(bytes), ProbeCost::Emulated, "{bytes:x?}");
        }
    }

    #[test]
    fn other_instructions_are_stepped_or_refused() {
        for bytes in [
            &[0xf3, 0x0f, 0x1e, 0xfa][..],   // endbr64
            &[0x48, 0x89, 0xf8],             // mov rax, rdi
            &[0x48, 0x83, 0xec, 0x18],       // sub rsp, 0x18
            &[0x40, 0x55],                   // push rbp with an empty REX: not emulated
            &[0xff, 0x77, 0x08],             // push [rdi+8]
            &[0x66, 0x90],                   // nop of 2 bytes
            &[0x0f, 0x1f, 0x44, 0x00, 0x00], // nop of 5 bytes
        ] {
            assert_eq!(cost(bytes), ProbeCost::SingleStepped, "{bytes:x?}");
        }
        for bytes in [
            &[0x64, 0x48, 0x8b, 0x04, 0x25, 0x28, 0, 0, 0][..], // mov rax, fs:[0x28]
            &[0x2e, 0x66, 0x90],
            &[0xf0, 0x48, 0xff, 0x07], // lock inc [rdi]
            &[0xcc],
            &[0xf4],
            &[0x66, 0xe8, 1, 2],
            &[],
            &[0x0f],
        ] {
            assert_eq!(cost(bytes), ProbeCost::Unusable, "{bytes:x?}");
        }
    }
}
