//! From an x86-64 instruction to what is followed of it.

use std::cell::RefCell;

use iced_x86::{
    Decoder, DecoderOptions, FlowControl, Instruction, InstructionInfo, InstructionInfoFactory,
    InstructionInfoOptions, Mnemonic, OpAccess, OpKind, Register,
};

use super::RSP;
use crate::target::arch::{Effect, Flow, Insn, Place, Reg, Regs, Source};

thread_local! {
    /// Its lists of registers and places are used again for each instruction.
    static INFO: RefCell<InstructionInfoFactory> = RefCell::new(InstructionInfoFactory::new());
}

/// Decodes the instruction at the start of `bytes`, which is at `address`.
pub fn decode(bytes: &[u8], address: u64) -> Option<Insn> {
    let mut decoder = Decoder::with_ip(64, bytes, address, DecoderOptions::NONE);
    if !decoder.can_decode() {
        return None;
    }
    let instruction = decoder.decode();
    if instruction.is_invalid() {
        return None;
    }
    let mut insn = Insn {
        address,
        length: instruction.len() as u8,
        effect: Effect::None,
        clobbers: Regs::default(),
        reads: None,
        writes_elsewhere: false,
        flow: flow(&instruction),
    };
    if matches!(insn.flow, Flow::Next) {
        insn.effect = effect(&instruction);
        INFO.with_borrow_mut(|factory| {
            let info = factory.info_options(&instruction, InstructionInfoOptions::NONE);
            add_uses(&mut insn, &instruction, info);
        });
    } else if matches!(insn.flow, Flow::Call(_)) && has_memory(&instruction) {
        insn.reads = place(&instruction);
    }
    Some(insn)
}

/// Adds what `info` says of registers and memory beyond the effect.
fn add_uses(insn: &mut Insn, instruction: &Instruction, info: &InstructionInfo) {
    insn.reads = info
        .used_memory()
        .iter()
        .any(|memory| reads(memory.access()))
        .then(|| place(instruction))
        .flatten();
    for used in info.used_registers() {
        if let Some(register) = general(used.register())
            && writes(used.access())
            && !follows(&insn.effect, register)
        {
            insn.clobbers.insert(register);
        }
    }
    if info.used_memory().iter().any(|memory| writes(memory.access())) {
        match (insn.effect, place(instruction)) {
            (Effect::Store(..) | Effect::Push(_), _) => {}
            (Effect::None, Some(place)) => insn.effect = Effect::Store(place, Source::Unknown),
            // `pop` into memory, or a place that is not followed.
            _ => insn.writes_elsewhere = true,
        }
    }
}

fn flow(instruction: &Instruction) -> Flow {
    match instruction.flow_control() {
        FlowControl::Next => Flow::Next,
        FlowControl::UnconditionalBranch => Flow::Jump(instruction.near_branch_target()),
        FlowControl::ConditionalBranch => Flow::Branch(instruction.near_branch_target()),
        FlowControl::Call if instruction.mnemonic() == Mnemonic::Call => {
            Flow::Call(Some(instruction.near_branch_target()))
        }
        FlowControl::Call
            if matches!(instruction.mnemonic(), Mnemonic::Syscall | Mnemonic::Sysenter) =>
        {
            Flow::Next
        }
        FlowControl::IndirectCall => Flow::Call(None),
        _ => Flow::End,
    }
}

