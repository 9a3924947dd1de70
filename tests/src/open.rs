//! Programs whose connections stay open: tests/peers/open_*.py and open.js.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Result;

use crate::lab::Lab;
use crate::process::Process;
use crate::programs::{PYTHON, peer_script};

/// A client with open connections.
pub struct Open(pub Process);

impl Open {
    /// Starts it, and waits until its connections are open.
    ///
    /// # Errors
    /// When they do not come up.
    pub fn start(command: &mut Command) -> Result<Self> {
        let client = Process::start(command)?;
        client.wait_stdout("open", |line| (line == "open").then_some(()))?;
        Ok(Self(client))
    }

    /// One more request on each connection, the `number`th.
    ///
    /// # Errors
    /// When it is not answered.
    pub fn request(&mut self, number: usize) -> Result<()> {
        self.say("go", number)
    }

    /// The same, with a line for the script.
    ///
    /// # Errors
    /// When it is not answered.
    pub fn say(&mut self, line: &str, number: usize) -> Result<()> {
        self.0.say(line)?;
        let said = format!("said {number}");
        self.0.wait_stdout(&said, |line| (line == said).then_some(()))
    }
}

/// Two servers in node or bun: of TLS 1.3, and of TLS 1.2.
pub struct JsServers {
    servers: Vec<Process>,
    /// Their ports.
    pub ports: Vec<u16>,
}

impl JsServers {
    /// Starts them, and waits until they accept.
    ///
    /// # Errors
    /// When one does not come up.
    pub fn start(lab: &Lab, interpreter: &Path) -> Result<Self> {
        let mut found = Self { servers: Vec::new(), ports: Vec::new() };
        for version in ["TLSv1.3", "TLSv1.2"] {
            let mut command = Command::new(interpreter);
            command.arg(peer_script("open.js")).args(["server", version]);
            command.arg(&lab.certificate.certificate).arg(&lab.certificate.key);
            let server = Process::start(&mut command)?;
            found.ports.push(server.wait_stdout("ACCEPT 127.0.0.1:PORT", |line| {
                line.strip_prefix("ACCEPT 127.0.0.1:")?.parse().ok()
            })?);
            found.servers.push(server);
        }
        Ok(found)
    }

    /// `--pid` with each of them.
    pub fn pids(&self) -> Vec<String> {
        let pids = self.servers.iter().map(|server| server.pid().to_string());
        pids.flat_map(|pid| ["--pid".to_owned(), pid]).collect()
    }
}

/// Python with `times` connections to each of these ports, and its key log.
pub fn python_client(lab: &Lab, ports: &[u16], times: usize) -> (Command, PathBuf) {
    let truth = lab.path("truth-client");
    let mut command = Command::new(PYTHON);
    command.arg(peer_script("open_ssl.py")).arg(&lab.certificate.certificate);
    command.arg(times.to_string()).args(ports.iter().map(u16::to_string));
    command.env("SSLKEYLOGFILE", &truth);
    (command, truth)
}
