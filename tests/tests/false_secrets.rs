//! A hostile process logs secrets of its own for the client random of another's connection: that is a conflict, and
//! nothing of the other's session is another.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use tlskeytop_tests::{
    Bench, KeyLog, PYTHON, Process, Protocol, Sessions, Summary, Tlskeytop, peer_script, until,
};

/// Whose secrets come first.
#[derive(Clone, Copy, PartialEq)]
enum First {
    Hostile,
    Victim,
}

/// The values that a session has, each of which is the truth.
fn is_true(session: &Value, truth: &KeyLog, random: &str) -> Result<()> {
    let secrets = session["secrets"].as_object().context("no secrets")?;
    ensure!(secrets.len() == truth.labels(random).len(), "{session}");
    for (label, value) in secrets {
        ensure!(value.as_str() == truth.secret(random, label), "{label} of {session}");
    }
    Ok(())
}

fn says(process: &Process, line: &str) -> Result<()> {
    process.wait_stdout(line, |said| (said == line).then_some(()))
}

fn both_keep_their_own(first: First) -> Result<()> {
    let Some(bench) = Bench::open(Protocol::Http)? else {
        return Ok(());
    };
    let (lab, peer) = (&bench.lab, &bench.peers[0]);
    let mut client = Command::new(PYTHON);
    client.arg(peer_script("first_flight.py")).arg(&lab.certificate.certificate);
    let mut victim = Process::start(client.args(["1", &peer.port().to_string()]))?;
    let false_truth = lab.path("truth-of-hostile");
    let mut server = Command::new(PYTHON);
    server.arg(peer_script("false_secrets.py")).arg(&lab.certificate.certificate);
    let mut hostile = Process::start(server.arg(&lab.certificate.key).arg(&false_truth))?;
    says(&victim, "waiting")?;
    says(&hostile, "waiting")?;
    let pids = [victim.pid(), hostile.pid()];
    let [of_victim, of_hostile] = pids.map(|pid| pid.to_string());
    let saved = lab.path("saved").to_string_lossy().into_owned();
    let args = ["--reveal", "-k", &saved, "--pid", &of_victim, "--pid", &of_hostile];
    let mut tlskeytop = Tlskeytop::json(lab, args)?;
    victim.say("go")?;
    // A handshake record and its message begin with 5, 4 and 2 bytes; the random follows (RFC 8446, section 4.1.2).
    let is_hello = |line: &str| line.starts_with("1603").then(|| line.to_owned());
    let hello = victim.wait_stdout("ClientHello", is_hello)?;
    let random = hello.get(22..86).context("a short ClientHello")?;
    let seen = |pid: u32, secrets: usize| {
        until("its session", || {
            let sessions = Sessions::parse(&whole_lines(&tlskeytop.process.stdout()))?;
            let is_it = |session: &&Value| session["pid"] == pid;
            let found = sessions.of(random).into_iter().find(is_it).cloned();
            let count = |session: &Value| session["secrets"].as_object().map(serde_json::Map::len);
            Ok(found.filter(|session| count(session) == Some(secrets)))
        })
    };
    let mut act = |who: First| -> Result<()> {
        match who {
            First::Hostile => {
                hostile.say(&hello)?;
                says(&hostile, "done")?;
                let lies = KeyLog::truth(&false_truth)?;
                seen(pids[1], lies.labels(random).len()).map(drop)
            }
            First::Victim => {
                victim.say("go")?;
                says(&victim, "done")?;
                seen(pids[0], peer.whole_truth(1)?.labels(random).len()).map(drop)
            }
        }
    };
    act(first)?;
    act(if first == First::Hostile { First::Victim } else { First::Hostile })?;
    let ended = tlskeytop.interrupt()?;
    let summary = Summary::parse(&ended.stderr)?;
    let (truth, lies) = (peer.whole_truth(1)?, KeyLog::truth(&false_truth)?);
    let sessions = Sessions::parse(&ended.stdout)?;
    let of = |pid: u32| {
        let all = sessions.of(random);
        ensure!(all.len() == 2, "{all:?}");
        all.into_iter().find(|session| session["pid"] == pid).context("no session")
    };
    is_true(of(pids[0])?, &truth, random)?;
    is_true(of(pids[1])?, &lies, random)?;
    let contested = lies.labels(random);
    ensure!(!contested.is_empty(), "no lies");
    for label in &contested {
        ensure!(truth.secret(random, label) != lies.secret(random, label), "{label}");
    }
    ensure!(summary.conflicts == u64::try_from(contested.len())?, "{summary:?}");
    ensure!(summary.lost == 0 && summary.unattributed == 0, "{summary:?}");
    // Of the key log the first value of a line; what only one of them had is its own.
    let file = KeyLog::strict(Path::new(&saved))?;
    for label in truth.labels(random) {
        let is_lie = first == First::Hostile && contested.contains(&label);
        let expected = if is_lie { &lies } else { &truth };
        ensure!(file.secret(random, label) == expected.secret(random, label), "{label}");
    }
    ensure!(file.lines() == truth.lines(), "{} lines", file.lines());
    Ok(())
}

/// Without what is being written.
fn whole_lines(text: &str) -> String {
    text.rfind('\n').map_or(String::new(), |end| text[..=end].to_owned())
}

#[test]
fn before_the_handshake() -> Result<()> {
    both_keep_their_own(First::Hostile)
}

#[test]
fn after_the_handshake() -> Result<()> {
    both_keep_their_own(First::Victim)
}
