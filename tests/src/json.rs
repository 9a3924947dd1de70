//! What `--mode json` prints: one object a line, the last of a session complete.

use std::collections::BTreeMap;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

/// The fields of every line, in the order of the design.
const FIELDS: [&str; 19] = [
    "time",
    "pid",
    "comm",
    "exe",
    "container",
    "library",
    "image",
    "method",
    "role",
    "version",
    "cipher",
    "client_random",
    "server_name",
    "peer",
    "seen_on_wire",
    "alpn",
    "state",
    "reason",
    "secrets",
];

/// The last line of each session, by process id and client random.
pub struct Sessions(BTreeMap<(u64, String), Value>);

impl Sessions {
    /// Parses standard output: every line is one object that has all fields.
    ///
    /// # Errors
    /// On the first line that is not.
    pub fn parse(stdout: &str) -> Result<Self> {
        let mut sessions = BTreeMap::new();
        for line in stdout.lines() {
            let value: Value = serde_json::from_str(line).with_context(|| format!("{line:?}"))?;
            for field in FIELDS {
                ensure!(value.get(field).is_some(), "no field {field:?} in {line}");
            }
            // Of a handshake on the wire it may not be known whose it is.
            let pid = value["pid"].as_u64().unwrap_or(0);
            ensure!(pid > 0 || value["state"] == "missing", "no pid in {line}");
            let random = value["client_random"].as_str();
            let random = random.with_context(|| format!("client_random in {line}"))?;
            sessions.insert((pid, random.to_owned()), value);
        }
        Ok(Self(sessions))
    }

    /// The sessions of one handshake: one for each end that runs here.
    pub fn of(&self, client_random: &str) -> Vec<&Value> {
        let is = |key: &(u64, String)| key.1 == client_random;
        self.0.iter().filter(|(key, _)| is(key)).map(|(_, value)| value).collect()
    }

    /// The one row of a handshake.
    ///
    /// # Errors
    /// When there is none, or more than one.
    pub fn only(&self, client_random: &str) -> Result<&Value> {
        let rows = self.of(client_random);
        ensure!(rows.len() == 1, "{} rows: {rows:?}", rows.len());
        Ok(rows[0])
    }

    /// All sessions.
    pub fn all(&self) -> impl Iterator<Item = &Value> {
        self.0.values()
    }
}
