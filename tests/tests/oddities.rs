//! Files that are not simply there: replaced, deleted, with two names, below another root, never on a disk at all.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use tlskeytop_tests::{
    Bench, CClient, KeyLog, LIBSSL, Linked, PYTHON, Peer, Process, Protocol, Root, Sessions,
    Tlskeytop, check_capture, check_whole, old_library, peer_script, private_libssl, until,
};

/// A client that gets its libssl from this folder, and waits.
fn holder(bench: &Bench, client: &CClient, libraries: &Path, peer: &Peer) -> Result<Process> {
    let mut command = client.command(&bench.lab.certificate.certificate, peer);
    CClient::start(command.env("LD_LIBRARY_PATH", libraries))
}

fn peers(bench: &Bench) -> [&Peer; 2] {
    match &bench.peers[..] {
        [one, other] => [one, other],
        _ => unreachable!("a peer for each version"),
    }
}

/// Attaches to these clients, lets each shake hands once with its peer, and everything is captured, once.
fn both_are_captured(bench: &Bench, clients: [&mut Process; 2]) -> Result<()> {
    let pids = [clients[0].pid().to_string(), clients[1].pid().to_string()];
    let tlskeytop = Tlskeytop::keylog(&bench.lab, ["--pid", &pids[0], "--pid", &pids[1]])?;
    ensure!(tlskeytop.targets == 2, "{} targets", tlskeytop.targets);
    for client in clients {
        CClient::shake_hands(client)?;
    }
    let (ours, summary) = tlskeytop.stop()?;
    for peer in &bench.peers {
        check_capture(&ours, &peer.whole_truth(1)?)?;
    }
    ensure!(summary.duplicates == 0, "{summary:?}");
    Ok(())
}

/// The same for one, that shakes hands with the first peer.
fn is_captured(bench: &Bench, pid: u32, client: &mut Process) -> Result<()> {
    let tlskeytop = Tlskeytop::keylog(&bench.lab, ["--pid", &pid.to_string()])?;
    ensure!(tlskeytop.targets == 1, "{} targets", tlskeytop.targets);
    CClient::shake_hands(client)?;
    let (ours, summary) = tlskeytop.stop()?;
    let truth = bench.peers[0].whole_truth(1)?;
    check_capture(&ours, &truth)?;
    ensure!(summary.secrets == truth.lines() as u64 && summary.duplicates == 0, "{summary:?}");
    Ok(())
}

/// Whether one of the handshakes of `truth` is there, with all its lines.
fn has_a_whole_handshake(tlskeytop: &Tlskeytop, truth: &KeyLog) -> Result<Option<()>> {
    let ours = KeyLog::truth(tlskeytop.keylog_path())?;
    let is_whole = |random: &&str| ours.labels(random) == truth.labels(random);
    Ok(truth.client_randoms().iter().any(is_whole).then_some(()))
}

/// An upgrade: a new file is renamed over the one that a process still maps.
#[test]
fn a_library_that_was_replaced_and_its_successor() -> Result<()> {
    let Some(bench) = Bench::open(Protocol::Http)? else {
        return Ok(());
    };
    let Some(client) = CClient::build(&bench.lab, Linked::Dynamically)? else {
        return Ok(());
    };
    let [one, other] = peers(&bench);
    let libraries = private_libssl(&bench.lab, "libraries")?;
    let new = private_libssl(&bench.lab, "new")?;
    let mut old_holder = holder(&bench, &client, &libraries, one)?;
    fs::rename(new.join("libssl.so.3"), libraries.join("libssl.so.3"))?;
    let mut new_holder = holder(&bench, &client, &libraries, other)?;
    both_are_captured(&bench, [&mut old_holder, &mut new_holder])
}

