//! nginx as a TLS server on 127.0.0.1, one port for each TLS version.

use std::process::Command;

use anyhow::Result;

use crate::lab::Lab;
use crate::peer::Version;
use crate::ports::Ports;
use crate::process::Process;

/// A running nginx: a master and one worker, both ended when dropped.
pub struct Nginx {
    process: Process,
    ports: Ports,
}

impl Nginx {
    /// Starts it and waits until both ports accept.
    ///
    /// # Errors
    /// When nginx is missing or does not come up: with its messages.
    pub fn start(lab: &Lab) -> Result<Self> {
        let ports = Ports::free()?;
        let folder = lab.path("nginx");
        std::fs::create_dir(&folder)?;
        let configuration = folder.join("nginx.conf");
        std::fs::write(&configuration, text(lab, ports))?;
        let mut command = Command::new("/usr/sbin/nginx");
        command.args(["-e", "stderr", "-p"]).arg(&folder).arg("-c").arg(&configuration);
        let mut nginx = Self { process: Process::start(&mut command)?, ports };
        ports.wait("nginx", &mut nginx.process)?;
        Ok(nginx)
    }

    /// The port that speaks only this version.
    pub fn port(&self, version: Version) -> u16 {
        self.ports.of(version)
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

fn text(lab: &Lab, Ports { tls13, tls12 }: Ports) -> String {
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
