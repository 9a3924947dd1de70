//! NSS: Debian's, which has no key log and keeps its keys in softoken, as client and as server; and the one that
//! Firefox brings.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use tlskeytop_tests::{
    Bench, Certificate, Firefox, KeyLog, Lab, PYTHON, Peer, Process, Protocol, Tlskeytop, VERSIONS,
    check_capture, peer_script, scan_of, until, whole_truth,
};

/// Debian's NSS.
const LIBSSL3: &str = "/usr/lib/x86_64-linux-gnu/libssl3.so";
/// Handshakes over each TLS version.
const TIMES: usize = 3;
/// Threads of `client_nss_threads.py`.
const THREADS: usize = 4;

#[test]
fn a_client_that_is_attached_to() -> Result<()> {
    let Some(bench) = Bench::open(Protocol::Http)? else {
        return Ok(());
    };
    bench.start_then_attach(&mut bench.client(Path::new(PYTHON), "client_nss.py", TIMES), TIMES)
}

/// The user names libssl3 alone: softoken goes with it, and is there before anybody maps it.
#[test]
fn a_client_that_is_started_later() -> Result<()> {
    let Some(bench) = Bench::open(Protocol::Http)? else {
        return Ok(());
    };
    let mut client = bench.client(Path::new(PYTHON), "client_nss.py", TIMES);
    bench.attach_then_start(&[Path::new(LIBSSL3)], &mut client, TIMES)
}

/// Handles are given out by all threads at once, and a resumed session of TLS 1.2 has a key that was unwrapped.
#[test]
fn threads_that_resume_their_sessions() -> Result<()> {
    let Some(bench) = Bench::open(Protocol::Http)? else {
        return Ok(());
    };
    let times = TIMES * THREADS;
    let mut client = bench.client(Path::new(PYTHON), "client_nss_threads.py", TIMES);
    bench.start_then_attach(&mut client, times)?;
    let truth = bench.peers[1].whole_truth(times)?;
    let masters: std::collections::BTreeSet<&str> = truth
        .client_randoms()
        .into_iter()
        .filter_map(|random| truth.secret(random, "CLIENT_RANDOM"))
        .collect();
    ensure!(masters.len() < times, "no session was resumed");
    Ok(())
}

/// Its private key is in another slot of softoken than the keys of its sessions: each counts its own handles.
#[test]
fn a_server() -> Result<()> {
    let Some(lab) = Lab::open()? else {
        return Ok(());
    };
    let mut server = Command::new(PYTHON);
    server
        .arg(peer_script("server_nss.py"))
        .args([&lab.certificate.certificate, &lab.certificate.key]);
    let server = Process::start(&mut server)?;
    let address = server.wait_stdout("ACCEPT ADDRESS", |line| {
        line.strip_prefix("ACCEPT ").map(|address| address.trim().to_owned())
    })?;
    let tlskeytop = Tlskeytop::keylog(&lab, ["--pid", &server.pid().to_string()])?;
    ensure!(tlskeytop.targets == 1, "{} targets", tlskeytop.targets);
    let truth = lab.path("truth-of-the-client");
    for version in VERSIONS {
        for _ in 0..TIMES {
            let mut client = Command::new("openssl");
            client
                .args(["s_client", "-ign_eof", "-connect", &address, version.openssl()])
                .arg("-keylogfile")
                .arg(&truth);
            Process::run_ok(&mut client)?;
        }
    }
    let truth = whole_truth(&truth, VERSIONS.len() * TIMES)?;
    let (ours, summary) = tlskeytop.stop()?;
    ensure!(summary.conflicts == 0, "{summary:?}");
    check_capture(&ours, &truth)
}

#[test]
fn the_scan_names_both_files() -> Result<()> {
    let Some(bench) = Bench::open(Protocol::Http)? else {
        return Ok(());
    };
    let client = bench.client(Path::new(PYTHON), "client_nss.py", 1);
    let client = Process::start(&mut { client })?;
    client.wait_stdout("waiting", |line| (line == "waiting").then_some(()))?;
    let images = scan_of(&bench.lab, client.pid())?;
    for file in ["libssl3.so", "libsoftokn3.so"] {
        let image = images.iter().map(ToString::to_string).find(|image| image.contains(file));
        let image = image.with_context(|| format!("{file} is not in {images:?}"))?;
        ensure!(image.contains("NSS") && image.contains("3."), "{image}");
    }
    Ok(())
}

#[test]
fn firefox() -> Result<()> {
    let Some(mut lab) = Lab::open()? else {
        return Ok(());
    };
    let (certificate, authority) = Certificate::make_signed(lab.folder())?;
    lab.certificate = certificate;
    let Some(firefox) = Firefox::new(&lab, &authority)? else {
        return Ok(());
    };
    let start = |version| Peer::start(&lab, Protocol::Http, version);
    let peers = VERSIONS.into_iter().map(start).collect::<Result<Vec<_>>>()?;
    let libssl = firefox.libssl.as_os_str();
    let tlskeytop = Tlskeytop::keylog(&lab, ["--image".as_ref(), libssl])?;
    for peer in &peers {
        Process::run_ok(&mut firefox.load(&peer.url("")))?;
    }
    let mut truth = KeyLog::default();
    for peer in &peers {
        truth.merge(any_truth(peer)?)?;
    }
    let (ours, summary) = tlskeytop.stop()?;
    ensure!(summary.conflicts == 0, "{summary:?}");
    check_capture(&ours, &truth)
}

/// A browser shakes hands as often as it likes.
fn any_truth(peer: &Peer) -> Result<KeyLog> {
    until("a whole truth", || Ok((1..10).find_map(|handshakes| peer.truth_now(handshakes).ok())))
}
