//! Debian's Python: the system's OpenSSL, and only SSL_write_ex.

use std::path::Path;

use anyhow::Result;
use tlskeytop_tests::{Bench, PYTHON, Process, Protocol, Tlskeytop};

const TIMES: usize = 3;

#[test]
fn attached_while_it_runs() -> Result<()> {
    let Some(bench) = Bench::open(Protocol::Http)? else {
        return Ok(());
    };
    let mut client = bench.client(Path::new(PYTHON), "client_ssl.py", TIMES);
    bench.start_then_attach(&mut client, TIMES)
}

#[test]
fn chosen_by_a_glob_before_it_starts() -> Result<()> {
    let Some(bench) = Bench::open(Protocol::Http)? else {
        return Ok(());
    };
    let tlskeytop = Tlskeytop::keylog(&bench.lab, ["--name", "python3*"])?;
    let mut client = bench.client(Path::new(PYTHON), "client_ssl.py", TIMES);
    let mut client = Process::start(&mut client)?;
    client.say("go")?;
    assert!(client.wait()?.status.success());
    bench.check(tlskeytop, TIMES)
}
