//! Running other programs.

use std::env;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context as _, Result, ensure};

/// The cargo that runs this.
pub fn cargo() -> Command {
    let mut command = Command::new(env::var_os("CARGO").unwrap_or("cargo".into()));
    command.current_dir(crate::ebpf::root());
    command
}

/// `program` with the toolchain that has what is not stable; it is rustup that knows it.
pub fn nightly(program: impl AsRef<std::ffi::OsStr>) -> Command {
    let mut command = Command::new(program);
    command.current_dir(crate::ebpf::root()).env("RUSTUP_TOOLCHAIN", "nightly");
    // The cargo that runs this is another toolchain's.
    command.env_remove("CARGO");
    command
}

/// Runs `command` on this terminal.
///
/// # Errors
/// When it cannot be started or does not succeed.
pub fn run(command: &mut Command) -> Result<()> {
    let status = command.status().with_context(|| format!("cannot start {command:?}"))?;
    ensure!(status.success(), "{command:?}: {status}");
    Ok(())
}

/// What `command` prints.
///
/// # Errors
/// When it cannot be started or does not succeed, with what it said.
pub fn output(command: &mut Command) -> Result<String> {
    let output = command.output().with_context(|| format!("cannot start {command:?}"))?;
    ensure!(
        output.status.success(),
        "{command:?}: {}\n{}",
        output.status,
        String::from_utf8_lossy(&output.stderr).trim_end()
    );
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Where `name` is in the path, or in the folders that an ordinary user's path often lacks.
pub fn find(name: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&path)
        .chain(["/usr/sbin".into(), "/sbin".into()])
        .map(|folder| folder.join(name))
        .find(|file| file.is_file())
}

/// The folder that cargo builds into.
pub fn target() -> PathBuf {
    let root = crate::ebpf::root();
    env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), |folder| root.join(folder))
}

/// True for uid 0.
pub fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// The built binary.
pub fn tlskeytop(release: bool) -> PathBuf {
    target().join(if release { "release" } else { "debug" }).join("tlskeytop")
}
