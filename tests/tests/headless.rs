//! The command line's contract: exit codes, messages, and how the headless modes end.

use std::ffi::OsStr;
use std::process::Command;

use anyhow::{Result, ensure};
use rustix::process::Signal;
use tlskeytop_tests::{
    Bench, Ended, KeyLog, Lab, OwnCurl, Process, Protocol, Summary, Tlskeytop, check_capture, curl,
    public_copy, require_live, until,
};

fn run<A: AsRef<OsStr>>(lab: &Lab, args: impl IntoIterator<Item = A>) -> Result<Ended> {
    Process::run(Tlskeytop::command(lab)?.args(args))
}

/// As the user nobody, with the copy of the binary that it may run.
fn run_as_nobody(args: &[&str]) -> Result<Ended> {
    let (folder, binary) = public_copy()?;
    let mut command = Command::new("setpriv");
    command
        .args(["--reuid", "65534", "--regid", "65534", "--clear-groups"])
        .arg(binary)
        .args(args)
        .current_dir(folder.path());
    Process::run(&mut command)
}

/// The id of a process that has ended.
fn dead_pid() -> Result<String> {
    let mut process = Process::start(&mut Command::new("true"))?;
    process.wait()?;
    Ok(process.pid().to_string())
}

#[test]
fn usage_errors_exit_2() -> Result<()> {
    let Some(lab) = Lab::open()? else {
        return Ok(());
    };
    let wrong: [&[&str]; 8] = [
        &["--mode", "json", "-k", "-"],
        &["--mode", "nonsense"],
        &["--pid", "one"],
        &["--no-such-option"],
        &["--mode", "keylog", "--count", "many"],
        &["--mode", "keylog", "--layout", "3.0.99"],
        &["scan", "--layout", "3.0.99"],
        &["no-such-command"],
    ];
    for args in wrong {
        let ended = run(&lab, args)?;
        ensure!(ended.code() == Some(2), "{args:?}: {}", ended.status);
        ensure!(!ended.stderr.is_empty(), "{args:?}: no message");
        ensure!(ended.stdout.is_empty(), "{args:?}: stdout {:?}", ended.stdout);
    }
    Ok(())
}

#[test]
fn help_and_version_exit_0() -> Result<()> {
    let Some(lab) = Lab::open()? else {
        return Ok(());
    };
    let help = run(&lab, ["--help"])?;
    ensure!(help.code() == Some(0));
    for option in
        ["--all", "--pid", "--name", "--image", "--keylog-file", "--layout", "--mode", "--reveal"]
    {
        ensure!(help.stdout.contains(option), "{option} is not in the help");
    }
    let version = run(&lab, ["--version"])?;
    ensure!(version.code() == Some(0) && version.stdout.starts_with("tlskeytop "));
    Ok(())
}

#[test]
fn completions_and_man_page_need_no_root() -> Result<()> {
    if !require_live()? {
        return Ok(());
    }
    for (args, word) in [(&["completions", "bash"][..], "complete"), (&["man"], ".TH")] {
        let ended = run_as_nobody(args)?;
        ensure!(ended.code() == Some(0), "{args:?}: {}\n{}", ended.status, ended.stderr);
        ensure!(ended.stdout.contains(word), "{args:?}: {}", ended.stdout);
    }
    Ok(())
}

#[test]
fn without_root_exits_3_and_says_what_to_do() -> Result<()> {
    if !require_live()? {
        return Ok(());
    }
    let ended = run_as_nobody(&["--mode", "keylog", "--duration", "1"])?;
    ensure!(ended.code() == Some(3), "{}\n{}", ended.status, ended.stderr);
    ensure!(ended.stderr.contains("sudo") || ended.stderr.contains("root"), "{}", ended.stderr);
    ensure!(!ended.stderr.contains("panicked"));
    Ok(())
}

#[test]
fn usage_errors_come_before_the_lack_of_root() -> Result<()> {
    if !require_live()? {
        return Ok(());
    }
    let ended = run_as_nobody(&["--mode", "json", "-k", "-"])?;
    ensure!(ended.code() == Some(2), "{}\n{}", ended.status, ended.stderr);
    Ok(())
}

#[test]
fn doctor() -> Result<()> {
    let Some(lab) = Lab::open()? else {
        return Ok(());
    };
    let root = run(&lab, ["doctor"])?;
    ensure!(root.code() == Some(0), "{}\n{}{}", root.status, root.stdout, root.stderr);
    ensure!(root.stdout.contains("BTF"), "{}", root.stdout);
    let nobody = run_as_nobody(&["doctor"])?;
    ensure!(nobody.code() == Some(3), "{}\n{}{}", nobody.status, nobody.stdout, nobody.stderr);
    Ok(())
}

#[test]
fn no_usable_pid_exits_1() -> Result<()> {
    let Some(lab) = Lab::open()? else {
        return Ok(());
    };
    let pid = dead_pid()?;
    let ended = run(&lab, ["--mode", "keylog", "--pid", &pid])?;
    ensure!(ended.code() == Some(1), "{}\n{}", ended.status, ended.stderr);
    ensure!(ended.stderr.contains(&pid), "the pid is not named: {}", ended.stderr);
    Ok(())
}

