//! rustls: uv, with its labels in the code, and deno, with a table of them and without an unwind table; both stripped.

use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;
use tlskeytop_tests::{
    Bench, Certificate, Lab, PYTHON, Process, Protocol, Tlskeytop, VERSIONS, check_whole,
    peer_script, program, scan_of, whole_truth,
};

const TIMES: usize = 2;

/// A lab whose certificate is not a CA's: rustls takes no other from a server.
fn lab() -> Result<Option<Lab>> {
    let Some(mut lab) = Lab::open()? else {
        return Ok(None);
    };
    lab.certificate = Certificate::make_leaf(lab.folder())?;
    Ok(Some(lab))
}

fn bench() -> Result<Option<Bench>> {
    lab()?.map(|lab| Bench::in_lab(lab, Protocol::Http)).transpose()
}

#[test]
fn uv_as_a_client() -> Result<()> {
    let (Some(bench), Some(uv)) = (bench()?, program("old/uv-0.13.9/bin/uv")?) else {
        return Ok(());
    };
    let mut client = bench.client(PYTHON.as_ref(), "client_uv.py", TIMES);
    bench.attach_then_start(&[&uv], client.env("UV", &uv), TIMES)
}

/// `deno run` of a script, with all that deno keeps in the lab.
fn deno(lab: &Lab, script: &str) -> Result<Option<Command>> {
    Ok(program("old/deno-2.9.8/bin/deno")?.map(|deno| {
        let mut command = Command::new(deno);
        command.args(["run", "--quiet", "--no-config", "-A"]).arg(peer_script(script));
        command.env("DENO_DIR", lab.path("deno")).env("DENO_NO_UPDATE_CHECK", "1");
        command
    }))
}

#[test]
fn deno_as_a_client() -> Result<()> {
    let Some(bench) = bench()? else {
        return Ok(());
    };
    let Some(mut client) = deno(&bench.lab, "client_deno.mjs")? else {
        return Ok(());
    };
    client.arg(&bench.lab.certificate.certificate).arg(TIMES.to_string());
    client.args(bench.peers.iter().map(|peer| peer.port().to_string()));
    bench.start_then_attach(&mut client, TIMES)
}

#[test]
fn deno_as_a_server() -> Result<()> {
    let Some(lab) = lab()? else {
        return Ok(());
    };
    let Some(mut server) = deno(&lab, "server_deno.mjs")? else {
        return Ok(());
    };
    server.args([&lab.certificate.certificate, &lab.certificate.key]);
    let server = Process::start(&mut server)?;
    let address = server.wait_stdout("ACCEPT ADDRESS", |line| {
        line.strip_prefix("ACCEPT ").map(|address| address.trim().to_owned())
    })?;
    let images = scan_of(&lab, server.pid())?;
    let is_named = |image: &Value| {
        let (library, version) = (&image["library"], &image["version"]);
        (library, version, &image["method"]) == (&"rustls".into(), &"0.23.40".into(), &"tap".into())
    };
    ensure!(images.iter().any(is_named), "{images:?}");
    let tlskeytop = Tlskeytop::keylog(&lab, ["--pid", &server.pid().to_string()])?;
    let truth = lab.path("truth-of-the-client");
    for version in VERSIONS {
        for _ in 0..TIMES {
            let mut client = Command::new("openssl");
            client
                .args(["s_client", "-ign_eof", "-ignore_unexpected_eof", "-connect", &address])
                .args([version.openssl(), "-keylogfile"])
                .arg(&truth);
            Process::run_ok(&mut client)?;
        }
    }
    let truth = whole_truth(&truth, VERSIONS.len() * TIMES)?;
    let (ours, summary) = tlskeytop.stop()?;
    ensure!(summary.conflicts == 0, "{summary:?}");
    check_whole(&ours, &truth).context("deno as a server")
}
