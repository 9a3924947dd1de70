//! curl with Debian's OpenSSL: the first path, from a live handshake to a decrypted capture.

use anyhow::{Result, ensure};
use tlskeytop_tests::{Bench, Capture, Process, Protocol, Tlskeytop, curl, decrypted_http};

const TIMES: usize = 3;

#[test]
fn secrets_are_the_truth_and_tshark_decrypts() -> Result<()> {
    let Some(bench) = Bench::open(Protocol::Http)? else {
        return Ok(());
    };
    let captures: Vec<Capture> = bench
        .peers
        .iter()
        .map(|peer| Capture::start(&bench.lab, peer.port()))
        .collect::<Result<_>>()?;
    // The server is a process of its own and not chosen: what is captured comes from curl.
    let tlskeytop = Tlskeytop::keylog(&bench.lab, ["--name", "curl"])?;
    let keylog = tlskeytop.keylog_path().to_owned();
    for peer in &bench.peers {
        for number in 0..TIMES {
            Process::run_ok(&mut curl(&bench.lab, peer.port(), &format!("secret-{number}")))?;
        }
    }
    bench.check(tlskeytop, TIMES)?;
    for capture in captures {
        let (pcap, port) = capture.stop()?;
        let requests = decrypted_http(&pcap, port, &keylog)?;
        let expected: Vec<String> = (0..TIMES).map(|n| format!("GET /secret-{n}")).collect();
        ensure!(requests == expected, "tshark shows {requests:?}");
        // And it is the key log that opens them.
        ensure!(decrypted_http(&pcap, port, "/dev/null".as_ref())?.is_empty());
    }
    Ok(())
}

#[test]
fn no_option_in_keylog_mode_means_all() -> Result<()> {
    let Some(bench) = Bench::open(Protocol::Http)? else {
        return Ok(());
    };
    let none: [&str; 0] = [];
    let tlskeytop = Tlskeytop::keylog(&bench.lab, none)?;
    for peer in &bench.peers {
        Process::run_ok(&mut curl(&bench.lab, peer.port(), ""))?;
    }
    bench.check(tlskeytop, 1)
}
