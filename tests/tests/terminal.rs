//! The TUI in a real terminal.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};
use rustix::process::{Pid, Signal, kill_process};
use tlskeytop_tests::{
    Bench, KeyLog, Open, OwnCurl, PYTHON, Process, Protocol, Recording, Screen, SmallDisk,
    Tlskeytop, check_capture, peer_script, until, whole_truth,
};

/// Starts the TUI with these options in a terminal, and waits until it has drawn.
fn start(bench: &Bench, options: &str) -> Result<Screen> {
    start_in(bench, bench.lab.folder(), options)
}

/// The same in another folder.
fn start_in(bench: &Bench, folder: &Path, options: &str) -> Result<Screen> {
    let screen = Screen::open(&bench.lab, 120, 40)?;
    let (binary, folder) = (Tlskeytop::binary()?, folder.display());
    // The shell leaves its process id, which is then the TUI's.
    let tui = format!("sh -c 'echo $$ > pid; cd {folder}; exec {} {options}'", binary.display());
    screen.type_line(&format!("{tui}; echo exit=$?"))?;
    until("the alternate screen, or the end", || {
        let ended = screen.text()?.lines().any(|line| exit_code(line).is_some());
        ensure!(!ended, "it ended at once:\n{}", screen.text()?);
        Ok((!screen.is_restored()?).then_some(()))
    })?;
    Ok(screen)
}

/// How many sessions of this curl the table shows with all their secrets.
fn complete_sessions(own: &OwnCurl, screen: &Screen) -> Result<usize> {
    let row = |line: &&str| line.contains(&own.name) && line.contains("complete");
    Ok(screen.text()?.lines().filter(row).count())
}

/// The exit code, and not the command that shows it, which the terminal may break there.
fn exit_code(line: &str) -> Option<u8> {
    line.strip_prefix("exit=")?.trim().parse().ok()
}

fn is_over(screen: &Screen) -> Result<()> {
    let code = screen.wait_for("exit code", exit_code)?;
    ensure!(code == 0, "exit code {code}");
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

/// What is in the window's folder with this end.
fn files(bench: &Bench, extension: &str) -> Result<Vec<PathBuf>> {
    let entries = std::fs::read_dir(bench.lab.folder())?;
    let paths = entries.map(|entry| Ok(entry?.path())).collect::<Result<Vec<_>>>()?;
    Ok(paths.into_iter().filter(|path| path.extension() == Some(extension.as_ref())).collect())
}

/// Each time it is on, a file of its own has the packets, and tshark decrypts them without a key log.
#[test]
fn recording_by_a_key() -> Result<()> {
    const ON: &str = "● rec";
    let Some(bench) = Bench::open(Protocol::Http)? else {
        return Ok(());
    };
    let own = OwnCurl::copy(&bench.lab)?;
    let screen = start(&bench, &format!("--name {} -k saved", own.name))?;
    own.shown_on(&bench, &screen)?;
    ensure!(!screen.text()?.contains(ON), "{}", screen.text()?);
    let port = bench.peers[0].port();
    let mut recorded = Vec::new();
    for time in 1..=3 {
        screen.press("P")?;
        screen
            .wait_for("the recording in the status bar", |line| line.contains(ON).then_some(()))?;
        let shown = complete_sessions(&own, &screen)?;
        let truth = bench.lab.path(&format!("truth-{time}"));
        let mut request = own.request(&bench.lab, port, &format!("page-{time}"));
        Process::run_ok(request.env("SSLKEYLOGFILE", &truth))?;
        until("its session in the table", || {
            Ok((complete_sessions(&own, &screen)? > shown).then_some(()))
        })?;
        screen.press("P")?;
        screen.wait_for("how much was recorded", |line| {
            line.contains(" packets recorded").then_some(())
        })?;
        until("the status bar without it", || Ok((!screen.text()?.contains(ON)).then_some(())))?;
        let mut new = files(&bench, "pcapng")?;
        new.retain(|path| !recorded.contains(path));
        let [path] = &new[..] else { bail!("{new:?}") };
        let mode = std::fs::metadata(path)?.permissions().mode() & 0o7777;
        ensure!(mode == 0o600, "{mode:o}");
        recorded.push(path.clone());
    }
    screen.press("q")?;
    is_over(&screen)?;
    for (number, path) in (1..).zip(recorded) {
        let recording = Recording::at(path);
        recording.is_sound()?;
        let requests = recording.requests(&[port])?;
        ensure!(requests == [format!("GET /page-{number}")], "{requests:?}");
        recording.has_secrets(&whole_truth(&bench.lab.path(&format!("truth-{number}")), 1)?)?;
    }
    Ok(())
}

/// The disk of the first of two is full, also at its end.
#[test]
fn what_a_recording_by_a_key_lost_is_told() -> Result<()> {
    let Some(bench) = Bench::open(Protocol::Http)? else {
        return Ok(());
    };
    let own = OwnCurl::copy(&bench.lab)?;
    let disk = SmallDisk::mount(&bench.lab, "size=4m")?;
    let saved = bench.lab.path("saved");
    let options = format!("--name {} -i lo --pcap-wait 0 -k {}", own.name, saved.display());
    let screen = start_in(&bench, &disk.path(""), &options)?;
    own.shown_on(&bench, &screen)?;
    let shows = |text: &str| Ok::<_, anyhow::Error>(screen.text()?.contains(text).then_some(()));
    let port = bench.peers[0].port();
    let ask = || Process::run_ok(&mut own.request(&bench.lab, port, "page"));

    screen.press("P")?;
    until("the first recording", || shows("● rec"))?;
    let filler = disk.fill("filler")?;
    until("that its disk is full", || {
        ask()?;
        shows(" FAILS")
    })?;
    screen.press("P")?;
    until("what it lost", || shows(" packets dropped"))?;
    until("the status bar without it", || Ok((!screen.text()?.contains(" FAILS")).then_some(())))?;
    std::fs::remove_file(filler)?;
    screen.press("P")?;
    until("the second recording", || shows("● rec"))?;
    ask()?;
    screen.press("P")?;
    until("that it lost nothing", || {
        let is_told = |line: &str| line.contains(" packets recorded") && !line.contains("dropped");
        Ok(screen.text()?.lines().any(is_told).then_some(()))
    })?;
    screen.press("q")?;
    is_over(&screen)?;
    // The summary has both; the terminal breaks its line somewhere.
    let text: String = screen.text()?.split_whitespace().collect();
    let (before, _) = text.split_once("packetsdropped").context("no recording in the summary")?;
    let digits = before.rsplit(|digit: char| !digit.is_ascii_digit()).next();
    let dropped: u64 = digits.context("no number")?.parse()?;
    ensure!(dropped > 0 && before.contains("packetsrecordedwith"), "{text}");
    Ok(())
}
