//! What registers and the stack hold further down, in terms of what they hold at one instruction, and nothing that is
//! not certain: a probe reads by it. (The search's own [`super::machine`] takes guesses, to follow labels far.)

use tlskeytop_common::{FOLLOWS, Operand};

use super::arch::{Arch, Effect, Flow, Insn, Place, Reg, Source};
use super::eh_frame::Frames;
use super::walk::Program;
use super::window::ReadError;

/// Slots that are remembered on one path.
const MAX_SLOTS: usize = 64;
/// Bytes from the stack pointer's value at the start that no local variable has: what is pushed goes below, and at it
/// the one argument that a call passes on the stack.
const OUTGOING: std::ops::Range<i64> = -32..8;
/// Returns; of what ends a path only this matters.
const RETURN: u8 = 0xc3;
/// `push rbp; mov rbp, rsp`: here the next function starts.
const PROLOGUE: [u8; 4] = [0x55, 0x48, 0x89, 0xe5];
/// `ud2`.
const UNDEFINED: [u8; 2] = [0x0f, 0x0b];
/// Paths that are followed from one start.
const MAX_PATHS: u32 = 32;
/// Instructions in a function that is followed as part of its caller.
const CALLEE: u32 = 48;

/// What is certain of a register or a slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Known {
    /// Nothing.
    Unknown,
    /// A number, or an address of the image.
    Constant(u64),
    /// What an operand finds at the start.
    At(Operand),
    /// What one of the tables holds that were asked for.
    FromTable,
}

/// Registers and stack at one point of a path.
#[derive(Clone, Debug)]
pub struct Exact<'t> {
    registers: [Known; 16],
    /// Register whose value at the start is the base, offset, bytes, and what was written.
    slots: Vec<(u8, i64, u8, Known)>,
    /// Something was written that a load could see without our knowing.
    blurred: bool,
    tables: &'t [u64],
    /// Where the file has pointers, and to what.
    pointers: &'t [(u64, u64)],
}

impl<'t> Exact<'t> {
    /// The start: every register holds its own value.
    pub fn new(tables: &'t [u64]) -> Self {
        let registers = std::array::from_fn(|number| Known::At(Operand::register(number as u8)));
        Self { registers, slots: Vec::new(), blurred: false, tables, pointers: &[] }
    }

    /// The same with pointers of the file that calls are followed through: where, and to what.
    #[must_use]
    pub fn with_pointers(self, pointers: &'t [(u64, u64)]) -> Self {
        Self { pointers, ..self }
    }

    /// What `register` holds.
    pub fn get(&self, register: Reg) -> Known {
        self.registers[usize::from(register.0 & 15)]
    }

    /// The 8 bytes at `register + offset`.
    pub fn load(&self, register: Reg, offset: i64) -> Known {
        self.at(plus(self.get(register), offset))
    }

    /// What an operand that was found behind a call is in terms of this state before the call: only what a call keeps.
    pub fn before_call(&self, arch: &dyn Arch, known: Known) -> Known {
        let Known::At(operand) = known else {
            return known;
        };
        let register = Reg(operand.register);
        if operand.is_half != 0 || arch.caller_saved().contains(register) {
            return Known::Unknown;
        }
        match operand.follows {
            0 => plus(self.get(register), operand.add.into()),
            1 if operand.add == 0 => self.load(register, operand.at[0].into()),
            _ => Known::Unknown,
        }
    }

    fn at(&self, address: Known) -> Known {
        let Known::At(operand) = address else {
            return Known::Unknown;
        };
        if operand.follows == 0 {
            let (base, offset) = (operand.register, i64::from(operand.add));
            let meets = |slot: &&(u8, i64, u8, Known)| {
                slot.0 == base && slot.1 < offset + 8 && offset < slot.1 + i64::from(slot.2)
            };
            if let Some(slot) = self.slots.iter().rev().find(meets) {
                return match (slot.1 == offset, slot.2) {
                    (true, 8) => slot.3,
                    _ => Known::Unknown,
                };
            }
        }
        if self.is_written_elsewhere(&operand) || usize::from(operand.follows) >= FOLLOWS {
            return Known::Unknown;
        }
        let at = operand.add;
        Known::At(Operand { add: 0, ..operand }.follow(at))
    }

    /// Whether the `length` bytes to which an operand points are those that were there at the start.
    pub fn is_untouched(&self, operand: &Operand, length: u64) -> bool {
        let start = i64::from(operand.add);
        let end = start.saturating_add_unsigned(length);
        let overlaps = |slot: &(u8, i64, u8, Known)| {
            slot.0 == operand.register && slot.1 < end && start < slot.1 + i64::from(slot.2)
        };
        let is_near = operand.follows == 0 && self.slots.iter().any(overlaps);
        !is_near && !self.is_written_elsewhere(operand)
    }

