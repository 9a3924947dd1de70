//! Following code from a start along all its paths, within limits that no file can exceed.

use std::collections::HashMap;
use std::collections::VecDeque;
use std::hash::{DefaultHasher, Hash, Hasher};

use super::arch::{Arch, Code, Flow, Insn};
use super::decoded::Decoded;
use super::elf::Elf;
use super::machine::State;
use super::window::{ReadError, Window};

/// How far one walk may go.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Instructions along one path.
    pub path: u32,
    /// Instructions on all paths of one walk.
    pub walk: u32,
}

/// What a visitor says about a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Path {
    /// Go on.
    On,
    /// Nothing more to see here.
    End,
}

/// An image's code, ready to be decoded anywhere.
pub struct Program<'a, 'f> {
    /// The file.
    pub window: &'a mut Window<'f>,
    /// Its headers.
    pub elf: &'a Elf,
    /// Its instruction set.
    pub arch: &'a dyn Arch,
    /// Instructions that may still be walked in this file, on all walks together.
    pub budget: u32,
    decoded: Decoded,
}

impl<'a, 'f> Program<'a, 'f> {
    /// The code of the file in `window`.
    pub fn new(window: &'a mut Window<'f>, elf: &'a Elf, arch: &'a dyn Arch, budget: u32) -> Self {
        Self { window, elf, arch, budget, decoded: Decoded::default() }
    }

    /// Shows all code to `look`, piece by piece, until that returns `false`. Each piece ends with what the longest
    /// instruction may need of the next one.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn scan_code(
        &mut self,
        mut look: impl FnMut(&dyn Arch, Code<'_>) -> bool,
    ) -> Result<(), ReadError> {
        let Program { window, elf, arch, .. } = self;
        for segment in elf.code() {
            window.scan(segment.offset, segment.size, 16, |offset, bytes, own| {
                let address = segment.address.wrapping_add(offset - segment.offset);
                look(*arch, Code { bytes, address, own, fixed: elf.fixed })
            })?;
        }
        Ok(())
    }

    /// The bytes of code at `address`, as many as the longest instruction has; `None` outside code.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn bytes_at(&mut self, address: u64) -> Result<Option<&[u8]>, ReadError> {
        let Some(segment) = self.elf.segment_at(address).filter(|segment| segment.executable)
        else {
            return Ok(None);
        };
        let within = address - segment.address;
        let most = (segment.size - within).min(self.arch.longest() as u64);
        self.window.peek(segment.offset + within, most as usize).map(Some)
    }

    /// Decodes the instruction at `address`; `None` where there is none.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn decode(&mut self, address: u64) -> Result<Option<Insn>, ReadError> {
        if let Some(insn) = self.decoded.get(address) {
            return Ok(Some(insn));
        }
        let arch = self.arch;
        let insn = self.bytes_at(address)?.and_then(|bytes| arch.decode(bytes, address));
        if let Some(insn) = insn {
            self.decoded.keep(insn);
        }
        Ok(insn)
    }

    /// Walks all paths from `start`. `visit` sees each instruction with the state before it, and ends paths. States
    /// for which `key` is the same are one: a place that was reached with such a state is not walked again, unless
    /// with more instructions left.
    ///
    /// Returns whether a limit cut the walk short (the length of a path is not counted as that).
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn walk(
        &mut self,
        start: u64,
        state: State,
        limits: Limits,
        key: impl Fn(&State) -> u64,
        mut visit: impl FnMut(&Insn, &State) -> Path,
    ) -> Result<bool, ReadError> {
        let mut reached: HashMap<(u64, u64), u32> = HashMap::new();
        let mut waiting = VecDeque::from([(start, state, limits.path)]);
        let mut steps = 0;
        while let Some((mut address, mut state, mut left)) = waiting.pop_front() {
            while left > 0 {
                if steps >= limits.walk || self.budget == 0 {
                    return Ok(true);
                }
                let Some(insn) = self.decode(address)? else {
                    break;
                };
                steps += 1;
                self.budget -= 1;
                left -= 1;
                if visit(&insn, &state) == Path::End {
                    break;
                }
                state.step(self.arch, &insn);
                let mut enter = |address: u64, state: &State| {
                    let most = reached.entry((address, key(state))).or_insert(0);
                    let fresh = left > *most;
                    *most = left.max(*most);
                    fresh
                };
                address = match insn.flow {
                    Flow::Next | Flow::Call(_) => insn.next(),
                    Flow::Jump(target) if enter(target, &state) => target,
                    Flow::Branch(target) => {
                        if enter(target, &state) {
                            waiting.push_back((target, state.clone(), left));
                        }
                        insn.next()
                    }
                    Flow::Jump(_) | Flow::End => break,
                };
            }
        }
        Ok(false)
    }
}

/// A key for [`Program::walk`]: the hash of whatever of the state matters to the visitor.
pub fn key_of(what: impl Iterator<Item = impl Hash>) -> u64 {
    let mut hasher = DefaultHasher::new();
    for part in what {
        part.hash(&mut hasher);
    }
    hasher.finish()
}
