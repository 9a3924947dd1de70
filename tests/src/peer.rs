//! The TLS servers on 127.0.0.1 whose own key log is the truth.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};
use rustix::process::Signal;

use crate::keylog::KeyLog;
use crate::lab::Lab;
use crate::process::Process;
use crate::programs::peer_script;
use crate::wait::until;

/// The one TLS version that a peer speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    /// TLS 1.3.
    Tls13,
    /// TLS 1.2.
    Tls12,
}

impl Version {
    /// As `openssl s_server` and `s_client` want it.
    pub fn openssl(self) -> &'static str {
        match self {
            Self::Tls13 => "-tls1_3",
            Self::Tls12 => "-tls1_2",
        }
    }

    /// As tlskeytop shows it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Tls13 => "TLS 1.3",
            Self::Tls12 => "TLS 1.2",
        }
    }

    /// Its number alone.
    pub(crate) fn number(self) -> &'static str {
        match self {
            Self::Tls13 => "1.3",
            Self::Tls12 => "1.2",
        }
    }

    /// Lines in the key log for each handshake.
    pub fn lines(self) -> usize {
        match self {
            Self::Tls13 => 5,
            Self::Tls12 => 1,
        }
    }
}

/// What a peer speaks inside TLS, or before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// HTTP/1.0: `openssl s_server -www`.
    Http,
    /// The start of HTTP/2, enough for a gRPC channel to be ready: tests/peers/server.py.
    Http2,
    /// HTTP/1.1 for as long as the client asks: tests/peers/server.py.
    KeepAlive,
    /// PostgreSQL's request for TLS, then TLS: tests/peers/server.py.
    Postgres,
}

/// A running server.
pub struct Peer {
    process: Process,
    port: u16,
    truth: PathBuf,
    version: Version,
}

impl Peer {
    /// Starts a server that speaks only `version`, on a free port of 127.0.0.1.
    ///
    /// # Errors
    /// When it does not come up.
    pub fn start(lab: &Lab, protocol: Protocol, version: Version) -> Result<Self> {
        let truth = lab.path(&format!("truth-{protocol:?}-{version:?}"));
        let mut command = match protocol {
            Protocol::Http => s_server(lab, version, &truth),
            Protocol::Http2 => python(lab, "h2", version, &truth),
            Protocol::KeepAlive => python(lab, "http", version, &truth),
            Protocol::Postgres => python(lab, "postgres", version, &truth),
        };
        let process = Process::start(&mut command)?;
        let port = process.wait_stdout("ACCEPT 127.0.0.1:PORT", |line| {
            line.strip_prefix("ACCEPT 127.0.0.1:")?.trim().parse().ok()
        })?;
        Ok(Self { process, port, truth, version })
    }

    /// The port it listens on.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The one version it speaks.
    pub fn version(&self) -> Version {
        self.version
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.process.pid()
    }

    /// Sends it a signal.
    ///
    /// # Errors
    /// When it has ended.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        self.process.signal(signal)
    }

    /// `https://localhost:PORT/PATH`.
    pub fn url(&self, path: &str) -> String {
        format!("https://localhost:{}/{path}", self.port)
    }

    /// Its key log, once it is whole: a client may be gone before the server has read its last flight.
    ///
    /// # Errors
    /// When it does not become a whole truth of `handshakes` handshakes within the deadline.
    pub fn whole_truth(&self, handshakes: usize) -> Result<KeyLog> {
        whole_truth(&self.truth, handshakes)
    }

    /// The same, as it is now.
    ///
    /// # Errors
    /// When it is not a whole truth of `handshakes` handshakes.
    pub fn truth_now(&self, handshakes: usize) -> Result<KeyLog> {
        let truth = KeyLog::truth(&self.truth)?;
        truth.check_truth(handshakes)?;
        Ok(truth)
    }
}

/// Waits until the key log at `path`, which a peer writes, is a whole truth of `handshakes` handshakes.
///
/// # Errors
/// When it does not become that within the deadline: with what is wrong with it.
pub fn whole_truth(path: &Path, handshakes: usize) -> Result<KeyLog> {
    let mut wrong = None;
    let truth = until("the peer's own key log: whole", || {
        let truth = KeyLog::truth(path)?;
        wrong = truth.check_truth(handshakes).err();
        Ok(wrong.is_none().then_some(truth))
    });
    truth.with_context(|| format!("{}: {wrong:?}", path.display()))
}

/// A TLS 1.3 `s_server` that answers to what is typed into it, and its address. Its key log is at `s_server` in the lab.
///
/// # Errors
/// When it does not come up.
pub fn interactive_server(lab: &Lab) -> Result<(Process, String)> {
    server_at(lab, "127.0.0.1:0", &[])
}

/// A TLS 1.3 `s_server` at this address, with these options: itself, and where it listens. Its key log is at `s_server` in
/// the lab.
///
/// # Errors
/// When it does not come up.
pub fn server_at(lab: &Lab, address: &str, options: &[&str]) -> Result<(Process, String)> {
    let mut server = openssl(lab, &["s_server", "-accept", address, "-tls1_3"]);
    server.arg("-cert").arg(&lab.certificate.certificate).arg("-key").arg(&lab.certificate.key);
    let server = Process::start(server.args(options))?;
    let address = server.wait_stdout("ACCEPT", |line| {
        line.strip_prefix("ACCEPT ").map(|address| address.trim().to_owned())
    })?;
    Ok((server, address))
}

/// `s_server` or `s_client`, which write their key log to a file of their name.
pub fn openssl(lab: &Lab, args: &[&str]) -> Command {
    let mut command = Command::new("openssl");
    command.args(args).arg("-keylogfile").arg(lab.path(args[0]));
    command
}

fn s_server(lab: &Lab, version: Version, truth: &Path) -> Command {
    let mut command = Command::new("openssl");
    command
        .args(["s_server", "-accept", "127.0.0.1:0", "-www"])
        .arg(version.openssl())
        .arg("-cert")
        .arg(&lab.certificate.certificate)
        .arg("-key")
        .arg(&lab.certificate.key)
        .arg("-keylogfile")
        .arg(truth);
    command
}

fn python(lab: &Lab, protocol: &str, version: Version, truth: &Path) -> Command {
    let mut command = Command::new("/usr/bin/python3");
    command
        .arg(peer_script("server.py"))
        .args([protocol, version.number()])
        .arg(&lab.certificate.certificate)
        .arg(&lab.certificate.key)
        .arg(truth);
    command
}
