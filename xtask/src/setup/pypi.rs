//! Wheels from PyPI: in a virtual environment under target/programs/venv, and old versions each in a folder.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::Result;

use super::stamp::Stamp;
use super::versions::FriTap;
use crate::tool;

/// Debian's Python. One of another maker may bring a TLS library of its own.
const PYTHON: &str = "/usr/bin/python3";

/// Installs `packages`, name to version, as wheels only: nothing is compiled.
///
/// # Errors
/// When the environment cannot be made, or pip fails.
pub fn install(packages: &BTreeMap<String, String>) -> Result<()> {
    let folder = super::programs().join("venv");
    let wanted: Vec<String> =
        packages.iter().map(|(name, version)| format!("{name}=={version}")).collect();
    let stamp = Stamp::new(&folder, &wanted);
    if stamp.is_there() {
        return Ok(());
    }
    println!("setup: pip install {}", wanted.join(" "));
    tool::run(Command::new(PYTHON).args(["-m", "venv", "--clear"]).arg(&folder))?;
    tool::run(pip_install(&folder).args(wanted))?;
    stamp.set()
}

/// Installs each version of `packages` alone, without what it depends on; the environment must be there.
///
/// # Errors
/// When pip fails.
pub fn install_old(packages: &BTreeMap<String, Vec<String>>) -> Result<()> {
    let programs = super::programs();
    let every = |(name, versions): (&String, &Vec<String>)| -> Vec<(String, PathBuf)> {
        let folder = |version| programs.join(format!("old/{name}-{version}"));
        versions.iter().map(|v| (format!("{name}=={v}"), folder(v))).collect()
    };
    for (wanted, folder) in packages.iter().flat_map(every) {
        let stamp = Stamp::new(&folder, std::slice::from_ref(&wanted));
        if stamp.is_there() {
            continue;
        }
        println!("setup: pip install {wanted}");
        install_alone(&wanted, &folder)?;
        stamp.set()?;
    }
    Ok(())
}

/// Installs one package into a folder, without what it depends on; the environment must be there.
///
/// # Errors
/// When pip fails.
pub fn install_alone(wanted: &str, folder: &Path) -> Result<()> {
    let mut pip = pip_install(&super::programs().join("venv"));
    tool::run(pip.args(["--no-deps", "--upgrade", "--target"]).arg(folder).arg(wanted))
}

/// Installs friTap in an environment of its own, in target/bench.
///
/// # Errors
/// When the environment cannot be made, or pip fails.
pub fn install_fritap(fritap: &FriTap) -> Result<()> {
    let folder = crate::ebpf::root().join("target/bench/fritap");
    let wanted = format!("fritap=={}", fritap.version);
    let stamp = Stamp::new(&folder, std::slice::from_ref(&wanted));
    if stamp.is_there() {
        return Ok(());
    }
    println!("setup: pip install {wanted}");
    tool::run(Command::new(PYTHON).args(["-m", "venv", "--clear"]).arg(&folder))?;
    let mut pip = pip_install(&folder);
    tool::run(pip.arg("--no-binary").arg(fritap.from_source.join(",")).arg(wanted))?;
    stamp.set()
}

/// `pip install`, with the pip of an environment.
fn pip_install(environment: &Path) -> Command {
    let mut pip = Command::new(environment.join("bin/python"));
    pip.args(["-m", "pip", "--disable-pip-version-check", "--no-input", "install", "--quiet"])
        .args(["--only-binary", ":all:"])
        .stdin(Stdio::null());
    pip
}
