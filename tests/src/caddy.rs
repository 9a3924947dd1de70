//! caddy as a TLS server on 127.0.0.1, one port for each TLS version.

use std::process::Command;

use anyhow::Result;

use crate::lab::Lab;
use crate::peer::Version;
use crate::ports::Ports;
use crate::process::Process;

/// Debian's caddy.
const CADDY: &str = "/usr/bin/caddy";

/// A running caddy, ended when dropped.
pub struct Caddy {
    /// The process.
    pub process: Process,
    ports: Ports,
}

impl Caddy {
    /// Starts it and waits until both ports accept.
    ///
    /// # Errors
    /// When caddy is missing or does not come up: with its messages.
    pub fn start(lab: &Lab) -> Result<Self> {
        let ports = Ports::free()?;
        let configuration = lab.path("Caddyfile");
        std::fs::write(&configuration, text(lab, ports))?;
        let mut command = Command::new(CADDY);
        command
            .args(["run", "--adapter", "caddyfile", "--config"])
            .arg(&configuration)
            .env("HOME", lab.folder())
            .env("XDG_CONFIG_HOME", lab.folder())
            .env("XDG_DATA_HOME", lab.folder());
        let mut caddy = Self { process: Process::start(&mut command)?, ports };
        ports.wait("caddy", &mut caddy.process)?;
        Ok(caddy)
    }

    /// The port that speaks only this version.
    pub fn port(&self, version: Version) -> u16 {
        self.ports.of(version)
    }
}

fn text(lab: &Lab, Ports { tls13, tls12 }: Ports) -> String {
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
