//! Any file through the planner, and code along all its paths.

use std::cell::Cell;
use std::fs::File;
use std::ops::Range;
use std::path::Path;

use tlskeytop::target::arch::x86_64::X86_64;
use tlskeytop::target::arch::{Addresses, Arch, Code, Insn, Mention, ProbeCost, Reg, Regs};
use tlskeytop::target::elf::Elf;
use tlskeytop::target::image::plan_image;
use tlskeytop::target::labels::Labels;
use tlskeytop::target::machine::State;
use tlskeytop::target::plan::ImagePlan;
use tlskeytop::target::tap;
use tlskeytop::target::walk::{Limits, Path as WalkPath, Program};
use tlskeytop::target::window::Window;

use crate::memory::file_of;
use crate::shown::assert_harmless;

/// Limits of the walks below: low enough that small inputs reach them.
const LIMITS: Limits = Limits { path: 40, walk: 150 };
/// Instructions on all of them together.
const BUDGET: u32 = 400;
/// Instructions that the search for taps may decode in one file: as many as the planner may on all walks, and as many
/// again outside of them.
const MOST_DECODED: u64 = 2_000_000;

/// Plans the file, and looks at what the plan says of it.
///
/// # Panics
/// When something does not hold.
pub fn run(bytes: &[u8]) {
    let file = file_of(bytes).expect("memory for a small file");
    check(&file, Path::new("/usr/lib/libssl.so.3"));
    count(&file);
}

/// Plans a file, and compares the plan with the file.
///
/// # Panics
/// When something does not hold.
pub fn check(file: &File, path: &Path) {
    let Ok(plan) = plan_image(file, path) else { return };
    assert_harmless(&plan.reason);
    assert_harmless(&plan.hooks_reason);
    if plan.unsupported.is_some() {
        assert!(plan.taps.is_empty() && plan.hooks.is_empty(), "{plan:?}");
        return;
    }
    let mut window = Window::new(file).expect("it was just opened");
    let elf = Elf::read(&mut window).expect("it was planned");
    check_places(&plan, &elf);
    for label in &plan.labels {
        let offset = elf.file_offset(label.address).expect("a label is in the file");
        let bytes = window.read(offset, label.name.len() as u64).expect("all of it is");
        assert_eq!(bytes, label.name.as_bytes(), "at {:#x}", label.address);
    }
}

/// What is probed is code, and where the plan says.
fn check_places(plan: &ImagePlan, elf: &Elf) {
    for tap in &plan.taps {
        assert!(!tap.sites.is_empty(), "{tap:?}");
        for site in &tap.sites {
            assert!(elf.is_code(site.address), "{site:x?}");
            assert_eq!(elf.file_offset(site.address), Some(site.file_offset), "{site:x?}");
        }
    }
    let is_code = |offset: u64| {
        elf.code().any(|code| (code.offset..code.offset + code.size).contains(&offset))
    };
    for hook in &plan.hooks {
        assert!(elf.is_code(hook.address), "{hook:x?}");
        assert_eq!(elf.file_offset(hook.address), Some(hook.file_offset), "{hook:x?}");
        assert!(is_code(hook.probe_offset), "{hook:x?}");
    }
}

/// Walks from the start of each segment of code: never further than the limits say.
fn count(file: &File) {
    let mut window = Window::new(file).expect("it was just opened");
    let Ok(elf) = Elf::read(&mut window) else { return };
    let arch = Counting::default();
    let mut program = Program::new(&mut window, &elf, &arch, BUDGET);
    for start in elf.code().map(|code| code.address) {
        let (before, mut steps) = (program.budget, 0);
        let visit = |_: &Insn, _: &State| {
            steps += 1;
            WalkPath::On
        };
        let cut = program.walk(start, State::new(), LIMITS, |_| 0, visit).expect("it can be read");
        assert!(steps <= LIMITS.walk, "{steps} steps");
        assert_eq!(program.budget, before - steps);
        assert!(!cut || steps == LIMITS.walk || program.budget == 0, "cut short by no limit");
    }
    if let Ok(labels) = Labels::find(program.window, &elf) {
        arch.decoded.set(0);
        program.budget = 1_000_000;
        let _ = tap::search(&mut program, &labels, &[]);
        assert!(arch.decoded.get() <= MOST_DECODED, "{} instructions", arch.decoded.get());
    }
}

/// The instruction set, which counts.
#[derive(Debug, Default)]
struct Counting {
    decoded: Cell<u64>,
}

impl Arch for Counting {
    fn arguments(&self) -> &'static [Reg] {
        X86_64.arguments()
    }
    fn stack(&self) -> Reg {
        X86_64.stack()
    }
    fn frame(&self) -> Reg {
        X86_64.frame()
    }
    fn caller_saved(&self) -> Regs {
        X86_64.caller_saved()
    }
    fn longest(&self) -> usize {
        X86_64.longest()
    }
    fn decode(&self, bytes: &[u8], address: u64) -> Option<Insn> {
        self.decoded.set(self.decoded.get() + 1);
        X86_64.decode(bytes, address)
    }
    fn references(&self, code: Code<'_>, wanted: &Addresses, found: &mut Vec<u64>) {
        X86_64.references(code, wanted, found);
    }
    fn mentions(&self, code: Code<'_>, wanted: u64, found: &mut Vec<Mention>) {
        X86_64.mentions(code, wanted, found);
    }
    fn call_targets(&self, code: Code<'_>, within: &[Range<u64>], found: &mut Vec<(u64, bool)>) {
        X86_64.call_targets(code, within, found);
    }
    fn padding(&self) -> (u64, u8) {
        X86_64.padding()
    }
    fn probe_cost(&self, bytes: &[u8]) -> ProbeCost {
        X86_64.probe_cost(bytes)
    }
}
