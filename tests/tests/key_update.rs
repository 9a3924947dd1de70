//! KeyUpdate: the same label comes again and again with new values, and each is a line of its own.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use anyhow::{Result, ensure};
use tlskeytop_tests::{Lab, Process, Tlskeytop, interactive_server, openssl, until};

/// More than a plausible table of labels for one session would hold.
const UPDATES: usize = 24;

/// The lines of a key log that a peer writes; comments left out.
fn lines(path: &Path) -> Result<BTreeSet<String>> {
    let text = fs::read_to_string(path)?;
    Ok(text.lines().filter(|line| !line.starts_with('#')).map(str::to_owned).collect())
}

/// Waits until this end has derived as many secrets with this label.
fn wait_for_secrets(lab: &Lab, end: &str, label: &str, count: usize) -> Result<()> {
    until("a secret after the KeyUpdate", || {
        let secrets = lines(&lab.path(end))?;
        Ok((secrets.iter().filter(|line| line.starts_with(label)).count() >= count).then_some(()))
    })
}

#[test]
fn each_secret_of_many_updates_is_a_line() -> Result<()> {
    let Some(lab) = Lab::open()? else {
        return Ok(());
    };
    let (mut server, address) = interactive_server(&lab)?;
    let mut tlskeytop = Tlskeytop::keylog(&lab, ["--name", "openssl"])?;
    let mut client = Process::start(&mut openssl(&lab, &["s_client", "-connect", &address]))?;
    wait_for_secrets(&lab, "s_server", "CLIENT_TRAFFIC_SECRET_0 ", 1)?;
    for number in 1..=UPDATES {
        // A KeyUpdate that wants one back, which comes with what the server says next.
        client.say("K")?;
        wait_for_secrets(&lab, "s_server", "CLIENT_TRAFFIC_SECRET_N ", number)?;
        server.say("hello")?;
        wait_for_secrets(&lab, "s_client", "SERVER_TRAFFIC_SECRET_N ", number)?;
    }
    let mut truth = lines(&lab.path("s_server"))?;
    truth.append(&mut lines(&lab.path("s_client"))?);
    ensure!(truth.len() == 5 + 2 * UPDATES, "the truth has {} lines", truth.len());
    let ended = tlskeytop.interrupt()?;
    ensure!(ended.code() == Some(0), "{}", ended.status);
    let text = fs::read_to_string(tlskeytop.keylog_path())?;
    let ours: BTreeSet<String> = text.lines().map(str::to_owned).collect();
    ensure!(text.lines().count() == ours.len(), "lines are there twice");
    let missing: Vec<_> = truth.difference(&ours).collect();
    ensure!(missing.is_empty(), "{} lines are missing: {missing:?}", missing.len());
    Ok(())
}