fn effect(instruction: &Instruction) -> Effect {
    use Effect::{Assign, MayAssign, Pop, Push, Store};
    match instruction.mnemonic() {
        Mnemonic::Mov => match (whole(instruction, 0), memory_operand(instruction, 0)) {
            (Some(to), _) => Assign(to, source(instruction, 1)),
            (None, true) => match place(instruction) {
                Some(place) => Store(place, source(instruction, 1)),
                None => Effect::None,
            },
            _ => Effect::None,
        },
        // Into 32 bits it is no address.
        Mnemonic::Lea => match (whole(instruction, 0), place(instruction)) {
            (Some(to), Some(place)) if instruction.op0_register().is_gpr64() => {
                Assign(to, Source::Address(Place { size: 0, ..place }))
            }
            _ => Effect::None,
        },
        Mnemonic::Xor | Mnemonic::Sub
            if instruction.op1_kind() == OpKind::Register
                && instruction.op0_kind() == OpKind::Register
                && instruction.op0_register() == instruction.op1_register() =>
        {
            match whole(instruction, 0) {
                Some(to) => Assign(to, Source::Constant(0)),
                None => Effect::None,
            }
        }
        Mnemonic::Add | Mnemonic::Sub | Mnemonic::Inc | Mnemonic::Dec => sum(instruction),
        // Aligning the stack pointer keeps every slot that is used afterwards distinct: treat it as no change.
        Mnemonic::And if whole(instruction, 0) == Some(RSP) => Assign(RSP, Source::Reg(RSP)),
        // Of 16 bits they move the stack pointer by 2: no compiler makes them, and it is not followed.
        Mnemonic::Push | Mnemonic::Pop if instruction.stack_pointer_increment().abs() != 8 => {
            Effect::None
        }
        Mnemonic::Push => Push(source(instruction, 0)),
        Mnemonic::Pop => match whole(instruction, 0) {
            Some(to) => Pop(to),
            None => Assign(RSP, Source::Address(offset_from(RSP, 8))),
        },
        Mnemonic::Cmova
        | Mnemonic::Cmovae
        | Mnemonic::Cmovb
        | Mnemonic::Cmovbe
        | Mnemonic::Cmove
        | Mnemonic::Cmovg
        | Mnemonic::Cmovge
        | Mnemonic::Cmovl
        | Mnemonic::Cmovle
        | Mnemonic::Cmovne
        | Mnemonic::Cmovno
        | Mnemonic::Cmovnp
        | Mnemonic::Cmovns
        | Mnemonic::Cmovo
        | Mnemonic::Cmovp
        | Mnemonic::Cmovs => match whole(instruction, 0) {
            Some(to) => MayAssign(to, source(instruction, 1)),
            None => Effect::None,
        },
        _ => Effect::None,
    }
}

/// `add`, `sub`, `inc` and `dec` of a whole register by a constant.
fn sum(instruction: &Instruction) -> Effect {
    let Some(to) = whole(instruction, 0) else {
        return Effect::None;
    };
    if instruction.op0_register().size() != 8 {
        return Effect::None;
    }
    let by = match (instruction.mnemonic(), constant(instruction, 1)) {
        (Mnemonic::Inc, _) => 1,
        (Mnemonic::Dec, _) => -1,
        (Mnemonic::Add, Some(by)) => by as i64,
        (Mnemonic::Sub, Some(by)) => (by as i64).wrapping_neg(),
        _ => return Effect::None,
    };
    Effect::Assign(to, Source::Address(offset_from(to, by)))
}

fn offset_from(base: Reg, offset: i64) -> Place {
    Place { base: Some(base), index: None, offset, size: 0 }
}

fn source(instruction: &Instruction, operand: u32) -> Source {
    if let Some(value) = constant(instruction, operand) {
        // A 32-bit operation clears the upper half, a 64-bit one extends the sign, as iced has done.
        let narrow =
            instruction.op0_kind() == OpKind::Register && instruction.op0_register().size() == 4;
        return Source::Constant(if narrow { value & 0xffff_ffff } else { value });
    }
    if memory_operand(instruction, operand) {
        return match place(instruction) {
            Some(place) if place.size == 8 => Source::Load(place),
            _ => Source::Unknown,
        };
    }
    match (general(instruction.op_register(operand)), instruction.op_kind(operand)) {
        (Some(register), OpKind::Register) => match instruction.op_register(operand).size() {
            8 => Source::Reg(register),
            4 => Source::LowHalf(register),
            _ => Source::Unknown,
        },
        _ => Source::Unknown,
    }
}

