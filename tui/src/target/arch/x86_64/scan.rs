//! Byte scans over x86-64 code: at every offset, with no disassembly.

use std::ops::Range;

use memchr::{memchr_iter, memchr2_iter, memmem};

use crate::target::arch::{Addresses, Code, Mention};
use crate::target::bytes::u32_at;

/// `lea reg, [rip + disp32]` with a REX.W prefix: 48 or 4C, 8D, ModRM, displacement.
const LEA: u8 = 0x8d;
const LEA_LENGTH: u64 = 7;
/// `call rel32`.
const CALL: u8 = 0xe8;
/// `jmp rel32`.
const JUMP: u8 = 0xe9;
/// `jmp rel8`.
const SHORT_JUMP: u8 = 0xeb;

/// Finds what may be instructions that load one of `wanted`: `lea` relative to the instruction pointer, and in
/// images at a fixed address moves of 32-bit constants to a register or a stack slot.
pub fn references(code: Code<'_>, wanted: &Addresses, found: &mut Vec<u64>) {
    let Code { bytes, address, own, .. } = code;
    for opcode in memchr_iter(LEA, bytes) {
        let Some(start) = opcode.checked_sub(1) else {
            continue;
        };
        if start >= own || bytes[start] & 0xfb != 0x48 {
            continue;
        }
        let (Some(&modrm), Some(displacement)) = (bytes.get(opcode + 1), u32_at(bytes, opcode + 2))
        else {
            continue;
        };
        let at = address.wrapping_add(start as u64);
        if modrm & 0xc7 == 0x05 && wanted.contains(relative(at + LEA_LENGTH, displacement)) {
            found.push(at);
        }
    }
    if code.fixed {
        constants(bytes, wanted, |constant| {
            if let Some(start) = constant_move(bytes, constant)
                && start < own
            {
                found.push(address.wrapping_add(start as u64));
            }
        });
    }
}

/// Calls `visit` with each offset of a 32-bit constant that is in `wanted`.
///
/// The labels of a library lie together, so that the third byte of their addresses has few values, and is rarer in
/// code than the fourth: search for that one byte, and compare the rest.
fn constants(bytes: &[u8], wanted: &Addresses, mut visit: impl FnMut(usize)) {
    let mut thirds: Vec<u8> =
        wanted.as_slice().iter().map(|address| (address >> 16) as u8).collect();
    thirds.sort_unstable();
    thirds.dedup();
    for third in thirds {
        for at in memchr_iter(third, bytes) {
            if let Some(start) = at.checked_sub(2)
                && let Some(value) = u32_at(bytes, start)
                && wanted.contains(u64::from(value))
            {
                visit(start);
            }
        }
    }
}

/// Where the move starts whose constant operand is at `constant`, if the bytes before it are those of one.
fn constant_move(bytes: &[u8], constant: usize) -> Option<usize> {
    let before =
        |distance: usize| constant.checked_sub(distance).and_then(|at| bytes.get(at).copied());
    let start = |distance: usize| Some(constant - distance);
    // C7 /0 stores: [rsp+disp8], [rsp+disp32], [rbp+disp8], [rbp+disp32], with REX.W.
    if before(5) == Some(0x48)
        && before(4) == Some(0xc7)
        && before(3) == Some(0x44)
        && before(2) == Some(0x24)
    {
        return start(5);
    }
    if before(8) == Some(0x48)
        && before(7) == Some(0xc7)
        && before(6) == Some(0x84)
        && before(5) == Some(0x24)
    {
        return start(8);
    }
    if before(4) == Some(0x48) && before(3) == Some(0xc7) && before(2) == Some(0x45) {
        return start(4);
    }
    if before(7) == Some(0x48) && before(6) == Some(0xc7) && before(5) == Some(0x85) {
        return start(7);
    }
    // mov r64, imm32 (C7 /0, sign-extended).
    if matches!(before(3), Some(0x48 | 0x49))
        && before(2) == Some(0xc7)
        && before(1)? & 0xf8 == 0xc0
    {
        return start(3);
    }
    // mov r32, imm32.
    if before(1)? & 0xf8 == 0xb8 {
        return start(if before(2) == Some(0x41) { 2 } else { 1 });
    }
    None
}

