//! Who is not chosen is not captured: neither the other client nor the server, which uses the same library.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use rustix::process::Signal;
use tlskeytop_tests::{
    Bench, KeyLog, LIBSSL, OwnCurl, PYTHON, Process, Protocol, Sessions, Tlskeytop, private_libssl,
    until,
};

/// A client that waits, its library loaded.
fn waiting(client: &mut Command) -> Result<Process> {
    let client = Process::start(client)?;
    client.wait_stdout("waiting", |line| (line == "waiting").then_some(()))?;
    Ok(client)
}

fn python(bench: &Bench) -> Result<Process> {
    waiting(&mut bench.client(Path::new(PYTHON), "client_ssl.py", 1))
}

/// Lets a waiting client shake hands with each peer.
fn shake_hands(mut client: Process) -> Result<()> {
    client.say("go")?;
    ensure!(client.wait()?.status.success(), "the client");
    Ok(())
}

/// One request to each peer from this curl, with the libraries of this folder before the system's.
fn request(bench: &Bench, curl: &OwnCurl, libraries: Option<&Path>) -> Result<()> {
    for peer in &bench.peers {
        let mut command = curl.request(&bench.lab, peer.port(), "");
        command.envs(libraries.map(|folder| ("LD_LIBRARY_PATH", folder)));
        Process::run_ok(&mut command)?;
    }
    Ok(())
}

/// The peers' key logs when each has had this many handshakes.
fn truths(bench: &Bench, handshakes: usize) -> Result<Vec<KeyLog>> {
    bench.peers.iter().map(|peer| peer.whole_truth(handshakes)).collect()
}

#[test]
fn pid_keeps_the_other_client_and_the_server_out() -> Result<()> {
    let Some(bench) = Bench::open(Protocol::Http)? else {
        return Ok(());
    };
    let (chosen, other) = (python(&bench)?, python(&bench)?);
    let tlskeytop = Tlskeytop::keylog(&bench.lab, ["--pid", &chosen.pid().to_string()])?;
    shake_hands(chosen)?;
    let chosen = truths(&bench, 1)?;
    shake_hands(other)?;
    truths(&bench, 2)?;
    tlskeytop.captured_only(&chosen)
}

#[test]
fn image_keeps_the_other_client_and_the_server_out() -> Result<()> {
    let Some(bench) = Bench::open(Protocol::Http)? else {
        return Ok(());
    };
    let libraries = private_libssl(&bench.lab, "own")?;
    let chosen = OwnCurl::copy(&bench.lab)?;
    let other = OwnCurl::copy_as(&bench.lab, "other")?;
    let image = libraries.join("libssl.so.3");
    let tlskeytop = Tlskeytop::keylog(&bench.lab, [Path::new("--image"), &image])?;
    request(&bench, &chosen, Some(&libraries))?;
    let truth = truths(&bench, 1)?;
    request(&bench, &other, None)?;
    truths(&bench, 2)?;
    tlskeytop.captured_only(&truth)
}

/// The same program with another library, and another program with the same library: neither is both.
#[test]
fn image_narrows_name() -> Result<()> {
    let Some(bench) = Bench::open(Protocol::Http)? else {
        return Ok(());
    };
    let libraries = private_libssl(&bench.lab, "other")?;
    let chosen = OwnCurl::copy(&bench.lab)?;
    let other = OwnCurl::copy_as(&bench.lab, "other")?;
    let args = ["--name", &chosen.name, "--image", LIBSSL];
    let tlskeytop = Tlskeytop::keylog(&bench.lab, args)?;
    request(&bench, &chosen, None)?;
    let truth = truths(&bench, 1)?;
    request(&bench, &chosen, Some(&libraries))?;
    request(&bench, &other, None)?;
    truths(&bench, 3)?;
    tlskeytop.captured_only(&truth)
}

