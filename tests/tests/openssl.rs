//! `openssl s_client` and `s_server`, each chosen alone.

use std::process::Command;

use anyhow::{Result, ensure};
use tlskeytop_tests::{Bench, KeyLog, Peer, Process, Protocol, Sessions, Tlskeytop, check_capture};

const TIMES: usize = 3;

fn s_client(bench: &Bench, peer: &Peer) -> Command {
    let mut command = Command::new("openssl");
    command
        .args(["s_client", "-verify_return_error", "-servername", "localhost", "-alpn", "h2"])
        .args(["-connect", &format!("127.0.0.1:{}", peer.port())])
        .arg("-CAfile")
        .arg(&bench.lab.certificate.certificate);
    command
}

fn shake_hands(bench: &Bench) -> Result<()> {
    for peer in &bench.peers {
        for _ in 0..TIMES {
            Process::run_ok(&mut s_client(bench, peer))?;
        }
    }
    Ok(())
}

/// Both servers run before, and are chosen by process id. Their BIO filter path calls no SSL_accept.
#[test]
fn s_server() -> Result<()> {
    let Some(bench) = Bench::open(Protocol::Http)? else {
        return Ok(());
    };
    let pids: Vec<String> = bench.peers.iter().map(|peer| peer.pid().to_string()).collect();
    let tlskeytop = Tlskeytop::keylog(&bench.lab, ["--pid", &pids[0], "--pid", &pids[1]])?;
    assert_eq!(tlskeytop.targets, 2);
    shake_hands(&bench)?;
    bench.check(tlskeytop, TIMES)
}

/// The servers are Python's, so that the name chooses the clients alone.
#[test]
fn s_client_chosen_by_name() -> Result<()> {
    let Some(bench) = Bench::open(Protocol::Http2)? else {
        return Ok(());
    };
    let tlskeytop = Tlskeytop::keylog(&bench.lab, ["--name", "openssl"])?;
    shake_hands(&bench)?;
    bench.check(tlskeytop, TIMES)
}

/// Both ends of each handshake are captured; the file has each line once.
#[test]
fn both_ends() -> Result<()> {
    let Some(bench) = Bench::open(Protocol::Http)? else {
        return Ok(());
    };
    let mut tlskeytop = Tlskeytop::json(&bench.lab, ["--name", "openssl", "--save"])?;
    shake_hands(&bench)?;
    let ended = tlskeytop.interrupt()?;
    ensure!(ended.code() == Some(0), "{}", ended.status);
    let saved = KeyLog::strict(tlskeytop.keylog_path())?;
    let sessions = Sessions::parse(&ended.stdout)?;
    for peer in &bench.peers {
        let truth = peer.whole_truth(TIMES)?;
        check_capture(&saved, &truth)?;
        for random in truth.client_randoms() {
            let ends = sessions.of(random);
            let servers = ends.iter().filter(|session| session["pid"] == peer.pid()).count();
            ensure!((ends.len(), servers) == (2, 1), "{random}: {ends:?}");
            ensure!(ends.iter().all(|session| session["state"] == "complete"), "{ends:?}");
        }
    }
    Ok(())
}
