//! Whom a session is with: the server name and the address of the peer, beside what both ends know themselves. What an
//! end's library does not know of its socket stays null.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use tlskeytop_tests::{
    CURL, Lab, Nginx, PYTHON, Peer, Process, Protocol, Sessions, Subject, Summary, Tlskeytop,
    VERSIONS, Version, curl, peer_script, program,
};

/// `tests/peers/server_ends.py`, which says whom it met.
struct Server {
    process: Process,
    host: &'static str,
    port: u16,
}

/// What the server said of one connection.
struct Met {
    address: String,
    name: Option<String>,
}

impl Server {
    fn start(lab: &Lab, host: &'static str, version: Version) -> Result<Self> {
        let mut command = Command::new(PYTHON);
        let number = version.name().trim_start_matches("TLS ");
        command.arg(peer_script("server_ends.py")).args([host, number]);
        command.args([&lab.certificate.certificate, &lab.certificate.key]);
        let process = Process::start(&mut command)?;
        let port = process
            .wait_stdout("ACCEPT", |line| line.strip_prefix("ACCEPT ")?.trim().parse().ok())?;
        Ok(Self { process, host, port })
    }

    /// Its address, as a client that connects to it by the loopback of its own family sees it.
    fn address(&self) -> String {
        match self.host {
            "::1" => format!("[::1]:{}", self.port),
            _ => format!("127.0.0.1:{}", self.port),
        }
    }

    /// The connection with this number, from 0.
    fn met(&self, number: usize) -> Result<Met> {
        let count = std::cell::Cell::new(0);
        self.process.wait_stdout("MET", |line| {
            let (address, name) = line.strip_prefix("MET ")?.split_once(' ')?;
            let is_it = count.replace(count.get() + 1) == number;
            let name = Some(name.to_owned()).filter(|name| name != "-");
            is_it.then(|| Met { address: address.to_owned(), name })
        })
    }
}

/// A client, and what is to be known of its sessions.
struct Client {
    command: Command,
    times: usize,
    name: Option<&'static str>,
    /// Its TLS library does the reading and writing of its socket, and so knows it.
    knows_its_socket: bool,
}

/// What was captured while `clients` shook hands with one server after the other is what both ends say.
fn check(
    lab: &Lab,
    host: &'static str,
    options: &[&str],
    clients: impl Fn(&Server, Version) -> Vec<Client>,
) -> Result<()> {
    let servers = VERSIONS.map(|version| Server::start(lab, host, version));
    let servers: Vec<Server> = servers.into_iter().collect::<Result<_>>()?;
    let mut tlskeytop = Tlskeytop::json(lab, ["--all"].iter().chain(options))?;
    let mut expected = Vec::new();
    for (server, version) in servers.iter().zip(VERSIONS) {
        let mut number = 0;
        for mut client in clients(server, version) {
            let mut process = Process::start(&mut client.command)?;
            process.say("go")?;
            process.close_stdin();
            let ended = process.wait()?;
            ensure!(ended.status.success(), "{:?}: {}", client.command, ended.stderr);
            for _ in 0..client.times {
                expected.push((
                    server,
                    process.pid(),
                    client.name,
                    client.knows_its_socket,
                    server.met(number)?,
                ));
                number += 1;
            }
        }
    }
    let ended = tlskeytop.interrupt()?;
    ensure!(ended.code() == Some(0), "{}", ended.status);
    ensure!(Summary::parse(&ended.stderr)?.lost == 0);
    let sessions = Sessions::parse(&ended.stdout)?;
    for (server, pid, name, knows, met) in expected {
        ensure!(met.name.as_deref() == name, "the server was asked for {:?}", met.name);
        let of = sessions.all().filter(|session| session["pid"] == server.process.pid());
        let met_it: Vec<&Value> =
            of.filter(|session| session["peer"] == met.address.as_str()).collect();
        let [at_server] = met_it[..] else {
            anyhow::bail!("{} sessions of the server with {}", met_it.len(), met.address);
        };
        ensure!(at_server["server_name"].as_str() == name, "{at_server}");
        ensure!(at_server["role"] == "server", "{at_server}");
        let random = at_server["client_random"].as_str().context("client_random")?;
        let both = sessions.of(random);
        let at_client = both.into_iter().find(|session| session["pid"] == pid);
        let at_client = at_client.with_context(|| format!("no session of the client {pid}"))?;
        ensure!(at_client["server_name"].as_str() == name, "{at_client}");
        ensure!(at_client["role"] == "client", "{at_client}");
        let address = knows.then(|| server.address());
        ensure!(at_client["peer"].as_str() == address.as_deref(), "{at_client}");
    }
    Ok(())
}

/// A client script of tests/peers that asks for localhost.
fn script(lab: &Lab, interpreter: &Path, script: &str, server: &Server, knows: bool) -> Client {
    const TIMES: usize = 2;
    let mut command = Command::new(interpreter);
    command.arg(peer_script(script)).arg(&lab.certificate.certificate);
    command.args([TIMES.to_string(), server.port.to_string()]);
    Client { command, times: TIMES, name: Some("localhost"), knows_its_socket: knows }
}

fn s_client(server: &Server, version: Version, name: Option<&'static str>) -> Client {
    let mut command = Command::new("openssl");
    command.args([
        "s_client",
        "-quiet",
        "-no_ign_eof",
        "-connect",
        &server.address(),
        version.openssl(),
    ]);
    match name {
        Some(name) => command.args(["-servername", name]),
        None => command.arg("-noservername"),
    };
    Client { command, times: 1, name, knows_its_socket: true }
}

#[test]
fn openssl_and_python_on_each_family_and_by_each_way() -> Result<()> {
    let Some(lab) = Lab::open()? else {
        return Ok(());
    };
    // Long, but a name: three labels of 63 letters.
    let long: &'static str = Box::leak(format!("{0}.{0}.{0}.example", "a".repeat(63)).into());
    for options in [&[][..], &["--method", "walk"]] {
        check(&lab, "127.0.0.1", options, |server, version| {
            vec![
                s_client(server, version, Some("some.example.org")),
                s_client(server, version, None),
                s_client(server, version, Some(long)),
                script(&lab, PYTHON.as_ref(), "client_ssl.py", server, true),
                script(&lab, PYTHON.as_ref(), "client_resume.py", server, true),
            ]
        })
        .with_context(|| format!("{options:?}"))?;
    }
    check(&lab, "::1", &[], |server, version| {
        vec![s_client(server, version, Some("six.example.org")), s_client(server, version, None)]
    })
}

#[test]
fn an_address_that_is_mapped_is_shown_as_what_it_is() -> Result<()> {
    let Some(lab) = Lab::open()? else {
        return Ok(());
    };
    // The server's socket is of IPv6, and its client's of IPv4.
    check(&lab, "::", &[], |server, version| {
        let mut command = Command::new("openssl");
        let address = format!("127.0.0.1:{}", server.port);
        command.args([
            "s_client",
            "-quiet",
            "-no_ign_eof",
            "-connect",
            &address,
            version.openssl(),
        ]);
        command.args(["-servername", "mapped.example.org"]);
        vec![Client { command, times: 1, name: Some("mapped.example.org"), knows_its_socket: true }]
    })
}