    /// Whether something was written that may be where this operand points, though through another register or pointer:
    /// arguments of a call are not.
    fn is_written_elsewhere(&self, operand: &Operand) -> bool {
        let elsewhere = |slot: &(u8, i64, u8, Known)| {
            (slot.0 != operand.register || operand.follows > 0)
                && !(slot.0 == STACK.0 && OUTGOING.contains(&slot.1))
        };
        self.blurred || self.slots.iter().any(elsewhere)
    }

    fn address(&self, place: &Place) -> Known {
        match (place.base, place.index) {
            (None, None) => Known::Constant(place.offset as u64),
            (Some(base), None) => plus(self.get(base), place.offset),
            _ => Known::Unknown,
        }
    }

    fn is_in_table(&self, place: &Place) -> bool {
        let held = |register: Reg| matches!(self.get(register), Known::Constant(address) if self.tables.contains(&address));
        place.base.is_some_and(held) || place.index.is_some_and(|(register, _)| held(register))
    }

    fn value(&self, source: &Source) -> Known {
        match *source {
            Source::Reg(register) => self.get(register),
            Source::LowHalf(register) => match self.get(register) {
                Known::Constant(value) => Known::Constant(value & 0xffff_ffff),
                _ => Known::Unknown,
            },
            Source::Constant(value) => Known::Constant(value),
            Source::Load(place) if place.size == 8 && self.is_in_table(&place) => Known::FromTable,
            Source::Load(place) if place.size == 8 => self.at(self.address(&place)),
            Source::Address(place) => self.address(&place),
            Source::Load(_) | Source::Unknown => Known::Unknown,
        }
    }

    fn store(&mut self, address: Known, size: u8, value: Known) {
        match address {
            Known::At(operand)
                if operand.follows == 0 && size > 0 && self.slots.len() < MAX_SLOTS =>
            {
                let value = if size == 8 { value } else { Known::Unknown };
                self.slots.push((operand.register, operand.add.into(), size, value));
            }
            _ => self.blurred = true,
        }
    }

    fn is_same(&self, other: &Self) -> bool {
        (&self.registers, &self.slots, self.blurred)
            == (&other.registers, &other.slots, other.blurred)
    }

    fn set(&mut self, register: Reg, value: Known) {
        self.registers[usize::from(register.0 & 15)] = value;
    }

    /// Applies an instruction that is no call.
    pub fn step(&mut self, insn: &Insn) {
        match insn.effect {
            Effect::None => {}
            // The decoder says so of what aligns the stack pointer.
            Effect::Assign(STACK, Source::Reg(STACK)) => self.set(STACK, Known::Unknown),
            Effect::Assign(to, source) => {
                let value = self.value(&source);
                self.set(to, value);
            }
            Effect::MayAssign(to, _) => self.set(to, Known::Unknown),
            Effect::Store(place, source) => {
                let value = self.value(&source);
                self.store(self.address(&place), place.size, value);
            }
            Effect::Push(source) => {
                let value = self.value(&source);
                let top = plus(self.get(STACK), -8);
                self.set(STACK, top);
                self.store(top, 8, value);
            }
            Effect::Pop(to) => {
                let value = self.load(STACK, 0);
                self.set(STACK, plus(self.get(STACK), 8));
                self.set(to, value);
            }
        }
        self.blurred |= insn.writes_elsewhere;
        for number in 0..16 {
            if insn.clobbers.contains(Reg(number)) {
                self.set(Reg(number), Known::Unknown);
            }
        }
    }

    /// Follows a call into the function: what is certain at its return, if that is the same on all paths that return.
    fn call(&self, program: &mut Program<'_, '_>, target: u64) -> Result<Option<Self>, ReadError> {
        let mut start = self.clone();
        let top = plus(start.get(STACK), -8);
        start.set(STACK, top);
        start.store(top, 8, Known::Unknown);
        let mut waiting = vec![(target, start)];
        let mut left = CALLEE;
        let mut returned: Option<Self> = None;
        while let Some((mut address, mut state)) = waiting.pop() {
            loop {
                let Some(insn) = program.decode(address)? else {
                    return Ok(None);
                };
                if left == 0 || program.budget == 0 {
                    return Ok(None);
                }
                left -= 1;
                program.budget -= 1;
                address = match insn.flow {
                    Flow::Next => insn.next(),
                    Flow::Jump(to) => to,
                    Flow::Branch(to) => {
                        waiting.push((to, state.clone()));
                        insn.next()
                    }
                    // It does not come back, or it cannot be told.
                    Flow::Call(_) if leaves_for_good(program, &insn)? => break,
                    Flow::Call(_) => return Ok(None),
                    Flow::End => {
                        if program.bytes_at(address)?.and_then(|bytes| bytes.first())
                            != Some(&RETURN)
                        {
                            break;
                        }
                        if state.get(STACK) != top {
                            return Ok(None);
                        }
                        state.set(STACK, self.get(STACK));
                        if returned.as_ref().is_some_and(|known| !known.is_same(&state)) {
                            return Ok(None);
                        }
                        returned.get_or_insert(state);
                        break;
                    }
                };
                state.step(&insn);
            }
        }
        Ok(returned)
    }
}

