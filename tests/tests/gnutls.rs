//! GnuTLS of Debian, under programs of several kinds. The truth is the peer's own key log.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use tlskeytop_tests::{
    Bench, KeyLog, Lab, Peer, Process, Protocol, Tlskeytop, VERSIONS, Version, check_against,
    s_client, until, whole_truth,
};

/// Handshakes over each TLS version.
const TIMES: usize = 2;
/// Debian's GnuTLS on x86-64.
const GNUTLS: &str = "/usr/lib/x86_64-linux-gnu/libgnutls.so.30";

/// Attaches to the library before anybody uses it, and runs `client` for each handshake with each peer.
fn check(client: impl Fn(&Lab, &Peer) -> Result<()>) -> Result<()> {
    let Some(bench) = Bench::open(Protocol::Http)? else {
        return Ok(());
    };
    let tlskeytop = Tlskeytop::keylog(&bench.lab, ["--image", GNUTLS])?;
    for peer in &bench.peers {
        for _ in 0..TIMES {
            client(&bench.lab, peer)?;
        }
    }
    check_against(tlskeytop, &bench.whole_truth(TIMES)?, &[])
}

#[test]
fn wget() -> Result<()> {
    check(|lab, peer| {
        let mut wget = Command::new("/usr/bin/wget");
        wget.args(["-q", "-O", "/dev/null", "--ca-certificate"])
            .arg(&lab.certificate.certificate)
            .arg(peer.url("page"));
        Process::run_ok(&mut wget).map(|_| ())
    })
}

#[test]
fn git() -> Result<()> {
    check(|lab, peer| {
        let mut git = Command::new("/usr/bin/git");
        git.args(["ls-remote", &peer.url("repository")])
            .env("GIT_SSL_CAINFO", &lab.certificate.certificate)
            .env("HOME", lab.folder());
        let ended = Process::run(&mut git)?;
        // The peer has no repository; that it says so, it says in TLS.
        ensure!(ended.stderr.contains("not valid"), "git: {}", ended.stderr);
        Ok(())
    })
}

#[test]
fn gnutls_cli() -> Result<()> {
    check(|lab, peer| {
        let mut client = Command::new("/usr/bin/gnutls-cli");
        client
            .args(["-p", &peer.port().to_string(), "--x509cafile"])
            .arg(&lab.certificate.certificate)
            .arg("localhost");
        Process::run_ok(&mut client).map(|_| ())
    })
}

#[test]
fn ldapsearch() -> Result<()> {
    let Some(bench) = Bench::open(Protocol::Http)? else {
        return Ok(());
    };
    let tlskeytop = Tlskeytop::keylog(&bench.lab, ["--image", GNUTLS])?;
    for peer in &bench.peers {
        for number in 1..=TIMES {
            let mut command = Command::new("/usr/bin/ldapsearch");
            command
                .args(["-x", "-b", "", "-H", &format!("ldaps://localhost:{}", peer.port())])
                .env("LDAPTLS_REQCERT", "never");
            // It waits for an answer of LDAP, until it is ended.
            let _client = Process::start(&mut command)?;
            let truth = peer.whole_truth(number)?;
            until("its secrets are captured", || {
                let ours = KeyLog::truth(tlskeytop.keylog_path())?;
                let is_there = |random: &&str| ours.labels(random) == truth.labels(random);
                Ok(truth.client_randoms().iter().all(is_there).then_some(()))
            })?;
        }
    }
    check_against(tlskeytop, &bench.whole_truth(TIMES)?, &[])
}

/// gnutls-serv listens on all addresses: it gets a network of its own.
fn serve(lab: &Lab, version: Version) -> Result<Process> {
    let (certificate, key) = (&lab.certificate.certificate, &lab.certificate.key);
    let number = version.name().trim_start_matches("TLS ");
    let priority = format!("NORMAL:-VERS-ALL:+VERS-TLS{number}");
    let mut command = Command::new("unshare");
    command
        .args(["--net", "sh", "-c", "ip link set lo up && exec \"$@\"", "sh"])
        .args(["/usr/bin/gnutls-serv", "--http", "--port", PORT, "--priority", &priority])
        .arg("--x509certfile")
        .arg(certificate)
        .arg("--x509keyfile")
        .arg(key);
    let server = Process::start(&mut command)?;
    server.wait_stderr("port", |line| line.contains("listening on IPv4").then_some(()))?;
    Ok(server)
}

/// In a network of its own.
const PORT: &str = "5556";

#[test]
fn gnutls_serv_as_the_server() -> Result<()> {
    let Some(lab) = Lab::open()? else {
        return Ok(());
    };
    for version in VERSIONS {
        let server = serve(&lab, version)?;
        let pid = server.pid().to_string();
        let tlskeytop = Tlskeytop::keylog_to(&lab, version.name(), ["--pid", &pid])?;
        let truth = lab.path(&format!("truth of {}", version.name()));
        for _ in 0..TIMES {
            let client = s_client(&format!("127.0.0.1:{PORT}"), version, &truth);
            let mut inside = Command::new("nsenter");
            inside.args(["--net", "--target", &pid]).arg(client.get_program());
            let mut client = Process::start(inside.args(client.get_args()))?;
            client.feed(b"GET / HTTP/1.0\r\n\r\n")?;
            let ended = client.wait()?;
            ensure!(ended.status.success(), "{}", ended.stderr);
        }
        let truth = whole_truth(&truth, TIMES)?;
        check_against(tlskeytop, &truth, &[]).with_context(|| format!("{version:?}"))?;
    }
    Ok(())
}

#[test]
fn scan_names_it_and_its_version() -> Result<()> {
    let Some(lab) = Lab::open()? else {
        return Ok(());
    };
    let ended = Process::run_ok(Tlskeytop::command(&lab)?.args(["scan", "--json"]))?;
    let real = Path::new(GNUTLS).canonicalize()?;
    let line = ended.stdout.lines().find(|line| line.contains(&*real.to_string_lossy()));
    let line = line.context("not in the scan")?;
    for words in
        ["\"library\":\"GnuTLS\"", "\"version\":\"3.", "\"method\":\"tap\"", "\"probes\":1,"]
    {
        ensure!(line.contains(words), "{words} is not in {line}");
    }
    Ok(())
}
