//! Everything that the bench measures can be measured. The figures of so short a time say nothing, and are not judged.

use std::process::Command;
use std::time::Duration;

use anyhow::{Result, ensure};
use tlskeytop_tests::{Process, Tlskeytop, require_live};

/// What each part has at least one row of.
const ROWS: [&str; 10] = [
    "handshakes, TLS 1.3: attached / not attached",
    "bulk, 16 KiB: attached / not attached",
    "with own SSLKEYLOGFILE / without",
    "one hit, a secret: ours",
    "beside two processes with bulk I/O: key log lines captured",
    "from secret to line in the file",
    "from start to ready, the whole machine",
    "with the interface",
    "key press to drawn frame",
    "planning libssl",
];

#[test]
fn every_row_has_a_figure() -> Result<()> {
    if !require_live()? {
        return Ok(());
    }
    let mut bench = Command::new(env!("CARGO_BIN_EXE_tlskeytop-bench"));
    let mut bench =
        Process::start(bench.arg("--short").env("TLSKEYTOP_BIN", Tlskeytop::binary()?))?;
    bench.close_stdin();
    let ended = bench.wait_within(Duration::from_secs(170))?;
    ensure!(ended.status.success(), "{}\n{}", ended.status, ended.stderr);
    for row in ROWS {
        let lines = ended.stdout.lines();
        let found = lines.filter(|line| line.contains(row)).count();
        ensure!(found > 0, "no row {row:?} in\n{}", ended.stdout);
    }
    ensure!(ended.stdout.contains("| 100.00 % |"), "not every key was captured");
    Ok(())
}
