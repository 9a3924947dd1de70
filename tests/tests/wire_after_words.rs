//! TLS that begins after other words on the same connection: HTTP's CONNECT, and STARTTLS where either side speaks first.

use std::process::Command;

use anyhow::{Context, Result, ensure};
use tlskeytop_tests::{CURL, Lab, Process, Sessions, Tlskeytop, openssl, peer_script, whole_truth};

const KINDS: [&str; 4] = ["connect", "smtp", "postgres", "ldap"];

/// A client of one kind, to the end of its handshake.
fn shake_hands(lab: &Lab, kind: &str, address: &str) -> Result<()> {
    if kind == "connect" {
        let mut curl = Command::new(CURL);
        curl.args(["--silent", "--show-error", "--insecure", "--max-time", "20", "--proxytunnel"]);
        curl.args(["--proxy", &format!("http://{address}"), "https://localhost:443/"]);
        let ended = Process::run_ok(&mut curl)?;
        ensure!(ended.stdout == "ok", "{}", ended.stdout);
        return Ok(());
    }
    let client = ["s_client", "-starttls", kind, "-connect", address];
    let mut client = Process::start(&mut openssl(lab, &client))?;
    client.wait_stdout("the handshake", |line| line.contains("Verify return").then_some(()))?;
    client.close_stdin();
    client.wait()?;
    Ok(())
}

#[test]
fn tls_after_other_words_is_seen() -> Result<()> {
    let Some(lab) = Lab::open()? else {
        return Ok(());
    };
    let truth = lab.path("truth");
    let mut server = Command::new("/usr/bin/python3");
    server.arg(peer_script("server_after_words.py"));
    server.arg(&lab.certificate.certificate).arg(&lab.certificate.key).arg(&truth);
    let server = Process::start(&mut server)?;
    let mut tlskeytop = Tlskeytop::json(&lab, ["--all"])?;
    for (count, kind) in KINDS.into_iter().enumerate() {
        let start = format!("ACCEPT {kind} ");
        let port =
            server.wait_stdout(&start, |line| line.strip_prefix(&start).map(str::to_owned))?;
        let address = format!("127.0.0.1:{}", port.trim());
        shake_hands(&lab, kind, &address)?;
        whole_truth(&truth, count + 1).context(kind)?;
    }
    let truth = whole_truth(&truth, KINDS.len())?;
    let ended = tlskeytop.interrupt()?;
    ensure!(ended.code() == Some(0), "{}", ended.status);
    let sessions = Sessions::parse(&ended.stdout)?;
    let randoms = truth.client_randoms();
    ensure!(randoms.len() == KINDS.len());
    for random in randoms {
        let rows = sessions.of(random);
        // Both ends are here.
        ensure!(rows.len() == 2, "{rows:?}");
        for row in rows {
            ensure!(row["state"] == "complete" && row["seen_on_wire"] == true, "{row}");
            ensure!(row["hello_us"].is_u64(), "{row}");
        }
    }
    Ok(())
}
