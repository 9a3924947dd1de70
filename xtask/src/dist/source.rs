//! What is packed: a commit, never what lies around.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, ensure};

use crate::{ebpf, tool};

/// The commit's time in seconds since 1970: the time of every file that is packed
/// (<https://reproducible-builds.org/specs/source-date-epoch/>).
///
/// # Errors
/// When this is not a git repository.
pub fn epoch() -> Result<u64> {
    let time = tool::output(git().args(["log", "-1", "--format=%ct"]))?;
    time.trim().parse().context("git's time of the commit")
}

/// Writes the files of the commit to `folder`.
///
/// # Errors
/// When they cannot be written.
pub fn export(folder: &Path) -> Result<()> {
    if !tool::output(git().args(["status", "--porcelain"]))?.trim().is_empty() {
        println!("dist: packs the last commit; what you did not commit is left out");
    }
    if folder.exists() {
        fs::remove_dir_all(folder)?;
    }
    fs::create_dir_all(folder)?;
    let mut archive =
        git().args(["archive", "--format=tar", "HEAD"]).stdout(Stdio::piped()).spawn()?;
    let tar = archive.stdout.take().context("git has no output")?;
    // Cargo compares times: with those of the commit it would take an older build for a newer one.
    let status = Command::new("tar").args(["-xm", "-C"]).arg(folder).stdin(tar).status()?;
    ensure!(status.success() && archive.wait()?.success(), "cannot export the commit");
    Ok(())
}

fn git() -> Command {
    let mut git = Command::new("git");
    git.current_dir(ebpf::root());
    git
}
