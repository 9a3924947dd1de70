//! The TUI in a real terminal.

use anyhow::{Context, Result, ensure};
use rustix::process::{Pid, Signal, kill_process};
use tlskeytop_tests::{Bench, Process, Protocol, Screen, Tlskeytop, curl, until};

/// Starts the TUI in a terminal, and waits until it shows a session of curl.
fn started(bench: &Bench) -> Result<Screen> {
    let screen = Screen::open(&bench.lab, 120, 40)?;
    let binary = Tlskeytop::binary()?;
    let tui = format!("sh -c 'echo $$ > pid; exec {} --name curl'", binary.display());
    screen.type_line(&format!("{tui}; echo exit=$?"))?;
    until("the alternate screen", || Ok((!screen.is_restored()?).then_some(())))?;
    // Attached or not yet: handshakes until the table has one.
    until("a session of curl in the table", || {
        Process::run_ok(&mut curl(&bench.lab, bench.peers[0].port(), ""))?;
        let text = screen.text()?;
        // Once in the title or the status bar is not enough: the row has name and library.
        let row = |line: &str| line.contains("curl") && line.contains("OpenSSL");
        Ok(text.lines().any(row).then_some(()))
    })?;
    eprintln!("{}", screen.text()?);
    Ok(screen)
}

fn is_over(screen: &Screen) -> Result<()> {
    let code =
        screen.wait_for("exit code", |line| line.strip_prefix("exit=").map(str::to_owned))?;
    ensure!(code.trim() == "0", "exit code {code}");
    ensure!(screen.is_restored()?, "the terminal is not restored");
    Ok(())
}

#[test]
fn shows_a_session_and_restores_the_terminal_on_quit() -> Result<()> {
    let Some(bench) = Bench::open(Protocol::Http)? else {
        return Ok(());
    };
    let screen = started(&bench)?;
    screen.press("q")?;
    is_over(&screen)
}

#[test]
fn restores_the_terminal_on_sigterm() -> Result<()> {
    let Some(bench) = Bench::open(Protocol::Http)? else {
        return Ok(());
    };
    let screen = started(&bench)?;
    let pid: i32 = std::fs::read_to_string(bench.lab.path("pid"))?.trim().parse()?;
    kill_process(Pid::from_raw(pid).context("pid 0")?, Signal::TERM)?;
    is_over(&screen)
}