/// Finds every place where `wanted` may be the target of a relative 32-bit operand (call, jump, conditional jump, or
/// an operand relative to the instruction pointer that ends its instruction), of a short jump, or, in images at a
/// fixed address, a 32-bit constant.
pub fn mentions(code: Code<'_>, wanted: u64, found: &mut Vec<Mention>) {
    let Code { bytes, address, own, fixed } = code;
    // address + start + 6 + operand == wanted, modulo 2^32: the images are smaller than that.
    let goal = (wanted.wrapping_sub(address) as u32).wrapping_sub(6);
    let constant = if fixed { u32::try_from(wanted).ok() } else { None };
    for start in operands(bytes, own, goal, constant) {
        let window = &bytes[start..start + 6];
        let operand = u32::from_le_bytes([window[2], window[3], window[4], window[5]]);
        let relative = operand.wrapping_add(start as u32) == goal;
        // The padding before a function often ends in four zeros, which would be an operand with this target: an
        // operand counts only after bytes that can come before one.
        let call = relative && matches!(window[1], CALL | JUMP);
        let branch = window[0] == 0x0f && window[1] & 0xf0 == 0x80;
        let modrm = window[1] & 0xc7 == 0x05;
        if call || !relative || branch || modrm {
            found.push(Mention { address: address.wrapping_add(start as u64 + 1), call });
        }
    }
    short_jumps(code, wanted, found);
}

/// Each of the first `own` offsets of `bytes` that has, 2 bytes further, the operand that makes `goal` with the offset,
/// or `constant`; in their order.
fn operands(bytes: &[u8], own: usize, goal: u32, constant: Option<u32>) -> Vec<usize> {
    let own = own.min(bytes.len().saturating_sub(5));
    let mut found = Vec::new();
    let mut from = 0;
    while from < own {
        // The third byte of the operand is the same for 64 KiB of code: it is what is searched for.
        let operand = goal.wrapping_sub(from as u32);
        let to = own.min(from + usize::from(operand as u16) + 1);
        for at in memchr_iter((operand >> 16) as u8, &bytes[from + 4..to + 4]) {
            let start = from + at;
            if u32_at(bytes, start + 2) == Some(goal.wrapping_sub(start as u32)) {
                found.push(start);
            }
        }
        from = to;
    }
    if let Some(constant) = constant
        && own > 0
    {
        found.extend(memmem::find_iter(&bytes[2..own + 5], &constant.to_le_bytes()));
        found.sort_unstable();
        found.dedup();
    }
    found
}

/// `jmp rel8`, conditional jumps and loops: they reach 128 bytes, so that only code beside `wanted` is looked at.
fn short_jumps(code: Code<'_>, wanted: u64, found: &mut Vec<Mention>) {
    let Code { bytes, address, own, .. } = code;
    let from = wanted.saturating_sub(130).max(address);
    let to = wanted.saturating_add(130).min(address.saturating_add(own as u64));
    for at in from..to {
        let offset = (at - address) as usize;
        if let Some(&[opcode, distance]) = bytes.get(offset..offset + 2)
            && matches!(opcode, SHORT_JUMP | 0x70..=0x7f | 0xe0..=0xe3)
            && at.wrapping_add(2).wrapping_add_signed(i64::from(distance as i8)) == wanted
        {
            found.push(Mention { address: at, call: opcode == SHORT_JUMP });
        }
    }
}

/// Finds the targets in one of `within` of `call rel32` and `jmp rel32`, and whether it is a call.
pub fn call_targets(code: Code<'_>, within: &[Range<u64>], found: &mut Vec<(u64, bool)>) {
    let Code { bytes, address, own, .. } = code;
    let first = within.iter().map(|range| range.start).min().unwrap_or(0);
    let span = within.iter().map(|range| range.end).max().unwrap_or(0).saturating_sub(first);
    for start in memchr2_iter(CALL, JUMP, bytes) {
        if start >= own {
            break;
        }
        let Some(distance) = u32_at(bytes, start + 1) else {
            break;
        };
        let target = relative(address.wrapping_add(start as u64 + 5), distance);
        if target.wrapping_sub(first) < span && within.iter().any(|range| range.contains(&target)) {
            found.push((target, bytes[start] == CALL));
        }
    }
}

