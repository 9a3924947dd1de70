//! The client that most tests use.

use std::process::Command;

use crate::lab::Lab;

/// Debian's curl; another may be earlier in the path.
pub const CURL: &str = "/usr/bin/curl";

/// One request for `https://localhost:PORT/PATH`, that verifies the lab's certificate.
pub fn curl(lab: &Lab, port: u16, path: &str) -> Command {
    let mut command = Command::new(CURL);
    command
        .args(["--silent", "--show-error", "--max-time", "20", "--http1.1", "--cacert"])
        .arg(&lab.certificate.certificate)
        .arg(format!("https://localhost:{port}/{path}"));
    command
}
