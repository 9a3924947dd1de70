//! Figures of the interface with 100,000 sessions, and of the whole program at work.

use std::ffi::OsString;

use anyhow::Result;

use crate::tool;

/// Runs the figures in a release build.
///
/// # Errors
/// When they cannot be built.
pub fn all() -> Result<()> {
    let test = ["test", "--release", "-p", "tlskeytop", "--lib", "--"].map(OsString::from);
    let figures = ["--ignored", "--nocapture", "figures"].map(OsString::from);
    tool::run(tool::cargo().args(test).args(figures))
}
