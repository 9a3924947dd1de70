//! `scan --json`, and what it says about one process.

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::lab::Lab;
use crate::process::Process;
use crate::tlskeytop::Tlskeytop;

/// Every object that speaks of this process: one for each image that it maps.
///
/// # Errors
/// When the scan fails, or does not list the process.
pub fn scan_of(lab: &Lab, pid: u32) -> Result<Vec<Value>> {
    let ended = Process::run_ok(Tlskeytop::command(lab)?.args(["scan", "--json"]))?;
    let values = serde_json::Deserializer::from_str(&ended.stdout).into_iter::<Value>();
    let values = values.collect::<Result<Vec<_>, _>>().context("scan --json")?;
    let mut found = Vec::new();
    values.iter().for_each(|value| objects_of(value, pid, &mut found));
    ensure!(!found.is_empty(), "scan --json does not list {pid}:\n{}", ended.stdout);
    Ok(found)
}

/// One document, or one object a line: both are read.
fn objects_of(value: &Value, pid: u32, found: &mut Vec<Value>) {
    match value {
        Value::Array(values) => values.iter().for_each(|value| objects_of(value, pid, found)),
        Value::Object(fields) => {
            if fields.get("pid").and_then(Value::as_u64) == Some(pid.into()) {
                found.push(value.clone());
            }
            fields.values().for_each(|value| objects_of(value, pid, found));
        }
        _ => (),
    }
}
