//! SIGKILL at the worst moment: of a target in the middle of a handshake, and of tlskeytop in the middle of saving.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Result, ensure};
use rustix::process::Signal;
use tlskeytop_tests::{
    Bench, Held, KeyLog, Lab, Makers, Open, PYTHON, Peer, Process, Protocol, Summary, Tlskeytop,
    Version, check_capture, check_whole, peer_script, python_client, until,
};

/// What it derived until then is in the file; and the others are captured as if nothing had been.
#[test]
fn targets_in_mid_handshake() -> Result<()> {
    const TIMES: usize = 3;
    let Some(lab) = Lab::open()? else {
        return Ok(());
    };
    let truth_of = |number| lab.path(&format!("truth-{number}"));
    let start = |number| {
        let mut command = Command::new(PYTHON);
        command.arg(peer_script("half_handshake.py")).arg(&lab.certificate.certificate);
        let process = Process::start(command.arg(&lab.certificate.key).arg(truth_of(number)))?;
        process.wait_stdout("waiting", |line| (line == "waiting").then_some(()))?;
        Ok(process)
    };
    let mut die: Vec<Process> = (0..TIMES).map(start).collect::<Result<_>>()?;
    let mut lives = Makers::build(&lab)?.start(&lab, "lives", None)?;
    let pids = die.iter().map(Process::pid).chain([lives.pid()]);
    let args = pids.flat_map(|pid| ["--pid".to_owned(), pid.to_string()]);
    let tlskeytop = Tlskeytop::keylog(&lab, args)?;
    let pid = tlskeytop.process.pid();
    let held = Held::attached(pid)?;
    lives.begin(Version::Tls13, 1, 0)?;
    for process in &mut die {
        process.say("go")?;
        process.wait_stdout("middle", |line| (line == "middle").then_some(()))?;
        process.signal(Signal::KILL)?;
        ensure!(process.wait()?.signal() == Some(Signal::KILL.as_raw()));
    }
    lives.end()?;
    let mut truth = lives.truth()?;
    for number in 0..TIMES {
        let half = KeyLog::truth(&truth_of(number))?;
        ensure!(half.client_randoms().len() == 1 && half.lines() >= 4, "{number}: no middle");
        truth.merge(half)?;
    }
    let (ours, _) = tlskeytop.stop()?;
    check_whole(&ours, &truth)?;
    held.is_gone(pid)
}

/// Wherever it is: what it has logged itself is captured, and at the most one handshake more, of which the server had secrets
/// when the client, which logs, had none.
#[test]
fn targets_at_full_speed() -> Result<()> {
    const TIMES: usize = 4;
    let Some(lab) = Lab::open()? else {
        return Ok(());
    };
    let program = Makers::build(&lab)?;
    let start = |number| program.start(&lab, &format!("maker-{number}"), None);
    let mut makers = (0..TIMES).map(start).collect::<Result<Vec<_>>>()?;
    let args = makers.iter().flat_map(|maker| ["--pid".to_owned(), maker.pid().to_string()]);
    let tlskeytop = Tlskeytop::keylog(&lab, args)?;
    let pid = tlskeytop.process.pid();
    let held = Held::attached(pid)?;
    let mut truth = KeyLog::default();
    for maker in &mut makers {
        maker.begin(Version::Tls13, 30, 0)?;
        until("handshakes", || Ok(maker.has_written(50)?.then_some(())))?;
        maker.kill()?;
        truth.merge(maker.truth()?)?;
    }
    let (ours, summary) = tlskeytop.stop()?;
    let captured = ours.lines_of(&truth)?;
    ensure!(captured == truth.lines(), "{captured} of {}: {summary:?}", truth.lines());
    let is_unlogged = |random: &&str| ours.labels(random).len() > truth.labels(random).len();
    let unlogged = ours.client_randoms().into_iter().filter(is_unlogged).count();
    ensure!(unlogged <= TIMES, "{unlogged} handshakes that were not cut");
    held.is_gone(pid)
}

/// What is pinned on this machine: how much is in each file system for eBPF (bpf(2)) that is mounted and not empty. A bare
/// machine has none.
fn pinned() -> Result<Vec<(PathBuf, usize)>> {
    // BPF_FS_MAGIC of linux/magic.h: not where another file system is mounted over it.
    let is_there =
        |folder| rustix::fs::statfs(folder).is_ok_and(|system| system.f_type == 0xcafe_4a11);
    let mut found = Vec::new();
    for mount in fs::read_to_string("/proc/self/mounts")?.lines() {
        let mut fields = mount.split(' ').skip(1);
        if let (Some(folder), Some("bpf")) = (fields.next(), fields.next())
            && is_there(folder)
        {
            found.push((PathBuf::from(folder), count(Path::new(folder))?));
        }
    }
    found.retain(|(_, count)| *count > 0);
    Ok(found)
}

