//! tests/peers/workload.c as a maker of load: both ends of TLS in one process, as fast as it can.

use std::cell::Cell;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use rustix::process::Signal;

use crate::keylog::KeyLog;
use crate::lab::Lab;
use crate::peer::Version;
use crate::process::Process;
use crate::programs::peer_script;

/// True where the long forms of the tests are wanted: `TLSKEYTOP_LONG`.
pub fn is_long() -> bool {
    std::env::var_os("TLSKEYTOP_LONG").is_some()
}

/// Builds tests/peers/workload.c in the lab, under this name.
///
/// # Errors
/// When there is no compiler, or no libssl-dev.
pub fn build_workload(lab: &Lab, name: &str) -> Result<PathBuf> {
    let program = lab.path(name);
    let mut gcc = Command::new("gcc");
    gcc.args(["-O2", "-o"]).arg(&program).arg(peer_script("workload.c"));
    gcc.args(["-lssl", "-lcrypto", "-lpthread"]);
    Process::run_ok(&mut gcc).context("the workload needs gcc and libssl-dev")?;
    Ok(program)
}

/// The built program.
pub struct Makers(PathBuf);

/// One that runs. Its key log has the client's lines alone; the server's in the same process are the same.
pub struct Maker {
    process: Process,
    answers: Cell<usize>,
    keylog: PathBuf,
}

impl Makers {
    /// Builds it in the lab.
    ///
    /// # Errors
    /// When there is no compiler, or no libssl-dev.
    pub fn build(lab: &Lab) -> Result<Self> {
        Ok(Self(build_workload(lab, "maker")?))
    }

    /// Starts one, with the libraries of this folder before the system's, that writes each line to its key log at once.
    ///
    /// # Errors
    /// When it does not come up.
    pub fn start(&self, lab: &Lab, name: &str, libraries: Option<&Path>) -> Result<Maker> {
        let keylog = lab.path(&format!("truth-of-{name}"));
        let mut command = Command::new(&self.0);
        command.arg(&lab.certificate.certificate).arg(&lab.certificate.key).arg(&keylog);
        if let Some(libraries) = libraries {
            command.env("LD_LIBRARY_PATH", libraries);
        }
        let process = Process::start(&mut command)?;
        let mut maker = Maker { process, answers: Cell::new(0), keylog };
        maker.answer()?;
        maker.process.say("log file")?;
        maker.answer()?;
        Ok(maker)
    }
}

impl Maker {
    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.process.pid()
    }

    /// Begins whole handshakes in memory: so many a second, or with 0 as many as it can.
    ///
    /// # Errors
    /// When it has ended.
    pub fn begin(&mut self, version: Version, seconds: u32, rate: u32) -> Result<()> {
        let version = version.number();
        self.process.say(&format!("handshakes {version} memory full {seconds} {rate}"))
    }

    /// Waits for the end of what was begun: how many handshakes that were.
    ///
    /// # Errors
    /// When it fails.
    pub fn end(&self) -> Result<u64> {
        self.answer()?["count"].as_u64().context("no count")
    }

    /// The same one after the other.
    ///
    /// # Errors
    /// When it fails.
    pub fn work(&mut self, version: Version, seconds: u32, rate: u32) -> Result<u64> {
        self.begin(version, seconds, rate)?;
        self.end()
    }

    /// Kills it in the middle of what it does.
    ///
    /// # Errors
    /// When it has ended before.
    pub fn kill(&mut self) -> Result<()> {
        self.process.signal(Signal::KILL)?;
        let ended = self.process.wait()?;
        ensure!(ended.signal() == Some(Signal::KILL.as_raw()), "{}", ended.status);
        Ok(())
    }

    /// Whether it has logged so many lines already.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn has_written(&self, lines: usize) -> Result<bool> {
        Ok(std::fs::read_to_string(&self.keylog)?.lines().count() >= lines)
    }

    /// What it has logged until now, whole lines. Each is written when its handshake has come so far.
    ///
    /// # Errors
    /// When the file cannot be read, or is no key log.
    pub fn truth(&self) -> Result<KeyLog> {
        KeyLog::truth(&self.keylog)
    }

    /// The next line that it says.
    fn answer(&self) -> Result<serde_json::Value> {
        let number = self.answers.get();
        let answer = self.process.wait_stdout("answer", |line| {
            let said: serde_json::Value = serde_json::from_str(line).ok()?;
            (said["answer"] == number || said["error"].is_string()).then_some(said)
        })?;
        ensure!(answer["error"].is_null(), "the maker: {answer}");
        self.answers.set(number + 1);
        Ok(answer)
    }
}
