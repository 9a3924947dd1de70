//! `cargo xtask run --demo`: handshakes at once, and nothing left behind.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use tlskeytop_tests::{Lab, Process, Screen, Summary, until, until_within};

/// Process ids of those whose command line names a file of the demo's.
fn processes() -> Result<Vec<String>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).with_file_name("target/demo");
    let folder = folder.to_string_lossy();
    let mut found = Vec::new();
    for process in fs::read_dir("/proc")? {
        let process = process?;
        let command = fs::read(process.path().join("cmdline")).unwrap_or_default();
        if String::from_utf8_lossy(&command).contains(&*folder) {
            found.push(process.file_name().to_string_lossy().into_owned());
        }
    }
    Ok(found)
}

fn cargo() -> Command {
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or("cargo".into()));
    cargo.current_dir(env!("CARGO_MANIFEST_DIR"));
    cargo
}

fn all_are_gone() -> Result<()> {
    until("the demo's processes are gone", || Ok(processes()?.is_empty().then_some(())))
}

/// Also builds what the other one starts.
fn counts_sessions_without_a_terminal(lab: &Lab) -> Result<()> {
    let mut command = cargo();
    command
        .args(["xtask", "run", "--demo", "--", "--mode", "keylog", "--count", "4", "-k"])
        .arg(lab.path("demo.keylog"));
    let ended = Process::run_ok(&mut command)?;
    let summary = Summary::parse(&ended.stderr)?;
    ensure!(summary.sessions >= 4 && summary.lost == 0, "{summary:?}");
    all_are_gone()
}

/// Measured from the command on, with everything built.
fn shows_a_session_within_10_s(lab: &Lab) -> Result<()> {
    let screen = Screen::open(lab, 120, 40)?;
    let command = cargo();
    let program = command.get_program().to_string_lossy();
    screen.type_line(&format!("cd {}", env!("CARGO_MANIFEST_DIR")))?;
    screen.type_line(&format!("{program} xtask run --demo; echo exit=$?"))?;
    let shown = until_within(Duration::from_secs(10), "a session on the screen", || {
        let demo = processes()?;
        let of_the_demo =
            |line: &str| line.split_whitespace().any(|word| demo.iter().any(|pid| pid == word));
        let row = |line: &str| line.contains("complete") && of_the_demo(line);
        Ok(screen.text()?.lines().any(row).then_some(()))
    });
    shown.with_context(|| screen.text().unwrap_or_default())?;
    screen.press("q")?;
    // Nothing was saved, and it asks.
    screen.wait_for("question", |line| line.contains("not in the key log").then_some(()))?;
    screen.press("y")?;
    ensure!(screen.exit_code()? == 0, "the exit code");
    all_are_gone()
}

/// One after the other: what is left behind of one is not the other's.
#[test]
fn shows_handshakes_at_once_and_leaves_nothing() -> Result<()> {
    let Some(lab) = Lab::open()? else {
        return Ok(());
    };
    counts_sessions_without_a_terminal(&lab)?;
    shows_a_session_within_10_s(&lab)
}
