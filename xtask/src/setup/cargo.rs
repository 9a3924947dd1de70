//! What cargo installs: the test runner, and the linker for eBPF.

use std::path::Path;
use std::process::Command;

use anyhow::{Result, bail};

use crate::tool;

/// The LLVM that Debian's rustc-web and bpf-linker share.
const LLVM: &str = "/usr/lib/llvm-22";

/// Installs cargo-nextest when there is none; any version will do.
///
/// # Errors
/// When cargo fails.
pub fn nextest(version: &str) -> Result<()> {
    if succeeds(tool::cargo().args(["nextest", "--version"])) {
        return Ok(());
    }
    tool::run(tool::cargo().args(["install", "--locked", "cargo-nextest", "--version", version]))
}

/// Installs cargo-deny when there is none. Takes minutes.
///
/// # Errors
/// When cargo fails.
pub fn deny(version: &str) -> Result<()> {
    if succeeds(tool::cargo().args(["deny", "--version"])) {
        return Ok(());
    }
    tool::run(tool::cargo().args(["install", "--locked", "cargo-deny", "--version", version]))
}

/// Builds bpf-linker into target/toolchain. Takes about two minutes on two cores.
///
/// # Errors
/// When its LLVM is missing, or cargo fails.
pub fn bpf_linker(version: &str) -> Result<()> {
    let folder = crate::ebpf::root().join("target/toolchain");
    if is_version(&folder.join("bin/bpf-linker"), version) {
        return Ok(());
    }
    if !Path::new(LLVM).is_dir() {
        bail!("needs {LLVM} (llvm-22-dev); the eBPF object is not rebuilt here");
    }
    // The profiles and flags of this workspace are not its own: built from another folder.
    let mut install = tool::cargo();
    install
        .current_dir("/")
        .env("LLVM_PREFIX", LLVM)
        .args(["install", "bpf-linker", "--version", version, "--force"])
        .args(["--no-default-features", "--features", "llvm-22", "--root"])
        .arg(folder);
    tool::run(&mut install)
}

fn is_version(program: &Path, version: &str) -> bool {
    let output = Command::new(program).arg("--version").output();
    output.is_ok_and(|output| String::from_utf8_lossy(&output.stdout).contains(version))
}

fn succeeds(command: &mut Command) -> bool {
    command.output().is_ok_and(|output| output.status.success())
}
