//! Everything that must hold before a change lands, in the order of its cost.

use std::env;
use std::ffi::OsString;

use anyhow::{Context as _, Result};

use crate::{ebpf, fuzz, setup, tool};

/// All packages but the one that is built for eBPF.
const ALL: [&str; 3] = ["--workspace", "--exclude", "tlskeytop-ebpf"];

/// Sets up, checks, builds and tests; `nextest` goes to `cargo nextest run`.
///
/// # Errors
/// On the first check that fails.
pub fn all(nextest: &[OsString]) -> Result<()> {
    // What could not be set up is printed; the tests that need it say so again.
    setup::all()?;
    tool::run(tool::cargo().args(["fmt", "--all", "--check"])).context("run cargo fmt")?;
    let mut clippy = tool::cargo();
    clippy.args(["clippy", "--locked", "--all-targets"]).args(ALL).args(["--", "-Dwarnings"]);
    tool::run(&mut clippy)?;
    ebpf::check()?;
    tool::run(tool::cargo().args(["build", "--locked", "--package", "tlskeytop"]))?;
    if nextest.is_empty() {
        fuzz::short()?;
    }
    let mut tests = tool::cargo();
    tests.args(["nextest", "run", "--locked"]).args(ALL).args(nextest);
    tests.env("TLSKEYTOP_BIN", tool::tlskeytop(false));
    if env::var("CI").is_ok_and(|ci| ci == "true") {
        tests.env("TLSKEYTOP_REQUIRE_LIVE", "1");
    } else if !tool::is_root() {
        println!("test: not root, so the live tests are skipped; they attach uprobes");
    }
    tool::run(&mut tests)
}
