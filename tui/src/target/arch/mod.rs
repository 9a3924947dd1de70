//! Instruction sets, reduced to what the search needs: which registers and stack slots a value moves through, where
//! control goes, and what the kernel does with a probe. Everything above this folder is the same for every machine.

use std::ops::Range;

pub mod x86_64;

/// A general purpose register by its number in the instruction set, below 32.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Reg(pub u8);

/// A set of registers, one bit for each.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Regs(pub u32);

impl Regs {
    /// The set of the given registers.
    pub const fn of(registers: &[Reg]) -> Self {
        let mut set = 0;
        let mut i = 0;
        while i < registers.len() {
            set |= 1 << (registers[i].0 & 31);
            i += 1;
        }
        Self(set)
    }

    /// Adds one register.
    pub fn insert(&mut self, register: Reg) {
        self.0 |= 1 << (register.0 & 31);
    }

    /// Whether `register` is in the set.
    pub fn contains(self, register: Reg) -> bool {
        self.0 & (1 << (register.0 & 31)) != 0
    }
}

/// A place in memory: `base + index * scale + offset`, or `offset` alone when it is an address of the image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// Base register.
    pub base: Option<Reg>,
    /// Index register and scale.
    pub index: Option<(Reg, u8)>,
    /// Displacement, or the address itself.
    pub offset: i64,
    /// Bytes that are read or written; 0 for an address that is only computed.
    pub size: u8,
}

/// What an instruction puts somewhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// A register's value.
    Reg(Reg),
    /// The lower 32 bits of a register.
    LowHalf(Reg),
    /// A constant.
    Constant(u64),
    /// What a place holds.
    Load(Place),
    /// The address of a place.
    Address(Place),
    /// Something that is not followed.
    Unknown,
}

/// What an instruction does to registers and memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Nothing that is followed.
    None,
    /// A register gets a value.
    Assign(Reg, Source),
    /// A register may get a value, or keep its own (conditional move).
    MayAssign(Reg, Source),
    /// Memory gets a value.
    Store(Place, Source),
    /// The stack pointer moves down by 8, and the value is stored there.
    Push(Source),
    /// The register gets the value on the stack, and the stack pointer moves up by 8.
    Pop(Reg),
}

/// Where control goes after an instruction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flow {
    /// To the next instruction.
    Next,
    /// To this address.
    Jump(u64),
    /// To this address or the next instruction.
    Branch(u64),
    /// To a function and back; `None` where its address is not in the instruction.
    Call(Option<u64>),
    /// Somewhere that the instruction does not say: the end of a path (also returns and traps).
    End,
}

/// One decoded instruction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Insn {
    /// Its address.
    pub address: u64,
    /// Its bytes.
    pub length: u8,
    /// What is followed of its effect.
    pub effect: Effect,
    /// Registers that it changes in ways that are not followed, applied after `effect`.
    pub clobbers: Regs,
    /// A place that it reads, whatever becomes of the value.
    pub reads: Option<Place>,
    /// It writes to memory at a place that is not followed: what `effect` says of memory is not all.
    pub writes_elsewhere: bool,
    /// Where control goes next.
    pub flow: Flow,
}

impl Insn {
    /// Address of the instruction that follows in memory.
    pub fn next(&self) -> u64 {
        self.address.wrapping_add(u64::from(self.length))
    }

    /// Whether it does nothing that is known here.
    pub fn is_nop(&self) -> bool {
        let changes = self.clobbers != Regs::default() || self.writes_elsewhere;
        self.effect == Effect::None && self.flow == Flow::Next && self.reads.is_none() && !changes
    }
}

/// What the kernel does when a uprobe on an instruction is hit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProbeCost {
    /// It computes the instruction's effect: one trap.
    Emulated,
    /// It executes a copy of the instruction, with a second trap after it.
    SingleStepped,
    /// It refuses the probe, or the probe would never fire, or this is not known well enough.
    Unusable,
}

