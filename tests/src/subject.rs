//! A program with a TLS library of a certain version in it, as client and as server.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Result, ensure};

use crate::bench::{Bench, VERSIONS};
use crate::captures::Captures;
use crate::keylog::KeyLog;
use crate::lab::Lab;
use crate::peer::{Protocol, Version, whole_truth};
use crate::process::Process;
use crate::programs::{PYTHON, peer_script, program};

/// Handshakes over each TLS version.
const TIMES: usize = 2;

/// What the two scripts `client_NAME` and `server_NAME` in tests/peers are run with.
pub struct Subject {
    interpreter: PathBuf,
    scripts: [&'static str; 2],
    environment: Option<(&'static str, OsString)>,
}

impl Subject {
    /// Any libssl file, by its C functions.
    pub fn libssl(image: &Path) -> Self {
        Self {
            interpreter: PYTHON.into(),
            scripts: ["client_libssl.py", "server_libssl.py"],
            environment: Some(("LIBSSL", image.into())),
        }
    }

    /// The same with another script for the client.
    #[must_use]
    pub fn with_client(mut self, script: &'static str) -> Self {
        self.scripts[0] = script;
        self
    }

    /// pyOpenSSL on cryptography, with these folders before those of the virtual environment; None, with the
    /// reason printed, where there is no such environment.
    ///
    /// # Errors
    /// When it is missing and live tests must not be skipped.
    pub fn pyopenssl(folders: &[PathBuf]) -> Result<Option<Self>> {
        let path = std::env::join_paths(folders)?;
        Ok(program("venv/bin/python")?.map(|interpreter| Self {
            interpreter,
            scripts: ["client_pyopenssl.py", "server_pyopenssl.py"],
            environment: Some(("PYTHONPATH", path)),
        }))
    }

    /// A node, by the name that it has in versions.toml; None, with the reason printed, where it is missing.
    ///
    /// # Errors
    /// When it is missing and live tests must not be skipped.
    pub fn node(name: &str) -> Result<Option<Self>> {
        let node = program(&format!("npm/node_modules/{name}/bin/node"))?;
        Ok(node.map(|interpreter| Self {
            interpreter,
            scripts: ["client_node.js", "server_node.js"],
            environment: None,
        }))
    }

    fn server(&self, lab: &Lab) -> Command {
        let mut command = Command::new(&self.interpreter);
        command
            .arg(peer_script(self.scripts[1]))
            .args([&lab.certificate.certificate, &lab.certificate.key])
            .envs(self.environment.clone());
        command
    }

    /// Tap and walk get the whole truth of handshakes over both versions, from the client and from the server.
    ///
    /// # Errors
    /// When they do not.
    pub fn check(&self) -> Result<()> {
        self.check_client()?;
        self.check_server()
    }

    /// The same from the client alone.
    ///
    /// # Errors
    /// When they do not.
    pub fn check_client(&self) -> Result<()> {
        let Some(bench) = Bench::open(Protocol::Http)? else {
            return Ok(());
        };
        let mut client = self.start_client(&bench)?;
        let pid = client.pid().to_string();
        let captures = Captures::start(&bench.lab, "client", &["--pid", &pid])?;
        let truth = Self::shake_hands(&bench, &mut client)?;
        check(captures, &truth)
    }

    /// The client, with its library loaded, that waits for [`Subject::shake_hands`].
    ///
    /// # Errors
    /// When it does not come up.
    pub fn start_client(&self, bench: &Bench) -> Result<Process> {
        let mut command = bench.client(&self.interpreter, self.scripts[0], TIMES);
        let client = Process::start(command.envs(self.environment.clone()))?;
        client.wait_stdout("waiting", |line| (line == "waiting").then_some(()))?;
        Ok(client)
    }

    /// Lets the client shake hands with all peers of the bench: the truth.
    ///
    /// # Errors
    /// When it fails.
    pub fn shake_hands(bench: &Bench, client: &mut Process) -> Result<KeyLog> {
        client.say("go")?;
        let ended = client.wait()?;
        ensure!(ended.status.success(), "the client: {}", ended.status);
        let mut truth = KeyLog::default();
        for peer in &bench.peers {
            truth.merge(peer.whole_truth(TIMES)?)?;
        }
        Ok(truth)
    }

    fn check_server(&self) -> Result<()> {
        let Some(lab) = Lab::open()? else {
            return Ok(());
        };
        let server = Process::start(&mut self.server(&lab))?;
        let address = server.wait_stdout("ACCEPT ADDRESS", |line| {
            line.strip_prefix("ACCEPT ").map(|address| address.trim().to_owned())
        })?;
        let pid = server.pid().to_string();
        let captures = Captures::start(&lab, "server", &["--pid", &pid])?;
        check(captures, &connect(&lab, &[&address], TIMES)?)
    }
}

/// Connects to each address by `openssl s_client`, `times` over each version: the truth.
///
/// # Errors
/// When a client fails.
pub fn connect(lab: &Lab, addresses: &[&str], times: usize) -> Result<KeyLog> {
    let truth = lab.path("truth-of-the-client");
    for address in addresses {
        for version in VERSIONS {
            for _ in 0..times {
                Process::run_ok(&mut s_client(address, version, &truth))?;
            }
        }
    }
    whole_truth(&truth, addresses.len() * VERSIONS.len() * times)
}

/// A client that reads until the server ends the connection, with everything done; some do that without close_notify.
///
/// Its key log goes to `truth`.
pub fn s_client(address: &str, version: Version, truth: &Path) -> Command {
    let mut client = Command::new("openssl");
    client
        .args(["s_client", "-ign_eof", "-ignore_unexpected_eof", "-connect", address])
        .arg(version.openssl())
        .arg("-keylogfile")
        .arg(truth);
    client
}

fn check(captures: Captures, truth: &KeyLog) -> Result<()> {
    let lines: usize = VERSIONS.iter().map(|version| version.lines() * TIMES).sum();
    ensure!(truth.lines() == lines, "the truth has {} lines, not {lines}", truth.lines());
    captures.check(truth)
}
