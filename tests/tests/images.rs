//! An image is one file: what changes about the file and not in it does not make it another.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Result, ensure};
use tlskeytop_tests::{
    Bench, PYTHON, Peer, Process, Protocol, Tlskeytop, check_capture, peer_script, private_libssl,
    until,
};

/// Python under a name that no other process has.
struct OwnPython {
    program: PathBuf,
    name: String,
}

impl OwnPython {
    fn copy(bench: &Bench) -> Result<Self> {
        let name = format!("python-{}", std::process::id());
        let program = bench.lab.path(&name);
        fs::copy(PYTHON, &program)?;
        Ok(Self { program, name })
    }

    /// A client that holds this folder's libssl and shakes hands once for each line that it is told.
    fn holder(&self, bench: &Bench, libraries: &Path, peer: &Peer) -> Result<Process> {
        let mut command = Command::new(&self.program);
        command
            // It looks for its library beside the executable.
            .env("PYTHONHOME", "/usr")
            .env("LD_LIBRARY_PATH", libraries)
            .arg(peer_script("client_steps.py"))
            .arg(&bench.lab.certificate.certificate)
            .args(["100000", &peer.port().to_string()]);
        let client = Process::start(&mut command)?;
        client.wait_stdout("waiting", |line| (line == "waiting").then_some(()))?;
        Ok(client)
    }
}

/// One handshake, and waits until it is over.
fn shake_hands(client: &mut Process) -> Result<()> {
    let done = |client: &Process| client.stdout().matches("done").count();
    let before = done(client);
    client.say("go")?;
    until("the handshake", || Ok((done(client) > before).then_some(())))
}

/// Waits for a look at the whole machine that began after this call: a client with an image that has never been
/// there shakes hands until it is captured.
fn scanned(client: &mut Process, keylog: &Path) -> Result<()> {
    let lines = || -> Result<usize> { Ok(fs::read_to_string(keylog)?.lines().count()) };
    let before = lines()?;
    until("a capture from a new image", || {
        shake_hands(client)?;
        Ok((lines()? > before).then_some(()))
    })
}

#[test]
fn chmod_does_not_attach_it_again() -> Result<()> {
    let Some(bench) = Bench::open(Protocol::Http)? else {
        return Ok(());
    };
    let libraries = private_libssl(&bench.lab, "held")?;
    let image = libraries.join("libssl.so.3");
    let own = OwnPython::copy(&bench)?;
    let [peer, peer_of_others] = &bench.peers[..] else {
        unreachable!("a peer for each version");
    };
    let mut client = own.holder(&bench, &libraries, peer)?;
    let tlskeytop = Tlskeytop::keylog(&bench.lab, ["--name", &own.name])?;
    for (number, mode) in [0o755, 0o644, 0o700, 0o600].into_iter().enumerate() {
        fs::set_permissions(&image, Permissions::from_mode(mode))?;
        let new = private_libssl(&bench.lab, &format!("new-{number}"))?;
        let mut other = own.holder(&bench, &new, peer_of_others)?;
        scanned(&mut other, tlskeytop.keylog_path())?;
    }
    shake_hands(&mut client)?;
    let (ours, summary) = tlskeytop.stop()?;
    check_capture(&ours, &peer.whole_truth(1)?)?;
    // Attached once: each secret came once.
    ensure!(summary.duplicates == 0, "{summary:?}");
    Ok(())
}