fn constant(instruction: &Instruction, operand: u32) -> Option<u64> {
    if operand >= instruction.op_count() {
        return None;
    }
    match instruction.op_kind(operand) {
        OpKind::Immediate8
        | OpKind::Immediate16
        | OpKind::Immediate32
        | OpKind::Immediate64
        | OpKind::Immediate8to16
        | OpKind::Immediate8to32
        | OpKind::Immediate8to64
        | OpKind::Immediate32to64 => Some(instruction.immediate(operand)),
        _ => None,
    }
}

fn has_memory(instruction: &Instruction) -> bool {
    (0..instruction.op_count()).any(|operand| memory_operand(instruction, operand))
}

fn memory_operand(instruction: &Instruction, operand: u32) -> bool {
    operand < instruction.op_count() && instruction.op_kind(operand) == OpKind::Memory
}

/// The memory operand, unless it is relative to a segment (thread-local data) or has a vector index.
fn place(instruction: &Instruction) -> Option<Place> {
    if !has_memory(instruction)
        || matches!(instruction.segment_prefix(), Register::FS | Register::GS)
    {
        return None;
    }
    let size = u8::try_from(instruction.memory_size().size()).unwrap_or(u8::MAX);
    let (base, index) = (instruction.memory_base(), instruction.memory_index());
    let offset = instruction.memory_displacement64() as i64;
    if base == Register::RIP {
        return Some(Place { base: None, index: None, offset, size });
    }
    let known = |register: Register| register == Register::None || register.is_gpr64();
    if !known(base) || !known(index) {
        return None;
    }
    Some(Place {
        base: general(base),
        index: general(index).map(|register| (register, instruction.memory_index_scale() as u8)),
        offset,
        size,
    })
}

/// The register operand if it is written as a whole: 64 bits, or 32 bits that clear the rest.
fn whole(instruction: &Instruction, operand: u32) -> Option<Reg> {
    if operand >= instruction.op_count() || instruction.op_kind(operand) != OpKind::Register {
        return None;
    }
    let register = instruction.op_register(operand);
    (register.is_gpr32() || register.is_gpr64()).then(|| general(register)).flatten()
}

fn general(register: Register) -> Option<Reg> {
    (register.is_gpr()).then(|| Reg(register.full_register().number() as u8))
}

/// Whether the effect says what becomes of `register`.
fn follows(effect: &Effect, register: Reg) -> bool {
    match *effect {
        Effect::Assign(to, _) | Effect::MayAssign(to, _) => to == register,
        Effect::Push(_) => register == RSP,
        Effect::Pop(to) => to == register || register == RSP,
        Effect::Store(..) | Effect::None => false,
    }
}

fn reads(access: OpAccess) -> bool {
    matches!(
        access,
        OpAccess::Read | OpAccess::CondRead | OpAccess::ReadWrite | OpAccess::ReadCondWrite
    )
}

fn writes(access: OpAccess) -> bool {
    matches!(
        access,
        OpAccess::Write | OpAccess::CondWrite | OpAccess::ReadWrite | OpAccess::ReadCondWrite
    )
}

#[cfg(test)]
mod tests {
    use super::super::{RAX, RBP, RDI, RSI};
    use super::*;

    fn one(bytes: &[u8]) -> Insn {
        decode(bytes, 0x1000).unwrap()
    }

