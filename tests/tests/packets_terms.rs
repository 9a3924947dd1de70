//! What a recording is asked to keep to, and what it says when the kernel gives no packets.

use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use rustix::process::Signal;
use tlskeytop_tests::{
    Bench, Netns, OwnCurl, Process, Protocol, Recording, Sessions, Tlskeytop, until, whole_truth,
};

/// Without the capability that packet sockets take.
const NO_PACKETS: [&str; 2] = ["setpriv", "--bounding-set=-net_raw"];
const TOLD: &str = "it takes CAP_NET_RAW: run it as root on the host";

/// The packets pass elsewhere than where is recorded.
#[test]
fn all_secrets_or_those_that_are_needed() -> Result<()> {
    let Some(bench) = Bench::open(Protocol::Http)? else {
        return Ok(());
    };
    let own = OwnCurl::copy(&bench.lab)?;
    let netns = Netns::make()?;
    let record = |secrets: &str| {
        let args = ["-i", netns.interface(), "--name", &own.name, "--pcap-secrets", secrets];
        Recording::start_to(&bench.lab, bench.lab.path(&format!("{secrets}.pcapng")), args)
    };
    let (needed, all) = (record("needed")?, record("all")?);
    for peer in &bench.peers {
        Process::run_ok(&mut own.request(&bench.lab, peer.port(), ""))?;
    }
    let truth = bench.whole_truth(1)?;
    all.1.finish(all.0)?;
    all.1.has_secrets(&truth)?;
    needed.1.finish(needed.0)?;
    let lines = needed.1.secrets()?.lines();
    ensure!(lines == 0, "{lines} secrets that nothing needs");
    Ok(())
}

/// The server takes its time to answer, so that nobody has a secret for longer than packets wait.
#[test]
fn packets_wait_no_longer_than_asked_and_later_secrets_are_written() -> Result<()> {
    const WAIT: Duration = Duration::from_secs(1);
    let Some(bench) = Bench::open(Protocol::Http)? else {
        return Ok(());
    };
    let own = OwnCurl::copy(&bench.lab)?;
    let args = ["-i", "lo", "--name", &own.name, "--pcap-scope", "all", "--pcap-wait", "1"];
    let (tlskeytop, recording) = Recording::start(&bench.lab, args)?;
    let truth = bench.lab.path("truth");
    let mut clients = Vec::new();
    let began = Instant::now();
    for peer in &bench.peers {
        peer.signal(Signal::STOP)?;
        let mut request = own.request(&bench.lab, peer.port(), "late");
        clients.push(Process::start(request.env("SSLKEYLOGFILE", &truth))?);
    }
    let ports = [0, 1].map(|at| bench.peers[at].port());
    let hello = format!("tls.handshake.type == 1 && tcp.port in {{{},{}}}", ports[0], ports[1]);
    until("both hellos in the file", || {
        let hellos = recording.fields(&ports, &hello, &["frame.number"]);
        Ok(hellos.is_ok_and(|hellos| hellos.len() == 2).then_some(()))
    })?;
    ensure!(began.elapsed() >= WAIT, "after {:?}", began.elapsed());
    let lines = recording.secrets()?.lines();
    ensure!(lines == 0, "{lines} secrets before the server has answered");
    bench.peers.iter().try_for_each(|peer| peer.signal(Signal::CONT))?;
    for client in &mut clients {
        ensure!(client.wait()?.status.success());
    }
    let truth = whole_truth(&truth, 2)?;
    recording.finish(tlskeytop)?;
    recording.has_secrets(&truth)
}

#[test]
fn without_the_right_to_packets_it_says_what_it_takes() -> Result<()> {
    let Some(bench) = Bench::open(Protocol::Http)? else {
        return Ok(());
    };
    let mut command = Command::new(NO_PACKETS[0]);
    command.arg(NO_PACKETS[1]).arg(Tlskeytop::binary()?).args(["--mode", "pcap"]);
    let ended = Process::run(command.current_dir(bench.lab.folder()))?;
    ensure!(ended.code() == Some(3), "{}: {}", ended.status, ended.stderr);
    let told = ended.stderr.lines().filter(|line| line.contains(TOLD)).count();
    ensure!(told == 1 && !ended.stderr.contains("ready"), "{}", ended.stderr);
    Ok(())
}

/// Only the wire view is missing, and that is told.
#[test]
fn without_the_right_to_packets_secrets_are_captured() -> Result<()> {
    let Some(bench) = Bench::open(Protocol::Http)? else {
        return Ok(());
    };
    let own = OwnCurl::copy(&bench.lab)?;
    let mut command = Command::new(NO_PACKETS[0]);
    command.arg(NO_PACKETS[1]).arg(Tlskeytop::binary()?);
    command.args(["--mode", "json", "--name", &own.name]).current_dir(bench.lab.folder());
    let mut tlskeytop = Tlskeytop::start(command, bench.lab.path("none"))?;
    for peer in &bench.peers {
        Process::run_ok(&mut own.request(&bench.lab, peer.port(), ""))?;
    }
    let truth = bench.whole_truth(1)?;
    let ended = tlskeytop.interrupt()?;
    ensure!(ended.code() == Some(0), "{}", ended.status);
    let told = |line: &str| line.contains("no wire view") && line.contains(TOLD);
    ensure!(ended.stderr.lines().any(told), "{}", ended.stderr);
    let sessions = Sessions::parse(&ended.stdout)?;
    for random in truth.client_randoms() {
        let row = sessions.only(random)?;
        ensure!(row["state"] == "complete" && row["seen_on_wire"] == false, "{row}");
    }
    Ok(())
}
