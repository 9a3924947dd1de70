//! Processes that die at the wrong moment, and names that would play with the terminal.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use rustix::process::Signal;
use serde_json::Value;
use tlskeytop_tests::{
    Bench, CURL, Cgroup, Lab, PYTHON, Process, Protocol, Screen, Sessions, Tlskeytop,
    check_capture, curl, peer_script, until,
};

fn waiting_client(bench: &Bench) -> Result<Process> {
    waiting(&mut bench.client(Path::new(PYTHON), "client_ssl.py", 1))
}

fn waiting(command: &mut Command) -> Result<Process> {
    let client = Process::start(command)?;
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

/// Clients come and are killed in the middle of whatever they do, while the machine is scanned and captured; one
/// lives through it all and shakes hands in the middle of it.
#[test]
fn churn_disturbs_neither_scan_nor_capture() -> Result<()> {
    const SCANS: usize = 5;
    const ROUNDS: usize = 10;
    let Some(bench) = Bench::open(Protocol::Http)? else {
        return Ok(());
    };
    let [calm, churned] = &bench.peers[..] else {
        unreachable!("a peer for each version");
    };
    let tlskeytop = Tlskeytop::keylog(&bench.lab, ["--all"])?;
    let mut lives = Command::new(PYTHON);
    lives
        .arg(peer_script("client_steps.py"))
        .arg(&bench.lab.certificate.certificate)
        .args([(SCANS * ROUNDS).to_string(), calm.port().to_string()]);
    let mut lives = Process::start(&mut lives)?;
    for _ in 0..SCANS {
        let scan = Process::start(Tlskeytop::command(&bench.lab)?.arg("scan"))?;
        // Dropped, and so killed, one after the other, while the scan runs.
        for _ in 0..ROUNDS {
            lives.say("go")?;
            let clients: Vec<Process> = (0..3)
                .map(|_| Process::start(&mut curl(&bench.lab, churned.port(), "")))
                .collect::<Result<_>>()?;
            drop(clients);
        }
        let ended = { scan }.wait()?;
        ensure!(ended.code() == Some(0), "scan: {}\n{}", ended.status, ended.stderr);
    }
    ensure!(lives.wait()?.status.success(), "the client that lives");
    let (ours, _) = tlskeytop.stop()?;
    check_capture(&ours, &calm.whole_truth(SCANS * ROUNDS)?)
}

/// Escape sequences that clear the screen and set the title; DEL, C1's CSI, and the mark that turns what follows
/// round; a byte that is no UTF-8, and a line feed. The kernel keeps 15 bytes of it as the process's name.
const NAME: &[u8] = b"\x1b[2J\x7f\xc2\x9b\xe2\x80\xae\xff\n\x1b]0;x\x07a";

/// The same of a unit: the kernel takes anything but a line feed in the name of a cgroup.
const UNIT: &str = "tlskeytop-\x1b[2J\x7f\u{9b}\u{202e}.service";

fn copy_with_that_name(lab: &Lab, program: &str) -> Result<PathBuf> {
    let copy = lab.folder().join(OsStr::from_bytes(NAME));
    fs::copy(program, &copy).with_context(|| format!("cannot copy {program}"))?;
    Ok(copy)
}

/// An interpreter with that name, which waits in this script.
fn strange_client(bench: &Bench, script: &str) -> Result<(PathBuf, Process)> {
    let strange = copy_with_that_name(&bench.lab, PYTHON)?;
    let mut command = bench.client(&strange, script, 1);
    // It looks for its library beside the executable.
    let client = waiting(command.env("PYTHONHOME", "/usr"))?;
    Ok((strange, client))
}

fn is_harmless(text: &[u8]) -> Result<()> {
    let text = std::str::from_utf8(text).context("not UTF-8")?;
    let harmful = |c: char| (c.is_control() && c != '\n') || c == '\u{202e}';
    let found: Vec<char> = text.chars().filter(|&c| harmful(c)).collect();
    ensure!(found.is_empty(), "{found:?} in {text:?}");
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
    ensure!(session["comm"] == *String::from_utf8_lossy(&NAME[..15]), "{session}");
    // Null when it had ended before it was looked at: that is not guessed.
    let ended = session["exe"].is_null();
    ensure!(ended || session["exe"] == *strange.to_string_lossy(), "{session}");
    Ok(())
}

#[test]
fn a_name_of_escape_sequences_in_scan() -> Result<()> {
    let Some(bench) = Bench::open(Protocol::Http)? else {
        return Ok(());
    };
    let (strange, client) = strange_client(&bench, "client_ssl.py")?;
    let Some(cgroup) = Cgroup::make(UNIT)? else {
        return Ok(());
    };
    cgroup.take(client.pid())?;
    let scan = |args: &[&str]| -> Result<String> {
        let ended = Process::run_ok(Tlskeytop::command(&bench.lab)?.arg("scan").args(args))?;
        is_harmless(ended.stdout.as_bytes()).with_context(|| format!("{args:?}"))?;
        Ok(ended.stdout)
    };
    let table = scan(&[])?;
    let pid = client.pid().to_string();
    ensure!(table.contains(&pid), "the table does not list {pid}:\n{table}");
    let json = scan(&["--json"])?;
    let lines = json.lines().map(serde_json::from_str).collect::<Result<Vec<Value>, _>>()?;
    let line = lines.iter().find(|line| line["pid"] == client.pid());
    let line = line.context("scan --json does not list it")?;
    ensure!(line["comm"] == *String::from_utf8_lossy(&NAME[..15]), "{line}");
    ensure!(line["exe"] == *strange.to_string_lossy(), "{line}");
    ensure!(line["unit"] == UNIT, "{line}");
    // It has to be out of it before it can be removed.
    drop(client);
    Ok(())
}

/// What is not drawing in what a program wrote to its terminal: an escape sequence that ratatui and crossterm do not send, a
/// control character outside of one, or a mark that turns text round.
fn foreign_sequences(written: &str) -> Vec<String> {
    // Positions, erasing, colours and modes (ECMA-48, and DEC's private modes); and the question what the terminal is.
    const DRAWING: &str = "HJKmhlABCDGXc";
    // The questions for its colours (xterm's "Operating System Commands").
    const COLOURS: [&str; 2] = ["\x1b]10;?\x07", "\x1b]11;?\x07"];
    let mut found = Vec::new();
    let mut rest = written;
    while let Some(at) =
        rest.find(|c: char| c.is_control() && !matches!(c, '\n' | '\r') || c == '\u{202e}')
    {
        rest = &rest[at..];
        let parameters = |c: char| matches!(c, '0'..='9' | ';' | ':' | '?' | '>' | '=' | '<' | ' ');
        let sequence = rest.strip_prefix("\x1b[").map(|tail| tail.trim_start_matches(parameters));
        let asked = COLOURS.iter().find_map(|colour| rest.strip_prefix(colour));
        match (sequence, asked) {
            (Some(tail), _) if tail.starts_with(|c| DRAWING.contains(c)) => rest = &tail[1..],
            (_, Some(tail)) => rest = tail,
            _ => {
                found.push(rest.chars().take(12).collect());
                rest = rest.trim_start_matches(|c: char| rest.starts_with(c));
            }
        }
    }
    found
}

/// Name, executable, command line and server name, in every view: of all that is sent to the terminal, nothing is theirs.
#[test]
fn a_name_of_escape_sequences_on_a_terminal() -> Result<()> {
    let Some(bench) = Bench::open(Protocol::Http)? else {
        return Ok(());
    };
    let (_, mut client) = strange_client(&bench, "client_strange_name.py")?;
    let screen = Screen::open(&bench.lab, 200, 50)?;
    let tui = format!("{} --pid {}", Tlskeytop::binary()?.display(), client.pid());
    // All that it writes goes to a file, too.
    screen.type_line(&format!("script --quiet --flush --command '{tui}' written"))?;
    let shows = |what: &str| screen.wait_for(what, |line| line.contains(what).then_some(()));
    shows("attached: 1 process")?;
    client.say("go")?;
    // The name as it is shown.
    shows(r"\x1b[2J\x7f")?;
    client.wait_stdout("done", |line| (line == "done").then_some(()))?;
    screen.press("Enter")?;
    // The executable and the command line; and what is no host name (RFC 6066, section 3) is not taken for one.
    let words = |line: &str| {
        let (word, rest) = (r"\x1b]0;x\x07a ", line.trim_start());
        (rest.starts_with("command line") && rest.contains(word)).then_some(())
    };
    screen.wait_for("the command line", words)?;
    let name = |line: &str| line.contains("server name").then(|| line.contains("not known"));
    ensure!(screen.wait_for("the server name", name)?, "{}", screen.text()?);
    for (key, shown) in [("i", "libssl"), ("Escape", "client random"), ("p", r"\x1b[2J\x7f")] {
        screen.press(key)?;
        shows(shown)?;
    }
    screen.press("C-c")?;
    until("its end", || {
        let text = screen.text()?;
        let is_asked = text.contains("not in the key log");
        if is_asked {
            screen.press("y")?;
        }
        Ok(screen.is_restored()?.then_some(()))
    })?;
    let written = fs::read(bench.lab.path("written"))?;
    let written = std::str::from_utf8(&written).context("it wrote what is not UTF-8")?;
    ensure!(written.contains("\u{1b}["), "nothing was drawn");
    let found = foreign_sequences(written);
    ensure!(found.is_empty(), "{found:?}");
    Ok(())
}

#[test]
fn what_is_no_drawing_is_found() {
    let harmless = "\x1b[?1049h\x1b[2J\x1b[1;1H\x1b[38;5;1mx\x1b]11;?\x07\x1b[0m\r\n";
    assert!(foreign_sequences(harmless).is_empty());
    for harmful in ["\x1b]0;x\x07", "\u{9b}2J", "\x1b[5i", "\x7f", "\u{202e}", "\x1bPq", "\x1b"] {
        assert!(
            !foreign_sequences(&format!("{harmless}{harmful}{harmless}")).is_empty(),
            "{harmful:?}"
        );
    }
}
