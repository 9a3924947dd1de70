//! Wheels from PyPI, in a virtual environment under target/programs/venv.

use std::collections::BTreeMap;
use std::process::{Command, Stdio};

use anyhow::Result;

use super::stamp::Stamp;
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
    let mut pip = Command::new(folder.join("bin/python"));
    pip.args(["-m", "pip", "--disable-pip-version-check", "--no-input", "install", "--quiet"])
        .args(["--only-binary", ":all:"])
        .args(wanted)
        .stdin(Stdio::null());
    tool::run(&mut pip)?;
    stamp.set()
}
