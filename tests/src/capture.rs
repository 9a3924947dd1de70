//! Packets from the loopback, and tshark that decrypts them.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use rustix::process::Signal;

use crate::keylog::KeyLog;
use crate::lab::Lab;
use crate::process::Process;
use crate::wait::until;

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

    /// Waits until so many connections, from their first to their last packets, are in the file. What the kernel still
    /// holds when tcpdump is ended is lost.
    ///
    /// # Errors
    /// When they do not come.
    pub fn wait_for(&self, connections: usize) -> Result<()> {
        wait_for_connections(&self.file, connections)
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

/// Waits until so many connections have ended in a recording that still grows: one end is enough, the other may be cut off.
///
/// # Errors
/// When they do not.
pub fn wait_for_connections(recording: &Path, connections: usize) -> Result<()> {
    until("whole connections in the recording", || {
        let mut tshark = Command::new("tshark");
        tshark.arg("-r").arg(recording);
        tshark.args(["-Y", "tcp.flags.fin == 1 or tcp.flags.reset == 1"]);
        tshark.args(["-T", "fields", "-e", "tcp.stream"]);
        // The end of the file may be within a packet: that is said, and no failure here.
        let ended = Process::run(&mut tshark)?;
        let streams: BTreeSet<&str> = ended.stdout.lines().collect();
        Ok((streams.len() >= connections).then_some(()))
    })
}

/// The request lines (`GET /path`) that tshark reads in clear in a recording, with the help of a key log.
///
/// # Errors
/// When tshark is missing or fails.
pub fn decrypted_http(pcap: &Path, port: u16, keylog: &Path) -> Result<Vec<String>> {
    requests(pcap, port, &["-o", &format!("tls.keylog_file:{}", keylog.display())])
}

/// The same, with no other help than what is in the recording.
///
/// # Errors
/// When tshark is missing or fails.
pub fn http_in_clear(pcap: &Path, port: u16) -> Result<Vec<String>> {
    requests(pcap, port, &[])
}

fn requests(pcap: &Path, port: u16, options: &[&str]) -> Result<Vec<String>> {
    let mut tshark = Command::new("tshark");
    tshark
        .arg("-r")
        .arg(pcap)
        .args(options)
        .args(["-d", &format!("tcp.port=={port},tls"), "-Y", "http.request"])
        .args(["-T", "fields", "-E", "separator=/s"])
        .args(["-e", "http.request.method", "-e", "http.request.uri"]);
    let ended = Process::run_ok(&mut tshark)?;
    Ok(ended.stdout.lines().map(str::to_owned).collect())
}

/// The secrets in the Decryption Secrets Blocks of a little-endian pcapng file; each may be there once.
///
/// # Errors
/// When a block has no end, or a line is malformed or there twice.
pub fn secrets_in(pcapng: &Path) -> Result<KeyLog> {
    /// Block type and kind of secrets (draft-ietf-opsawg-pcapng, 4.7).
    const SECRETS: u32 = 10;
    const TLS_KEY_LOG: u32 = 0x544c_534b;
    let file = std::fs::read(pcapng)?;
    let (mut rest, mut text) = (&file[..], String::new());
    while !rest.is_empty() {
        let number = |at: usize| -> Result<u32> {
            let bytes = rest.get(at..at + 4).context("the last block is cut")?;
            Ok(u32::from_le_bytes(bytes.try_into()?))
        };
        let length = number(4)? as usize;
        ensure!(number(length - 4)? as usize == length, "a block has two lengths");
        if (number(0)?, number(8)?) == (SECRETS, TLS_KEY_LOG) {
            let end = 16 + number(12)? as usize;
            text += std::str::from_utf8(rest.get(16..end).context("no room for the secrets")?)?;
        }
        rest = &rest[length..];
    }
    KeyLog::parse_strict(&text)
}
