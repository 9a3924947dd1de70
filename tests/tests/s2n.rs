//! s2n-tls, static in the wheel of awscrt: with its symbols, and stripped.

use std::path::Path;
use std::process::Command;

use anyhow::Result;
use tlskeytop_tests::{Bench, PYTHON, Process, Protocol, program};

const TIMES: usize = 2;

fn client(bench: &Bench, folder: &Path) -> Command {
    let mut client = bench.client(Path::new(PYTHON), "client_awscrt.py", TIMES);
    client.env("PYTHONPATH", folder);
    client
}

#[test]
fn awscrt_before_and_after_it_starts() -> Result<()> {
    let Some(folder) = program("old/awscrt-0.38.1")? else {
        return Ok(());
    };
    let image = folder.join("_awscrt.abi3.so");
    if let Some(bench) = Bench::open(Protocol::Http)? {
        bench.attach_then_start(&[&image], &mut client(&bench, &folder), TIMES)?;
    }
    // Its own peers: their key logs are of these handshakes alone.
    match Bench::open(Protocol::Http)? {
        Some(bench) => bench.start_then_attach(&mut client(&bench, &folder), TIMES),
        None => Ok(()),
    }
}

#[test]
fn awscrt_without_symbols() -> Result<()> {
    let (Some(bench), Some(folder)) = (Bench::open(Protocol::Http)?, program("old/awscrt-0.38.1")?)
    else {
        return Ok(());
    };
    let stripped = bench.lab.path("stripped");
    std::fs::create_dir(&stripped)?;
    std::os::unix::fs::symlink(folder.join("awscrt"), stripped.join("awscrt"))?;
    let image = stripped.join("_awscrt.abi3.so");
    let mut strip = Command::new("strip");
    Process::run_ok(strip.arg("-o").arg(&image).arg(folder.join("_awscrt.abi3.so")))?;
    bench.attach_then_start(&[&image], &mut client(&bench, &stripped), TIMES)
}
