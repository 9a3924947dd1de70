//! A small TLS client with its library linked statically, built by the test.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Result;

use crate::lab::{Lab, skip};
use crate::process::Process;
use crate::programs::peer_script;

/// Debian's libssl-dev has it.
const ARCHIVE: &str = "/usr/lib/x86_64-linux-gnu/libssl.a";

/// Builds tests/peers/client_static.c in the lab; None, with the reason printed, where that cannot be done.
///
/// # Errors
/// When it does not compile; or when the library is missing and live tests must not be skipped.
pub fn static_client(lab: &Lab) -> Result<Option<PathBuf>> {
    if !Path::new(ARCHIVE).exists() {
        return skip(&format!("{ARCHIVE} is missing: install libssl-dev and gcc"));
    }
    let program = lab.path("client-static");
    let mut gcc = Command::new("gcc");
    gcc.args(["-Os", "-static", "-s", "-ffunction-sections", "-Wl,--gc-sections", "-w", "-o"])
        .arg(&program)
        .arg(peer_script("client_static.c"))
        .args(["-lssl", "-lcrypto", "-ldl", "-lpthread"]);
    Process::run_ok(&mut gcc)?;
    Ok(Some(program))
}