/// The same while both are captured already: the one goes on, the other is found.
#[test]
fn an_upgrade_while_it_is_captured() -> Result<()> {
    let Some(bench) = Bench::open(Protocol::Http)? else {
        return Ok(());
    };
    let Some(client) = CClient::build(&bench.lab, Linked::Dynamically)? else {
        return Ok(());
    };
    let name = format!("client-{}", std::process::id());
    let client = client.copy(&bench.lab.path(&name))?;
    let [one, other] = peers(&bench);
    let libraries = private_libssl(&bench.lab, "libraries")?;
    let new = private_libssl(&bench.lab, "new")?;
    let mut old_holder = holder(&bench, &client, &libraries, one)?;
    let tlskeytop = Tlskeytop::keylog(&bench.lab, ["--name", &name])?;
    CClient::shake_hands(&mut old_holder)?;
    fs::rename(new.join("libssl.so.3"), libraries.join("libssl.so.3"))?;
    let mut new_holder = holder(&bench, &client, &libraries, other)?;
    // It is attached in its time; the probes of the other one are there already.
    let mut handshakes = 0;
    until("a whole handshake by the new library", || {
        CClient::shake_hands(&mut new_holder)?;
        handshakes += 1;
        let truth = other.whole_truth(handshakes)?;
        has_a_whole_handshake(&tlskeytop, &truth)
    })?;
    CClient::shake_hands(&mut old_holder)?;
    let (ours, summary) = tlskeytop.stop()?;
    check_capture(&ours, &one.whole_truth(2)?)?;
    // Of the new one's handshakes the first ones may be missing; what is there is the truth.
    let mut both = other.whole_truth(handshakes)?;
    let lines = both.lines();
    let mut of_other = ours;
    of_other.remove(&one.whole_truth(2)?.client_randoms());
    both.merge(of_other)?;
    ensure!(both.lines() == lines, "lines that are not in the truth");
    ensure!(summary.duplicates == 0 && summary.conflicts == 0, "{summary:?}");
    Ok(())
}

#[test]
fn deleted_libraries() -> Result<()> {
    let Some(bench) = Bench::open(Protocol::Http)? else {
        return Ok(());
    };
    let Some(client) = CClient::build(&bench.lab, Linked::Dynamically)? else {
        return Ok(());
    };
    let [one, other] = peers(&bench);
    let mut holders = Vec::new();
    for (name, peer) in [("first", one), ("second", other)] {
        let libraries = private_libssl(&bench.lab, name)?;
        holders.push(holder(&bench, &client, &libraries, peer)?);
        fs::remove_file(libraries.join("libssl.so.3"))?;
    }
    let [first, second] = &mut holders[..] else { unreachable!("two were started") };
    both_are_captured(&bench, [first, second])
}

/// Two names, one inode: one image for the kernel, and each secret comes once.
#[test]
fn hard_links() -> Result<()> {
    let Some(bench) = Bench::open(Protocol::Http)? else {
        return Ok(());
    };
    let Some(client) = CClient::build(&bench.lab, Linked::Dynamically)? else {
        return Ok(());
    };
    let [one, other] = peers(&bench);
    let first = private_libssl(&bench.lab, "first")?;
    let second = bench.lab.path("second");
    fs::create_dir(&second)?;
    fs::hard_link(first.join("libssl.so.3"), second.join("libssl.so.3"))?;
    let mut holders =
        [holder(&bench, &client, &first, one)?, holder(&bench, &client, &second, other)?];
    let [first, second] = &mut holders;
    both_are_captured(&bench, [first, second])
}

/// A client in a mount namespace of its own in which this file is mounted over the system's libssl.
fn bound(bench: &Bench, client: &CClient, over: &Path, peer: &Peer) -> Result<Process> {
    let client = client.command(&bench.lab.certificate.certificate, peer);
    let mut command = Command::new("unshare");
    command
        .args(["--mount", "sh", "-c", "mount --bind \"$0\" \"$1\" && shift && exec \"$@\""])
        .args([over, Path::new(LIBSSL)])
        .arg(client.get_program())
        .args(client.get_args());
    CClient::start(&mut command)
}

