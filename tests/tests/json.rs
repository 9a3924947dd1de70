//! `--mode json`: both ends of a handshake, with what is known of them.

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use tlskeytop_tests::{
    Bench, KeyLog, Peer, Process, Protocol, Sessions, Summary, Tlskeytop, VERSIONS, curl,
};

/// Captures one handshake of curl with each peer: the sessions and the truth for each version.
fn capture(bench: &Bench, args: &[&str]) -> Result<(Sessions, Vec<KeyLog>)> {
    let mut tlskeytop = Tlskeytop::json(&bench.lab, ["--all"].iter().chain(args))?;
    for peer in &bench.peers {
        Process::run_ok(&mut curl(&bench.lab, peer.port(), ""))?;
    }
    let ended = tlskeytop.interrupt()?;
    ensure!(ended.code() == Some(0), "{}", ended.status);
    ensure!(Summary::parse(&ended.stderr)?.lost == 0);
    ensure!(!bench.lab.path("tlskeytop.keylog").exists(), "saved without being asked");
    let truth = bench.peers.iter().map(|peer| peer.whole_truth(1)).collect::<Result<_>>()?;
    Ok((Sessions::parse(&ended.stdout)?, truth))
}

/// The two sessions of the one handshake in `truth`: client, server.
fn ends<'a>(sessions: &'a Sessions, truth: &KeyLog, peer: &Peer) -> Result<(&'a Value, &'a Value)> {
    let random = truth.client_randoms()[0];
    let both = sessions.of(random);
    ensure!(both.len() == 2, "{} sessions for {random}", both.len());
    let is_server = |session: &Value| session["pid"].as_u64() == Some(peer.pid().into());
    let server = both.iter().find(|session| is_server(session)).context("no server")?;
    let client = both.iter().find(|session| !is_server(session)).context("no client")?;
    Ok((client, server))
}

#[test]
fn fields_are_right_and_secrets_masked() -> Result<()> {
    let Some(bench) = Bench::open(Protocol::Http)? else {
        return Ok(());
    };
    let (sessions, truths) = capture(&bench, &[])?;
    for ((version, truth), peer) in VERSIONS.iter().zip(&truths).zip(&bench.peers) {
        let (client, server) = ends(&sessions, truth, peer)?;
        for (session, name, role) in [(client, "curl", "client"), (server, "openssl", "server")] {
            ensure!(session["comm"] == name, "{session}");
            // Null for a client that had ended before it was looked at: that is not guessed.
            let ended = name == "curl" && session["exe"].is_null();
            ensure!(ended || session["exe"] == format!("/usr/bin/{name}"), "{session}");
            ensure!(session["state"] == "complete", "{session}");
            ensure!(session["method"] == "tap", "{session}");
            let image = session["image"].as_str().context("image")?;
            ensure!(image.ends_with("/libssl.so.3"), "{image}");
            let library = session["library"].as_str().context("library")?;
            ensure!(library.contains("OpenSSL") && library.contains("3."), "{library}");
            ensure!(session["role"] == role, "{session}");
            ensure!(session["version"] == version.name(), "{session}");
            let cipher = session["cipher"].as_str().context("cipher")?;
            ensure!(cipher.starts_with("TLS_"), "{cipher}");
            let time = session["time"].as_str().context("time")?;
            ensure!(time.len() >= 20 && time.as_bytes()[10] == b'T', "{time}");
            let secrets = session["secrets"].as_object().context("secrets")?;
            ensure!(secrets.len() == version.lines(), "{session}");
            ensure!(secrets.values().all(|secret| secret == "captured"), "{session}");
        }
    }
    Ok(())
}

#[test]
fn reveal_shows_the_truth() -> Result<()> {
    let Some(bench) = Bench::open(Protocol::Http)? else {
        return Ok(());
    };
    let (sessions, truths) = capture(&bench, &["--reveal"])?;
    for (truth, peer) in truths.iter().zip(&bench.peers) {
        let (client, server) = ends(&sessions, truth, peer)?;
        let random = truth.client_randoms()[0];
        for session in [client, server] {
            for label in truth.labels(random) {
                let shown = session["secrets"][label].as_str();
                ensure!(shown == truth.secret(random, label), "{label}");
            }
        }
    }
    Ok(())
}
