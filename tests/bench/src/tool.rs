//! What takes secrets, or watches TLS: attached to a running workload.

use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use rustix::process::Signal;
use tlskeytop_tests::{LIBSSL, Lab, Process, Summary, Tlskeytop, until, until_within};

use crate::machine::in_repository;
use crate::own::quiet;
use crate::workload::{Log, Work, Workload};

/// One of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tool {
    /// Ours.
    Tlskeytop,
    /// The application's own `SSLKEYLOGFILE`, line by line.
    OwnLog,
    /// A script of bpftrace that counts calls of `SSL_read`, `SSL_write` and `SSL_do_handshake`.
    Bpftrace,
    /// friTap with a key log.
    FriTap,
}

/// One that is attached; ended when dropped.
pub enum Attached {
    /// Ours.
    Tlskeytop(Tlskeytop),
    /// Nothing to end.
    OwnLog,
    /// Another program.
    Other(Process),
}

/// Where `cargo xtask bench` puts friTap.
const FRITAP: &str = "target/bench/fritap/bin/fritap";

/// How long the workload works so that a tool can show that it sees it.
const GLIMPSE: f64 = 0.05;

impl Tool {
    /// As it stands in the table.
    pub fn name(self) -> &'static str {
        match self {
            Self::Tlskeytop => "tlskeytop",
            Self::OwnLog => "own SSLKEYLOGFILE",
            Self::Bpftrace => "bpftrace",
            Self::FriTap => "friTap",
        }
    }

    /// What it is exactly; None where it is not installed.
    pub fn version(self) -> Option<String> {
        match self {
            Self::Tlskeytop => Some(env!("CARGO_PKG_VERSION").to_owned()),
            Self::OwnLog => Some("of the workload".to_owned()),
            Self::Bpftrace => first_line(Command::new("bpftrace").arg("--version")),
            Self::FriTap => {
                let line = first_line(Command::new(in_repository(FRITAP)).arg("--version"))?;
                Some(line.trim_start_matches("friTap").trim().to_owned())
            }
        }
    }

    /// Attaches it, and waits until it is, and has done what it does at its start.
    ///
    /// # Errors
    /// When it does not come up, or does not see the workload.
    pub fn attach(self, lab: &Lab, workload: &mut Workload) -> Result<Attached> {
        let attached = self.begin(lab, workload)?;
        match &attached {
            Attached::Tlskeytop(tlskeytop) => quiet(tlskeytop.process.pid())?,
            Attached::Other(process) => quiet(process.pid())?,
            Attached::OwnLog => 0.0,
        };
        Ok(attached)
    }

    fn begin(self, lab: &Lab, workload: &mut Workload) -> Result<Attached> {
        let pid = workload.pid().to_string();
        match self {
            Self::Tlskeytop => {
                // Not the other libssl of the process beside it: the other tools have no probe there.
                let chosen = ["--pid", &pid, "--no-children"];
                let keylog = fresh(lab, "captured")?;
                Tlskeytop::keylog_to(lab, &keylog, chosen).map(Attached::Tlskeytop)
            }
            Self::OwnLog => workload.log(Log::File).map(|()| Attached::OwnLog),
            Self::Bpftrace => with_bpftrace(&pid, workload),
            Self::FriTap => with_fritap(lab, &pid, workload),
        }
    }

    /// Whether it can be used in place of ours, on a target that runs: its own log needs a restart of the target.
    pub fn is_instead(self) -> bool {
        matches!(self, Self::Bpftrace | Self::FriTap)
    }

    /// Whether it leaves nothing in the process when it ends, so that it can be measured without it again.
    pub fn detaches(self) -> bool {
        self != Self::FriTap
    }
}

impl Attached {
    /// Ends it, and waits for its end.
    ///
    /// # Errors
    /// When it does not end; ours also when it lost something.
    pub fn detach(self, workload: &mut Workload) -> Result<()> {
        match self {
            Self::Tlskeytop(mut tlskeytop) => {
                let ended = tlskeytop.interrupt()?;
                ensure!(ended.code() == Some(0), "tlskeytop: {}", ended.status);
                let summary = Summary::parse(&ended.stderr)?;
                ensure!(summary.lost == 0, "{summary:?}");
                Ok(std::fs::remove_file(tlskeytop.keylog_path())?)
            }
            Self::OwnLog => workload.log(Log::None),
            Self::Other(mut process) => {
                process.signal(Signal::INT)?;
                process.wait().map(drop)
            }
        }
    }
}

fn first_line(command: &mut Command) -> Option<String> {
    let output = command.output().ok().filter(|output| output.status.success())?;
    String::from_utf8_lossy(&output.stdout).lines().next().map(|line| line.trim().to_owned())
}

/// A name for a file that is not there yet.
fn fresh(lab: &Lab, name: &str) -> Result<String> {
    let free = (0..).map(|n| format!("{name}-{n}")).find(|name| !lab.path(name).exists());
    free.context("no free name")
}

/// Counts each call, which is the least that it can do, and prints the counts so that it is known to be attached.
fn with_bpftrace(pid: &str, workload: &mut Workload) -> Result<Attached> {
    let functions = ["SSL_do_handshake", "SSL_read", "SSL_write"];
    let probes = functions.map(|function| format!("uprobe:{LIBSSL}:{function}"));
    let script = format!(
        "{} {{ @calls[func] = count(); }} interval:ms:100 {{ print(@calls); }}",
        probes.join(",")
    );
    let mut process = Process::start(Command::new("bpftrace").args(["-p", pid, "-e", &script]))?;
    until("bpftrace to see all calls", || {
        ensure!(process.is_running()?, "bpftrace has ended: {}", process.stderr());
        workload.work(Work::Bulk(1024), GLIMPSE)?;
        let said = process.stdout();
        Ok(functions.iter().all(|function| said.contains(&format!("[{function}]"))).then_some(()))
    })?;
    Ok(Attached::Other(process))
}

/// How long friTap may take to see a handshake: it needs 4 s, or never does.
const FRITAP_TIME: Duration = Duration::from_secs(20);

fn with_fritap(lab: &Lab, pid: &str, workload: &mut Workload) -> Result<Attached> {
    let keylog = lab.path(&fresh(lab, "fritap")?);
    let mut command = Command::new(in_repository(FRITAP));
    command.arg("-k").arg(&keylog).arg(pid).current_dir(lab.folder());
    let mut process = Process::start(&mut command)?;
    until_within(FRITAP_TIME, "friTap to log a handshake", || {
        ensure!(process.is_running()?, "friTap has ended: {}", process.stderr());
        workload.work(Work::handshakes("1.3"), GLIMPSE)?;
        let size = keylog.metadata().map(|file| file.len()).unwrap_or(0);
        Ok((size > 0).then_some(()))
    })?;
    Ok(Attached::Other(process))
}
