//! The finders of the further TLS stacks on real files: Debian's, and what `cargo xtask setup` builds. The disassembly of
//! `objdump` is the truth for the probed instruction.

#![allow(clippy::unwrap_used, reason = "in a test a panic is the message")]

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};
use tlskeytop::target::image::plan_image;
use tlskeytop::target::plan::{ImagePlan, SiteKind};

const GNUTLS: &str = "/usr/lib/x86_64-linux-gnu/libgnutls.so.30";
/// The planner's own CPU time for each of the files, not optimised. What costs too much takes ten times that.
const LIMIT: Duration = Duration::from_secs(2);

/// The plan of a file that is there, made in time.
fn plan(path: &Path) -> Option<ImagePlan> {
    if !path.exists() {
        println!("{} is not there", path.display());
        return None;
    }
    let file = File::open(path).unwrap();
    let spent = || Duration::try_from(clock_gettime(ClockId::ThreadCPUTime)).unwrap();
    let start = spent();
    let plan = plan_image(&file, path).unwrap();
    let time = spent() - start;
    println!("{} in {time:?}: {:?} {}", path.display(), plan.library, plan.reason);
    assert!(time < LIMIT, "{}: {time:?}", path.display());
    Some(plan)
}

/// As many taps, each probed at one branch.
fn check(path: &Path, library: &str, instruction: &str, taps: usize) -> Option<ImagePlan> {
    let plan = plan(path)?;
    assert_eq!(plan.library.as_ref().unwrap().name, library);
    assert_eq!(plan.taps.len(), taps, "{}", plan.reason);
    for tap in &plan.taps {
        let [site] = tap.sites[..] else {
            panic!("{tap:x?}");
        };
        assert_eq!(site.kind, SiteKind::Emulated, "{site:x?}");
    }
    check_sites(path, &plan, instruction);
    Some(plan)
}

/// Each probe is on an instruction that `objdump` sees too when it starts at the function.
fn check_sites(path: &Path, plan: &ImagePlan, instruction: &str) {
    for tap in &plan.taps {
        let last = tap.sites.iter().map(|site| site.address).max().unwrap();
        let output = Command::new("objdump")
            .args(["-d", "--no-show-raw-insn"])
            .arg(format!("--start-address={:#x}", tap.function.min(last)))
            .arg(format!("--stop-address={:#x}", last + 16))
            .arg(path)
            .output();
        // binutils are not everywhere.
        let Ok(output) = output else {
            return;
        };
        let text = String::from_utf8_lossy(&output.stdout);
        for site in tap.sites.iter().filter(|site| site.address >= tap.function) {
            let start = format!("{:x}:", site.address);
            let line = text.lines().find(|line| line.trim().starts_with(&start));
            assert!(line.is_some_and(|line| line.contains(instruction)), "{start} {line:?}");
        }
    }
}

/// Below target/programs/go.
fn by_go(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/programs/go").join(name)
}

#[test]
fn debians_gnutls() {
    let Some(plan) = check(Path::new(GNUTLS), "GnuTLS", "je ", 1) else {
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
        // In caddy there is quic-go's as well.
        let forks = usize::from(path == Path::new("/usr/bin/caddy"));
        let Some(plan) = check(&path, "Go", "jbe ", 1 + forks) else {
            continue;
        };
        let found = plan.library.as_ref().and_then(|library| library.version.as_deref());
        assert!(found.is_some_and(|found| found.starts_with(version)), "{found:?}");
        let name = |tap: usize| plan.taps.get(tap).and_then(|tap| tap.symbol.as_deref());
        assert_eq!(name(0), Some("crypto/tls.(*Config).writeKeyLog"));
        assert!(forks == 0 || name(1).is_some_and(|name| name.contains("/qtls-go")), "{plan:?}");
        let labels: Vec<_> = plan.labels.iter().map(|label| label.name).collect();
        for label in ["CLIENT_RANDOM", "CLIENT_TRAFFIC_SECRET_0", "SERVER_HANDSHAKE_TRAFFIC_SECRET"]
        {
            assert!(labels.contains(&label), "{labels:?}");
        }
    }
}

/// Below target/programs, in a folder whose name may have more behind `folder`.
fn program(folder: &str, file: &str) -> PathBuf {
    let programs = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/programs");
    let mut folders = vec![programs];
    while let Some(at) = folders.pop() {
        for entry in at.read_dir().into_iter().flatten().flatten() {
            let (path, kind) = (entry.path(), entry.file_type().unwrap());
            let name = entry.file_name();
            let name = name.to_string_lossy();
            let is_it = name == file || name.starts_with(file) && name.ends_with(".so");
            if kind.is_file() && is_it && path.to_string_lossy().contains(folder) {
                return path;
            }
            if kind.is_dir() {
                folders.push(path);
            }
        }
    }
    PathBuf::from(format!("{folder}/{file}"))
}

#[test]
fn the_crt_of_aws() {
    let path = program("awscrt", "_awscrt");
    let Some(plan) = plan(&path) else { return };
    assert_eq!(plan.library.as_ref().unwrap().name, "s2n-tls");
    assert_eq!(plan.taps.len(), 2, "{}", plan.reason);
    check_sites(&path, &plan, "");
}

#[test]
fn programs_with_rustls() {
    for (folder, file) in [("/uv-", "uv"), ("/deno-", "deno")] {
        let path = program(folder, file);
        let Some(plan) = plan(&path) else { continue };
        let library = plan.library.as_ref().unwrap();
        assert_eq!(library.name, "rustls");
        assert!(library.version.is_some(), "{library:?}");
        assert!(!plan.reason.contains("; not "), "{}", plan.reason);
        check_sites(&path, &plan, "");
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
