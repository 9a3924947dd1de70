//! Processes that die at the wrong moment, and names that would play with the terminal.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use rustix::process::Signal;
use tlskeytop_tests::{Bench, CURL, Lab, Process, Protocol, Sessions, Tlskeytop, curl};

const PYTHON: &str = "/usr/bin/python3";

fn waiting_client(bench: &Bench) -> Result<Process> {
    let client = Process::start(&mut bench.client(Path::new(PYTHON), "client_ssl.py", 1))?;
    client.wait_stdout("waiting", |line| (line == "waiting").then_some(()))?;
    Ok(client)
}

#[test]
fn one_dies_while_attached_and_the_other_is_captured() -> Result<()> {
    let Some(bench) = Bench::open(Protocol::Http)? else {
        return Ok(());
    };
    let (mut dies, mut lives) = (waiting_client(&bench)?, waiting_client(&bench)?);
    let pids = [dies.pid().to_string(), lives.pid().to_string()];
    let tlskeytop = Tlskeytop::keylog(&bench.lab, ["--pid", &pids[0], "--pid", &pids[1]])?;
    dies.signal(Signal::KILL)?;
    dies.wait()?;
    lives.say("go")?;
    ensure!(lives.wait()?.status.success());
    bench.check(tlskeytop, 1)
}

/// Clients come and are killed in the middle of whatever they do, while the machine is scanned and captured.
#[test]
fn churn_disturbs_neither_scan_nor_capture() -> Result<()> {
    let Some(bench) = Bench::open(Protocol::Http)? else {
        return Ok(());
    };
    let tlskeytop = Tlskeytop::keylog(&bench.lab, ["--all"])?;
    let port = bench.peers[0].port();
    for _ in 0..5 {
        let scan = Process::start(Tlskeytop::command(&bench.lab)?.arg("scan"))?;
        // Dropped, and so killed, one after the other, while the scan runs.
        for _ in 0..10 {
            let clients: Vec<Process> = (0..3)
                .map(|_| Process::start(&mut curl(&bench.lab, port, "")))
                .collect::<Result<_>>()?;
            drop(clients);
        }
        let ended = { scan }.wait()?;
        ensure!(ended.code() == Some(0), "scan: {}\n{}", ended.status, ended.stderr);
    }
    tlskeytop.stop()?;
    Ok(())
}

/// Escape sequences that clear the screen and set the title, a line feed, and a byte that is no UTF-8.
const NAME: &[u8] = b"\x1b[2J\x1b]0;x\x07\xff\na";

fn copy_with_that_name(lab: &Lab, program: &str) -> Result<PathBuf> {
    let copy = lab.folder().join(OsStr::from_bytes(NAME));
    fs::copy(program, &copy).with_context(|| format!("cannot copy {program}"))?;
    Ok(copy)
}

fn is_harmless(text: &[u8]) -> Result<()> {
    let text = std::str::from_utf8(text).context("not UTF-8")?;
    let control = |c: &char| c.is_control() && *c != '\n';
    ensure!(!text.chars().any(|c| control(&c)), "control characters in {text:?}");
    Ok(())
}

#[test]
fn a_name_of_escape_sequences_in_json() -> Result<()> {
    let Some(bench) = Bench::open(Protocol::Http)? else {
        return Ok(());
    };
    let strange = copy_with_that_name(&bench.lab, CURL)?;
    let mut tlskeytop = Tlskeytop::json(&bench.lab, ["--all"])?;
    let peer = &bench.peers[0];
    let plain = curl(&bench.lab, peer.port(), "");
    let process = Process::start(Command::new(&strange).args(plain.get_args()))?;
    let pid = process.pid();
    ensure!({ process }.wait()?.status.success());
    let ended = tlskeytop.interrupt()?;
    ensure!(ended.code() == Some(0), "{}", ended.status);
    is_harmless(ended.stdout.as_bytes())?;
    is_harmless(ended.stderr.as_bytes())?;
    let sessions = Sessions::parse(&ended.stdout)?;
    let session = sessions.all().find(|session| session["pid"].as_u64() == Some(pid.into()));
    let session = session.context("the session of the strange name")?;
    eprintln!("shown as comm {} exe {}", session["comm"], session["exe"]);
    Ok(())
}

#[test]
fn a_name_of_escape_sequences_in_scan() -> Result<()> {
    let Some(bench) = Bench::open(Protocol::Http)? else {
        return Ok(());
    };
    let strange = copy_with_that_name(&bench.lab, PYTHON)?;
    let mut command = bench.client(&strange, "client_ssl.py", 1);
    // It looks for its library beside the executable.
    command.env("PYTHONHOME", "/usr");
    let client = Process::start(&mut command)?;
    client.wait_stdout("waiting", |line| (line == "waiting").then_some(()))?;
    for args in [&["scan"][..], &["scan", "--json"]] {
        let ended = Process::run_ok(Tlskeytop::command(&bench.lab)?.args(args))?;
        is_harmless(ended.stdout.as_bytes()).with_context(|| format!("{args:?}"))?;
        let pid = client.pid().to_string();
        ensure!(ended.stdout.contains(&pid), "{args:?} does not list {pid}");
    }
    Ok(())
}
