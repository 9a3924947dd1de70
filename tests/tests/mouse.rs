//! The mouse in a real terminal: it works when it was asked for, and is given back in every way out.

use anyhow::{Context, Result, ensure};
use rustix::process::{Pid, Signal, kill_process};
use tlskeytop_tests::{Lab, Screen, Tlskeytop, until};

/// The TUI in a terminal, with the picker, after it has taken the mouse over.
struct Started {
    screen: Screen,
    lab: Lab,
}

fn start(options: &str) -> Result<Option<Started>> {
    let Some(lab) = Lab::open()? else {
        return Ok(None);
    };
    let screen = Screen::open(&lab, 80, 24)?;
    screen.type_line("set -m")?;
    let binary = Tlskeytop::binary()?;
    let tui = format!("sh -c 'echo $$ > pid; exec {} {options}'", binary.display());
    screen.type_line(&format!("{tui}; echo exit=$?"))?;
    screen.wait_for("the picker", |line| line.contains("everything, now").then_some(()))?;
    Ok(Some(Started { screen, lab }))
}

impl Started {
    /// Ends it, and looks at what it leaves behind.
    fn ends(&self, code: u8) -> Result<()> {
        let found = self.screen.exit_code()?;
        ensure!(found == code, "exit code {found}");
        ensure!(self.screen.is_restored()?, "the terminal is not restored");
        self.screen.type_line("echo good-bye")?;
        self.screen.wait_for("echo", |line| line.contains("echo good-bye").then_some(()))
    }

    fn signal(&self, signal: Signal) -> Result<()> {
        let pid: i32 = std::fs::read_to_string(self.lab.path("pid"))?.trim().parse()?;
        Ok(kill_process(Pid::from_raw(pid).context("pid 0")?, signal)?)
    }
}

#[test]
fn it_is_left_alone_unless_it_was_asked_for() -> Result<()> {
    let Some(tui) = start("")? else {
        return Ok(());
    };
    ensure!(!tui.screen.has_mouse()?, "the mouse is taken over");
    tui.screen.press("q")?;
    tui.ends(0)
}

#[test]
fn a_click_on_a_mark_toggles_it() -> Result<()> {
    let Some(tui) = start("--mouse")? else {
        return Ok(());
    };
    ensure!(tui.screen.has_mouse()?, "the mouse is not taken over");
    // The left button on column 2 of line 4, both from 1 on: xterm's ctlseqs, SGR 1006.
    tui.screen.type_text("\x1b[<0;2;4M\x1b[<0;2;4m")?;
    tui.screen.wait_for("the mark", |line| line.contains("[x] everything").then_some(()))?;
    tui.screen.press("q")?;
    tui.ends(0)
}

#[test]
fn it_is_given_back_on_signals() -> Result<()> {
    for signal in [Signal::TERM, Signal::INT, Signal::HUP] {
        let Some(tui) = start("--mouse")? else {
            return Ok(());
        };
        ensure!(tui.screen.has_mouse()?, "the mouse is not taken over");
        tui.signal(signal)?;
        tui.ends(0)?;
    }
    Ok(())
}

#[test]
fn it_is_given_back_while_suspended() -> Result<()> {
    let Some(tui) = start("--mouse")? else {
        return Ok(());
    };
    tui.screen.press("C-z")?;
    until("the shell's screen", || Ok(tui.screen.is_restored()?.then_some(())))?;
    tui.screen.type_line("clear; fg")?;
    until("the mouse again", || Ok(tui.screen.has_mouse()?.then_some(())))?;
    tui.screen.press("q")?;
    until("the end", || Ok(tui.screen.is_restored()?.then_some(())))
}

/// A configuration that is wrong ends the start before anything is taken over.
#[test]
fn a_mistake_in_the_configuration_is_told() -> Result<()> {
    let Some(lab) = Lab::open()? else {
        return Ok(());
    };
    std::fs::write(lab.path("config.toml"), "mouse = true\n[keys.sessions]\nsort = [\"q\"]\n")?;
    let screen = Screen::open(&lab, 120, 24)?;
    let binary = Tlskeytop::binary()?;
    screen.type_line(&format!("{} --config config.toml; echo exit=$?", binary.display()))?;
    screen.wait_for("the mistake", |line| {
        line.contains("line 3: keys.sessions.sort: key `q` is bound to `quit`").then_some(())
    })?;
    ensure!(screen.exit_code()? == 2, "the exit code");
    ensure!(screen.is_restored()?, "the terminal is not as it was");
    Ok(())
}