fn relative(next: u64, displacement: u32) -> u64 {
    next.wrapping_add_signed(i64::from(displacement as i32))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_of_calls_and_jumps() {
        // call +0x10; jmp +0x20; je +0: at 0x401000, 0x401005, 0x40100a.
        let bytes = [0xe8, 0x10, 0, 0, 0, 0xe9, 0x20, 0, 0, 0, 0x0f, 0x84, 0, 0, 0, 0, 0xe8];
        let found = |within: &[Range<u64>]| {
            let mut found = Vec::new();
            call_targets(code(&bytes, false), within, &mut found);
            found
        };
        assert_eq!(
            found(&[0x40_1000..0x40_1020, 0x40_1020..0x40_2000]),
            [(0x40_1015, true), (0x40_102a, false)]
        );
        assert_eq!(found(&[0x40_1000..0x40_1015, 0x40_102a..0x40_102b]), [(0x40_102a, false)]);
        assert!(found(&[0x40_1016..0x40_102a, 0..0x40_1000]).is_empty());
        assert!(found(&[]).is_empty());
    }

    fn code(bytes: &[u8], fixed: bool) -> Code<'_> {
        Code { bytes, address: 0x40_1000, own: bytes.len(), fixed }
    }

    #[test]
    fn finds_lea_at_any_offset() {
        // 4 bytes of something, then lea r10, [rip+0x100] at 0x401004: 0x40100b + 0x100.
        let bytes = [0xe8, 0x8d, 0x05, 0x00, 0x4c, 0x8d, 0x15, 0x00, 0x01, 0, 0];
        let mut found = Vec::new();
        references(code(&bytes, false), &Addresses::new(vec![0x40_110b, 0x50_0000]), &mut found);
        assert_eq!(found, [0x40_1004]);
    }

    #[test]
    fn finds_constants_only_at_fixed_addresses() {
        let wanted = Addresses::new(vec![0x02d5_6f6a]);
        let bytes = [
            0xbe, 0x6a, 0x6f, 0xd5, 0x02, // mov esi, imm32
            0x41, 0xb8, 0x6a, 0x6f, 0xd5, 0x02, // mov r8d, imm32
            0x48, 0xc7, 0xc0, 0x6a, 0x6f, 0xd5, 0x02, // mov rax, imm32
            0x48, 0xc7, 0x44, 0x24, 0x30, 0x6a, 0x6f, 0xd5,
            0x02, // mov qword [rsp+0x30], imm32
            0x3d, 0x6a, 0x6f, 0xd5, 0x02, // cmp eax, imm32: not a move
        ];
        let mut found = Vec::new();
        references(code(&bytes, true), &wanted, &mut found);
        assert_eq!(found, [0x40_1000, 0x40_1005, 0x40_100b, 0x40_1012]);
        found.clear();
        references(code(&bytes, false), &wanted, &mut found);
        assert!(found.is_empty());
    }

    #[test]
    fn operands_are_found_across_the_steps_of_the_search() {
        let mut bytes = vec![0x90; 3 << 16];
        let own = bytes.len() - 9;
        let goal = 0x1_2345_u32;
        let starts = [0, 0x2344, 0x2345, 0x2346, 0x1_2345, 0x1_2346, 0x2_fff0, own - 1, own];
        let starts = starts.into_iter().filter(|start| start % 4 == 0);
        for start in starts.clone() {
            let operand = goal.wrapping_sub(start as u32);
            bytes[start + 2..start + 6].copy_from_slice(&operand.to_le_bytes());
        }
        bytes[0x300..0x304].copy_from_slice(&0x0048_4801_u32.to_le_bytes());
        let expected = |start: usize, operand| {
            operand == goal.wrapping_sub(start as u32) || operand == 0x0048_4801
        };
        let naive = |start: &usize| expected(*start, u32_at(&bytes, start + 2).unwrap());
        let naive: Vec<usize> = (0..own).filter(naive).collect();
        assert!(naive.len() >= 4, "{naive:x?}");
        assert_eq!(operands(&bytes, own, goal, Some(0x0048_4801)), naive);
        assert_eq!(operands(&bytes[..5], 5, goal, Some(1)), [0usize; 0]);
    }

    #[test]
    fn mentions_are_calls_jumps_and_addresses() {
        let bytes = [
            0x90, 0xe8, 0x0a, 0, 0, 0, // nop, call 0x401010
            0x48, 0x8d, 0x05, 0x03, 0, 0, 0, // lea rax, [0x401010]
            0xeb, 0x01, // jmp 0x401010
            0x74, 0xff, // je 0x401010
            0xc3,
        ];
        let mut found = Vec::new();
        mentions(code(&bytes, true), 0x40_1010, &mut found);
        let found: Vec<_> = found.iter().map(|m| (m.address - 0x40_1000, m.call)).collect();
        assert_eq!(found, [(1, true), (8, false), (13, true), (15, false)]);
    }
}
