//! A file of packets with its secrets, as others read it: tshark, capinfos, editcap, and the blocks themselves.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};

use crate::keylog::{KeyLog, check_whole};
use crate::lab::Lab;
use crate::process::Process;
use crate::tlskeytop::Tlskeytop;

/// Block types (draft-ietf-opsawg-pcapng, 11.1).
const SECTION: u32 = 0x0a0d_0d0a;
const SECRETS: u32 = 10;
/// One sending of a data segment: what is sent again has another number or time stamp.
const SEGMENT: [&str; 11] = [
    "frame.interface_id",
    "ip.src",
    "ip.dst",
    "ipv6.src",
    "ipv6.dst",
    "tcp.srcport",
    "tcp.dstport",
    "tcp.seq_raw",
    "tcp.len",
    "ip.id",
    "tcp.options.timestamp.tsval",
];

/// A file that tlskeytop writes, or has written.
pub struct Recording(PathBuf);

impl Recording {
    /// Starts `tlskeytop --mode pcap --pcap-file FILE ARGS` and waits until it is ready.
    ///
    /// # Errors
    /// When it ends before, or is not ready within the deadline.
    pub fn start<A: AsRef<OsStr>>(
        lab: &Lab,
        args: impl IntoIterator<Item = A>,
    ) -> Result<(Tlskeytop, Self)> {
        Self::start_to(lab, lab.path("packets.pcapng"), args)
    }

    /// The same, with another FILE.
    ///
    /// # Errors
    /// As [`Recording::start`].
    pub fn start_to<A: AsRef<OsStr>>(
        lab: &Lab,
        file: PathBuf,
        args: impl IntoIterator<Item = A>,
    ) -> Result<(Tlskeytop, Self)> {
        let mut command = Tlskeytop::command(lab)?;
        command.args(["--mode", "pcap", "--pcap-file"]).arg(&file).args(args);
        Ok((Tlskeytop::start(command, lab.path("tlskeytop.keylog"))?, Self(file)))
    }

    /// A file that is there.
    pub fn at(path: PathBuf) -> Self {
        Self(path)
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// Ends tlskeytop, which has dropped nothing, and checks that the file is sound.
    ///
    /// # Errors
    /// When that is not so.
    pub fn finish(&self, mut tlskeytop: Tlskeytop) -> Result<()> {
        let ended = tlskeytop.interrupt()?;
        ensure!(ended.code() == Some(0), "tlskeytop: {}: {}", ended.status, ended.stderr);
        ensure!(ended.stderr.contains(" 0 packets dropped"), "{}", ended.stderr);
        self.is_sound()
    }

    /// The request lines that tshark shows in clear for connections with these ports, without any key log, in order.
    ///
    /// # Errors
    /// When tshark is missing or fails.
    pub fn requests(&self, ports: &[u16]) -> Result<Vec<String>> {
        let fields = ["http.request.method", "http.request.uri"];
        let ports_text: Vec<String> = ports.iter().map(u16::to_string).collect();
        let filter = format!("http.request && tcp.port in {{{}}}", ports_text.join(","));
        let mut requests: Vec<String> = self
            .fields(ports, &filter, &fields)?
            .into_iter()
            .map(|fields| fields.join(" "))
            .collect();
        requests.sort_unstable();
        Ok(requests)
    }

    /// What tshark shows of the packets that a filter finds; these ports have TLS.
    ///
    /// # Errors
    /// When tshark is missing or fails.
    pub fn fields(&self, ports: &[u16], filter: &str, fields: &[&str]) -> Result<Vec<Vec<String>>> {
        let mut tshark = Command::new("tshark");
        tshark.arg("-r").arg(&self.0).args(["-Y", filter, "-T", "fields"]);
        tshark
            .args(ports.iter().flat_map(|port| ["-d".to_owned(), format!("tcp.port=={port},tls")]));
        tshark.args(fields.iter().flat_map(|field| ["-e", field]));
        let shown = Process::run_ok(&mut tshark)?.stdout;
        Ok(shown.lines().map(|line| line.split('\t').map(str::to_owned).collect()).collect())
    }

    /// The secrets in it, each once.
    ///
    /// # Errors
    /// When a block or a line is malformed, or a line is there twice.
    pub fn secrets(&self) -> Result<KeyLog> {
        let mut text = String::new();
        for (kind, body) in self.blocks()? {
            if kind == SECRETS {
                let len = u32_at(&body, 4)? as usize;
                let lines = body.get(8..8 + len).context("secrets longer than their block")?;
                text.push_str(std::str::from_utf8(lines)?);
            }
        }
        KeyLog::parse_strict(&text)
    }

    /// It has exactly these secrets.
    ///
    /// # Errors
    /// When one is missing, wrong, or too many.
    pub fn has_secrets(&self, truth: &KeyLog) -> Result<()> {
        let ours = self.secrets()?;
        check_whole(&ours, truth)?;
        eprintln!("{} of {} secrets", ours.lines(), truth.lines());
        Ok(())
    }

    /// Its blocks are whole, capinfos and editcap take it, no packet is there twice, and time goes forward at each
    /// interface.
    ///
    /// # Errors
    /// When that is not so.
    pub fn is_sound(&self) -> Result<()> {
        let blocks = self.blocks()?;
        ensure!(blocks.first().is_some_and(|(kind, _)| *kind == SECTION), "no section");
        Process::run_ok(Command::new("capinfos").arg(&self.0))?;
        let copy = tempfile::NamedTempFile::new()?;
        Process::run_ok(Command::new("editcap").arg(&self.0).arg(copy.path()))?;
        let mut segments = BTreeSet::new();
        for segment in self.fields(&[], "tcp.len > 0 && !icmp", &SEGMENT)? {
            ensure!(!segments.contains(&segment), "twice: {segment:?}");
            segments.insert(segment);
        }
        let mut newest: BTreeMap<String, String> = BTreeMap::new();
        for times in self.fields(&[], "frame", &["frame.interface_id", "frame.time_epoch"])? {
            let [interface, time] = &times[..] else { bail!("{times:?}") };
            // As long as one another, so that they compare as text.
            if let Some(before) = newest.insert(interface.clone(), time.clone()) {
                ensure!(before <= *time, "{before} before {time} at interface {interface}");
            }
        }
        Ok(())
    }

    /// Type and body of each block.
    fn blocks(&self) -> Result<Vec<(u32, Vec<u8>)>> {
        let bytes = std::fs::read(&self.0).with_context(|| self.0.display().to_string())?;
        let mut blocks = Vec::new();
        let mut rest = &bytes[..];
        while !rest.is_empty() {
            let len = u32_at(rest, 4)? as usize;
            ensure!(len >= 12 && len.is_multiple_of(4), "a block of {len} bytes");
            let block = rest.get(..len).context("the last block is cut")?;
            ensure!(u32_at(block, len - 4)? as usize == len, "two lengths");
            blocks.push((u32_at(block, 0)?, block[8..len - 4].to_vec()));
            rest = &rest[len..];
        }
        Ok(blocks)
    }
}

fn u32_at(bytes: &[u8], at: usize) -> Result<u32> {
    let four = bytes.get(at..at + 4).context("a block is cut")?;
    Ok(u32::from_le_bytes(four.try_into()?))
}
