//! A TLS server on 127.0.0.1 and clients that shake hands with it every second, for a machine that is silent.

use std::fs;
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};

use crate::tool;

/// How often a client shakes hands.
const EVERY: Duration = Duration::from_secs(1);
/// How long the server may take to come up.
const START: Duration = Duration::from_secs(10);

/// The running demo. Dropping it ends its processes; should xtask itself be killed, the kernel ends them.
pub struct Demo {
    server: Child,
    clients: Option<(Sender<()>, JoinHandle<()>)>,
}

impl Demo {
    /// Starts server and clients.
    ///
    /// # Errors
    /// When openssl, curl or setpriv is missing, or the server does not come up.
    pub fn start() -> Result<Self> {
        for (program, package) in
            [("openssl", "openssl"), ("curl", "curl"), ("setpriv", "util-linux")]
        {
            ensure!(
                tool::find(program).is_some(),
                "the demo needs {program}; on Debian: apt-get install {package}"
            );
        }
        let folder = crate::ebpf::root().join("target/demo");
        fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
        let certificate = make_certificate(&folder)?;
        let port = free_port()?;
        let server = bound_to_this_process("openssl")
            .args(["s_server", "-quiet", "-www", "-accept", &format!("127.0.0.1:{port}")])
            .arg("-cert")
            .arg(&certificate)
            .arg("-key")
            .arg(folder.join("key.pem"))
            .spawn()
            .context("cannot start openssl s_server")?;
        let mut demo = Self { server, clients: None };
        demo.wait_for_server(port)?;
        let (stop, stopped) = channel();
        let clients = std::thread::spawn(move || {
            let mut round = 0;
            while stopped.recv_timeout(EVERY) == Err(RecvTimeoutError::Timeout) {
                // A client that fails is not seen in the table; there is no place to say so on this screen.
                let _ = client(round, port, &certificate).status();
                round += 1;
            }
        });
        demo.clients = Some((stop, clients));
        Ok(demo)
    }

    fn wait_for_server(&mut self, port: u16) -> Result<()> {
        let end = Instant::now() + START;
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            if let Some(status) = self.server.try_wait()? {
                bail!("openssl s_server ended at once: {status}");
            }
            ensure!(Instant::now() < end, "openssl s_server does not accept on port {port}");
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(())
    }
}

impl Drop for Demo {
    fn drop(&mut self) {
        if let Some((stop, clients)) = self.clients.take() {
            drop(stop);
            let _ = clients.join();
        }
        let _ = self.server.kill();
        let _ = self.server.wait();
    }
}

/// TLS 1.3 and 1.2 alternately, from curl and `openssl s_client` alternately.
fn client(round: usize, port: u16, certificate: &Path) -> Command {
    let version = round % 2;
    if (round / 2).is_multiple_of(2) {
        let mut curl = bound_to_this_process("curl");
        curl.args(["--silent", "--max-time", "5", "--tls-max", ["1.3", "1.2"][version]])
            .arg("--cacert")
            .arg(certificate)
            .arg(format!("https://localhost:{port}/"));
        curl
    } else {
        let mut s_client = bound_to_this_process("openssl");
        s_client
            .args(["s_client", "-servername", "localhost", ["-tls1_3", "-tls1_2"][version]])
            .args(["-connect", &format!("127.0.0.1:{port}")])
            .arg("-CAfile")
            .arg(certificate);
        s_client
    }
}

/// A silent command that the kernel ends when this process dies.
fn bound_to_this_process(program: &str) -> Command {
    let mut command = Command::new("setpriv");
    command
        .args(["--pdeathsig", "TERM", program])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    command
}

fn free_port() -> Result<u16> {
    let listener = TcpListener::bind(("127.0.0.1", 0)).context("no free port on 127.0.0.1")?;
    Ok(listener.local_addr()?.port())
}

/// A throw-away certificate in `folder`, `cert.pem`, with its key beside it, `key.pem`.
///
/// # Errors
/// When openssl is missing or fails.
pub fn make_certificate(folder: &Path) -> Result<PathBuf> {
    let certificate = folder.join("cert.pem");
    let output = Command::new("openssl")
        .args(["req", "-x509", "-nodes", "-days", "2", "-subj", "/CN=localhost"])
        .args(["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"])
        .args(["-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"])
        .arg("-keyout")
        .arg(folder.join("key.pem"))
        .arg("-out")
        .arg(&certificate)
        .stdin(Stdio::null())
        .output()
        .context("cannot start openssl req")?;
    ensure!(
        output.status.success(),
        "openssl req: {}\n{}",
        output.status,
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(certificate)
}
