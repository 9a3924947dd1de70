//! The programs that `cargo xtask setup` puts under target/programs, and the scripts in tests/peers.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::lab::{Lab, skip};

/// Debian's Python; another may be earlier in the path, with a library of its own.
pub const PYTHON: &str = "/usr/bin/python3";
/// Debian's OpenSSL on x86-64.
pub const LIBSSL: &str = "/usr/lib/x86_64-linux-gnu/libssl.so.3";

/// A folder in the lab with a copy of libssl, an image of its own, for `LD_LIBRARY_PATH`.
///
/// # Errors
/// When it cannot be copied.
pub fn private_libssl(lab: &Lab, folder: &str) -> Result<PathBuf> {
    let folder = lab.path(folder);
    std::fs::create_dir(&folder)?;
    std::fs::copy(LIBSSL, folder.join("libssl.so.3"))
        .with_context(|| format!("copying {LIBSSL}"))?;
    Ok(folder)
}

/// The target folder: where cargo built this test.
pub(crate) fn target_folder() -> Result<PathBuf> {
    let test = std::env::current_exe()?;
    // target/PROFILE/deps/TEST
    let target = test.ancestors().nth(3).context("not in a target folder")?;
    Ok(target.to_owned())
}

/// A file under target/programs; None, with the reason printed, where setup has not put it there.
///
/// # Errors
/// When it is missing and live tests must not be skipped.
pub fn program(path: &str) -> Result<Option<PathBuf>> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent();
    let programs = root.context("no workspace")?.join("target/programs");
    let program = programs.join(path);
    if program.exists() {
        return Ok(Some(program));
    }
    skip(&format!("{} is missing: run cargo xtask setup", program.display()))
}

/// A shared object in the virtual environment's packages: `libs/libssl-` finds `libs/libssl-8b66dd34.so.3`,
/// which wheels name by the hash of its contents.
///
/// # Errors
/// When it is missing and live tests must not be skipped.
pub fn shared_library(prefix: &str) -> Result<Option<PathBuf>> {
    let Some(library) = program("venv/lib")? else {
        return Ok(None);
    };
    for python in std::fs::read_dir(&library)? {
        if let Some(file) = file_with(&python?.path().join("site-packages").join(prefix))? {
            return Ok(Some(file));
        }
    }
    skip(&format!("{prefix}* is missing below {}: run cargo xtask setup", library.display()))
}

/// The same among the old versions, of which each has a folder: `psycopg-binary-3.2.4/psycopg_binary.libs/libssl-`.
///
/// # Errors
/// When it is missing and live tests must not be skipped.
pub fn old_library(prefix: &str) -> Result<Option<PathBuf>> {
    let Some(old) = program("old")? else {
        return Ok(None);
    };
    match file_with(&old.join(prefix))? {
        Some(file) => Ok(Some(file)),
        None => skip(&format!("{prefix}* is missing in {}: run cargo xtask setup", old.display())),
    }
}

/// The file whose path begins with `prefix`.
fn file_with(prefix: &Path) -> Result<Option<PathBuf>> {
    let folder = prefix.parent().context("no folder")?;
    let name = prefix.file_name().context("no file name")?.to_string_lossy();
    for file in std::fs::read_dir(folder).into_iter().flatten() {
        let file = file?;
        if file.file_name().to_string_lossy().starts_with(&*name) {
            return Ok(Some(file.path()));
        }
    }
    Ok(None)
}

/// A script in tests/peers.
pub fn peer_script(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("peers").join(name)
}
