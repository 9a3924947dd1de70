//! nginx as a TLS server on 127.0.0.1, one port for each TLS version.

use std::net::{TcpListener, TcpStream};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::lab::Lab;
use crate::peer::Version;
use crate::process::Process;
use crate::wait::until;

/// A running nginx: a master and one worker, both ended when dropped.
pub struct Nginx {
    process: Process,
    tls13: u16,
    tls12: u16,
}

impl Nginx {
    /// Starts it and waits until both ports accept.
    ///
    /// # Errors
    /// When nginx is missing or does not come up: with its messages.
    pub fn start(lab: &Lab) -> Result<Self> {
        let (tls13, tls12) = free_ports()?;
        let folder = lab.path("nginx");
        std::fs::create_dir(&folder)?;
        let configuration = folder.join("nginx.conf");
        std::fs::write(&configuration, text(lab, tls13, tls12))?;
        let mut command = Command::new("/usr/sbin/nginx");
        command.args(["-e", "stderr", "-p"]).arg(&folder).arg("-c").arg(&configuration);
        let mut nginx = Self { process: Process::start(&mut command)?, tls13, tls12 };
        for port in [tls13, tls12] {
            until("nginx accepts", || {
                if !nginx.process.is_running()? {
                    bail!("nginx ended: {}", nginx.process.stderr());
                }
                Ok(TcpStream::connect(("127.0.0.1", port)).ok())
            })?;
        }
        Ok(nginx)
    }

    /// The port that speaks only this version.
    pub fn port(&self, version: Version) -> u16 {
        match version {
            Version::Tls13 => self.tls13,
            Version::Tls12 => self.tls12,
        }
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        // SIGTERM lets the master end its worker; a SIGKILL would leave the worker behind.
        if self.process.signal(rustix::process::Signal::TERM).is_ok() {
            let _ = self.process.wait();
        }
    }
}

/// Two ports that were free a moment ago, for servers that cannot choose one themselves.
pub(crate) fn free_ports() -> Result<(u16, u16)> {
    let bind = || TcpListener::bind(("127.0.0.1", 0)).context("no free port");
    let (first, second) = (bind()?, bind()?);
    Ok((first.local_addr()?.port(), second.local_addr()?.port()))
}

fn text(lab: &Lab, tls13: u16, tls12: u16) -> String {
    let folder = lab.path("nginx");
    let folder = folder.display();
    let server = |port: u16, protocol: &str| {
        format!(
            "server {{ listen 127.0.0.1:{port} ssl; ssl_protocols {protocol}; return 200 'hello'; }}"
        )
    };
    format!(
        "daemon off; user root; worker_processes 1; pid {folder}/pid; error_log stderr;
events {{}}
http {{
  access_log off;
  client_body_temp_path {folder}/a; proxy_temp_path {folder}/b; fastcgi_temp_path {folder}/c;
  uwsgi_temp_path {folder}/d; scgi_temp_path {folder}/e;
  ssl_certificate {}; ssl_certificate_key {};
  {}
  {}
}}
",
        lab.certificate.certificate.display(),
        lab.certificate.key.display(),
        server(tls13, "TLSv1.3"),
        server(tls12, "TLSv1.2"),
    )
}
