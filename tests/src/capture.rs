//! Packets from the loopback, and tshark that decrypts them.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Result;
use rustix::process::Signal;

use crate::lab::Lab;
use crate::process::Process;

/// A tcpdump that records one port of the loopback.
pub struct Capture {
    tcpdump: Process,
    file: PathBuf,
    port: u16,
}

impl Capture {
    /// Starts to record; it does when this returns.
    ///
    /// # Errors
    /// When tcpdump does not start.
    pub fn start(lab: &Lab, port: u16) -> Result<Self> {
        let file = lab.path(&format!("port-{port}.pcap"));
        let mut command = Command::new("tcpdump");
        command
            // Kept as root: the folder is root's alone. Written packet by packet, in the kernel's immediate mode.
            .args(["-i", "lo", "-Z", "root", "-U", "--immediate-mode", "-s", "0", "-w"])
            .arg(&file)
            .args(["tcp", "port", &port.to_string()]);
        let tcpdump = Process::start(&mut command)?;
        tcpdump.wait_stderr("listening on lo", |line| {
            line.contains("listening on lo").then_some(())
        })?;
        Ok(Self { tcpdump, file, port })
    }

    /// Ends the recording: the file is complete.
    ///
    /// # Errors
    /// When tcpdump does not end.
    pub fn stop(mut self) -> Result<(PathBuf, u16)> {
        self.tcpdump.signal(Signal::INT)?;
        self.tcpdump.wait()?;
        Ok((self.file.clone(), self.port))
    }
}

/// The request lines (`GET /path`) that tshark reads in clear in a recording, with the help of a key log.
///
/// # Errors
/// When tshark is missing or fails.
pub fn decrypted_http(pcap: &Path, port: u16, keylog: &Path) -> Result<Vec<String>> {
    let mut tshark = Command::new("tshark");
    tshark
        .arg("-r")
        .arg(pcap)
        .arg("-o")
        .arg(format!("tls.keylog_file:{}", keylog.display()))
        .args(["-d", &format!("tcp.port=={port},tls"), "-Y", "http.request"])
        .args(["-T", "fields", "-E", "separator=/s"])
        .args(["-e", "http.request.method", "-e", "http.request.uri"]);
    let ended = Process::run_ok(&mut tshark)?;
    Ok(ended.stdout.lines().map(str::to_owned).collect())
}
