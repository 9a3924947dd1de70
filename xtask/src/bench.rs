//! What tlskeytop costs, measured in a release build: the package `bench`.

use std::ffi::OsString;
use std::process::Command;

use anyhow::Result;

use crate::{ebpf, setup, tool};

/// Installs what it compares with, builds, and measures; `args` go to the bench.
///
/// # Errors
/// When something cannot be built or measured.
pub fn all(update: bool, args: &[OsString]) -> Result<()> {
    setup::bench()?;
    let build = ["build", "--locked", "--release", "-p", "tlskeytop", "-p", "tlskeytop-bench"];
    tool::run(tool::cargo().args(build))?;
    let mut bench = Command::new(tool::target().join("release/tlskeytop-bench"));
    bench.current_dir(ebpf::root()).env("TLSKEYTOP_BIN", tool::tlskeytop(true));
    bench.args(update.then_some("--update=BENCHMARKS.md")).args(args);
    tool::run(&mut bench)
}
