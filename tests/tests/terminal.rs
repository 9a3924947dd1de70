//! The TUI in a real terminal.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use rustix::process::{Pid, Signal, kill_process};
use tlskeytop_tests::{
    Bench, KeyLog, Open, OwnCurl, PYTHON, Process, Protocol, Screen, Tlskeytop, check_capture,
    peer_script, until,
};

/// Starts the TUI with these options in a terminal, and waits until it has drawn.
fn start(bench: &Bench, options: &str) -> Result<Screen> {
    let screen = Screen::open(&bench.lab, 120, 40)?;
    let binary = Tlskeytop::binary()?;
    // The shell leaves its process id, which is then the TUI's.
    let tui = format!("sh -c 'echo $$ > pid; exec {} {options}'", binary.display());
    screen.type_line(&format!("{tui}; echo exit=$?"))?;
    until("the alternate screen, or the end", || {
        let ended = screen.text()?.lines().any(|line| line.starts_with("exit="));
        ensure!(!ended, "it ended at once:\n{}", screen.text()?);
        Ok((!screen.is_restored()?).then_some(()))
    })?;
    Ok(screen)
}

fn is_over(screen: &Screen) -> Result<()> {
    let code =
        screen.wait_for("exit code", |line| line.strip_prefix("exit=").map(str::to_owned))?;
    ensure!(code.trim() == "0", "exit code {code}");
    ensure!(screen.is_restored()?, "the terminal is not restored");
    // Also the settings of the line: the shell's echo is back.
    screen.type_line("echo good-bye")?;
    screen.wait_for("echo", |line| line.contains("echo good-bye").then_some(()))
}

#[test]
fn shows_and_saves_a_session_and_restores_the_terminal_on_quit() -> Result<()> {
    let Some(bench) = Bench::open(Protocol::Http)? else {
        return Ok(());
    };
    let own = OwnCurl::copy(&bench.lab)?;
    let screen = start(&bench, &format!("--name {} -k saved", own.name))?;
    let handshakes = own.shown_on(&bench, &screen)?;
    let truth = bench.peers[0].whole_truth(handshakes)?;
    // The first handshakes may have been before it was attached, or while it was; the last one was not.
    until("all lines of a handshake in the key log", || {
        let saved = KeyLog::strict(&bench.lab.path("saved"))?;
        let is_whole = |random: &&str| saved.labels(random).len() == 5;
        Ok(saved.client_randoms().iter().any(is_whole).then_some(()))
    })?;
    screen.press("q")?;
    is_over(&screen)?;
    let saved = KeyLog::strict(&bench.lab.path("saved"))?;
    // Each saved line is the truth; of a handshake that ran while it was attached some may be missing.
    let mut both = truth.clone();
    both.merge(saved)?;
    ensure!(both.lines() == truth.lines(), "lines that are not in the truth");
    Ok(())
}

#[test]
fn restores_the_terminal_on_sigterm() -> Result<()> {
    let Some(bench) = Bench::open(Protocol::Http)? else {
        return Ok(());
    };
    let own = OwnCurl::copy(&bench.lab)?;
    let screen = start(&bench, &format!("--name {} -k saved", own.name))?;
    own.shown_on(&bench, &screen)?;
    let pid: i32 = std::fs::read_to_string(bench.lab.path("pid"))?.trim().parse()?;
    kill_process(Pid::from_raw(pid).context("pid 0")?, Signal::TERM)?;
    is_over(&screen)
}

#[test]
fn without_a_selection_the_picker_lists_the_processes() -> Result<()> {
    let Some(bench) = Bench::open(Protocol::Http)? else {
        return Ok(());
    };
    let screen = start(&bench, "")?;
    for peer in &bench.peers {
        let pid = peer.pid().to_string();
        screen.wait_for("the peer's process in the picker", |line| {
            let mut words = line.split(|c: char| !c.is_ascii_alphanumeric());
            (line.contains("openssl") && words.any(|word| word == pid)).then_some(())
        })?;
    }
    screen.press("q")?;
    is_over(&screen)
}

