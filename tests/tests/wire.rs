//! The handshakes on the network: what sessions learn from them, and those for which there is no secret.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use tlskeytop_tests::{
    Bench, CURL, KeyLog, Lab, Netns, PYTHON, Process, Protocol, Sessions, Tlskeytop, VERSIONS,
    curl, peer_script, server_at, whole_truth,
};

const TIMES: usize = 2;

/// Everything but the servers, so that no secret comes from there.
fn without_servers(bench: &Bench, more: &[u32]) -> Result<Tlskeytop> {
    let servers = bench.peers.iter().map(|peer| peer.pid());
    let pids: Vec<String> =
        servers.chain(more.iter().copied()).map(|pid| pid.to_string()).collect();
    Tlskeytop::json(&bench.lab, ["--all", "--exclude-pid", &pids.join(",")])
}

/// Has a client shake hands and ends: its process id, what was said of it, and the truth for each version.
fn capture(
    bench: &Bench,
    interpreter: &Path,
    script: &str,
    is_excluded: bool,
) -> Result<(u32, Sessions, Vec<KeyLog>)> {
    let mut client = Process::start(&mut bench.client(interpreter, script, TIMES))?;
    client.wait_stdout("waiting", |line| (line == "waiting").then_some(()))?;
    let pid = client.pid();
    let more: &[u32] = if is_excluded { &[pid] } else { &[] };
    let mut tlskeytop = without_servers(bench, more)?;
    client.say("go")?;
    ensure!(client.wait()?.status.success());
    let truths = bench.peers.iter().map(|peer| peer.whole_truth(TIMES)).collect::<Result<_>>()?;
    let sessions = finish(&mut tlskeytop)?;
    Ok((pid, sessions, truths))
}

/// Ends it: what was said last of each session.
fn finish(tlskeytop: &mut Tlskeytop) -> Result<Sessions> {
    let ended = tlskeytop.interrupt()?;
    ensure!(ended.code() == Some(0), "{}", ended.status);
    ensure!(ended.stderr.contains("handshakes seen on the wire"), "{}", ended.stderr);
    Sessions::parse(&ended.stdout)
}

/// The rows of a client that could not be captured, of both versions: `check` says more of each.
fn are_missing(
    bench: &Bench,
    (pid, sessions, truths): (u32, Sessions, Vec<KeyLog>),
    reason: &str,
    check: impl Fn(&Value) -> bool,
) -> Result<()> {
    for ((version, truth), peer) in VERSIONS.iter().zip(&truths).zip(&bench.peers) {
        for random in truth.client_randoms() {
            let row = sessions.only(random)?;
            ensure!(row["state"] == "missing" && row["reason"] == reason, "{row}");
            ensure!(row["pid"] == pid && row["role"] == "client", "{row}");
            ensure!(row["version"] == version.name() && !row["cipher"].is_null(), "{row}");
            ensure!(row["peer"] == format!("127.0.0.1:{}", peer.port()), "{row}");
            ensure!(row["seen_on_wire"] == true && row["hello_us"].is_u64(), "{row}");
            ensure!(row["secrets"].as_object().is_some_and(|secrets| secrets.is_empty()), "{row}");
            ensure!(check(row), "{row}");
        }
    }
    Ok(())
}

#[test]
fn java_is_missing_and_named() -> Result<()> {
    let Some(bench) = Bench::open(Protocol::Http)? else {
        return Ok(());
    };
    let captured = capture(&bench, "java".as_ref(), "ClientJava.java", false)?;
    are_missing(&bench, captured, "library not supported", |row| {
        row["comm"] == "java"
            && row["library"] == "Java"
            && row["server_name"] == "java.test"
            && row["alpn_offered"] == serde_json::json!(["http/1.1"])
    })
}

#[test]
fn who_is_excluded_is_missing() -> Result<()> {
    let Some(bench) = Bench::open(Protocol::Http)? else {
        return Ok(());
    };
    let captured = capture(&bench, PYTHON.as_ref(), "client_resume.py", true)?;
    are_missing(&bench, captured, "excluded", |row| {
        row["comm"].as_str().is_some_and(|comm| comm.starts_with("python"))
            && row["server_name"] == "localhost"
    })
}

/// A session with its secrets that learned from the wire what a probe does not tell.
fn is_known(row: &Value, peer: &str) -> Result<()> {
    ensure!(row["state"] == "complete" && row["reason"].is_null(), "{row}");
    ensure!(row["seen_on_wire"] == true && row["hello_us"].is_u64(), "{row}");
    ensure!(row["peer"] == peer && row["server"] == peer, "{row}");
    Ok(())
}

