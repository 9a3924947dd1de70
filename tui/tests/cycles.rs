//! Attached and detached again and again: neither probes, programs, maps, files nor memory grow. Needs root; says so when it is
//! skipped.
#![allow(clippy::unwrap_used, reason = "a test")]

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use tlskeytop::capture::{self, Probes, RING};
use tlskeytop::model::target::ImageId;
use tlskeytop::target::plan::Ways;
use tlskeytop::target::registry::{ImageFiles, Registry};

const LIBSSL: &str = "/usr/lib/x86_64-linux-gnu/libssl.so.3";
/// So many in the long form (`TLSKEYTOP_LONG`).
const CYCLES: u32 = 1000;
/// And in the short one as many as fit into this.
const SHORT: Duration = Duration::from_secs(5);
/// The first ones fill caches.
const WARM: u32 = 20;
/// Bytes that each of the others may leave behind: less than anything that is allocated for a probe.
const GROWTH: u64 = 64;
/// And all of them: some pages, by which the kernel counts.
const PAGES: u64 = 32 << 10;

/// How many descriptors of each kind this process has: links, programs, maps, and the others.
fn descriptors() -> BTreeMap<&'static str, usize> {
    let mut kinds = BTreeMap::new();
    for entry in fs::read_dir("/proc/self/fdinfo").unwrap() {
        let text = fs::read_to_string(entry.unwrap().path()).unwrap_or_default();
        let has = |field: &&str| text.lines().any(|line| line.starts_with(*field));
        let kind = ["link_id:", "prog_id:", "map_id:"].into_iter().find(has).unwrap_or("other");
        *kinds.entry(kind).or_default() += 1;
    }
    kinds
}

/// Memory of this process that is not a file's.
fn memory() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() << 10
}

/// A tap, the hooks of catching up with one process, and everything off again.
fn cycle(probes: &mut Probes, files: &ImageFiles, image: ImageId) {
    let (file, plan) = files.get(image).unwrap();
    let attached = probes.attach(image, &file, &plan, &AtomicBool::new(false));
    assert!(attached.probes > 0 && attached.problems.is_empty(), "{:?}", attached.problems);
    probes.catch_up(std::process::id(), image, &file, &plan).unwrap();
    assert!(descriptors().get("link_id:").is_some_and(|links| *links > 2), "{:?}", descriptors());
    probes.caught_up(std::process::id(), image);
    probes.detach(image);
}

#[tokio::test]
async fn a_thousand_cycles_leak_nothing() {
    if !rustix::process::geteuid().is_root() {
        assert!(std::env::var_os("TLSKEYTOP_REQUIRE_LIVE").is_none(), "only root can load eBPF");
        return eprintln!("skipped: only root can load eBPF programs");
    }
    let mut registry = Registry::with_layout(None);
    let image = registry.add_named(Path::new(LIBSSL)).unwrap();
    let files = registry.files();
    let mut loaded = capture::load(RING, Ways::Auto, false).unwrap();
    let is_long = std::env::var_os("TLSKEYTOP_LONG").is_some();
    (0..WARM).for_each(|_| cycle(&mut loaded.probes, &files, image));
    let (start, descriptors_before, before) = (Instant::now(), descriptors(), memory());
    let mut cycles = 0;
    while cycles < CYCLES && (is_long || start.elapsed() < SHORT) {
        cycle(&mut loaded.probes, &files, image);
        cycles += 1;
    }
    let grown = memory().saturating_sub(before);
    let each = grown / u64::from(cycles.max(1));
    eprintln!("{cycles} cycles of {:?}; {grown} bytes more, {each} each", start.elapsed() / cycles);
    assert!(cycles > WARM, "{cycles} cycles are too few");
    assert_eq!(descriptors(), descriptors_before);
    assert!(grown < PAGES + u64::from(cycles) * GROWTH, "{grown} bytes more after {cycles} cycles");
}
