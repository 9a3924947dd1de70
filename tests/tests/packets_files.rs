//! Files that follow each other: each is read by itself, and none of the packets is lost or there twice.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};
use tlskeytop_tests::{
    Bench, KeyLog, OwnCurl, Peer, Process, Protocol, Recording, curl, until, whole_truth,
};

/// So many files.
const FILES: usize = 3;
/// Requests of one curl, each over a connection of its own.
const AT_ONCE: usize = 25;
/// So many requests, also where others fill the files.
const LEAST: usize = 100;

/// What tshark shows of the connections with a port in one file.
#[derive(Default)]
struct Shown {
    begun: BTreeSet<String>,
    ended: BTreeSet<String>,
    in_clear: BTreeSet<String>,
    hellos: BTreeSet<String>,
}

impl Shown {
    fn of(recording: &Recording, port: u16) -> Result<Self> {
        const FIELDS: [&str; 6] = [
            "tcp.stream",
            "tcp.dstport",
            "tcp.flags",
            "http.request.method",
            "tls.handshake.type",
            "tls.handshake.random",
        ];
        const FIN: u32 = 1;
        const SYN: u32 = 2;
        let mut shown = Self::default();
        for row in recording.fields(&[port], &format!("tcp.port == {port}"), &FIELDS)? {
            let [stream, to, flags, method, kind, random] = &row[..] else { bail!("{row:?}") };
            let flags = u32::from_str_radix(flags.trim_start_matches("0x"), 16)?;
            let is_by_client = *to == port.to_string();
            for (is_so, what, of) in [
                (is_by_client && flags & SYN != 0, &mut shown.begun, stream),
                (is_by_client && flags & FIN != 0, &mut shown.ended, stream),
                (!method.is_empty(), &mut shown.in_clear, stream),
                (kind == "1", &mut shown.hellos, random),
            ] {
                if is_so {
                    what.insert(of.clone());
                }
            }
        }
        Ok(shown)
    }
}

/// Every connection that is whole in this file is decrypted with what is in it, and its secrets are those of its hellos.
fn is_read_by_itself(recording: &Recording, port: u16) -> Result<usize> {
    recording.is_sound()?;
    let mode = fs::metadata(recording.path())?.permissions().mode() & 0o7777;
    ensure!(mode == 0o600, "{mode:o}");
    let Shown { begun, ended, in_clear, hellos } = Shown::of(recording, port)?;
    let is_encrypted = |stream: &&String| !in_clear.contains(*stream);
    let encrypted: Vec<_> = begun.intersection(&ended).filter(is_encrypted).collect();
    ensure!(encrypted.is_empty(), "not decrypted: {encrypted:?}");
    let secrets = recording.secrets()?;
    let known: BTreeSet<String> = secrets.client_randoms().into_iter().map(str::to_owned).collect();
    ensure!(known == hellos, "of {} connections, and {} are begun", known.len(), hellos.len());
    Ok(in_clear.len())
}

/// Asks until there are enough files, while another one, which nobody captures, makes packets wait.
fn ask(bench: &Bench, own: &OwnCurl, peer: &Peer, last: &Recording) -> Result<usize> {
    let mut asked = 0;
    until("the last file", || {
        Process::run_ok(&mut curl(&bench.lab, bench.peers[1].port(), ""))?;
        let pages = format!("{asked:04}-[1-{AT_ONCE}]");
        let mut request = own.request(&bench.lab, peer.port(), &pages);
        // Some packets in each connection.
        request.args(["--header", &format!("X-Filler: {}", "x".repeat(12_000))]);
        request.env("SSLKEYLOGFILE", bench.lab.path("truth"));
        Process::run_ok(&mut request)?;
        asked += AT_ONCE;
        Ok((asked >= LEAST && last.path().exists()).then_some(()))
    })?;
    Ok(asked)
}

fn files_follow_each_other(rotation: [&str; 2]) -> Result<()> {
    let Some(bench) = Bench::open(Protocol::Http)? else {
        return Ok(());
    };
    let own = OwnCurl::copy(&bench.lab)?;
    let peer = &bench.peers[0];
    let args = ["-i", "lo", "--name", &own.name, rotation[0], rotation[1]];
    let (tlskeytop, first) = Recording::start(&bench.lab, args)?;
    let numbered =
        |number: usize| Recording::at(bench.lab.path(&format!("packets-{number}.pcapng")));
    let asked = ask(&bench, &own, peer, &numbered(FILES - 1))?;
    let truth = whole_truth(&bench.lab.path("truth"), asked)?;
    first.finish(tlskeytop)?;
    let files: Vec<Recording> = std::iter::once(first)
        .chain((1..).map(numbered).take_while(|file| file.path().exists()))
        .collect();
    ensure!(files.len() >= FILES, "{} files", files.len());
    let (mut in_clear, mut secrets) = (0, KeyLog::default());
    for file in &files {
        in_clear += is_read_by_itself(file, peer.port())
            .with_context(|| file.path().display().to_string())?;
        secrets.merge(file.secrets()?)?;
    }
    ensure!(secrets == truth, "{} of {} secrets", secrets.lines(), truth.lines());
    // The others have packets in two files.
    ensure!(in_clear + files.len() > asked, "{in_clear} of {asked} in {} files", files.len());
    let both = Recording::at(bench.lab.path("all.pcapng"));
    let mut merge = Command::new("mergecap");
    merge.arg("-w").arg(both.path()).args(files.iter().map(Recording::path));
    Process::run_ok(&mut merge)?;
    both.is_sound()?;
    let requests = both.requests(&[peer.port()])?;
    ensure!(requests.len() == asked, "{} of {asked}", requests.len());
    let lost = format!(
        "tcp.port == {} && (tcp.analysis.lost_segment || tcp.analysis.ack_lost_segment)",
        peer.port()
    );
    let lost = both.fields(&[], &lost, &["frame.number"])?;
    ensure!(lost.is_empty(), "{} packets are missing", lost.len());
    eprintln!("{} files, {in_clear} of {asked} connections whole in one", files.len());
    Ok(())
}

#[test]
fn by_size() -> Result<()> {
    files_follow_each_other(["--pcap-rotate-size", "1"])
}

#[test]
fn by_time() -> Result<()> {
    files_follow_each_other(["--pcap-rotate-time", "2"])
}
