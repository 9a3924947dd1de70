//! `--layout`: loud, checked as far as a walk can be, and for images of one library only.

use std::path::Path;

use anyhow::{Result, ensure};
use tlskeytop_tests::{Bench, KeyLog, LIBSSL, PYTHON, Process, Protocol, Summary, Tlskeytop};

const TIMES: usize = 2;

/// What was saved of a client's handshakes with both peers, walked with this layout; and the summary.
fn walk(bench: &Bench, layout: &str) -> Result<(KeyLog, Summary)> {
    let args = ["--method", "walk", "--layout", layout, "--image", LIBSSL];
    let mut tlskeytop = Tlskeytop::keylog(&bench.lab, args)?;
    let mut client = Process::start(&mut bench.client(Path::new(PYTHON), "client_ssl.py", TIMES))?;
    client.say("go")?;
    ensure!(client.wait()?.status.success(), "the client");
    let ended = tlskeytop.interrupt()?;
    ensure!(ended.code() == Some(0), "{}", ended.stderr);
    let warning = format!("warning: layout {layout} is forced on every image of ");
    ensure!(ended.stderr.contains(&warning), "{}", ended.stderr);
    let summary = Summary::parse(&ended.stderr)?;
    Ok((KeyLog::strict(tlskeytop.keylog_path())?, summary))
}

#[test]
fn a_wrong_one_gives_no_line() -> Result<()> {
    // Debian 12 has 3.0: the client random is in the same place, and session and exporter are not.
    for layout in ["3.0.0+quic", "3.5.0", "1.1.1d"] {
        let Some(bench) = Bench::open(Protocol::Http)? else {
            return Ok(());
        };
        let (saved, summary) = walk(&bench, layout)?;
        ensure!(saved.client_randoms().is_empty(), "{layout}: {summary:?}");
        ensure!(summary.secrets == 0 && summary.saved == 0, "{layout}: {summary:?}");
    }
    Ok(())
}

#[test]
fn the_right_one_gives_them_all() -> Result<()> {
    let Some(bench) = Bench::open(Protocol::Http)? else {
        return Ok(());
    };
    let (saved, summary) = walk(&bench, "3.0.0")?;
    ensure!(summary.lost == 0, "{summary:?}");
    for peer in &bench.peers {
        let truth = peer.whole_truth(TIMES)?;
        tlskeytop_tests::check_capture(&saved, &truth)?;
    }
    Ok(())
}

#[test]
fn another_library_keeps_its_own() -> Result<()> {
    let Some(bench) = Bench::open(Protocol::Http)? else {
        return Ok(());
    };
    let scan = |layout: &str| -> Result<String> {
        let mut command = Tlskeytop::command(&bench.lab)?;
        Ok(Process::run_ok(command.args(["scan", "--layout", layout]))?.stdout)
    };
    let same = scan("3.5.0")?;
    ensure!(same.contains("layout of OpenSSL 3.5.0: forced by --layout"), "{same}");
    let others = scan("v1.27.0")?;
    ensure!(others.contains("layout of OpenSSL 3.0"), "{others}");
    ensure!(!others.contains("layout of OpenSSL v1.27.0"), "{others}");
    Ok(())
}
