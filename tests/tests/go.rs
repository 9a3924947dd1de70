//! Go's crypto/tls: programs by three compilers, position independent and not, and Debian's caddy and rclone. Neither end
//! on Go has a key log; the truth is the other one's.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Result, ensure};
use tlskeytop_tests::{
    Bench, Caddy, KeyLog, Lab, Process, Protocol, Tlskeytop, VERSIONS, check_against,
    check_capture, connect, curl, program, scan_of, whole_truth,
};

/// Handshakes over each TLS version.
const TIMES: usize = 3;
/// Go logs four secrets of TLS 1.3.
const NOT_LOGGED: &[&str] = &["EXPORTER_SECRET"];
/// Debian's.
const RCLONE: &str = "/usr/bin/rclone";

/// The program of tests/peers/go, as client and as server.
fn check(name: &str, version: &str) -> Result<()> {
    let Some(program) = program(&format!("go/{name}"))? else {
        return Ok(());
    };
    client(&program, version)?;
    server(&program)
}

fn client(program: &Path, version: &str) -> Result<()> {
    let Some(bench) = Bench::open(Protocol::Http)? else {
        return Ok(());
    };
    let mut command = Command::new(program);
    command
        .arg("client")
        .arg(&bench.lab.certificate.certificate)
        .arg(TIMES.to_string())
        .args(bench.peers.iter().map(|peer| peer.port().to_string()));
    let mut client = Process::start(&mut command)?;
    client.wait_stdout("waiting", |line| (line == "waiting").then_some(()))?;
    is_listed(&bench.lab, client.pid(), version, 1)?;
    let tlskeytop = Tlskeytop::keylog(&bench.lab, ["--pid", &client.pid().to_string()])?;
    client.say("go")?;
    let ended = client.wait()?;
    ensure!(ended.status.success(), "the client: {}", ended.stderr);
    check_against(tlskeytop, &bench.whole_truth(TIMES)?, NOT_LOGGED)
}

fn server(program: &Path) -> Result<()> {
    let Some(lab) = Lab::open()? else {
        return Ok(());
    };
    let mut command = Command::new(program);
    command.arg("server").args([&lab.certificate.certificate, &lab.certificate.key]);
    let server = Process::start(&mut command)?;
    let address = server.wait_stdout("ACCEPT ADDRESS", |line| {
        line.strip_prefix("ACCEPT ").map(|address| address.trim().to_owned())
    })?;
    let tlskeytop = Tlskeytop::keylog(&lab, ["--pid", &server.pid().to_string()])?;
    check_against(tlskeytop, &connect(&lab, &[&address], TIMES)?, NOT_LOGGED)
}

/// `scan` names the stack, its version and the method, with one probe for each copy of crypto/tls.
fn is_listed(lab: &Lab, pid: u32, version: &str, copies: u32) -> Result<()> {
    let images = scan_of(lab, pid)?;
    let go = images.iter().find(|image| image["library"] == "Go");
    let is_right = go.is_some_and(|image| {
        let is_it = image["version"].as_str().is_some_and(|found| found.starts_with(version));
        is_it && image["method"] == "tap" && image["probes"] == copies
    });
    ensure!(is_right, "not Go {version} by {copies} probes: {images:?}");
    Ok(())
}

#[test]
fn go_1_21() -> Result<()> {
    check("1.21.13", "1.21.13")
}

#[test]
fn go_1_24() -> Result<()> {
    check("1.24.11", "1.24.11")
}

#[test]
fn go_1_27() -> Result<()> {
    check("1.27.3", "1.27.3")
}

#[test]
fn go_1_27_position_independent() -> Result<()> {
    check("pie", "1.27.3")
}

#[test]
fn go_1_27_linked_by_the_c_compiler() -> Result<()> {
    check("external", "1.27.3")
}

#[test]
fn caddy_as_the_server() -> Result<()> {
    let Some(lab) = Lab::open()? else {
        return Ok(());
    };
    let caddy = Caddy::start(&lab)?;
    // By the Go of this Debian.
    // quic-go has its own.
    is_listed(&lab, caddy.process.pid(), "1.", 2)?;
    let tlskeytop = Tlskeytop::keylog(&lab, ["--pid", &caddy.process.pid().to_string()])?;
    let truth = lab.path("truth");
    for version in VERSIONS {
        for number in 0..TIMES {
            let path = format!("page-{number}");
            let mut client = curl(&lab, caddy.port(version), &path);
            let reply = Process::run_ok(client.env("SSLKEYLOGFILE", &truth))?;
            ensure!(reply.stdout == "hello", "{}", reply.stdout);
        }
    }
    check_against(tlskeytop, &whole_truth(&truth, VERSIONS.len() * TIMES)?, NOT_LOGGED)
}