#[test]
fn curl_gains_server_name_and_peer() -> Result<()> {
    let Some(bench) = Bench::open(Protocol::Http)? else {
        return Ok(());
    };
    let mut tlskeytop = without_servers(&bench, &[])?;
    for peer in &bench.peers {
        Process::run_ok(&mut curl(&bench.lab, peer.port(), ""))?;
    }
    let truths: Vec<KeyLog> =
        bench.peers.iter().map(|peer| peer.whole_truth(1)).collect::<Result<_>>()?;
    let sessions = finish(&mut tlskeytop)?;
    for (truth, peer) in truths.iter().zip(&bench.peers) {
        let row = sessions.only(truth.client_randoms()[0])?;
        is_known(row, &format!("127.0.0.1:{}", peer.port()))?;
        ensure!(row["comm"] == "curl" && row["server_name"] == "localhost", "{row}");
        ensure!(row["alpn_offered"] == serde_json::json!(["http/1.1"]), "{row}");
    }
    Ok(())
}

#[test]
fn a_hello_in_segments_of_one_byte() -> Result<()> {
    let Some(bench) = Bench::open(Protocol::Http)? else {
        return Ok(());
    };
    let captured = capture(&bench, PYTHON.as_ref(), "client_bytes.py", true)?;
    are_missing(&bench, captured, "excluded", |row| row["server_name"] == "localhost")
}

/// One request of curl to a server of one's own: its row.
fn one_request(
    lab: &Lab,
    (server, address): (Process, String),
    mut request: Command,
) -> Result<Value> {
    let pid = server.pid().to_string();
    let mut tlskeytop = Tlskeytop::json(lab, ["--all", "--exclude-pid", &pid])?;
    request.args(["--silent", "--insecure", "--max-time", "20"]);
    Process::run_ok(request.arg(format!("https://{address}/")))?;
    let truth = whole_truth(&lab.path("s_server"), 1)?;
    let sessions = finish(&mut tlskeytop)?;
    Ok(sessions.only(truth.client_randoms()[0])?.clone())
}

#[test]
fn a_hello_retry_request_is_one_handshake() -> Result<()> {
    let Some(lab) = Lab::open()? else {
        return Ok(());
    };
    // curl's first share is of another group.
    let server = server_at(&lab, "127.0.0.1:0", &["-www", "-groups", "P-384"])?;
    let address = server.1.clone();
    let row = one_request(&lab, server, Command::new(CURL))?;
    is_known(&row, &address)?;
    ensure!(row["hello_retry"] == true, "{row}");
    Ok(())
}

#[test]
fn ipv6() -> Result<()> {
    let Some(lab) = Lab::open()? else {
        return Ok(());
    };
    let server = server_at(&lab, "[::1]:0", &["-www"])?;
    let address = server.1.clone();
    let row = one_request(&lab, server, Command::new(CURL))?;
    is_known(&row, &address)
}

/// A network namespace, joined to ours by a pair of interfaces; both go with it.
struct Namespace {
    name: String,
}

impl Namespace {
    /// Ours is `address`.1, the other end `address`.2.
    fn make(address: &str) -> Result<Self> {
        let name = format!("tkt{}", std::process::id());
        let (ours, theirs) = (format!("{name}a"), format!("{name}b"));
        let (own, other) = (format!("{address}.1/24"), format!("{address}.2/24"));
        ip(&["netns", "add", &name])?;
        let namespace = Self { name: name.clone() };
        ip(&["link", "add", &ours, "type", "veth", "peer", "name", &theirs, "netns", &name])?;
        ip(&["addr", "add", &own, "dev", &ours])?;
        ip(&["link", "set", &ours, "up"])?;
        ip(&["-n", &name, "addr", "add", &other, "dev", &theirs])?;
        ip(&["-n", &name, "link", "set", &theirs, "up"])?;
        Ok(namespace)
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        if let Err(error) = ip(&["netns", "del", &self.name]) {
            eprintln!("{}: {error}", self.name);
        }
    }
}

fn ip(args: &[&str]) -> Result<()> {
    Process::run_ok(Command::new("ip").args(args)).map(drop)
}

