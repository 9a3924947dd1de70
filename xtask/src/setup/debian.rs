//! Packages of Debian.

use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, bail};

use crate::tool;

/// Installs those of `packages` that are missing.
///
/// # Errors
/// Not on Debian, or not as root: with the names of what is missing. And when apt-get fails.
pub fn install<P: AsRef<str>>(packages: &[P]) -> Result<()> {
    if tool::find("dpkg-query").is_none() {
        bail!("no Debian here; the tests use what is in {}", list(packages));
    }
    let missing = missing(packages)?;
    if missing.is_empty() {
        return Ok(());
    }
    if !tool::is_root() {
        bail!("not root; as root: apt-get install {}", list(&missing));
    }
    println!("setup: apt-get install {}", list(&missing));
    tool::run(apt_get().arg("update"))?;
    tool::run(apt_get().args(["install", "-y", "--no-install-recommends"]).args(missing))
}

fn apt_get() -> Command {
    let mut command = Command::new("apt-get");
    command.arg("-q").env("DEBIAN_FRONTEND", "noninteractive").stdin(Stdio::null());
    command
}

/// Those that are not installed.
fn missing<P: AsRef<str>>(packages: &[P]) -> Result<Vec<&str>> {
    let output = Command::new("dpkg-query")
        .args(["-W", "-f", "${Package} ${db:Status-Status}\\n"])
        .args(packages.iter().map(AsRef::as_ref))
        // It fails, and says so, when it has never heard of one: that one is missing.
        .output()
        .context("cannot start dpkg-query")?;
    let known = String::from_utf8_lossy(&output.stdout).into_owned();
    let installed =
        |name: &str| known.lines().any(|line| line.strip_suffix(" installed") == Some(name));
    Ok(packages.iter().map(AsRef::as_ref).filter(|name| !installed(name)).collect())
}

fn list<P: AsRef<str>>(packages: &[P]) -> String {
    packages.iter().map(AsRef::as_ref).collect::<Vec<_>>().join(" ")
}