#[test]
fn rclone_as_the_client() -> Result<()> {
    let Some(bench) = Bench::open(Protocol::Http)? else {
        return Ok(());
    };
    // It does not run yet.
    let tlskeytop = Tlskeytop::keylog(&bench.lab, ["--image", RCLONE])?;
    let mut truth = KeyLog::default();
    for peer in &bench.peers {
        for _ in 0..TIMES {
            let mut rclone = Command::new(RCLONE);
            rclone
                .args(["cat", ":http:page", "--http-url", &peer.url("")])
                // It would ask with HEAD first, which the peer does not know.
                .args(["--http-no-head", "--no-check-certificate"])
                .args(["--config", "", "--retries", "1", "--low-level-retries", "1"])
                .env("HOME", bench.lab.folder());
            Process::run_ok(&mut rclone)?;
        }
        truth.merge(peer.whole_truth(TIMES)?)?;
    }
    check_against(tlskeytop, &truth, NOT_LOGGED)
}

/// Two stacks in one file, Go's own and OpenSSL: both are captured. Only OpenSSL logs exporter secrets.
#[test]
fn go_with_openssl_in_it() -> Result<()> {
    let Some(program) = program("go/openssl")? else {
        return Ok(());
    };
    let Some(bench) = Bench::open(Protocol::Http)? else {
        return Ok(());
    };
    let mut command = Command::new(program);
    command
        .arg("client")
        .arg(&bench.lab.certificate.certificate)
        .arg(TIMES.to_string())
        .args(bench.peers.iter().map(|peer| peer.port().to_string()));
    let mut client = Process::start(&mut command)?;
    client.wait_stdout("waiting", |line| (line == "waiting").then_some(()))?;
    let images = scan_of(&bench.lab, client.pid())?;
    // The linker has left OpenSSL's name out of it.
    let has_both = |image: &serde_json::Value| {
        let others = &image["other_libraries"];
        let is_go = others[0]["library"] == "Go" && others[0]["version"].is_string();
        is_go && image["library"].is_null() && image["method"] == "tap"
    };
    ensure!(images.iter().any(has_both), "{images:?}");
    let tlskeytop = Tlskeytop::keylog(&bench.lab, ["--pid", &client.pid().to_string()])?;
    client.say("go")?;
    let ended = client.wait()?;
    ensure!(ended.status.success(), "the client: {}", ended.stderr);
    let truth = bench.whole_truth(2 * TIMES)?;
    let (ours, summary) = tlskeytop.stop()?;
    ensure!(summary.conflicts == 0, "{summary:?}");
    let [exporter] = NOT_LOGGED else { unreachable!("one label") };
    check_capture(&ours.without(exporter), &truth.without(exporter))?;
    let randoms = truth.client_randoms();
    let exporters: Vec<_> =
        randoms.into_iter().filter(|random| ours.secret(random, exporter).is_some()).collect();
    ensure!(exporters.len() == TIMES, "{} of {TIMES} exporter secrets", exporters.len());
    for random in exporters {
        ensure!(ours.secret(random, exporter) == truth.secret(random, exporter), "{random}");
    }
    Ok(())
}

/// A file whose table of functions is damaged is Go all the same, and gets no probe.
#[test]
fn a_damaged_table_of_functions_is_refused_with_a_reason() -> Result<()> {
    let (Some(program), Some(lab)) = (program("go/1.27.3")?, Lab::open()?) else {
        return Ok(());
    };
    let damaged: PathBuf = lab.path("damaged");
    let mut bytes = std::fs::read(&program)?;
    let name = b".(*Config).writeKeyLog";
    let at = bytes.windows(name.len()).position(|window| window == name);
    ensure!(at.is_some(), "no such name");
    bytes[at.unwrap_or(0) + name.len() - 1] = b'x';
    std::fs::write(&damaged, bytes)?;
    std::fs::set_permissions(&damaged, std::fs::metadata(&program)?.permissions())?;
    let mut command = Command::new(&damaged);
    command.arg("server").args([&lab.certificate.certificate, &lab.certificate.key]);
    let server = Process::start(&mut command)?;
    server.wait_stdout("ACCEPT", |line| line.starts_with("ACCEPT ").then_some(()))?;
    let images = scan_of(&lab, server.pid())?;
    let is_right = |image: &serde_json::Value| {
        image["library"] == "Go"
            && image["method"].is_null()
            && image["reason"].as_str().is_some_and(|reason| reason.starts_with("no tap: "))
    };
    ensure!(images.iter().any(is_right), "{images:?}");
    Ok(())
}