/// The path names the system's library, and the mapped file is another one; and one file below two mounts is one.
#[test]
fn bind_mounts() -> Result<()> {
    let Some(bench) = Bench::open(Protocol::Http)? else {
        return Ok(());
    };
    let Some(client) = CClient::build(&bench.lab, Linked::Dynamically)? else {
        return Ok(());
    };
    let [one, other] = peers(&bench);
    let own = private_libssl(&bench.lab, "own")?;
    let file = own.join("libssl.so.3");
    let mut first = bound(&bench, &client, &file, one)?;
    let mut second = bound(&bench, &client, &file, other)?;
    both_are_captured(&bench, [&mut first, &mut second])
}

/// An executable that is in no file system: fexecve(3) of a memfd.
#[test]
fn a_memfd() -> Result<()> {
    let Some(bench) = Bench::open(Protocol::Http)? else {
        return Ok(());
    };
    let Some(client) = CClient::build(&bench.lab, Linked::Statically)? else {
        return Ok(());
    };
    let script = "import os, sys\n\
        memory = os.memfd_create('in memory')\n\
        with open(sys.argv[1], 'rb') as program: os.write(memory, program.read())\n\
        os.execve(memory, sys.argv[1:], os.environ)";
    let client = client.command(&bench.lab.certificate.certificate, &bench.peers[0]);
    let mut command = Command::new(PYTHON);
    command.args(["-c", script]).arg(client.get_program()).args(client.get_args());
    let mut client = CClient::start(&mut command)?;
    let exe = fs::read_link(format!("/proc/{}/exe", client.pid()))?;
    ensure!(exe.starts_with("/memfd:in memory (deleted)"), "{}", exe.display());
    is_captured(&bench, client.pid(), &mut client)
}

#[test]
fn a_deleted_executable() -> Result<()> {
    let Some(bench) = Bench::open(Protocol::Http)? else {
        return Ok(());
    };
    let Some(client) = CClient::build(&bench.lab, Linked::Statically)? else {
        return Ok(());
    };
    let mut command = client.command(&bench.lab.certificate.certificate, &bench.peers[0]);
    let mut process = CClient::start(&mut command)?;
    fs::remove_file(client.program())?;
    is_captured(&bench, process.pid(), &mut process)
}

/// A chosen process becomes a static program that nobody has seen before.
#[test]
fn an_exec_into_another_image() -> Result<()> {
    let Some(bench) = Bench::open(Protocol::Http)? else {
        return Ok(());
    };
    let Some(after) = CClient::build(&bench.lab, Linked::Statically)? else {
        return Ok(());
    };
    let peer = &bench.peers[0];
    let after = after.command(&bench.lab.certificate.certificate, peer);
    let mut command = Command::new("sh");
    command
        .args(["-c", "echo waiting; read line; echo becomes; exec \"$0\" \"$@\""])
        .arg(after.get_program())
        .args(after.get_args());
    let mut client = CClient::start(&mut command)?;
    let tlskeytop = Tlskeytop::keylog(&bench.lab, ["--pid", &client.pid().to_string()])?;
    client.say("go")?;
    until("the other program", || {
        Ok((client.stdout().matches("waiting").count() == 2).then_some(()))
    })?;
    let mut handshakes = 0;
    until("a whole handshake of the new image", || {
        CClient::shake_hands(&mut client)?;
        handshakes += 1;
        let truth = peer.whole_truth(handshakes)?;
        has_a_whole_handshake(&tlskeytop, &truth)
    })?;
    let (ours, _) = tlskeytop.stop()?;
    let mut truth = peer.whole_truth(handshakes)?;
    let lines = truth.lines();
    truth.merge(ours)?;
    ensure!(truth.lines() == lines, "lines that are not in the truth");
    Ok(())
}

