//! Why there is no secret for a handshake, where that takes more than a client and a server.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use rustix::process::Signal;
use serde_json::Value;
use tlskeytop_tests::{
    Bench, CClient, Lab, Linked, PYTHON, Process, Protocol, Sessions, Tlskeytop, openssl,
    peer_script, private_libssl, until, whole_truth,
};

/// Waits for the row of a handshake without a secret, ends tlskeytop, and gives the row as it was said last.
fn missing(mut tlskeytop: Tlskeytop, random: &str) -> Result<Value> {
    let is_told = |line: &str| line.contains(random) && line.contains("\"missing\"");
    tlskeytop.process.wait_stdout("a row of the handshake", |line| is_told(line).then_some(()))?;
    let ended = tlskeytop.interrupt()?;
    ensure!(ended.code() == Some(0), "{}", ended.status);
    Ok(Sessions::parse(&ended.stdout)?.only(random)?.clone())
}

/// Servers, and a client with a libssl of its own, that nobody has seen.
struct Unseen {
    client: CClient,
    libraries: PathBuf,
    /// Last: the others are in its folder.
    bench: Bench,
}

impl Unseen {
    fn open() -> Result<Option<Self>> {
        let Some(bench) = Bench::open(Protocol::Http)? else {
            return Ok(None);
        };
        let Some(client) = CClient::build(&bench.lab, Linked::Dynamically)? else {
            return Ok(None);
        };
        let libraries = private_libssl(&bench.lab, "libraries")?;
        Ok(Some(Self { client, libraries, bench }))
    }
}

/// tlskeytop is stopped meanwhile: the program, with a library that nobody has seen, shakes hands before anything can be
/// attached to it.
#[test]
fn who_began_before_its_library_was_attached() -> Result<()> {
    let Some(Unseen { bench, client, libraries }) = Unseen::open()? else {
        return Ok(());
    };
    for peer in &bench.peers {
        let tlskeytop =
            Tlskeytop::json(&bench.lab, ["--all", "--exclude-pid", &peer.pid().to_string()])?;
        tlskeytop.process.signal(Signal::STOP)?;
        let mut command = client.command(&bench.lab.certificate.certificate, peer);
        let mut client = CClient::start(command.env("LD_LIBRARY_PATH", &libraries))?;
        CClient::shake_hands(&mut client)?;
        let truth = peer.whole_truth(1)?;
        tlskeytop.process.signal(Signal::CONT)?;
        let row = missing(tlskeytop, truth.client_randoms()[0])?;
        ensure!(row["reason"] == "began before attach", "{row}");
        ensure!(row["pid"] == client.pid() && row["role"] == "client", "{row}");
        let is_of = |image: &str| Path::new(image).starts_with(&libraries);
        ensure!(row["image"].as_str().is_some_and(is_of), "{row}");
        ensure!(row["version"] == peer.version().name(), "{row}");
    }
    Ok(())
}

/// The server holds its answer back until the client's library, which nobody has seen before, is attached: its secrets come
/// after that, and it is whole.
#[test]
fn who_began_before_and_was_answered_later_is_whole() -> Result<()> {
    let Some(Unseen { bench, client, libraries }) = Unseen::open()? else {
        return Ok(());
    };
    for peer in &bench.peers {
        let mut command = client.command(&bench.lab.certificate.certificate, peer);
        let mut client = CClient::start(command.env("LD_LIBRARY_PATH", &libraries))?;
        peer.signal(Signal::STOP)?;
        client.say("go")?;
        until("the ClientHello at the server", || {
            let mut ss = Command::new("ss");
            ss.args(["--tcp", "--numeric", "--no-header", "state", "established"]);
            ss.arg(format!("sport = :{}", peer.port()));
            let shown = Process::run_ok(&mut ss)?.stdout;
            let received = shown.split_whitespace().next().and_then(|bytes| bytes.parse().ok());
            Ok(received.filter(|bytes: &u32| *bytes > 0).map(drop))
        })?;
        let pid = client.pid().to_string();
        let mut tlskeytop = Tlskeytop::json(&bench.lab, ["--pid", &pid])?;
        peer.signal(Signal::CONT)?;
        client.wait_stdout("the end of the handshake", |line| (line == "done").then_some(()))?;
        let truth = peer.whole_truth(1)?;
        let ended = tlskeytop.interrupt()?;
        let sessions = Sessions::parse(&ended.stdout)?;
        let row = sessions.only(truth.client_randoms()[0])?;
        ensure!(row["state"] == "complete" && row["reason"].is_null(), "{row}");
        ensure!(row["seen_on_wire"] == false, "{row}");
    }
    Ok(())
}

