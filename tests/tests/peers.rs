//! Whom a session is with: the server name and the address of the peer, beside what both ends know themselves. What an
//! end's library does not know of its socket stays null.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use tlskeytop_tests::{
    LIBSSL, Lab, Nginx, PYTHON, Peer, Process, Protocol, Sessions, Summary, Tlskeytop, VERSIONS,
    Version, curl, peer_script, program, shared_library, whole_truth,
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
        self.process.wait_stdout("MET", |line| {
            let line = line.strip_prefix(&format!("MET {number} "))?;
            let (address, name) = line.split_once(' ')?;
            let name = Some(name.to_owned()).filter(|name| name != "-");
            Some(Met { address: address.to_owned(), name })
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
    // What the probes know by themselves.
    let mut tlskeytop = Tlskeytop::json(lab, ["--all", "--no-wire"].iter().chain(options))?;
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
fn programs_with_a_library_of_their_own() -> Result<()> {
    let Some(lab) = Lab::open()? else {
        return Ok(());
    };
    let Some(python) = program("venv/bin/python")? else {
        return Ok(());
    };
    let Some(node) = program("npm/node_modules/node18/bin/node")? else {
        return Ok(());
    };
    let mut images = Vec::new();
    for image in ["pycurl.libs/libssl-", "cryptography/hazmat/bindings/_rust", "curl_cffi/_wrapper"]
    {
        let Some(image) = shared_library(image)? else {
            return Ok(());
        };
        images.push(image);
    }
    images.extend([LIBSSL.into(), node.clone()]);
    let options: Vec<&str> =
        images.iter().filter_map(|image| image.to_str()).flat_map(|i| ["--image", i]).collect();
    check(&lab, "127.0.0.1", &options, |server, _| {
        let mut own = curl(&lab, server.port, "");
        own.args(["--http1.0", "--output", "/dev/null"]);
        let own =
            Client { command: own, times: 1, name: Some("localhost"), knows_its_socket: false };
        vec![
            // Whose library reads and writes by functions of theirs: what is behind those is not guessed.
            own,
            script(&lab, &python, "client_pycurl.py", server, false),
            script(&lab, &python, "client_curl_cffi.py", server, false),
            script(&lab, &node, "client_node.js", server, false),
            script(&lab, &python, "client_pyopenssl.py", server, true),
        ]
    })
}

#[test]
fn libpq_has_a_bio_of_its_own_with_the_descriptor_of_its_socket() -> Result<()> {
    let Some(lab) = Lab::open()? else {
        return Ok(());
    };
    let Some(python) = program("venv/bin/python")? else {
        return Ok(());
    };
    let Some(image) = shared_library("psycopg2_binary.libs/libssl-")? else {
        return Ok(());
    };
    let peer = Peer::start(&lab, Protocol::Postgres, Version::Tls13)?;
    let image = image.to_str().context("path")?;
    let mut tlskeytop = Tlskeytop::json(&lab, ["--no-wire", "--image", image])?;
    let mut client = Command::new(python);
    client.arg(peer_script("client_psycopg2.py")).arg(&lab.certificate.certificate);
    client.args(["1", &peer.port().to_string()]);
    let mut client = Process::start(&mut client)?;
    client.say("go")?;
    ensure!(client.wait()?.status.success());
    let sessions = Sessions::parse(&tlskeytop.interrupt()?.stdout)?;
    let truth = peer.whole_truth(1)?;
    let session = sessions.of(truth.client_randoms()[0]);
    let [session] = session[..] else { anyhow::bail!("{} sessions", session.len()) };
    ensure!(session["server_name"] == "localhost", "{session}");
    ensure!(session["peer"] == format!("127.0.0.1:{}", peer.port()), "{session}");
    Ok(())
}

#[test]
fn nginx_knows_what_its_clients_asked_for() -> Result<()> {
    let Some(lab) = Lab::open()? else {
        return Ok(());
    };
    let nginx = Nginx::start(&lab)?;
    let mut tlskeytop = Tlskeytop::json(&lab, ["--no-wire", "--image", LIBSSL])?;
    let mut expected = Vec::new();
    for version in VERSIONS {
        let address = format!("127.0.0.1:{}", nginx.port(version));
        for name in [Some("www.example.org"), None] {
            let truth = lab.path(&format!("truth-{version:?}-{name:?}"));
            let mut client = Command::new("openssl");
            client.args(["s_client", "-connect", &address, "-keylogfile"]).arg(&truth);
            match name {
                Some(name) => client.args(["-servername", name]),
                None => client.arg("-noservername"),
            };
            Process::run_ok(&mut client)?;
            expected.push((whole_truth(&truth, 1)?, name, address.clone()));
        }
    }
    let sessions = Sessions::parse(&tlskeytop.interrupt()?.stdout)?;
    for (truth, name, address) in expected {
        let both = sessions.of(truth.client_randoms()[0]);
        ensure!(both.len() == 2, "{} sessions", both.len());
        for session in both {
            ensure!(session["server_name"].as_str() == name, "{session}");
            let peer = session["peer"].as_str().context("peer")?;
            match session["comm"] == "nginx" {
                true => ensure!(peer.starts_with("127.0.0.1:") && peer != address, "{session}"),
                false => ensure!(peer == address, "{session}"),
            }
        }
    }
    Ok(())
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