/// Back to the shell and to the TUI again, with the terminal in order both times.
#[test]
fn ctrl_z_and_fg() -> Result<()> {
    let Some(bench) = Bench::open(Protocol::Http)? else {
        return Ok(());
    };
    let own = OwnCurl::copy(&bench.lab)?;
    let screen = Screen::open(&bench.lab, 80, 24)?;
    let binary = Tlskeytop::binary()?;
    screen.type_line("set -m")?;
    screen.type_line(&format!("{} --name {} -k saved", binary.display(), own.name))?;
    until("the alternate screen", || {
        let ended = screen.text()?.contains("tlskeytop: ");
        ensure!(!ended, "it ended at once:\n{}", screen.text()?);
        Ok((!screen.is_restored()?).then_some(()))
    })?;
    own.shown_on(&bench, &screen)?;
    screen.press("C-z")?;
    until("the shell's screen", || Ok(screen.is_restored()?.then_some(())))?;
    screen.type_line("echo stop''ped")?;
    screen.wait_for("the shell", |line| (line == "stopped").then_some(()))?;
    screen.type_line("fg; echo exit=$?")?;
    until("the alternate screen again", || Ok((!screen.is_restored()?).then_some(())))?;
    own.shown_on(&bench, &screen)?;
    screen.press("q")?;
    is_over(&screen)
}

/// A stalled ssh, a stopped terminal: capture and saving go on, and the program can be ended.
#[test]
fn a_terminal_that_does_not_read_holds_up_nothing() -> Result<()> {
    let Some(bench) = Bench::open(Protocol::Http)? else {
        return Ok(());
    };
    let own = OwnCurl::copy(&bench.lab)?;
    let mut command = Command::new(PYTHON);
    command.arg(peer_script("stalled_terminal.py")).arg(bench.lab.path("saved"));
    command.arg(bench.peers[0].url("")).arg(own.program()).arg(Tlskeytop::binary()?);
    command.args(["--name", &own.name, "-k"]).arg(bench.lab.path("saved"));
    let ended = Process::run_ok(&mut command)?;
    ensure!(
        ended.stdout.contains("saved on") && ended.stdout.contains("ended 0"),
        "{}",
        ended.stdout
    );
    KeyLog::strict(&bench.lab.path("saved")).map(drop)
}

/// The target is killed; its session stays, and the program goes on.
#[test]
fn a_killed_target_takes_nothing_with_it() -> Result<()> {
    let Some(bench) = Bench::open(Protocol::KeepAlive)? else {
        return Ok(());
    };
    let mut target = Open::start(&mut bench.client(Path::new(PYTHON), "open_ssl.py", 1))?;
    let pid = target.0.pid().to_string();
    let screen = start(&bench, &format!("--pid {pid} -k saved"))?;
    let has = |text: &str| screen.wait_for(text, |line| line.contains(text).then_some(()));
    has("attached: 1 process")?;
    // The probes on its reads and writes come a moment after it is attached to.
    let mut number = 0;
    until("its open connections", || {
        target.request(number)?;
        number += 1;
        Ok(screen.text()?.contains("complete").then_some(()))
    })?;
    target.0.signal(Signal::KILL)?;
    has("attached: 0 processes")?;
    // Its sessions are still there, and can be looked at.
    screen.press("Enter")?;
    has("KEY LINE")?;
    screen.press("q")?;
    is_over(&screen)?;
    let saved = KeyLog::strict(&bench.lab.path("saved"))?;
    let mut truth = KeyLog::default();
    for peer in &bench.peers {
        truth.merge(peer.whole_truth(1)?)?;
    }
    ensure!(saved.lines() > 0, "nothing is saved");
    let known = saved.client_randoms();
    let others: Vec<String> = truth
        .client_randoms()
        .into_iter()
        .filter(|random| !known.contains(random))
        .map(str::to_owned)
        .collect();
    truth.remove(&others.iter().map(String::as_str).collect::<Vec<_>>());
    check_capture(&saved, &truth)
}
