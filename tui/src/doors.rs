//! Doors to readers of foreign bytes that are private, for the fuzz targets in `tests/fuzz/`. Nothing else uses them.

use std::path::PathBuf;
use std::sync::{Arc, RwLock};

use crate::capture::Decoder;
use crate::capture::again::Again;
use crate::capture::slots::{Part, Slots};
use crate::model::target::{Birth, ImageId, Process};
use crate::model::{PacketKey, ui};
pub use crate::packets::backlog::Held;
pub use crate::packets::recording::{Caught, Recording, Sink};
pub use crate::packets::ring::frames;
use crate::target::elf::{Elf, ElfError};
use crate::target::maps::{self, Mapping};
use crate::target::mounts::{self, Mount};
use crate::target::plan::ImagePlan;
use crate::target::stack::go::pclntab::{Named, Tables};
use crate::target::window::Window;
use crate::target::{loader_cache, process};
use crate::text::Foreign;
use crate::tls::KeyLine;

/// A line of `/proc/PID/maps`.
pub fn maps_line(line: &[u8]) -> Option<Mapping> {
    maps::parse(line)
}

/// A line of `/proc/PID/mountinfo`, and the layers that its options name.
pub fn mount_line(line: &str) -> Option<(Mount, Option<Vec<PathBuf>>)> {
    let mount = mounts::parse(line)?;
    let layers = mounts::layers(&mount.options);
    Some((mount, layers))
}

/// Parent and start of `/proc/PID/stat`.
pub fn birth(stat: &[u8]) -> Option<Birth> {
    process::birth_of(stat).ok()
}

/// The process id that `/proc/PID/status` has of an inner namespace.
pub fn inner_pid(status: &[u8]) -> Option<u32> {
    process::inner_pid(status)
}

/// The text of `/proc/PID/cmdline`.
pub fn command_line(bytes: Vec<u8>) -> Foreign {
    process::command_line_text(bytes)
}

/// Names and paths in `/etc/ld.so.cache`.
pub fn cached_libraries(bytes: &[u8]) -> Vec<(&[u8], PathBuf)> {
    loader_cache::entries(bytes)
}

/// Functions in Go's tables whose name ends in `suffix`: name, start, end.
///
/// # Errors
/// When the file cannot be read.
pub fn go_functions(
    window: &mut Window<'_>,
    elf: &Elf,
    suffix: &str,
) -> Result<Vec<(String, u64, u64)>, ElfError> {
    let mut functions = Vec::new();
    for table in Tables::find(window, elf)?.found {
        let Some(text) = table.text(window, elf)? else { continue };
        for named in table.functions(window, elf, text, suffix)? {
            if let Named::Function(function) = named {
                functions.push((function.name, function.entry, function.end));
            }
        }
    }
    Ok(functions)
}

/// A decoder whose slot `n` is the first tap, and whose walk `n` the walk, of plan `n`, which is the image `n`.
pub fn decoder(plans: Vec<ImagePlan>) -> Decoder {
    let limit = u32::try_from(plans.len()).unwrap_or(u32::MAX);
    let (mut taps, mut walks) = (Slots::new(limit), Slots::new(limit));
    for (image, plan) in (0..).map(ImageId).zip(plans) {
        let plan = Arc::new(plan);
        taps.insert(image, &plan, Part::Tap(0));
        walks.insert(image, &plan, Part::Walk);
    }
    let shared = |slots| Arc::new(RwLock::new(slots));
    Decoder::new(shared(taps), shared(walks), Again::new(None))
}

/// The letters of a text that a search among the processes finds: of names, then in whole pieces; `None` where the
/// search has no words.
pub fn searched_letters(search: &str, text: &str) -> Option<[Vec<u32>; 2]> {
    ui::searched_letters(search, text)
}

/// A secret of a process with this id.
pub fn packet_key(line: KeyLine, pid: u32) -> PacketKey {
    let process = Process {
        pid,
        parent: 1,
        start_ticks: 1,
        comm: "made up".into(),
        exe: None,
        container: None,
        is_container_known: true,
        inner_pid: None,
        ancestors: Arc::default(),
        is_past: false,
    };
    PacketKey { line: Box::new(line), process: Arc::new(process), role: None }
}
