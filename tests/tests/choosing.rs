//! Who is chosen: children and their children, containers, and what is left out whatever chooses it.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use tlskeytop_tests::{
    Bench, Cgroup, KeyLog, OwnCurl, Process, Protocol, Sessions, Tlskeytop, check_capture, until,
};

/// A shell that does what it is told, line by line, and says so: a parent that is there before its children.
struct Shell(Process);

impl Shell {
    fn start() -> Result<Self> {
        Self::start_by(&mut Command::new("sh"))
    }

    fn start_by(command: &mut Command) -> Result<Self> {
        let mut shell = Self(Process::start(command)?);
        shell.does("true")?;
        Ok(shell)
    }

    fn pid(&self) -> u32 {
        self.0.pid()
    }

    /// Runs a line to its end.
    fn does(&mut self, line: &str) -> Result<()> {
        let done = |shell: &Self| shell.0.stdout().matches("done\n").count();
        let before = done(self);
        self.0.say(&format!("{line}; echo done"))?;
        until(line, || Ok((done(self) > before).then_some(())))
    }
}

/// The line of a shell for this request; `after` goes on when it is done.
fn line(bench: &Bench, curl: &OwnCurl) -> String {
    let request = curl.request(&bench.lab, bench.peers[0].port(), "");
    let words = std::iter::once(request.get_program()).chain(request.get_args());
    let words: Vec<_> = words.map(|word| format!("'{}'", word.to_string_lossy())).collect();
    format!("{} >/dev/null", words.join(" "))
}

/// What came to the truth since `before`.
fn new_truth(bench: &Bench, before: &KeyLog, handshakes: usize) -> Result<KeyLog> {
    let mut truth = bench.peers[0].whole_truth(before.client_randoms().len() + handshakes)?;
    truth.remove(&before.client_randoms());
    Ok(truth)
}

/// Ends it: all of `chosen` was captured, on one end, and nothing else of this machine.
fn captured_only(tlskeytop: Tlskeytop, chosen: &[&KeyLog]) -> Result<()> {
    let (ours, summary) = tlskeytop.stop()?;
    let mut expected: Vec<&str> = chosen.iter().flat_map(|truth| truth.client_randoms()).collect();
    expected.sort_unstable();
    let found = ours.client_randoms();
    ensure!(found == expected, "captured {found:?} and not {expected:?}: {summary:?}");
    ensure!(usize::try_from(summary.sessions)? == expected.len(), "{summary:?}");
    chosen.iter().try_for_each(|truth| check_capture(&ours, truth))
}

#[test]
fn children_of_a_chosen_shell_are_captured_and_its_siblings_are_not() -> Result<()> {
    let Some(bench) = Bench::open(Protocol::Http)? else {
        return Ok(());
    };
    let curl = OwnCurl::copy(&bench.lab)?;
    let (mut chosen, mut sibling) = (Shell::start()?, Shell::start()?);
    let tlskeytop = Tlskeytop::keylog(&bench.lab, ["--pid", &chosen.pid().to_string()])?;
    let line = line(&bench, &curl);
    // A child; a grandchild by way of another shell; one that becomes curl by exec.
    chosen.does(&line)?;
    chosen.does(&format!("sh -c \"{line}; true\""))?;
    chosen.does(&format!("sh -c \"exec {line}\""))?;
    let truth = bench.peers[0].whole_truth(3)?;
    sibling.does(&line)?;
    bench.peers[0].whole_truth(4)?;
    captured_only(tlskeytop, &[&truth])
}

/// The parent of the grandchild has ended, and even the chosen one has, when it shakes hands.
#[test]
fn a_grandchild_is_captured_when_its_parents_have_ended() -> Result<()> {
    let Some(bench) = Bench::open(Protocol::Http)? else {
        return Ok(());
    };
    let curl = OwnCurl::copy(&bench.lab)?;
    let mut chosen = Shell::start()?;
    let (go, waits) = (bench.lab.path("go"), bench.lab.path("waits"));
    rustix::fs::mknodat(
        rustix::fs::CWD,
        &go,
        rustix::fs::FileType::Fifo,
        0o600.into(),
        0,
    )?;
    let line = line(&bench, &curl);
    let script = bench.lab.path("grandchild");
    let (go_text, waits_text) = (go.display(), waits.display());
    // Two handshakes: one for each time that it is told so.
    std::fs::write(
        &script,
        format!("echo $$ > {waits_text}\nread x < {go_text}\n{line}\nread x < {go_text}\n{line}\n"),
    )?;
    // The shell between forks it and ends.
    chosen.does(&format!("sh -c 'sh {} > /dev/null 2>&1 &'", script.display()))?;
    let pid: u32 = until("the grandchild", || {
        Ok(std::fs::read_to_string(&waits).ok().and_then(|text| text.trim().parse().ok()))
    })?;
    let parent = parent_of(pid)?;
    ensure!(parent != chosen.pid(), "its parent has not ended");
    drop(chosen);
    let end = EndOf(pid);
    let mut chosen = Shell::start()?;
    chosen.does(&format!("sh -c 'sleep 600 & echo $! > {waits_text}'"))?;
    drop((end, chosen));
    Ok(())
}

/// Ends a process that is no child of the test, by its id.
struct EndOf(u32);

impl Drop for EndOf {
    fn drop(&mut self) {
        if let Some(pid) = i32::try_from(self.0).ok().and_then(rustix::process::Pid::from_raw) {
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
        }
    }
}

fn parent_of(pid: u32) -> Result<u32> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let parent = status.lines().find_map(|line| line.strip_prefix("PPid:"));
    Ok(parent.context("no PPid")?.trim().parse()?)
}
