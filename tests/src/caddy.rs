//! caddy as a TLS server on 127.0.0.1, one port for each TLS version.

use std::net::TcpStream;
use std::process::Command;

use anyhow::{Result, bail};

use crate::lab::Lab;
use crate::nginx::free_ports;
use crate::peer::Version;
use crate::process::Process;
use crate::wait::until;

/// Debian's caddy.
const CADDY: &str = "/usr/bin/caddy";

/// A running caddy, ended when dropped.
pub struct Caddy {
    /// The process.
    pub process: Process,
    tls13: u16,
    tls12: u16,
}

impl Caddy {
    /// Starts it and waits until both ports accept.
    ///
    /// # Errors
    /// When caddy is missing or does not come up: with its messages.
    pub fn start(lab: &Lab) -> Result<Self> {
        let (tls13, tls12) = free_ports()?;
        let configuration = lab.path("Caddyfile");
        std::fs::write(&configuration, text(lab, tls13, tls12))?;
        let mut command = Command::new(CADDY);
        command
            .args(["run", "--adapter", "caddyfile", "--config"])
            .arg(&configuration)
            .env("HOME", lab.folder())
            .env("XDG_CONFIG_HOME", lab.folder())
            .env("XDG_DATA_HOME", lab.folder());
        let mut caddy = Self { process: Process::start(&mut command)?, tls13, tls12 };
        for port in [tls13, tls12] {
            until("caddy accepts", || {
                if !caddy.process.is_running()? {
                    bail!("caddy ended: {}", caddy.process.stderr());
                }
                Ok(TcpStream::connect(("127.0.0.1", port)).ok())
            })?;
        }
        Ok(caddy)
    }

    /// The port that speaks only this version.
    pub fn port(&self, version: Version) -> u16 {
        match version {
            Version::Tls13 => self.tls13,
            Version::Tls12 => self.tls12,
        }
    }
}

fn text(lab: &Lab, tls13: u16, tls12: u16) -> String {
    let (certificate, key) = (lab.certificate.certificate.display(), lab.certificate.key.display());
    let site = |port: u16, protocol: &str| {
        format!(
            "https://localhost:{port} {{
  bind 127.0.0.1
  tls {certificate} {key} {{
    protocols {protocol} {protocol}
  }}
  respond \"hello\"
}}
"
        )
    };
    // Without QUIC, and without its own interface on a port of its own.
    format!(
        "{{
  admin off
  auto_https off
  servers {{
    protocols h1 h2
  }}
}}
{}{}",
        site(tls13, "tls1.3"),
        site(tls12, "tls1.2")
    )
}
