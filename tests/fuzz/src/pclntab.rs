//! Go's table of functions: in an ELF file, or in bytes that are a segment of data and one of code.

use tlskeytop::doors;
use tlskeytop::target::elf::{Elf, Segment};
use tlskeytop::target::window::Window;

use crate::memory::file_of;

/// What the planner looks for.
const SUFFIX: &str = ".(*Config).writeKeyLog";
/// Addresses of the two segments.
const CODE: u64 = 0x40_0000;
const DATA: u64 = 0x50_0000;

/// Looks for functions.
///
/// # Panics
/// When something does not hold.
pub fn run(bytes: &[u8]) {
    let file = file_of(bytes).expect("memory for a small file");
    let mut window = Window::new(&file).expect("it was just opened");
    let elf = Elf::read(&mut window).unwrap_or_else(|_| two_segments(bytes.len() as u64));
    let Ok(functions) = doors::go_functions(&mut window, &elf, SUFFIX) else { return };
    for (name, entry, end) in functions {
        assert!(name.ends_with(SUFFIX), "{name:?}");
        assert!(elf.is_code(entry) && entry < end, "{entry:#x} to {end:#x}");
    }
}

fn two_segments(size: u64) -> Elf {
    let segment = |address, executable| Segment {
        address,
        offset: 0,
        size,
        executable,
        writable: !executable,
    };
    Elf {
        fixed: false,
        interpreter: false,
        segments: vec![segment(CODE, true), segment(DATA, false)],
        dynamic: None,
        notes: Vec::new(),
        unwind: None,
        sections: (0, 0, 0),
    }
}