/// A chosen process becomes the same program again and again, and shakes hands in each of its lives.
#[test]
fn an_exec_into_itself() -> Result<()> {
    const LIVES: usize = 4;
    let Some(bench) = Bench::open(Protocol::Http)? else {
        return Ok(());
    };
    let peer = &bench.peers[0];
    let mut command = Command::new(PYTHON);
    for life in 1..=LIVES {
        let script = if life < LIVES { "client_exec.py" } else { "client_ssl.py" };
        command.arg(peer_script(script)).arg(&bench.lab.certificate.certificate);
        command.args(["1", &peer.port().to_string()]);
        if life < LIVES {
            command.args(["--", PYTHON]);
        }
    }
    let mut client = CClient::start(&mut command)?;
    let tlskeytop = Tlskeytop::keylog(&bench.lab, ["--pid", &client.pid().to_string()])?;
    for life in 1..=LIVES {
        until("the next life", || {
            Ok((client.stdout().matches("waiting").count() == life).then_some(()))
        })?;
        client.say("go")?;
    }
    ensure!(client.wait()?.status.success());
    let (ours, summary) = tlskeytop.stop()?;
    ensure!(summary.duplicates == 0 && summary.conflicts == 0, "{summary:?}");
    check_whole(&ours, &peer.whole_truth(LIVES)?)
}

/// Two containers, as it were: roots, mount and pid namespaces of their own, one with another version of OpenSSL.
#[test]
fn two_roots_with_different_libraries() -> Result<()> {
    let Some(bench) = Bench::open(Protocol::Http)? else {
        return Ok(());
    };
    let Some(client) = CClient::build(&bench.lab, Linked::Dynamically)? else {
        return Ok(());
    };
    let folder = "psycopg-binary-3.2.4/psycopg_binary.libs";
    let (Some(libssl), Some(libcrypto)) =
        (old_library(&format!("{folder}/libssl-"))?, old_library(&format!("{folder}/libcrypto-"))?)
    else {
        return Ok(());
    };
    let roots = [
        Root::make(&bench.lab, "root-1", client.program())?,
        Root::make(&bench.lab, "root-2", client.program())?,
    ];
    roots[1].replace_openssl(&libssl, &libcrypto)?;
    let mut clients = Vec::new();
    for (root, peer) in roots.iter().zip(&bench.peers) {
        let mut command = root.command(&["/cert.pem", "1", &peer.port().to_string()]);
        let client = CClient::start(&mut command)?;
        let pid = Root::pid(&client)?;
        clients.push((client, pid));
    }
    let [first, second] = &clients[..] else { unreachable!("two were started") };
    let pids = [first.1.to_string(), second.1.to_string()];
    let mut tlskeytop =
        Tlskeytop::json(&bench.lab, ["--save", "--pid", &pids[0], "--pid", &pids[1]])?;
    ensure!(tlskeytop.targets == 2, "{} targets", tlskeytop.targets);
    for (client, _) in &mut clients {
        CClient::shake_hands(client)?;
    }
    let ended = tlskeytop.interrupt()?;
    ensure!(ended.code() == Some(0), "{}", ended.status);
    let ours = KeyLog::strict(tlskeytop.keylog_path())?;
    let sessions = Sessions::parse(&ended.stdout)?;
    let versions = ["OpenSSL 3.0.", "OpenSSL 3.4.0"];
    for (((peer, root), (_, pid)), version) in
        bench.peers.iter().zip(&roots).zip(&clients).zip(versions)
    {
        let truth = peer.whole_truth(1)?;
        check_capture(&ours, &truth)?;
        let found = sessions.of(truth.client_randoms()[0]);
        let [session] = found[..] else {
            anyhow::bail!("{} sessions", found.len());
        };
        // The host's pid; the paths are the target's.
        ensure!(session["pid"] == *pid, "{session} and not {pid}");
        ensure!(session["image"] == *root.libssl().to_string_lossy(), "{session}");
        ensure!(
            session["exe"] == "/bin/client" || session["exe"] == "/usr/bin/client",
            "{session}"
        );
        let library = session["library"].as_str().context("no library")?;
        ensure!(library.starts_with(version), "{session} and not {version}");
    }
    Ok(())
}