/// Starts clients until one has the process id that another had.
fn start_with_pid(pid: u32, command: &mut Command) -> Result<Process> {
    until("a process with the old process id", || {
        // The next process id is one more: pid_namespaces(7).
        std::fs::write("/proc/sys/kernel/ns_last_pid", (pid - 1).to_string())
            .context("ns_last_pid")?;
        let process = Process::start(command)?;
        Ok((process.pid() == pid).then_some(process))
    })
}

#[test]
fn a_reused_pid_is_another_process() -> Result<()> {
    let Some(bench) = Bench::open(Protocol::Http)? else {
        return Ok(());
    };
    let (mut dies, lives) = (python(&bench)?, python(&bench)?);
    let pid = dies.pid();
    let args = ["--pid".to_owned(), pid.to_string(), "--pid".to_owned(), lives.pid().to_string()];
    let tlskeytop = Tlskeytop::keylog(&bench.lab, args)?;
    dies.signal(Signal::KILL)?;
    dies.wait()?;
    let mut client = bench.client(Path::new(PYTHON), "client_ssl.py", 1);
    // It shakes hands at once, long before anything looks at the list of processes again.
    shake_hands(start_with_pid(pid, &mut client)?)?;
    let others = truths(&bench, 1)?;
    shake_hands(lives)?;
    let mut both = truths(&bench, 2)?;
    for (both, other) in both.iter_mut().zip(&others) {
        both.remove(&other.client_randoms());
    }
    tlskeytop.captured_only(&both)
}

/// Python shakes hands over TLS 1.2 and at once becomes this curl, which does over TLS 1.3.
fn python_becomes(bench: &Bench, own: &OwnCurl) -> Result<u32> {
    let [tls13, tls12] = &bench.peers[..] else {
        unreachable!("a peer for each version");
    };
    let request = own.request(&bench.lab, tls13.port(), "");
    let mut command = Command::new(PYTHON);
    command
        .arg(tlskeytop_tests::peer_script("client_exec.py"))
        .arg(&bench.lab.certificate.certificate)
        .args(["1", &tls12.port().to_string(), "--"])
        .arg(own.program())
        .args(request.get_args());
    let client = waiting(&mut command)?;
    let pid = client.pid();
    shake_hands(client)?;
    Ok(pid)
}

#[test]
fn after_exec_the_new_name_counts() -> Result<()> {
    let Some(bench) = Bench::open(Protocol::Http)? else {
        return Ok(());
    };
    let own = OwnCurl::copy(&bench.lab)?;
    let tlskeytop = Tlskeytop::keylog(&bench.lab, ["--name", &own.name])?;
    python_becomes(&bench, &own)?;
    let truth = truths(&bench, 1)?;
    tlskeytop.captured_only(&truth[..1])
}

#[test]
fn after_exec_json_shows_each_program_with_its_session() -> Result<()> {
    let Some(bench) = Bench::open(Protocol::Http)? else {
        return Ok(());
    };
    let own = OwnCurl::copy(&bench.lab)?;
    let mut tlskeytop = Tlskeytop::json(&bench.lab, ["--all"])?;
    let pid = python_becomes(&bench, &own)?;
    let truth = truths(&bench, 1)?;
    let ended = tlskeytop.interrupt()?;
    ensure!(ended.code() == Some(0), "{}", ended.status);
    let sessions = Sessions::parse(&ended.stdout)?;
    let python = std::fs::canonicalize(PYTHON)?;
    let expected = [(&*own.name, own.program()), ("python3", &python)];
    for (truth, (comm, exe)) in truth.iter().zip(expected) {
        let both = sessions.of(truth.client_randoms()[0]);
        let client = both.iter().find(|session| session["pid"] == pid).context("no client")?;
        ensure!(client["comm"] == comm, "{client} and not {comm}");
        // Null when it had ended before it was looked at; never that of the program before.
        let ended = client["exe"].is_null();
        let right = ended || client["exe"] == *exe.to_string_lossy();
        ensure!(right, "{client} and not {}", exe.display());
    }
    Ok(())
}
