//! Small ELF images for tests: one segment of code at 0x1000, constants at 0x2000, data at 0x3000 (file offsets and
//! addresses are the same), and an assembler of the few instructions that the tests need.

use std::fs::File;
use std::io::Write;
use std::ops::Range;

use super::arch::x86_64::X86_64;
use super::elf::{Elf, Segment};
use super::labels::Labels;
use super::walk::Program;
use super::window::Window;

/// Address of the code.
pub const CODE: u64 = 0x1000;
/// Address of `CLIENT_RANDOM`.
pub const CLIENT_RANDOM: u64 = 0x2000;
/// Address of `EARLY_EXPORTER_SECRET`.
pub const EARLY_EXPORTER: u64 = 0x200e;
/// Address of `EXPORTER_SECRET`, the tail of the former.
pub const EXPORTER: u64 = 0x2014;
/// Address of the unwind table.
const UNWIND: u64 = 0x4000;
/// Where tests put the function that is to be found.
pub const FUNCTION: u64 = 0x1800;

/// A function that passes `[rdi+0x30]+0x30` and 32 to another.
pub const PASSES_RANDOM: [u8; 21] = [
    0x53, // push rbx
    0x48, 0x8b, 0x57, 0x30, // mov rdx, [rdi+0x30]
    0x48, 0x83, 0xc2, 0x30, // add rdx, 0x30
    0xb9, 0x20, 0, 0, 0, // mov ecx, 32
    0xe8, 0, 0, 0, 0, // call
    0x5b, 0xc3,
];

/// An image in the making.
pub struct Sample {
    /// `ET_EXEC` if set.
    pub fixed: bool,
    /// From [`CODE`], at most 4 KiB.
    pub code: Vec<u8>,
    /// From [`CLIENT_RANDOM`], at most 4 KiB: the labels, if a test does not put others there.
    pub constants: Vec<u8>,
    /// From 0x3000.
    pub data: Vec<u8>,
    /// Functions, for the unwind table; without any there is none.
    pub functions: Vec<Range<u64>>,
}

impl Sample {
    /// An image without code.
    pub fn new() -> Self {
        let mut constants = b"CLIENT_RANDOM\0EARLY_EXPORTER_SECRET\0".to_vec();
        constants.resize(64, 0);
        let (code, data, functions) = (Vec::new(), vec![0; 64], Vec::new());
        Self { fixed: false, code, constants, data, functions }
    }

    /// The address of the next instruction.
    pub fn here(&self) -> u64 {
        CODE + self.code.len() as u64
    }

    /// Appends instructions.
    pub fn raw(&mut self, bytes: &[u8]) -> &mut Self {
        self.code.extend_from_slice(bytes);
        self
    }

    /// Appends an opcode with the distance to `target`.
    pub fn to(&mut self, opcode: &[u8], target: u64) -> &mut Self {
        self.raw(opcode);
        let distance = target.wrapping_sub(self.here() + 4) as u32;
        self.raw(&distance.to_le_bytes())
    }

    /// `call target`.
    pub fn call(&mut self, target: u64) -> &mut Self {
        self.to(&[0xe8], target)
    }

    /// `jmp target`, the long form.
    pub fn jmp(&mut self, target: u64) -> &mut Self {
        self.to(&[0xe9], target)
    }

    /// `je target`, the long form.
    pub fn je(&mut self, target: u64) -> &mut Self {
        self.to(&[0x0f, 0x84], target)
    }

    /// `lea rax, [target]`.
    pub fn lea_rax(&mut self, target: u64) -> &mut Self {
        self.to(&[0x48, 0x8d, 0x05], target)
    }

    /// `lea rsi, [target]`.
    pub fn lea_rsi(&mut self, target: u64) -> &mut Self {
        self.to(&[0x48, 0x8d, 0x35], target)
    }

    /// Fills with `int3` up to `address`.
    pub fn at(&mut self, address: u64) -> &mut Self {
        self.code.resize((address - CODE) as usize, 0xcc);
        self
    }

    /// Two callers of [`FUNCTION`], one for each needed label, and whatever `body` is there.
    pub fn with_function(body: &[u8]) -> Self {
        let mut sample = Self::new();
        sample.lea_rsi(CLIENT_RANDOM).call(FUNCTION).raw(&[0xc3]);
        sample.lea_rsi(EXPORTER).call(FUNCTION).raw(&[0xc3]);
        sample.at(FUNCTION).raw(body);
        sample
    }

