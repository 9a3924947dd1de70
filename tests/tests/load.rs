//! Under load nothing is lost: every line of thousands of handshakes, on both ends at the same time.

use std::path::Path;
use std::time::Instant;

use anyhow::{Result, ensure};
use tlskeytop_tests::{Bench, Process, Protocol, Tlskeytop};

/// Handshakes with each peer: 2,000 over TLS 1.3 and 2,000 over TLS 1.2.
const TIMES: usize = 2000;

#[test]
fn all_lines_of_thousands_of_handshakes() -> Result<()> {
    let Some(bench) = Bench::open(Protocol::Http)? else {
        return Ok(());
    };
    let tlskeytop = Tlskeytop::keylog(&bench.lab, ["--all"])?;
    let mut client = bench.client(Path::new("/usr/bin/python3"), "client_load.py", TIMES);
    let mut client = Process::start(&mut client)?;
    client.wait_stdout("waiting", |line| (line == "waiting").then_some(()))?;
    let start = Instant::now();
    client.say("go")?;
    let ended = client.wait()?;
    ensure!(ended.status.success(), "the client: {}", ended.status);
    let took = start.elapsed();
    eprintln!("{} handshakes in {took:?}", 2 * TIMES);
    // Also insists that the summary counts 0 lost.
    bench.check(tlskeytop, TIMES)
}
