//! x86-64 with the System V calling convention.

mod decode;
mod probe;
mod scan;

use std::ops::Range;

use super::{Addresses, Arch, Code, Insn, Mention, ProbeCost, Reg, Regs};

/// The x86-64 instruction set.
#[derive(Clone, Copy, Debug, Default)]
pub struct X86_64;

// Numbers as in the encoding.
const RAX: Reg = Reg(0);
const RCX: Reg = Reg(1);
const RDX: Reg = Reg(2);
const RSP: Reg = Reg(4);
const RBP: Reg = Reg(5);
const RSI: Reg = Reg(6);
const RDI: Reg = Reg(7);
const R8: Reg = Reg(8);
const R9: Reg = Reg(9);
const R10: Reg = Reg(10);
const R11: Reg = Reg(11);

impl Arch for X86_64 {
    fn arguments(&self) -> &'static [Reg] {
        &[RDI, RSI, RDX, RCX, R8, R9]
    }

    fn stack(&self) -> Reg {
        RSP
    }

    fn frame(&self) -> Reg {
        RBP
    }

    fn caller_saved(&self) -> Regs {
        Regs::of(&[RAX, RCX, RDX, RSI, RDI, R8, R9, R10, R11])
    }

    fn longest(&self) -> usize {
        15
    }

    fn decode(&self, bytes: &[u8], address: u64) -> Option<Insn> {
        decode::decode(bytes, address)
    }

    fn references(&self, code: Code<'_>, wanted: &Addresses, found: &mut Vec<u64>) {
        scan::references(code, wanted, found);
    }

    fn mentions(&self, code: Code<'_>, wanted: u64, found: &mut Vec<Mention>) {
        scan::mentions(code, wanted, found);
    }

    fn call_targets(&self, code: Code<'_>, within: &[Range<u64>], found: &mut Vec<u64>) {
        scan::call_targets(code, within, found);
    }

    fn padding(&self) -> (u64, u8) {
        // `int3`, by LLD.
        (16, 0xcc)
    }

    fn probe_cost(&self, bytes: &[u8]) -> ProbeCost {
        probe::cost(bytes)
    }
}