    /// The file's bytes.
    pub fn bytes(&self) -> Vec<u8> {
        let table = match self.functions[..] {
            [] => Vec::new(),
            _ => unwind_table(UNWIND, &self.functions),
        };
        let mut parts: Vec<(u64, u32, &[u8])> = vec![
            (CODE, 5, &self.code),
            (CLIENT_RANDOM, 4, &self.constants),
            (0x3000, 6, &self.data),
        ];
        if !table.is_empty() {
            parts.push((UNWIND, 4, &table));
        }
        let headers = parts.len() + usize::from(!table.is_empty());
        let mut file = vec![0x7f, b'E', b'L', b'F', 2, 1, 1];
        file.resize(16, 0);
        file.extend([if self.fixed { 2 } else { 3 }, 0, 62, 0, 1, 0, 0, 0]);
        file.extend(0u64.to_le_bytes());
        file.extend(64u64.to_le_bytes());
        file.extend(0u64.to_le_bytes());
        file.extend([0, 0, 0, 0, 64, 0, 56, 0, headers as u8, 0, 64, 0, 0, 0, 0, 0]);
        // PT_GNU_EH_FRAME is there twice: as what it is, and loaded.
        let unwind = parts.iter().filter(|part| part.0 == UNWIND).map(|part| (0x6474_e550, part));
        for (kind, &(address, flags, bytes)) in parts.iter().map(|part| (1u32, part)).chain(unwind)
        {
            let size = bytes.len() as u64;
            file.extend(kind.to_le_bytes());
            file.extend(flags.to_le_bytes());
            for number in [address, address, address, size, size, 0x1000] {
                file.extend(number.to_le_bytes());
            }
        }
        for (address, _, bytes) in parts {
            file.resize(address as usize, 0);
            file.extend(bytes);
        }
        file
    }

    /// Writes the file and looks at it.
    pub fn with<T>(&self, look: impl FnOnce(&mut Program<'_, '_>, &Labels) -> T) -> T {
        let file = file_of(&self.bytes());
        let mut window = Window::new(&file).unwrap();
        let elf = Elf::read(&mut window).unwrap();
        let labels = Labels::find(&mut window, &elf).unwrap();
        let mut program = Program::new(&mut window, &elf, &X86_64, 1_000_000);
        look(&mut program, &labels)
    }
}

/// A file without a name that holds `bytes`.
pub fn file_of(bytes: &[u8]) -> File {
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(bytes).unwrap();
    file
}

/// A file that is one segment at `address`, from its first byte on.
pub fn one_segment(address: u64, size: usize, executable: bool) -> Elf {
    let segment = Segment { address, offset: 0, size: size as u64, executable, writable: false };
    Elf {
        fixed: false,
        interpreter: false,
        segments: vec![segment],
        dynamic: None,
        notes: Vec::new(),
        unwind: None,
        sections: (0, 0, 0),
    }
}

/// A header, a CIE with personality and LSDA, and one FDE for each function, in one table at `at`.
pub fn unwind_table(at: u64, functions: &[Range<u64>]) -> Vec<u8> {
    let mut cie = vec![0, 0, 0, 0, 1];
    cie.extend(b"zPLR\0");
    cie.extend([1, 0x78, 16, 7, 0x9b, 1, 2, 3, 4, 0x1b, 0x1b]);
    cie.resize(28, 0);
    let header = 12 + 8 * functions.len() as u64;
    let mut frames = (cie.len() as u32).to_le_bytes().to_vec();
    frames.extend(cie);
    let mut bytes = vec![1, 0x1b, 0x03, 0x3b, 0, 0, 0, 0];
    bytes.extend((functions.len() as u32).to_le_bytes());
    for function in functions {
        let record = at + header + frames.len() as u64;
        bytes.extend((function.start.wrapping_sub(at) as u32).to_le_bytes());
        bytes.extend(((record - at) as u32).to_le_bytes());
        frames.extend(12u32.to_le_bytes());
        frames.extend((frames.len() as u32).to_le_bytes());
        frames.extend((function.start.wrapping_sub(record + 8) as u32).to_le_bytes());
        frames.extend(((function.end - function.start) as u32).to_le_bytes());
    }
    bytes.extend(frames);
    bytes.resize(bytes.len() + 64, 0);
    bytes
}
