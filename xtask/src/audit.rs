//! What we depend on: licences, sources, known vulnerabilities, by the rules of deny.toml.

use anyhow::Result;

use crate::{setup, tool};

/// Runs cargo-deny.
///
/// # Errors
/// When it cannot be installed, or finds something.
pub fn all(offline: bool) -> Result<()> {
    setup::audit()?;
    let mut deny = tool::cargo();
    deny.args(["deny", "--locked", "check"]);
    deny.args(["bans", "licenses", "sources"]);
    deny.args((!offline).then_some("advisories"));
    tool::run(&mut deny)
}