#[test]
fn a_client_in_a_network_namespace_of_its_own() -> Result<()> {
    let Some(lab) = Lab::open()? else {
        return Ok(());
    };
    let namespace = Namespace::make("198.18.77")?;
    let server = server_at(&lab, "198.18.77.1:0", &["-www"])?;
    let address = server.1.clone();
    // It waits until we know it, and becomes curl.
    let mut client = Command::new("ip");
    client.args(["netns", "exec", &namespace.name, "/bin/sh", "-c"]);
    let script = format!(
        "echo waiting; read go; exec curl --silent --insecure --max-time 20 https://{address}/"
    );
    let mut client = Process::start(client.arg(script))?;
    client.wait_stdout("waiting", |line| (line == "waiting").then_some(()))?;
    let (own, other) = (server.0.pid(), client.pid());
    let excluded = format!("{own},{other}");
    let mut tlskeytop = Tlskeytop::json(&lab, ["--all", "--exclude-pid", &excluded])?;
    client.say("go")?;
    ensure!(client.wait()?.status.success());
    let truth = whole_truth(&lab.path("s_server"), 1)?;
    let sessions = finish(&mut tlskeytop)?;
    let row = sessions.only(truth.client_randoms()[0])?;
    ensure!(row["state"] == "missing" && row["reason"] == "excluded", "{row}");
    ensure!(row["comm"] == "curl" && row["pid"] == other, "{row}");
    ensure!(row["client"].as_str().context("client")?.starts_with("198.18.77.2:"), "{row}");
    Ok(())
}

#[test]
fn no_wire_is_no_wire() -> Result<()> {
    let Some(bench) = Bench::open(Protocol::Http)? else {
        return Ok(());
    };
    let pid = bench.peers[0].pid().to_string();
    let mut tlskeytop = Tlskeytop::json(&bench.lab, ["--all", "--no-wire", "--exclude-pid", &pid])?;
    Process::run_ok(&mut curl(&bench.lab, bench.peers[0].port(), ""))?;
    let truth = bench.peers[0].whole_truth(1)?;
    let ended = tlskeytop.interrupt()?;
    ensure!(!ended.stderr.contains("on the wire"), "{}", ended.stderr);
    let sessions = Sessions::parse(&ended.stdout)?;
    let row = sessions.only(truth.client_randoms()[0])?;
    ensure!(row["seen_on_wire"] == false && row["client"].is_null(), "{row}");
    Ok(())
}

#[test]
fn of_processes_that_are_not_chosen_there_is_no_row() -> Result<()> {
    let Some(bench) = Bench::open(Protocol::Http)? else {
        return Ok(());
    };
    let pid = bench.peers[0].pid().to_string();
    let mut tlskeytop = Tlskeytop::json(&bench.lab, ["--pid", &pid])?;
    for peer in &bench.peers {
        Process::run_ok(&mut curl(&bench.lab, peer.port(), ""))?;
    }
    let [chosen, other] = [0, 1].map(|at| bench.peers[at].whole_truth(1));
    let sessions = finish(&mut tlskeytop)?;
    let (chosen, other) = (chosen?, other?);
    let row = sessions.only(chosen.client_randoms()[0])?;
    ensure!(row["state"] == "complete" && row["server_name"] == "localhost", "{row}");
    ensure!(sessions.of(other.client_randoms()[0]).is_empty());
    Ok(())
}

/// Connects with these ends, which it does not do before it is told to.
fn client_from(mut command: Command, ends: [u16; 2], kind: &str) -> Result<Process> {
    command.arg(peer_script("client_from.py"));
    let client = Process::start(command.args(ends.map(|port| port.to_string())).arg(kind))?;
    client.wait_stdout("waiting", |line| (line == "waiting").then_some(()))?;
    Ok(client)
}

#[test]
fn equal_ends_in_another_network_namespace_are_not_ours() -> Result<()> {
    let Some(bench) = Bench::open(Protocol::Http)? else {
        return Ok(());
    };
    let server = &bench.peers[0];
    let netns = Netns::make()?;
    Process::run_ok(netns.command("ip").args(["link", "set", "lo", "up"]))?;
    let free = std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
    let ends = [free, server.port()];
    let mut own = client_from(Command::new(PYTHON), ends, "tls")?;
    let mut other = client_from(netns.command(PYTHON), ends, "plain")?;
    let excluded = format!("{},{}", server.pid(), own.pid());
    let mut tlskeytop = Tlskeytop::json(&bench.lab, ["--all", "--exclude-pid", &excluded])?;
    for client in [&mut own, &mut other] {
        client.say("go")?;
        client.wait_stdout("connected", |line| (line == "connected").then_some(()))?;
    }
    let truth = server.whole_truth(1)?;
    let sessions = finish(&mut tlskeytop)?;
    let row = sessions.only(truth.client_randoms()[0])?;
    ensure!(row["client"] == format!("127.0.0.1:{free}"), "{row}");
    ensure!(row["pid"] == own.pid() && row["reason"] == "excluded", "{row}");
    Ok(())
}
