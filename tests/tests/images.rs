//! An image is one file: what changes about the file and not in it does not make it another.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Result, ensure};
use tlskeytop_tests::{
    Bench, OwnCurl, PYTHON, Peer, Process, Protocol, Tlskeytop, check_capture, peer_script,
    private_libssl, until,
};

/// A client that holds this folder's libssl and shakes hands once for each line that it is told.
fn holder(bench: &Bench, libraries: &Path, peer: &Peer) -> Result<Process> {
    let mut command = Command::new(PYTHON);
    command
        .env("LD_LIBRARY_PATH", libraries)
        .arg(peer_script("client_steps.py"))
        .arg(&bench.lab.certificate.certificate)
        .args(["1", &peer.port().to_string()]);
    let client = Process::start(&mut command)?;
    client.wait_stdout("waiting", |line| (line == "waiting").then_some(()))?;
    Ok(client)
}

/// Waits for a look at the whole machine that began after this call: a client with an image that has never been
/// there shakes hands until it is captured.
fn scanned(bench: &Bench, own: &OwnCurl, libraries: PathBuf, keylog: &Path) -> Result<()> {
    let peer = &bench.peers[1];
    let lines = || -> Result<usize> { Ok(fs::read_to_string(keylog)?.lines().count()) };
    let before = lines()?;
    until("a capture from a new image", || {
        let mut request = own.request(&bench.lab, peer.port(), "");
        Process::run_ok(request.env("LD_LIBRARY_PATH", &libraries))?;
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
    let own = OwnCurl::copy(&bench.lab)?;
    let peer = &bench.peers[0];
    let mut client = holder(&bench, &libraries, peer)?;
    let pid = client.pid().to_string();
    let tlskeytop = Tlskeytop::keylog(&bench.lab, ["--pid", &pid, "--name", &own.name])?;
    for (number, mode) in [0o755, 0o644, 0o700, 0o600].into_iter().enumerate() {
        fs::set_permissions(&image, Permissions::from_mode(mode))?;
        let new = private_libssl(&bench.lab, &format!("new-{number}"))?;
        scanned(&bench, &own, new, tlskeytop.keylog_path())?;
    }
    client.say("go")?;
    ensure!(client.wait()?.status.success());
    let (ours, summary) = tlskeytop.stop()?;
    check_capture(&ours, &peer.whole_truth(1)?)?;
    // Attached once: each secret came once.
    ensure!(summary.duplicates == 0, "{summary:?}");
    Ok(())
}