/// Three network namespaces in a row, of which the middle one passes packets on: a router between two other machines.
struct Routed([String; 3]);

const CLIENT: &str = "198.18.1.2";
const SERVER: &str = "198.18.2.2";

impl Routed {
    fn make() -> Result<Self> {
        let name = |end: char| format!("tlsr{}{end}", std::process::id() % (1 << 20));
        let routed = Self(['c', 'r', 's'].map(name));
        let [client, router, server] = &routed.0;
        for namespace in &routed.0 {
            ip(&["netns", "add", namespace])?;
        }
        for (end, network) in [(client, "198.18.1"), (server, "198.18.2")] {
            // Its name in the router is that of the end.
            let peer = ["peer", "name", "eth0", "netns", end];
            ip(&[&["-n", router, "link", "add", end, "type", "veth"], &peer[..]].concat())?;
            for (namespace, interface, host) in [(router, end.as_str(), 1), (end, "eth0", 2)] {
                let address = format!("{network}.{host}/24");
                ip(&["-n", namespace, "addr", "add", &address, "dev", interface])?;
                ip(&["-n", namespace, "link", "set", interface, "up"])?;
            }
            let gateway = format!("{network}.1");
            ip(&["-n", end, "route", "add", "default", "via", &gateway])?;
        }
        let forward = "echo 1 > /proc/sys/net/ipv4/ip_forward";
        Process::run_ok(routed.command(1).args(["sh", "-c", forward]))?;
        Ok(routed)
    }

    /// A command that runs in the client's (0), the router's (1) or the server's (2).
    fn command(&self, at: usize) -> Command {
        let mut command = Command::new("nsenter");
        command.arg(format!("--net=/run/netns/{}", self.0[at]));
        command
    }
}

impl Drop for Routed {
    fn drop(&mut self) {
        for namespace in &self.0 {
            if let Err(error) = ip(&["netns", "delete", namespace]) {
                eprintln!("{namespace}: {error}");
            }
        }
    }
}

fn ip(args: &[&str]) -> Result<()> {
    Process::run_ok(Command::new("ip").args(args)).map(drop)
}

/// What runs in `command`, with these arguments.
fn within(mut command: Command, what: &Command) -> Command {
    command.arg(what.get_program()).args(what.get_args());
    command
}

/// The router sees it, and neither end is its own. The connection was there before: of one that is opened later the
/// kernel would tell whose it is, since these other machines are none.
#[test]
fn what_is_forwarded() -> Result<()> {
    let Some(lab) = Lab::open()? else {
        return Ok(());
    };
    let routed = Routed::make()?;
    let mut server = openssl(&lab, &["s_server", "-accept", &format!("{SERVER}:0"), "-www"]);
    server.arg("-cert").arg(&lab.certificate.certificate).arg("-key").arg(&lab.certificate.key);
    let server = Process::start(&mut within(routed.command(2), &server))?;
    let port = server.wait_stdout("ACCEPT", |line| {
        line.strip_prefix("ACCEPT ")?.rsplit(':').next().map(str::to_owned)
    })?;
    let mut client = Command::new(PYTHON);
    client.arg(peer_script("client_later.py")).arg(&lab.certificate.certificate);
    client.args([SERVER, port.trim()]);
    let mut client = Process::start(&mut within(routed.command(0), &client))?;
    client.wait_stdout("waiting", |line| (line == "waiting").then_some(()))?;

    let pids = format!("{},{}", client.pid(), server.pid());
    let mut router = routed.command(1);
    router.arg(Tlskeytop::binary()?).args(["--mode", "json", "--all", "--exclude-pid", &pids]);
    router.current_dir(lab.folder());
    let router = Tlskeytop::start(router, lab.path("none"))?;
    client.say("go")?;
    ensure!(client.wait()?.status.success());
    let truth = whole_truth(&lab.path("s_server"), 1)?;
    let row = missing(router, truth.client_randoms()[0])?;
    ensure!(row["reason"] == "forwarded", "{row}");
    ensure!(row["pid"].is_null() && row["server"] == format!("{SERVER}:{}", port.trim()), "{row}");
    let from = row["client"].as_str().context("client")?;
    ensure!(from.starts_with(&format!("{CLIENT}:")), "{row}");
    Ok(())
}