    #[test]
    fn moves_and_addresses() {
        // mov rdi, rsi
        assert_eq!(one(&[0x48, 0x89, 0xf7]).effect, Effect::Assign(RDI, Source::Reg(RSI)));
        // lea rax, [rip+0x10]
        let insn = one(&[0x48, 0x8d, 0x05, 0x10, 0, 0, 0]);
        let address = Place { base: None, index: None, offset: 0x1017, size: 0 };
        assert_eq!(insn.effect, Effect::Assign(RAX, Source::Address(address)));
        assert_eq!(insn.reads, None);
        // sub rsp, 0x20
        assert_eq!(
            one(&[0x48, 0x83, 0xec, 0x20]).effect,
            Effect::Assign(RSP, Source::Address(offset_from(RSP, -0x20)))
        );
        // mov ecx, 0x20 ; xor eax, eax
        assert_eq!(
            one(&[0xb9, 0x20, 0, 0, 0]).effect,
            Effect::Assign(Reg(1), Source::Constant(0x20))
        );
        assert_eq!(one(&[0x31, 0xc0]).effect, Effect::Assign(RAX, Source::Constant(0)));
    }

    #[test]
    fn what_is_not_followed_is_clobbered() {
        // movzx edx, byte ptr [rdi+5]
        let insn = one(&[0x0f, 0xb6, 0x57, 0x05]);
        assert_eq!(insn.effect, Effect::None);
        assert!(insn.clobbers.contains(Reg(2)));
        assert_eq!(insn.reads.map(|place| (place.offset, place.size)), Some((5, 1)));
        // mov al, 1 writes a part of rax
        assert!(one(&[0xb0, 0x01]).clobbers.contains(RAX));
        // mul rdi writes rax and rdx
        let insn = one(&[0x48, 0xf7, 0xe7]);
        assert!(insn.clobbers.contains(RAX) && insn.clobbers.contains(Reg(2)));
        // leave changes rsp and rbp
        let insn = one(&[0xc9]);
        assert!(insn.clobbers.contains(RSP) && insn.clobbers.contains(RBP));
    }

    #[test]
    fn writes_that_are_not_followed_are_told() {
        // rep movsq; rep stosb; mov fs:[rax], rcx
        for bytes in [&[0xf3, 0x48, 0xa5][..], &[0xf3, 0xaa], &[0x64, 0x48, 0x89, 0x08]] {
            let insn = one(bytes);
            assert_eq!((insn.effect, insn.writes_elsewhere), (Effect::None, true), "{bytes:x?}");
        }
        // pop qword [rsp+0x20]
        let insn = one(&[0x8f, 0x44, 0x24, 0x20]);
        assert!(insn.writes_elsewhere && matches!(insn.effect, Effect::Assign(RSP, _)));
        // push ax; pop ax
        for bytes in [&[0x66, 0x50][..], &[0x66, 0x58]] {
            assert!(one(bytes).clobbers.contains(RSP), "{bytes:x?}");
        }
        // movups [rsp+0x10], xmm0
        let insn = one(&[0x0f, 0x11, 0x44, 0x24, 0x10]);
        let place = Place { size: 16, ..offset_from(RSP, 0x10) };
        assert_eq!(insn.effect, Effect::Store(place, Source::Unknown));
        assert!(!insn.writes_elsewhere);
        // lea eax, [rsp+8] is no address.
        let insn = one(&[0x8d, 0x44, 0x24, 0x08]);
        assert_eq!(insn.effect, Effect::None);
        assert!(insn.clobbers.contains(RAX));
    }

    #[test]
    fn control_flow() {
        assert_eq!(one(&[0xe8, 0, 1, 0, 0]).flow, Flow::Call(Some(0x1105)));
        assert_eq!(one(&[0xe9, 0, 1, 0, 0]).flow, Flow::Jump(0x1105));
        assert_eq!(one(&[0x74, 0x10]).flow, Flow::Branch(0x1012));
        assert_eq!(one(&[0xff, 0xd0]).flow, Flow::Call(None));
        assert_eq!(one(&[0xff, 0xe0]).flow, Flow::End);
        assert_eq!(one(&[0xc3]).flow, Flow::End);
        assert_eq!(one(&[0x0f, 0x0b]).flow, Flow::End);
        assert_eq!(decode(&[], 0), None);
        assert_eq!(decode(&[0x48, 0x8d], 0), None);
    }
}
