//! Real libraries of this machine, with some bytes changed at the places that the planner looks at.
//!
//! An input is a byte that chooses the library, and changes: a byte that chooses a place, a distance from it (two bytes), a
//! number of bytes (0 to 15), and these.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use tlskeytop::target::elf::Elf;
use tlskeytop::target::image::plan_image;
use tlskeytop::target::plan::ImagePlan;
use tlskeytop::target::window::Window;

use crate::elf::check;
use crate::memory::file_of;

/// Where Debian, and others, have their libraries.
const FOLDERS: [&str; 3] = ["/usr/lib/x86_64-linux-gnu", "/usr/lib64", "/usr/lib"];
/// Of each TLS stack that systems have as a library.
const NAMES: [&str; 5] =
    ["libssl.so.3", "libgnutls.so.30", "libssl3.so", "libsoftokn3.so", "libssl.so.1.1"];
/// Places of one kind that are changed, of each library.
const PLACES: usize = 48;

struct Base {
    path: PathBuf,
    bytes: Vec<u8>,
    /// Offsets in the file.
    places: Vec<u64>,
}

/// Changes a library, and plans it.
///
/// # Panics
/// When something does not hold, or there is no such library at all.
pub fn run(input: &[u8]) {
    static BASES: OnceLock<Vec<Base>> = OnceLock::new();
    let bases = BASES.get_or_init(bases);
    let Some((&which, mut changes)) = input.split_first() else { return };
    let base = &bases[usize::from(which) % bases.len()];
    let mut bytes = base.bytes.clone();
    while let [place, low, high, count, rest @ ..] = changes {
        let (new, after) = rest.split_at(rest.len().min(usize::from(count % 16)));
        let from = base.places[usize::from(*place) % base.places.len()];
        let at = from.saturating_add_signed(i16::from_le_bytes([*low, *high]).into()) as usize;
        if let Some(old) = bytes.get_mut(at..at + new.len()) {
            old.copy_from_slice(new);
        }
        changes = after;
    }
    check(&file_of(&bytes).expect("memory for a library"), &base.path);
}

fn bases() -> Vec<Base> {
    let paths = NAMES.iter().filter_map(|name| {
        FOLDERS.iter().map(|folder| Path::new(folder).join(name)).find(|path| path.exists())
    });
    let bases: Vec<Base> = paths.map(base).collect();
    assert!(!bases.is_empty(), "none of {NAMES:?} is in {FOLDERS:?}");
    bases
}

fn base(path: PathBuf) -> Base {
    let bytes = fs::read(&path).expect("a library can be read");
    let file = file_of(&bytes).expect("memory for a library");
    let plan = plan_image(&file, &path).expect("a library of the system has a plan");
    let elf = Elf::read(&mut Window::new(&file).expect("it was just opened"));
    let places = places(&plan, &elf.expect("it was planned"));
    Base { path, bytes, places }
}

/// The headers, and what the plan was made from.
fn places(plan: &ImagePlan, elf: &Elf) -> Vec<u64> {
    let mut places = vec![0, 64, 256];
    places.extend(elf.dynamic.map(|dynamic| dynamic.offset));
    places.extend(elf.unwind.and_then(|address| elf.file_offset(address)));
    places.extend(elf.notes.iter().take(PLACES).map(|note| note.offset));
    places.push(elf.sections.0);
    let taps = plan.taps.iter().flat_map(|tap| {
        let function = elf.file_offset(tap.function);
        function.into_iter().chain(tap.sites.iter().map(|site| site.file_offset))
    });
    places.extend(taps.take(PLACES));
    places.extend(plan.hooks.iter().take(PLACES).map(|hook| hook.file_offset));
    let labels = plan.labels.iter().filter_map(|label| elf.file_offset(label.address));
    places.extend(labels.take(PLACES));
    places
}
