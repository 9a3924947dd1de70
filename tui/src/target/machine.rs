//! A symbolic machine: what is known of registers and stack slots along one path of instructions.

use super::arch::{Arch, Effect, Flow, Insn, Place, Reg, Source};

/// Slots that are remembered on one path; the oldest is forgotten first.
const MAX_SLOTS: usize = 48;

/// What is known of a register or a stack slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Value {
    /// Nothing.
    Unknown,
    /// A number, or an address of the image.
    Constant(u64),
    /// What register `root` held at the start, plus `offset`.
    Initial {
        /// The register.
        root: Reg,
        /// Bytes after it.
        offset: i64,
    },
    /// The 8 bytes that were at `root + at`, plus `offset`.
    Loaded {
        /// The register whose initial value is a pointer.
        root: Reg,
        /// Where the pointer that was loaded lies.
        at: i64,
        /// Bytes after what it points to.
        offset: i64,
    },
}

impl Value {
    fn plus(self, more: i64) -> Self {
        match self {
            Self::Unknown => Self::Unknown,
            Self::Constant(value) => Self::Constant(value.wrapping_add_signed(more)),
            Self::Initial { root, offset } => {
                Self::Initial { root, offset: offset.wrapping_add(more) }
            }
            Self::Loaded { root, at, offset } => {
                Self::Loaded { root, at, offset: offset.wrapping_add(more) }
            }
        }
    }
}

/// Registers and stack slots at one point of a path.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct State {
    registers: [Value; 32],
    /// Where a slot is, as root register (stack or frame) and offset, and what it holds.
    slots: Vec<((Reg, i64), Value)>,
}

impl State {
    /// The start of a path: every register holds its own initial value, no slot is known.
    pub fn new() -> Self {
        let mut registers = [Value::Unknown; 32];
        for (number, value) in registers.iter_mut().enumerate() {
            *value = Value::Initial { root: Reg(number as u8), offset: 0 };
        }
        Self { registers, slots: Vec::new() }
    }

    /// What `register` holds.
    pub fn get(&self, register: Reg) -> Value {
        self.registers[usize::from(register.0 & 31)]
    }

    /// Puts `value` into `register`.
    pub fn set(&mut self, register: Reg, value: Value) {
        self.registers[usize::from(register.0 & 31)] = value;
    }

    /// Everything known, registers first: where (a register's number, or a slot) and what.
    pub fn known(&self) -> impl Iterator<Item = (Reg, Option<i64>, Value)> {
        let registers = self
            .registers
            .iter()
            .enumerate()
            .map(|(number, &value)| (Reg(number as u8), None, value));
        let slots = self.slots.iter().map(|&((root, at), value)| (root, Some(at), value));
        registers.chain(slots)
    }

    /// The address of `place`. An index that is not known counts as 0, as at the start of a loop.
    pub fn address(&self, place: &Place) -> Value {
        let base = match place.base {
            Some(register) => self.get(register),
            None => Value::Constant(0),
        };
        let index = match place.index {
            Some((register, scale)) => match (self.get(register), scale) {
                (Value::Constant(value), _) => (value as i64).wrapping_mul(i64::from(scale)),
                // The compiler may put the pointer into the index of an unscaled pair.
                (value, 1) if place.base.is_none() || matches!(base, Value::Constant(_)) => {
                    let base = if let Value::Constant(base) = base { base } else { 0 };
                    return value.plus(base as i64).plus(place.offset);
                }
                _ => 0,
            },
            None => 0,
        };
        base.plus(index).plus(place.offset)
    }

    /// Applies an instruction, as seen when control goes on with the next one (or, for a jump, at its target).
    pub fn step(&mut self, arch: &dyn Arch, insn: &Insn) {
        match insn.effect {
            Effect::None => {}
            Effect::Assign(to, source) => {
                let value = self.value(arch, &source);
                self.set(to, value);
            }
            Effect::MayAssign(to, source) => {
                let value = self.value(arch, &source);
                // Either may be there afterwards: keep what says more, the new one if both say as much.
                if weight(value) >= weight(self.get(to)) {
                    self.set(to, value);
                }
            }
            Effect::Store(place, source) => {
                let value =
                    if place.size == 8 { self.value(arch, &source) } else { Value::Unknown };
                let address = self.address(&place);
                self.store(arch, address, place.size, value);
            }
            Effect::Push(source) => {
                let value = self.value(arch, &source);
                let top = self.get(arch.stack()).plus(-8);
                self.set(arch.stack(), top);
                self.store(arch, top, 8, value);
            }
            Effect::Pop(to) => {
                let top = self.get(arch.stack());
                let value = self.load(arch, top);
                self.set(arch.stack(), top.plus(8));
                self.set(to, value);
            }
        }
        let mut lost = insn.clobbers.0;
        if matches!(insn.flow, Flow::Call(_)) {
            lost |= arch.caller_saved().0;
        }
        for (number, value) in self.registers.iter_mut().enumerate() {
            if lost & (1 << number) != 0 {
                *value = Value::Unknown;
            }
        }
    }

    fn value(&self, arch: &dyn Arch, source: &Source) -> Value {
        match *source {
            Source::Reg(register) => self.get(register),
            Source::LowHalf(register) => match self.get(register) {
                Value::Constant(value) => Value::Constant(value & 0xffff_ffff),
                _ => Value::Unknown,
            },
            Source::Constant(value) => Value::Constant(value),
            Source::Load(place) => self.load(arch, self.address(&place)),
            Source::Address(place) if place.index.is_some() => match self.address(&place) {
                // An address with an unknown index is only good enough to see a load from it.
                Value::Constant(_) => Value::Unknown,
                value => value,
            },
            Source::Address(place) => self.address(&place),
            Source::Unknown => Value::Unknown,
        }
    }

    fn load(&self, arch: &dyn Arch, address: Value) -> Value {
        let Value::Initial { root, offset } = address else {
            return Value::Unknown;
        };
        if let Some((_, value)) = self.slots.iter().find(|(slot, _)| *slot == (root, offset)) {
            return *value;
        }
        if root == arch.stack() || root == arch.frame() {
            return Value::Unknown;
        }
        Value::Loaded { root, at: offset, offset: 0 }
    }

    fn store(&mut self, arch: &dyn Arch, address: Value, size: u8, value: Value) {
        let Value::Initial { root, offset } = address else {
            return;
        };
        if root != arch.stack() && root != arch.frame() {
            return;
        }
        // A slot is 8 bytes: what overlaps the bytes that are written is gone.
        let apart = |at: i64| {
            let distance = at.wrapping_sub(offset);
            distance <= -8 || distance >= i64::from(size)
        };
        self.slots.retain(|((other, at), _)| *other != root || apart(*at));
        if value != Value::Unknown {
            if self.slots.len() >= MAX_SLOTS {
                self.slots.remove(0);
            }
            self.slots.push(((root, offset), value));
        }
    }
}

impl Default for State {
    fn default() -> Self {
        Self::new()
    }
}

/// How much a value says, for conditional moves: a constant that can be an address (a label) says most.
fn weight(value: Value) -> u8 {
    match value {
        Value::Unknown => 0,
        Value::Constant(0..0x1000) => 1,
        Value::Initial { .. } | Value::Loaded { .. } => 2,
        Value::Constant(_) => 3,
    }
}
