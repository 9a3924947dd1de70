//! Programs from npm, under target/programs/npm.

use std::collections::BTreeMap;
use std::fs;
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result};

use super::{debian, stamp::Stamp};
use crate::tool;

/// Installs `packages`, name to version.
///
/// # Errors
/// When npm is missing and cannot be installed, or fails.
pub fn install(packages: &BTreeMap<String, String>) -> Result<()> {
    let folder = super::programs().join("npm");
    let wanted: Vec<String> =
        packages.iter().map(|(name, version)| format!("{name}@{version}")).collect();
    let stamp = Stamp::new(&folder, &wanted);
    if stamp.is_there() {
        return Ok(());
    }
    if tool::find("npm").is_none() {
        debian::install(&["npm"])?;
    }
    println!("setup: npm install {}", wanted.join(" "));
    fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
    // Without it npm looks for one in the folders above.
    fs::write(folder.join("package.json"), "{ \"private\": true }\n")?;
    let mut npm = Command::new("npm");
    npm.args(["install", "--no-audit", "--no-fund", "--ignore-scripts", "--save-exact"])
        .args(["--loglevel", "error", "--prefix"])
        .arg(&folder)
        .args(wanted)
        .stdin(Stdio::null());
    tool::run(&mut npm)?;
    stamp.set()
}
