//! The finders of the further TLS stacks on real files: Debian's, and what `cargo xtask setup` builds. The disassembly of
//! `objdump` is the truth for the probed instruction.

#![allow(clippy::unwrap_used, reason = "in a test a panic is the message")]

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use tlskeytop::target::image::plan_image;
use tlskeytop::target::plan::{ImagePlan, SiteKind};

const GNUTLS: &str = "/usr/lib/x86_64-linux-gnu/libgnutls.so.30";
/// For each of the files, on a machine of two cores that may be busy: the best of a few times.
const LIMIT: Duration = Duration::from_millis(500);

/// The plan of a file that is there, made in time.
fn plan(path: &Path) -> Option<ImagePlan> {
    if !path.exists() {
        println!("{} is not there", path.display());
        return None;
    }
    let file = File::open(path).unwrap();
    let plan = || {
        let start = Instant::now();
        let plan = plan_image(&file, path).unwrap();
        (start.elapsed(), plan)
    };
    let (time, plan) = (0..3).map(|_| plan()).min_by_key(|(time, _)| *time).unwrap();
    println!("{} in {time:?}: {:?} {}", path.display(), plan.library, plan.reason);
    assert!(time < LIMIT, "{}: {time:?}", path.display());
    Some(plan)
}

/// The one tap, probed at a branch that `objdump` sees too when it starts at the function.
fn check(path: &Path, library: &str, instruction: &str) -> Option<ImagePlan> {
    let plan = plan(path)?;
    assert_eq!(plan.library.as_ref().unwrap().name, library);
    assert_eq!(plan.taps.len(), 1, "{}", plan.reason);
    let tap = &plan.taps[0];
    let [site] = tap.sites[..] else {
        panic!("{tap:x?}");
    };
    assert_eq!(site.kind, SiteKind::Emulated, "{site:x?}");
    let output = Command::new("objdump")
        .args(["-d", "--no-show-raw-insn"])
        .arg(format!("--start-address={:#x}", tap.function))
        .arg(format!("--stop-address={:#x}", site.address + 16))
        .arg(path)
        .output();
    // binutils are not everywhere.
    if let Ok(output) = output {
        let text = String::from_utf8_lossy(&output.stdout);
        let line =
            text.lines().find(|line| line.trim().starts_with(&format!("{:x}:", site.address)));
        assert!(line.is_some_and(|line| line.contains(instruction)), "{text}");
    }
    Some(plan)
}

/// Below target/programs/go.
fn by_go(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/programs/go").join(name)
}

#[test]
fn debians_gnutls() {
    let Some(plan) = check(Path::new(GNUTLS), "GnuTLS", "je ") else {
        return;
    };
    // Debian 12 has 3.7.9.
    let version = plan.library.as_ref().and_then(|library| library.version.clone());
    assert!(version.is_some_and(|version| version.starts_with("3.")));
    assert_eq!(plan.taps[0].arguments.client_random().as_deref(), Some("rdi+0x50"));
    assert!(plan.reason.contains("behind the function that sets the key log"), "{}", plan.reason);
}

#[test]
fn programs_by_go() {
    let programs = [
        ("1.21.13", "1.21.13"),
        ("1.24.11", "1.24.11"),
        ("1.27.3", "1.27.3"),
        ("pie", "1.27.3"),
        ("external", "1.27.3"),
    ];
    let programs = programs.map(|(name, version)| (by_go(name), version));
    // Debian's, by its Go 1.19.
    let debian = [("/usr/bin/caddy".into(), "1.19"), ("/usr/bin/rclone".into(), "1.19")];
    for (path, version) in programs.into_iter().chain(debian) {
        let Some(plan) = check(&path, "Go", "jbe ") else {
            continue;
        };
        let found = plan.library.as_ref().and_then(|library| library.version.as_deref());
        assert!(found.is_some_and(|found| found.starts_with(version)), "{found:?}");
        assert_eq!(plan.taps[0].symbol.as_deref(), Some("crypto/tls.(*Config).writeKeyLog"));
        let labels: Vec<_> = plan.labels.iter().map(|label| label.name).collect();
        for label in ["CLIENT_RANDOM", "CLIENT_TRAFFIC_SECRET_0", "SERVER_HANDSHAKE_TRAFFIC_SECRET"]
        {
            assert!(labels.contains(&label), "{labels:?}");
        }
    }
}

/// A file cut or overwritten anywhere is refused, or has the same probe.
#[test]
fn a_damaged_program_by_go_is_never_probed_elsewhere() {
    let Some(whole) = plan(&by_go("1.21.13")) else {
        return;
    };
    let bytes = std::fs::read(by_go("1.21.13")).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("damaged");
    let block = bytes.len() / 16;
    for number in 0..16 {
        let mut damaged = bytes.clone();
        // The headers stay, so that there is something to look at.
        damaged[(number * block).max(0x1000)..(number + 1) * block].fill(0xff);
        std::fs::write(&path, damaged).unwrap();
        let plan = plan_image(&File::open(&path).unwrap(), &path).unwrap();
        for tap in &plan.taps {
            assert_eq!((tap.function, &tap.sites), (whole.taps[0].function, &whole.taps[0].sites));
        }
    }
}
