//! Everything that the bench measures can be measured. The figures of so short a time say nothing, and are not judged.

use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use tlskeytop::preflight::release;
use tlskeytop_tests::{Process, Tlskeytop, require_live};

/// What its rows begin with, and how many do. Other tools may be missing.
const ROWS: [(&str, usize); 36] = [
    ("handshakes, TLS 1.3: attached / not attached", 1),
    ("handshakes, TLS 1.2: attached / not attached", 1),
    ("handshakes, TLS 1.3, over the loopback: attached / not attached", 1),
    ("handshakes, TLS 1.2, over the loopback: attached / not attached", 1),
    ("bulk, 1 KiB: attached / not attached", 1),
    ("bulk, 16 KiB: attached / not attached", 1),
    ("handshakes, TLS 1.3: the same by the target's time on a processor", 1),
    ("handshakes, TLS 1.3: not attached, after / before", 1),
    ("handshakes, TLS 1.3: the process beside it, attached / not attached", 1),
    ("pairs with tlskeytop that failed", 1),
    ("handshakes, TLS 1.3: with own SSLKEYLOGFILE / without", 1),
    ("handshakes, TLS 1.3, at the highest rate for 1 s: ", 4),
    ("handshakes, TLS 1.3, at the highest rate for 1 s beside two processes with bulk I/O: ", 4),
    ("resumed handshakes, TLS 1.2, at the highest rate for 1 s: ", 4),
    ("from secret to line in the file", 3),
    ("from start to ready, one pid", 1),
    ("from start to ready, the whole machine", 1),
    ("what it then still does, of a processor's time, one pid", 1),
    ("own share of a processor, idle", 2),
    ("own share of a processor at ", 2),
    ("processes and threads that others started meanwhile", 2),
    ("resident memory, no sessions", 2),
    ("packets of 1,500 bytes recorded", 3),
    ("bulk over the loopback, 16 KiB: with the wire view / without", 1),
    ("bulk over the loopback, 16 KiB: with a packet socket that takes nothing / without", 1),
    ("the wire view's share of a processor at ", 2),
    ("memory of 500 sessions in the model", 2),
    ("memory of 500 sessions in the model, all of them saved", 1),
    ("events into the model, up to its limit", 2),
    ("events into the model, each session in place of an older one", 2),
    ("key press to drawn frame, 500 sessions, 200x60: moving", 2),
    ("key press to drawn frame, 500 sessions, 200x60: sorting", 2),
    ("key press to drawn frame, 500 sessions, 200x60: sorting, the slowest (by ", 1),
    ("key press to drawn frame, 500 sessions, 200x60: filtering", 2),
    ("key press to drawn frame, 500 sessions, 200x60: filtering, the slowest ('", 1),
    ("planning libssl", 1),
];
/// The same where the kernel tells of multi-uprobe links.
const HITS: [(&str, usize); 4] = [
    ("one hit, a secret: ", 5),
    ("one hit, a secret and the server's name: ", 5),
    ("one hit, a secret, the server's name and the peer: ", 5),
    ("handshakes, TLS 1.3: hits for each", 1),
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
    let ended = bench.wait_within(Duration::from_secs(220))?;
    ensure!(ended.status.success(), "{}\n{}", ended.status, ended.stderr);
    let figures: Vec<(&str, &str)> = ended.stdout.lines().filter_map(figure).collect();
    let hits = if release().is_some_and(|release| release >= (6, 8)) { &HITS[..] } else { &[] };
    for (row, count) in ROWS.iter().chain(hits) {
        let found = figures.iter().filter(|(what, _)| what.starts_with(row)).count();
        ensure!(found == *count, "{found} rows {row:?} and not {count} in\n{}", ended.stdout);
    }
    for (row, count, figure) in
        [(": key log lines captured", 3, "100.00 %"), (": events lost", 3, "0")]
    {
        let ends = figures.iter().filter(|found| found.0.ends_with(row) && found.1 == figure);
        ensure!(ends.count() == count, "not {count} rows {row:?} are {figure}\n{}", ended.stdout);
    }
    // Ten with both ends in one process; others may shake hands meanwhile.
    if !hits.is_empty() {
        let hits = figures.iter().find(|(what, _)| *what == "handshakes, TLS 1.3: hits for each");
        let hits: f64 = hits.context("the hits")?.1.parse()?;
        ensure!(hits >= 10.0, "{hits} hits for each handshake");
    }
    Ok(())
}

/// What a row of a table says of what.
fn figure(line: &str) -> Option<(&str, &str)> {
    let mut cells = line.strip_prefix("| ")?.split(" | ");
    let (what, figure) = (cells.next()?, cells.next()?);
    figure
        .starts_with(|first: char| first.is_ascii_digit() || first == '-')
        .then_some((what, figure))
}
