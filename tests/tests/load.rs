//! Under load nothing is lost: every line of thousands of handshakes, on both ends at the same time.

use std::path::Path;
use std::time::Instant;

use anyhow::{Result, ensure};
use tlskeytop_tests::{Bench, OwnCurl, Process, Protocol, Tlskeytop};

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

/// Each is gone milliseconds after its handshake, four at a time, and it is its name that chooses it.
#[test]
fn all_lines_of_processes_that_are_gone_at_once() -> Result<()> {
    const ROUNDS: usize = 25;
    const AT_ONCE: usize = 4;
    let Some(bench) = Bench::open(Protocol::Http)? else {
        return Ok(());
    };
    let own = OwnCurl::copy(&bench.lab)?;
    let tlskeytop = Tlskeytop::keylog(&bench.lab, ["--name", &own.name])?;
    for peer in &bench.peers {
        for _ in 0..ROUNDS {
            let start = |_| Process::start(&mut own.request(&bench.lab, peer.port(), ""));
            let mut clients: Vec<Process> = (0..AT_ONCE).map(start).collect::<Result<_>>()?;
            for client in &mut clients {
                ensure!(client.wait()?.status.success());
            }
        }
    }
    bench.check(tlskeytop, ROUNDS * AT_ONCE)
}
