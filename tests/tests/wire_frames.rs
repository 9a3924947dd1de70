//! Frames that a test makes itself: handshakes in a VLAN, and more beginnings of handshakes than can be kept.

use std::process::Command;

use anyhow::{Result, ensure};
use tlskeytop_tests::{
    Bench, DEADLINE, Lab, Netns, OwnCurl, PYTHON, Process, Protocol, Recording, Sessions,
    Tlskeytop, most_resident, peer_script, resident, until, whole_truth,
};

/// From one of the interface's ends: inside the tag comes as one of the frame's own bytes, outside the kernel has taken it out.
fn in_a_vlan(is_outside: bool) -> Result<()> {
    let Some(lab) = Lab::open()? else {
        return Ok(());
    };
    let netns = Netns::make()?;
    let (mut python, interface) = match is_outside {
        true => (netns.command(PYTHON), "eth0"),
        false => (Command::new(PYTHON), netns.interface()),
    };
    let truth = lab.path("truth");
    python.arg(peer_script("tagged.py")).arg(interface).arg(&lab.certificate.certificate);
    let mut both = Process::start(python.arg(&lab.certificate.key).arg(&truth))?;
    both.wait_stdout("waiting", |line| (line == "waiting").then_some(()))?;
    let pid = both.pid().to_string();
    let (tlskeytop, recording) = Recording::start(&lab, ["-i", netns.interface(), "--pid", &pid])?;
    let mut wire = Tlskeytop::json(&lab, ["--pid", &pid])?;
    both.say("go")?;
    ensure!(both.wait()?.status.success());
    let truth = whole_truth(&truth, 1)?;
    recording.finish(tlskeytop)?;
    ensure!(recording.requests(&[8443])? == ["GET /tagged"]);
    let tagged = recording.fields(&[], "vlan.id == 7 && tls.handshake.type == 1", &["ip.dst"])?;
    ensure!(tagged == [["192.0.2.9"]], "{tagged:?}");
    recording.has_secrets(&truth)?;
    let sessions = Sessions::parse(&wire.interrupt()?.stdout)?;
    let row = sessions.only(truth.client_randoms()[0])?;
    ensure!(row["state"] == "complete" && row["seen_on_wire"] == true, "{row}");
    ensure!(row["client"] == "192.0.2.1:40000" && row["server"] == "192.0.2.9:8443", "{row}");
    Ok(())
}

#[test]
fn in_a_vlan_with_the_tag_in_the_frame() -> Result<()> {
    in_a_vlan(false)
}

#[test]
fn in_a_vlan_whose_tag_the_kernel_took_out() -> Result<()> {
    in_a_vlan(true)
}

/// All are recorded, memory is bounded, and real handshakes are seen after that.
#[test]
fn a_hundred_thousand_half_open_handshakes() -> Result<()> {
    const COUNT: usize = 100_000;
    /// The ring, 65,536 connections in the wire view and in the recording each, and 100,000 hellos: 215 MiB were
    /// measured.
    const GROWTH: u64 = 384 << 20;
    let Some(bench) = Bench::open(Protocol::Http)? else {
        return Ok(());
    };
    let own = OwnCurl::copy(&bench.lab)?;
    let netns = Netns::make()?;
    let recording = Recording::at(bench.lab.path("packets.pcapng"));
    let file = recording.path().display().to_string();
    let peer = &bench.peers[0];
    let pid = peer.pid().to_string();
    // Others have packets on the loopback: these would count as ours.
    let args = ["--all", "--exclude-pid", &pid, "-i", netns.interface()];
    let recorded = ["--pcap-wait", "0", "--pcap-file", &file];
    let mut tlskeytop = Tlskeytop::json(&bench.lab, args.into_iter().chain(recorded))?;
    let pid = tlskeytop.process.pid();
    let before = resident(pid)?;
    let mut python = Command::new(PYTHON);
    python.arg(peer_script("half_open.py")).args([netns.interface(), &COUNT.to_string(), &file]);
    ensure!(Process::start(&mut python)?.wait_within(2 * DEADLINE)?.status.success());
    until("a handshake that is seen", || {
        Process::run_ok(&mut own.request(&bench.lab, peer.port(), "page"))?;
        let is_seen = |line: &str| {
            line.contains(&own.name)
                && line.contains(r#""seen_on_wire":true"#)
                && line.contains(r#""state":"complete""#)
        };
        Ok(tlskeytop.process.stdout().lines().any(is_seen).then_some(()))
    })?;
    let after = most_resident(pid)?;
    let ended = tlskeytop.interrupt()?;
    ensure!(ended.code() == Some(0), "{}", ended.status);
    eprintln!("{} MiB before, {} MiB at the most", before >> 20, after >> 20);
    eprintln!("{}", ended.stderr.lines().last().unwrap_or_default());
    ensure!(after < before + GROWTH, "from {before} to {after} bytes");
    recording.is_sound()?;
    let hellos = recording.fields(&[], "tls.handshake.type == 1", &["frame.number"])?;
    ensure!(hellos.len() == COUNT, "{} hellos", hellos.len());
    Ok(())
}