/// Bytes in code that may be an instruction with a given address in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mention {
    /// Where the instruction would start.
    pub address: u64,
    /// A direct call or an unconditional jump, if it is an instruction at all.
    pub call: bool,
}

/// Bits of the filter of [`Addresses`]: 1 KiB, which stays in the first-level cache.
const FILTER: u64 = 8192;

/// A sorted set of addresses, made for the question "is it one of these few?" asked of millions of numbers.
#[derive(Clone, Debug)]
pub struct Addresses {
    sorted: Vec<u64>,
    first: u64,
    span: u64,
    /// One bit for the low bits of each address: the addresses may be far apart, with much that is referred to in
    /// between.
    filter: [u64; (FILTER / 64) as usize],
}

impl Addresses {
    /// The set of `addresses`.
    pub fn new(mut addresses: Vec<u64>) -> Self {
        addresses.sort_unstable();
        addresses.dedup();
        let first = addresses.first().copied().unwrap_or(0);
        let span = addresses.last().copied().unwrap_or(0) - first;
        let mut filter = [0; (FILTER / 64) as usize];
        for address in &addresses {
            filter[(address % FILTER / 64) as usize] |= 1 << (address % 64);
        }
        Self { sorted: addresses, first, span, filter }
    }

    /// Whether `address` is in the set.
    #[inline]
    pub fn contains(&self, address: u64) -> bool {
        address.wrapping_sub(self.first) <= self.span
            && self.filter[(address % FILTER / 64) as usize] & (1 << (address % 64)) != 0
            && self.sorted.binary_search(&address).is_ok()
    }

    /// The addresses in order.
    pub fn as_slice(&self) -> &[u64] {
        &self.sorted
    }
}

/// Code in memory order: bytes, the address of the first, and how many belong to this step of a scan; what follows
/// them is there only to complete an instruction.
#[derive(Clone, Copy, Debug)]
pub struct Code<'b> {
    /// The bytes.
    pub bytes: &'b [u8],
    /// Address of the first.
    pub address: u64,
    /// Only what starts within the first `own` bytes is reported.
    pub own: usize,
    /// The image is linked at a fixed address, so that 32-bit constants may be addresses.
    pub fixed: bool,
}

/// One instruction set.
pub trait Arch {
    /// Argument registers in order.
    fn arguments(&self) -> &'static [Reg];
    /// The stack pointer.
    fn stack(&self) -> Reg;
    /// The register that often holds the frame's address.
    fn frame(&self) -> Reg;
    /// Registers whose value a call does not keep.
    fn caller_saved(&self) -> Regs;
    /// Bytes of the longest instruction.
    fn longest(&self) -> usize;

    /// Decodes the instruction at the start of `bytes`; `None` if there is none.
    fn decode(&self, bytes: &[u8], address: u64) -> Option<Insn>;

    /// Appends the addresses of what may be instructions that put one of `wanted` into a register or a stack slot.
    /// Every byte offset is considered, so that no disassembly has to be in step.
    fn references(&self, code: Code<'_>, wanted: &Addresses, found: &mut Vec<u64>);

    /// Appends everything that may be an instruction with `wanted` as a direct operand, at every byte offset:
    /// calls, jumps, and computed or constant addresses.
    fn mentions(&self, code: Code<'_>, wanted: u64, found: &mut Vec<Mention>);

    /// Appends the targets in one of `within` of what may be direct calls and unconditional jumps, at every byte
    /// offset, and whether it would be a call.
    fn call_targets(&self, code: Code<'_>, within: &[Range<u64>], found: &mut Vec<(u64, bool)>);

    /// What functions are aligned to, and the byte with which linkers that fill the space between them with traps do
    /// it: compilers never put it inside one.
    fn padding(&self) -> (u64, u8);

    /// What a uprobe on the instruction at the start of `bytes` would cost.
    fn probe_cost(&self, bytes: &[u8]) -> ProbeCost;
}
