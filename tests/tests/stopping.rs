//! It is stopped for a while, its terminal goes away, or its reader does: nothing that was made meanwhile is lost.

use std::fs;
use std::io::{BufRead, BufReader, pipe};

use anyhow::{Context, Result, ensure};
use rustix::process::Signal;
use tlskeytop_tests::{
    Bench, Held, KeyLog, Lab, Maker, Makers, OwnCurl, Process, Protocol, Screen, Tlskeytop,
    Version, check_capture, check_whole, until,
};

/// SIGSTOP for ten seconds, with a load that the ring buffer holds for so long.
#[test]
fn stopped_for_ten_seconds() -> Result<()> {
    const SECONDS: u32 = 10;
    const RATE: u32 = 40;
    let Some(lab) = Lab::open()? else {
        return Ok(());
    };
    let mut maker = Makers::build(&lab)?.start(&lab, "maker", None)?;
    // With children, what others do would fill the ring too.
    let args = ["--no-children", "--pid", &maker.pid().to_string()];
    let tlskeytop = Tlskeytop::keylog(&lab, args)?;
    let pid = tlskeytop.process.pid();
    let held = Held::attached(pid)?;
    tlskeytop.process.signal(Signal::STOP)?;
    let handshakes = maker.work(Version::Tls13, SECONDS, RATE)?;
    let saved = fs::metadata(tlskeytop.keylog_path())?.len();
    ensure!(saved == 0, "{saved} bytes by one that is stopped");
    tlskeytop.process.signal(Signal::CONT)?;
    // It goes on as before.
    maker.work(Version::Tls12, 1, RATE)?;
    let (ours, summary) = tlskeytop.stop()?;
    eprintln!("{handshakes} handshakes: {summary:?}");
    check_whole(&ours, &maker.truth()?)?;
    held.is_gone(pid)
}

/// The TUI in a terminal, attached to a maker.
struct Tui {
    screen: Screen,
    maker: Maker,
    pid: u32,
    held: Held,
}

impl Tui {
    /// Starts it, and waits until it is attached. It saves to `saved`.
    fn start(lab: &Lab) -> Result<Self> {
        let maker = Makers::build(lab)?.start(lab, "maker", None)?;
        let screen = Screen::open(lab, 120, 30)?;
        let command = format!("{} --pid {} -k saved", Tlskeytop::binary()?.display(), maker.pid());
        screen.type_line("set -m")?;
        // The shell leaves its process id, which is then the TUI's.
        screen.type_line(&format!("sh -c 'echo $$ > pid; exec {command}'"))?;
        screen.wait_for("attached", |line| line.contains("attached: 1 process").then_some(()))?;
        let pid = fs::read_to_string(lab.path("pid"))?.trim().parse()?;
        Ok(Self { screen, maker, pid, held: Held::attached(pid)? })
    }

    /// Waits until it has ended, and nothing is left of it.
    fn is_gone(&self) -> Result<()> {
        until("its end", || Ok(Held::by(self.pid).is_err().then_some(())))?;
        self.held.is_gone(self.pid)
    }
}

/// What is made while it is in the background is in the file when it is back.
#[test]
fn the_interface_is_suspended_and_resumed() -> Result<()> {
    let Some(lab) = Lab::open()? else {
        return Ok(());
    };
    let mut tui = Tui::start(&lab)?;
    for _ in 0..2 {
        tui.screen.press("C-z")?;
        until("the shell's screen", || Ok(tui.screen.is_restored()?.then_some(())))?;
        tui.maker.work(Version::Tls13, 1, 50)?;
        tui.screen.type_line("fg")?;
        until("the alternate screen again", || Ok((!tui.screen.is_restored()?).then_some(())))?;
        tui.maker.work(Version::Tls12, 1, 50)?;
    }
    let truth = tui.maker.truth()?;
    until("every line in the file", || {
        Ok(check_whole(&KeyLog::strict(&lab.path("saved"))?, &truth).ok())
    })?;
    tui.screen.wait_for("nothing lost", |line| line.contains("lost 0").then_some(()))?;
    tui.screen.press("q")?;
    tui.is_gone()
}

/// The terminal is closed under it: SIGHUP, and nobody to write to.
#[test]
fn the_terminal_is_closed() -> Result<()> {
    let Some(lab) = Lab::open()? else {
        return Ok(());
    };
    let mut tui = Tui::start(&lab)?;
    tui.maker.work(Version::Tls13, 1, 0)?;
    tui.screen.close()?;
    tui.is_gone()?;
    check_whole(&KeyLog::strict(&lab.path("saved"))?, &tui.maker.truth()?)
}

/// As in `tlskeytop --mode json -k saved | head -1`: a line that cannot be printed is the end, and the file has all.
#[test]
fn the_reader_of_json_goes_away() -> Result<()> {
    let Some(bench) = Bench::open(Protocol::Http)? else {
        return Ok(());
    };
    let own = OwnCurl::copy(&bench.lab)?;
    let (reader, writer) = pipe()?;
    let mut command = Tlskeytop::command(&bench.lab)?;
    command.args(["--mode", "json", "--name", &own.name, "-k", "saved"]);
    let mut tlskeytop = Process::start_with_stdout(&mut command, writer.into())?;
    tlskeytop.wait_stderr("ready line", |line| line.contains("ready, ").then_some(()))?;
    let pid = tlskeytop.pid();
    let held = Held::attached(pid)?;
    let [first, second] = &bench.peers[..] else {
        unreachable!("a peer for each version");
    };
    Process::run_ok(&mut own.request(&bench.lab, first.port(), ""))?;
    let mut line = String::new();
    BufReader::new(reader).read_line(&mut line)?;
    ensure!(line.ends_with('\n'), "no line of JSON");
    Process::run_ok(&mut own.request(&bench.lab, second.port(), ""))?;
    let ended = tlskeytop.wait().context("nobody reads, and it goes on")?;
    ensure!(ended.code() == Some(0), "{}\n{}", ended.status, ended.stderr);
    let saved = KeyLog::strict(&bench.lab.path("saved"))?;
    check_capture(&saved, &bench.whole_truth(1)?)?;
    held.is_gone(pid)
}
