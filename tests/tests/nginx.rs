//! nginx as the server; the truth is the client's own key log.

use anyhow::{Context, Result, ensure};
use tlskeytop_tests::{
    Capture, Lab, Nginx, Process, Tlskeytop, VERSIONS, check_capture, curl, decrypted_http,
    whole_truth,
};

const TIMES: usize = 3;

#[test]
fn secrets_of_the_server_are_the_truth_and_tshark_decrypts() -> Result<()> {
    let Some(lab) = Lab::open()? else {
        return Ok(());
    };
    let nginx = Nginx::start(&lab)?;
    let ports = VERSIONS.map(|version| nginx.port(version));
    let captures: Vec<Capture> =
        ports.iter().map(|&port| Capture::start(&lab, port)).collect::<Result<_>>()?;
    // curl is not chosen: what is captured comes from nginx.
    let tlskeytop = Tlskeytop::keylog(&lab, ["--name", "nginx"])?;
    ensure!(tlskeytop.targets >= 1, "nginx runs and is no target");
    let keylog = tlskeytop.keylog_path().to_owned();
    for port in ports {
        let truth = lab.path(&format!("truth-{port}"));
        for number in 0..TIMES {
            let reply = Process::run_ok(
                curl(&lab, port, &format!("page-{number}")).env("SSLKEYLOGFILE", &truth),
            )?;
            ensure!(reply.stdout == "hello");
        }
    }
    let (ours, _) = tlskeytop.stop()?;
    for capture in captures {
        let (pcap, port) = capture.stop()?;
        let truth = whole_truth(&lab.path(&format!("truth-{port}")), TIMES)?;
        check_capture(&ours, &truth).with_context(|| format!("port {port}"))?;
        let requests = decrypted_http(&pcap, port, &keylog)?;
        let expected: Vec<String> = (0..TIMES).map(|n| format!("GET /page-{n}")).collect();
        ensure!(requests == expected, "tshark shows {requests:?}");
    }
    Ok(())
}