#[test]
fn one_pid_that_is_gone_does_not_stop_the_other() -> Result<()> {
    let Some(bench) = Bench::open(Protocol::Http)? else {
        return Ok(());
    };
    let gone = dead_pid()?;
    let pids = bench.peers.iter().map(|peer| peer.pid().to_string());
    let args: Vec<String> =
        [gone.clone()].into_iter().chain(pids).flat_map(|pid| ["--pid".to_owned(), pid]).collect();
    let tlskeytop = Tlskeytop::keylog(&bench.lab, args)?;
    ensure!(tlskeytop.process.stderr().contains(&gone), "the pid is not named");
    for peer in &bench.peers {
        Process::run_ok(&mut curl(&bench.lab, peer.port(), ""))?;
    }
    bench.check(tlskeytop, 1)
}

#[test]
fn count_ends_it_after_that_many_complete_sessions() -> Result<()> {
    let Some(bench) = Bench::open(Protocol::Http)? else {
        return Ok(());
    };
    let own = OwnCurl::copy(&bench.lab)?;
    let mut tlskeytop = Tlskeytop::keylog(&bench.lab, ["--name", &own.name, "--count", "2"])?;
    let peer = &bench.peers[0];
    Process::run_ok(&mut own.request(&bench.lab, peer.port(), ""))?;
    ensure!(tlskeytop.process.is_running()?, "ended after one session");
    Process::run_ok(&mut own.request(&bench.lab, peer.port(), ""))?;
    let ended = tlskeytop.process.wait()?;
    ensure!(ended.code() == Some(0), "{}", ended.status);
    ensure!(Summary::parse(&ended.stderr)?.sessions == 2, "{}", ended.stderr);
    let truth = peer.whole_truth(2)?;
    check_capture(&KeyLog::strict(tlskeytop.keylog_path())?, &truth)
}

#[test]
fn duration_ends_it() -> Result<()> {
    let Some(lab) = Lab::open()? else {
        return Ok(());
    };
    let mut tlskeytop = Tlskeytop::keylog(&lab, ["--duration", "1"])?;
    let ended = tlskeytop.process.wait()?;
    ensure!(ended.code() == Some(0), "{}", ended.status);
    Summary::parse(&ended.stderr)?;
    Ok(())
}

#[test]
fn sigterm_ends_it_cleanly_and_nothing_is_lost() -> Result<()> {
    let Some(bench) = Bench::open(Protocol::Http)? else {
        return Ok(());
    };
    let own = OwnCurl::copy(&bench.lab)?;
    let mut tlskeytop = Tlskeytop::keylog(&bench.lab, ["--name", &own.name])?;
    let peer = &bench.peers[0];
    Process::run_ok(&mut own.request(&bench.lab, peer.port(), ""))?;
    tlskeytop.process.signal(Signal::TERM)?;
    let ended = tlskeytop.process.wait()?;
    ensure!(ended.code() == Some(0), "{}", ended.status);
    let summary = Summary::parse(&ended.stderr)?;
    ensure!((summary.sessions, summary.secrets, summary.saved) == (1, 5, 5), "{summary:?}");
    ensure!(summary.nulls + summary.conflicts + summary.lost == 0, "{summary:?}");
    check_capture(&KeyLog::strict(tlskeytop.keylog_path())?, &peer.whole_truth(1)?)
}

/// Without a terminal the default is the mode `keylog`, which saves to ./tlskeytop.keylog.
#[test]
fn without_options_and_terminal_the_default_file_is_written() -> Result<()> {
    let Some(bench) = Bench::open(Protocol::Http)? else {
        return Ok(());
    };
    let command = Tlskeytop::command(&bench.lab)?;
    let tlskeytop = Tlskeytop::start(command, bench.lab.path("tlskeytop.keylog"))?;
    for peer in &bench.peers {
        Process::run_ok(&mut curl(&bench.lab, peer.port(), ""))?;
    }
    bench.check(tlskeytop, 1)
}

#[test]
fn the_key_log_can_go_to_stdout() -> Result<()> {
    let Some(bench) = Bench::open(Protocol::Http)? else {
        return Ok(());
    };
    let mut command = Tlskeytop::command(&bench.lab)?;
    command.args(["--mode", "key", "-k", "-", "--name", "curl"]);
    let mut tlskeytop = Tlskeytop::start(command, bench.lab.path("none"))?;
    let peer = &bench.peers[0];
    Process::run_ok(&mut curl(&bench.lab, peer.port(), ""))?;
    let truth = peer.whole_truth(1)?;
    // Line by line as it happens, not at the end.
    until("the lines on stdout", || {
        Ok((tlskeytop.process.stdout().lines().count() >= truth.lines()).then_some(()))
    })?;
    let ended = tlskeytop.interrupt()?;
    ensure!(ended.code() == Some(0), "{}", ended.status);
    check_capture(&KeyLog::parse_strict(&ended.stdout)?, &truth)
}