/// The stack pointer.
pub const STACK: Reg = Reg(4);

fn plus(known: Known, more: i64) -> Known {
    match known {
        Known::Constant(value) => Known::Constant(value.wrapping_add_signed(more)),
        Known::At(operand) => {
            let sum = i64::from(operand.add).checked_add(more);
            match sum.and_then(|sum| i32::try_from(sum).ok()) {
                Some(sum) => Known::At(operand.plus(sum)),
                None => Known::Unknown,
            }
        }
        Known::FromTable if more == 0 => known,
        Known::FromTable | Known::Unknown => Known::Unknown,
    }
}

/// Whether a call does not return: its function ends behind it, or compilers' mark for that is there.
fn leaves_for_good(program: &mut Program<'_, '_>, call: &Insn) -> Result<bool, ReadError> {
    let (_, fill) = program.arch.padding();
    let next = program.bytes_at(call.next())?;
    let is_marked = next.is_none_or(|bytes| {
        bytes.first() == Some(&fill)
            || bytes.starts_with(&UNDEFINED)
            || bytes.starts_with(&PROLOGUE)
    });
    let elf = program.elf;
    let function = Frames::find(program.window, elf)
        .and_then(|frames| frames.function_at(program.window, call.address));
    Ok(is_marked || function.is_some_and(|function| !function.contains(&call.next())))
}

/// Where in the file the pointer is that a call goes through.
pub fn slot_of(insn: &Insn) -> Option<u64> {
    match insn.reads {
        Some(Place { base: None, index: None, offset, .. }) if insn.flow == Flow::Call(None) => {
            Some(offset as u64)
        }
        _ => None,
    }
}

/// How far [`follow`] goes.
#[derive(Clone, Copy, Debug)]
pub struct Reach {
    /// Instructions on one path.
    pub instructions: u32,
    /// Direct calls that are followed into their function, on one path.
    pub calls: u32,
}

/// Follows all paths from `start` to their first call through a pointer, and shows each such call. Of direct calls only
/// `reach.calls` small functions are followed; at others the path ends.
///
/// # Errors
/// When the file cannot be read.
pub fn follow<'t>(
    program: &mut Program<'_, '_>,
    start: u64,
    state: Exact<'t>,
    reach: Reach,
    mut visit: impl FnMut(&Insn, &Exact<'t>),
) -> Result<(), ReadError> {
    let mut waiting = vec![(start, state, reach)];
    let mut paths = MAX_PATHS;
    while let Some((mut address, mut state, mut reach)) = waiting.pop() {
        while let Some(insn) = program.decode(address)? {
            if reach.instructions == 0 || program.budget == 0 {
                break;
            }
            reach.instructions -= 1;
            program.budget -= 1;
            let through = slot_of(&insn).and_then(|slot| {
                state.pointers.iter().find(|pointer| pointer.0 == slot).map(|pointer| pointer.1)
            });
            let flow = match (insn.flow, through) {
                (Flow::Call(None), Some(target)) => Flow::Call(Some(target)),
                (flow, _) => flow,
            };
            address = match flow {
                Flow::Next => insn.next(),
                Flow::Jump(to) => to,
                Flow::Branch(to) => {
                    if paths > 0 {
                        paths -= 1;
                        waiting.push((to, state.clone(), reach));
                    }
                    insn.next()
                }
                Flow::Call(None) => {
                    visit(&insn, &state);
                    break;
                }
                Flow::Call(Some(target)) if reach.calls > 0 => {
                    let Some(returned) = state.call(program, target)? else {
                        break;
                    };
                    reach.calls -= 1;
                    state = returned;
                    address = insn.next();
                    continue;
                }
                Flow::Call(Some(_)) | Flow::End => break,
            };
            state.step(&insn);
        }
    }
    Ok(())
}
