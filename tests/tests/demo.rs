//! `cargo xtask run --demo`: handshakes at once, and nothing left behind.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Result, ensure};
use tlskeytop_tests::{Lab, Process, Summary, until};

/// Processes whose command line names a file of the demo's.
fn left_behind() -> Result<Vec<String>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).with_file_name("target/demo");
    let folder = folder.to_string_lossy();
    let mut found = Vec::new();
    for process in fs::read_dir("/proc")? {
        let command = fs::read(process?.path().join("cmdline")).unwrap_or_default();
        let command = String::from_utf8_lossy(&command).replace('\0', " ");
        if command.contains(&*folder) {
            found.push(command);
        }
    }
    Ok(found)
}

#[test]
fn shows_handshakes_at_once_and_leaves_nothing() -> Result<()> {
    let Some(lab) = Lab::open()? else {
        return Ok(());
    };
    let cargo = std::env::var_os("CARGO").unwrap_or("cargo".into());
    let keylog = lab.path("demo.keylog");
    let mut command = Command::new(cargo);
    command
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .args(["xtask", "run", "--demo", "--", "--mode", "keylog", "--count", "4", "-k"])
        .arg(&keylog);
    let ended = Process::run_ok(&mut command)?;
    let summary = Summary::parse(&ended.stderr)?;
    ensure!(summary.sessions >= 4 && summary.lost == 0, "{summary:?}");
    until("the demo's processes are gone", || Ok(left_behind()?.is_empty().then_some(())))
}
