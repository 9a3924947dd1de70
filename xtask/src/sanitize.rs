//! The pure parts with every access to memory looked at: AddressSanitizer, and Miri where there is unsafe code of our own.

use anyhow::{Context as _, Result};

use crate::tool;

/// Modules that parse and decide, and need neither root nor kernel.
const PURE: [&str; 10] = [
    "capture::decode",
    "capture::reading",
    "config::",
    "json::",
    "keylog::",
    "keymap::",
    "model::",
    "target::",
    "text::",
    "tls::",
];

/// Runs both. What the first builds is of its own: it takes minutes.
///
/// # Errors
/// When nightly, or Miri, is missing, or one of them finds something.
pub fn all() -> Result<()> {
    let flags = [
        ("RUSTFLAGS", "-Zsanitizer=address"),
        ("CARGO_TARGET_DIR", "target/sanitize"),
        // A test of the tables, which are there for as long as the program, leaks its own on purpose.
        ("ASAN_OPTIONS", "detect_leaks=0"),
    ];
    let test = |package: &[&str], filter: &[&str]| {
        let mut test = tool::nightly("cargo");
        test.envs(flags);
        // With a target of its own, what runs while building is not sanitized.
        test.args(["test", "--locked", "--target", "x86_64-unknown-linux-gnu"]);
        tool::run(test.args(package).arg("--").args(filter))
    };
    test(&["-p", "tlskeytop", "--lib"], &PURE).context("AddressSanitizer, pure parts")?;
    test(&["-p", "tlskeytop-fuzz", "--test", "corpus"], &[]).context("AddressSanitizer, corpus")?;
    let mut miri = tool::nightly("cargo");
    miri.env("CARGO_TARGET_DIR", "target/sanitize");
    tool::run(miri.args(["miri", "test", "--locked", "-p", "tlskeytop-common"]))
        .context("Miri: `rustup component add --toolchain nightly miri rust-src`")
}