fn count(folder: &Path) -> Result<usize> {
    let mut found = 0;
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        found += 1;
        if entry.file_type()?.is_dir() {
            found += count(&entry.path())?;
        }
    }
    Ok(found)
}

/// Again and again in the middle of saving: only whole lines, no probe left; the next one appends and repeats none.
#[test]
fn tlskeytop_while_it_saves() -> Result<()> {
    const TIMES: usize = 3;
    let Some(lab) = Lab::open()? else {
        return Ok(());
    };
    let mut maker = Makers::build(&lab)?.start(&lab, "maker", None)?;
    let args = ["--pid".to_owned(), maker.pid().to_string()];
    let pinned_before = pinned()?;
    let keylog = lab.path("captured.keylog");
    let size = || fs::metadata(&keylog).map_or(0, |metadata| metadata.len());
    for _ in 0..TIMES {
        let mut tlskeytop = Tlskeytop::keylog(&lab, &args)?;
        let (pid, before) = (tlskeytop.process.pid(), size());
        let held = Held::attached(pid)?;
        maker.begin(Version::Tls13, 1, 0)?;
        until("new lines", || Ok((size() > before + 5000).then_some(())))?;
        tlskeytop.process.signal(Signal::KILL)?;
        tlskeytop.process.wait()?;
        held.is_gone(pid)?;
        ensure!(pinned()? == pinned_before, "something is pinned");
        // Whole lines, and each once.
        KeyLog::strict(&keylog)?;
        maker.end()?;
    }
    let before = maker.truth()?;
    let tlskeytop = Tlskeytop::keylog(&lab, &args)?;
    maker.work(Version::Tls13, 1, 0)?;
    let (mut ours, summary) = tlskeytop.stop()?;
    let mut truth = maker.truth()?;
    let lines = ours.lines();
    ensure!(ours.lines_of(&truth)? == lines, "{lines} of {}: {summary:?}", truth.lines());
    // Of what was made while the last one was there, every line.
    let old = before.client_randoms();
    ours.remove(&old);
    truth.remove(&old);
    check_whole(&ours, &truth)
}

/// The next one sees the open connections again, whose lines are there: none is written twice.
#[test]
fn what_the_killed_one_had_saved_is_not_repeated() -> Result<()> {
    let Some(bench) = Bench::open(Protocol::KeepAlive)? else {
        return Ok(());
    };
    let ports: Vec<u16> = bench.peers.iter().map(Peer::port).collect();
    let (mut command, truth) = python_client(&bench.lab, &ports, 2);
    let mut open = Open::start(&mut command)?;
    let truth = KeyLog::truth(&truth)?;
    let args = ["--pid".to_owned(), open.0.pid().to_string()];
    let mut number = 0;
    let mut request = || {
        number += 1;
        open.request(number - 1)
    };
    let mut tlskeytop = Tlskeytop::keylog(&bench.lab, &args)?;
    let keylog = tlskeytop.keylog_path().to_owned();
    until("the open connections in the file", || {
        request()?;
        Ok(check_capture(&KeyLog::strict(&keylog)?, &truth).ok())
    })?;
    tlskeytop.process.signal(Signal::KILL)?;
    tlskeytop.process.wait()?;
    let written = fs::read(&keylog)?;
    let mut command = Tlskeytop::command(&bench.lab)?;
    command.args(["--mode", "json", "-k"]).arg(&keylog).args(&args);
    let mut tlskeytop = Tlskeytop::start(command, keylog.clone())?;
    until("the open connections once more", || {
        request()?;
        let is_open = |line: &str| line.contains("\"complete\"");
        let randoms = truth.client_randoms();
        let said = tlskeytop.process.stdout();
        let seen = |random: &&str| said.lines().any(|line| is_open(line) && line.contains(random));
        Ok(randoms.iter().all(seen).then_some(()))
    })?;
    let ended = tlskeytop.interrupt()?;
    let summary = Summary::parse(&ended.stderr)?;
    ensure!((summary.saved, summary.secrets) == (0, u64::try_from(truth.lines())?), "{summary:?}");
    ensure!(fs::read(&keylog)? == written, "the file is not as it was");
    Ok(())
}
