//! The test that every program takes: handshakes over both TLS versions, and the captured file beside the truth.

use std::ffi::OsStr;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};

use crate::keylog::{KeyLog, check_capture, check_whole};
use crate::lab::Lab;
use crate::peer::{Peer, Protocol, Version};
use crate::process::Process;
use crate::programs::peer_script;
use crate::tlskeytop::Tlskeytop;

/// The versions that every program is tested with.
pub const VERSIONS: [Version; 2] = [Version::Tls13, Version::Tls12];

/// A lab with one peer for each TLS version.
pub struct Bench {
    /// A peer for each of [`VERSIONS`].
    pub peers: Vec<Peer>,
    /// The test's folder and certificate. Last: the peers have their files in it.
    pub lab: Lab,
}

impl Bench {
    /// A lab with its peers up; None where live tests cannot run.
    ///
    /// # Errors
    /// When a peer does not come up, and as [`Lab::open`].
    pub fn open(protocol: Protocol) -> Result<Option<Self>> {
        Lab::open()?.map(|lab| Self::in_lab(lab, protocol)).transpose()
    }

    /// The same in a lab that is there, with its certificate.
    ///
    /// # Errors
    /// When a peer does not come up.
    pub fn in_lab(lab: Lab, protocol: Protocol) -> Result<Self> {
        let start = |version| Peer::start(&lab, protocol, version);
        let peers = VERSIONS.into_iter().map(start).collect::<Result<_>>()?;
        Ok(Self { lab, peers })
    }

    /// A client script of tests/peers: it prints `waiting`, waits for a line on its standard input, and then
    /// shakes hands `times` times with each peer.
    pub fn client(&self, interpreter: &Path, script: &str, times: usize) -> Command {
        let mut command = Command::new(interpreter);
        command
            .arg(peer_script(script))
            .arg(&self.lab.certificate.certificate)
            .arg(times.to_string())
            .args(self.peers.iter().map(|peer| peer.port().to_string()));
        command
    }

    /// Attaches with `--image` before the program maps it, then lets `client` shake hands.
    ///
    /// # Errors
    /// When the capture is not the truth.
    pub fn attach_then_start(
        &self,
        images: &[&Path],
        client: &mut Command,
        times: usize,
    ) -> Result<()> {
        self.attach_with(&[], images, client, times)
    }

    /// The same, with the library's own key log function left alone: from its structures only.
    ///
    /// # Errors
    /// When the capture is not the truth.
    pub fn walk_then_start(
        &self,
        images: &[&Path],
        client: &mut Command,
        times: usize,
    ) -> Result<()> {
        self.attach_with(&["--method", "walk"], images, client, times)
    }

    fn attach_with(
        &self,
        options: &[&str],
        images: &[&Path],
        client: &mut Command,
        times: usize,
    ) -> Result<()> {
        let mut args: Vec<&OsStr> = options.iter().map(OsStr::new).collect();
        for image in images {
            args.extend([OsStr::new("--image"), image.as_os_str()]);
        }
        let tlskeytop = Tlskeytop::keylog(&self.lab, args)?;
        let mut client = Process::start(client)?;
        shake_hands(&mut client)?;
        self.check(tlskeytop, times)
    }

    /// Starts `client`, attaches with `--pid` once it waits, then lets it shake hands.
    ///
    /// # Errors
    /// When the capture is not the truth.
    pub fn start_then_attach(&self, client: &mut Command, times: usize) -> Result<()> {
        let mut client = Process::start(client)?;
        wait_until_loaded(&client)?;
        let pid = client.pid().to_string();
        let tlskeytop = Tlskeytop::keylog(&self.lab, ["--pid", &pid])?;
        ensure!(tlskeytop.targets == 1, "{} targets for one pid", tlskeytop.targets);
        shake_hands(&mut client)?;
        self.check_whole(tlskeytop, times)
    }

    /// What all peers logged, of `times` handshakes with each.
    ///
    /// # Errors
    /// When it does not become that within the deadline.
    pub fn whole_truth(&self, times: usize) -> Result<KeyLog> {
        let mut truth = KeyLog::default();
        for peer in &self.peers {
            truth.merge(peer.whole_truth(times)?)?;
        }
        Ok(truth)
    }

    /// Ends tlskeytop and compares: `times` handshakes with each peer, every line of the truth captured.
    ///
    /// # Errors
    /// When the capture is not the truth.
    pub fn check(&self, tlskeytop: Tlskeytop, times: usize) -> Result<()> {
        self.stop_and_check(tlskeytop, times).map(|_| ())
    }

    /// As [`Bench::check`], of one that was attached to processes of this test alone.
    ///
    /// # Errors
    /// When the capture is not the truth.
    pub fn check_whole(&self, tlskeytop: Tlskeytop, times: usize) -> Result<()> {
        let ours = self.stop_and_check(tlskeytop, times)?;
        check_whole(&ours, &self.whole_truth(times)?)
    }

    fn stop_and_check(&self, tlskeytop: Tlskeytop, times: usize) -> Result<KeyLog> {
        let (ours, summary) = tlskeytop.stop()?;
        ensure!(summary.conflicts == 0, "{summary:?}");
        for peer in &self.peers {
            let truth = peer.whole_truth(times)?;
            let version = peer.version();
            ensure!(truth.lines() == times * version.lines(), "{version:?}");
            check_capture(&ours, &truth).with_context(|| format!("{version:?}"))?;
            eprintln!("{version:?}: {} of {0} lines captured", truth.lines());
        }
        Ok(ours)
    }
}

/// Ends tlskeytop and compares: nothing lost, no conflict, and of the handshakes of `truth` every line but those with
/// one of the labels `without`, which the program itself does not log.
///
/// # Errors
/// When the capture is not the truth.
pub fn check_against(tlskeytop: Tlskeytop, truth: &KeyLog, without: &[&str]) -> Result<()> {
    let (ours, summary) = tlskeytop.stop()?;
    ensure!(summary.conflicts == 0, "{summary:?}");
    let truth = without.iter().fold(truth.clone(), |truth, label| truth.without(label));
    check_capture(&ours, &truth)?;
    eprintln!("{} of {0} lines captured", truth.lines());
    Ok(())
}

fn wait_until_loaded(client: &Process) -> Result<()> {
    client.wait_stdout("waiting", |line| (line == "waiting").then_some(()))
}

fn shake_hands(client: &mut Process) -> Result<()> {
    wait_until_loaded(client)?;
    client.say("go")?;
    let ended = client.wait()?;
    ensure!(ended.status.success(), "the client: {}", ended.status);
    Ok(())
}
