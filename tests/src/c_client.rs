//! tests/peers/client.c: a small client that the test builds, with or without its TLS library in it.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

use crate::lab::{Lab, skip};
use crate::peer::Peer;
use crate::process::Process;
use crate::programs::peer_script;
use crate::wait::until;

/// Debian's libssl-dev has it.
const ARCHIVE: &str = "/usr/lib/x86_64-linux-gnu/libssl.a";

/// How its libssl comes to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Linked {
    /// It is in it.
    Statically,
    /// By the loader.
    Dynamically,
}

/// The program.
pub struct CClient(PathBuf);

impl CClient {
    /// Builds it in the lab; None, with the reason printed, where that cannot be done.
    ///
    /// # Errors
    /// When it does not compile; or when the library is missing and live tests must not be skipped.
    pub fn build(lab: &Lab, linked: Linked) -> Result<Option<Self>> {
        if !Path::new(ARCHIVE).exists() {
            return skip(&format!("{ARCHIVE} is missing: install libssl-dev and gcc"));
        }
        let program = lab.path(&format!("client-{linked:?}"));
        let mut gcc = Command::new("gcc");
        gcc.args(["-Os", "-s", "-ffunction-sections", "-Wl,--gc-sections", "-w", "-o"])
            .arg(&program)
            .arg(peer_script("client.c"))
            .args(["-lssl", "-lcrypto", "-ldl", "-lpthread"]);
        if linked == Linked::Statically {
            gcc.arg("-static");
        }
        Process::run_ok(&mut gcc)?;
        Ok(Some(Self(program)))
    }

    /// Where it is.
    pub fn program(&self) -> &Path {
        &self.0
    }

    /// Copies it: a file that nobody has seen.
    ///
    /// # Errors
    /// When it cannot be copied.
    pub fn copy(&self, to: &Path) -> Result<Self> {
        std::fs::copy(&self.0, to).with_context(|| format!("copying to {}", to.display()))?;
        Ok(Self(to.to_owned()))
    }

    /// One handshake with this peer for each line that it is told.
    pub fn command(&self, certificate: &Path, peer: &Peer) -> Command {
        let mut command = Command::new(&self.0);
        command.arg(certificate).args(["1", &peer.port().to_string()]);
        command
    }

    /// Starts `command`, which is one or becomes one, and waits until it waits.
    ///
    /// # Errors
    /// When it does not come up.
    pub fn start(command: &mut Command) -> Result<Process> {
        let client = Process::start(command)?;
        client.wait_stdout("waiting", |line| (line == "waiting").then_some(()))?;
        Ok(client)
    }

    /// One handshake, and waits until it is over.
    ///
    /// # Errors
    /// When it fails.
    pub fn shake_hands(client: &mut Process) -> Result<()> {
        let done = |client: &Process| client.stdout().matches("done").count();
        let before = done(client);
        client.say("go")?;
        until("the handshake", || {
            let is_done = done(client) > before;
            ensure!(is_done || client.is_running()?, "the client has ended");
            Ok(is_done.then_some(()))
        })
    }
}
