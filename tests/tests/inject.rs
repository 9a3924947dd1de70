//! `tlskeytop inject`: captures of other programs, which then need no key log. What editcap makes of the same is the truth.

use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use rustix::process::Signal;
use tlskeytop_tests::{
    Bench, Capture, KeyLog, Lab, PYTHON, Process, Protocol, Tlskeytop, check_whole, curl,
    http_in_clear, openssl, public_copy, secrets_in, wait_for_connections, whole_truth,
};

const TIMES: usize = 3;
/// Of the client of Python.
const MORE: usize = 2;

/// Adds secrets, and gives the new file with what was said.
fn inject(lab: &Lab, keys: &Path, capture: &Path) -> Result<(PathBuf, String)> {
    let output = capture.with_extension("out.pcapng");
    let mut command = Tlskeytop::command(lab)?;
    command.args(["inject", "--keylog-file"]).arg(keys).arg(capture).arg(&output);
    let ended = Process::run_ok(&mut command)?;
    ensure!(ended.stderr.is_empty(), "{}", ended.stderr);
    ensure!(fs::metadata(&output)?.mode() & 0o7777 == 0o600, "it is not private");
    Process::run_ok(Command::new("capinfos").arg(&output))?;
    Ok((output, ended.stdout))
}

/// editcap copies all of it. (Its own files it does not: secrets before any interface are too much for 4.0.)
fn accepted(pcapng: &Path) -> Result<()> {
    Process::run_ok(Command::new("editcap").arg(pcapng).arg(pcapng.with_extension("copy")))?;
    Ok(())
}

/// The key logs of all peers in one: more than any one capture needs.
fn all_keys(bench: &Bench, handshakes: usize) -> Result<(PathBuf, Vec<KeyLog>)> {
    let keys = bench.lab.path("all-keys");
    let truths: Result<Vec<KeyLog>> =
        bench.peers.iter().map(|peer| peer.whole_truth(handshakes)).collect();
    let mut text = String::from("# all\n");
    for version in ["Tls13", "Tls12"] {
        let name = fs::read_dir(bench.lab.folder())?.find_map(|entry| {
            let path = entry.ok()?.path();
            let name = path.file_name()?.to_str()?;
            (name.starts_with("truth-") && name.ends_with(version)).then_some(path)
        });
        text += &fs::read_to_string(name.context("a peer has no key log")?)?;
    }
    fs::write(&keys, text)?;
    Ok((keys, truths?))
}

#[test]
fn captures_are_decrypted_without_a_key_log() -> Result<()> {
    let Some(bench) = Bench::open(Protocol::Http)? else {
        return Ok(());
    };
    let captures: Result<Vec<Capture>> =
        bench.peers.iter().map(|peer| Capture::start(&bench.lab, peer.port())).collect();
    for peer in &bench.peers {
        for number in 0..TIMES {
            Process::run_ok(&mut curl(&bench.lab, peer.port(), &format!("secret-{number}")))?;
        }
    }
    let mut python = Process::start(&mut bench.client(PYTHON.as_ref(), "client_ssl.py", MORE))?;
    python.say("go")?;
    python.wait()?;
    let (keys, truths) = all_keys(&bench, TIMES + MORE)?;
    let expected: Vec<String> = (0..TIMES).map(|n| format!("GET /secret-{n}")).collect();
    for (capture, truth) in captures?.into_iter().zip(&truths) {
        capture.wait_for(TIMES + MORE)?;
        let (pcap, port) = capture.stop()?;
        ensure!(http_in_clear(&pcap, port)?.is_empty(), "it was not encrypted");
        let (output, said) = inject(&bench.lab, &keys, &pcap)?;
        ensure!(said.contains("\n5 of 5 handshakes have their secrets\n"), "{said}");
        check_whole(&secrets_in(&output)?, truth)?;
        ensure!(http_in_clear(&output, port)?.starts_with(&expected));
        accepted(&output)?;
        // editcap adds all there is; of these handshakes it is the same.
        let by_editcap = pcap.with_extension("editcap.pcapng");
        let mut editcap = Command::new("editcap");
        editcap.arg("--inject-secrets").arg(format!("tls,{}", keys.display()));
        Process::run_ok(editcap.arg(&pcap).arg(&by_editcap))?;
        ensure!(http_in_clear(&by_editcap, port)? == http_in_clear(&output, port)?);
        // There is nothing to add to what has all.
        let (again, said) = inject(&bench.lab, &keys, &by_editcap)?;
        ensure!(said.contains(" 0 secrets added to "), "{said}");
        ensure!(fs::read(again)? == fs::read(&by_editcap)?, "it is another file");

        let tagged = with_vlan(&pcap)?;
        let (output, said) = inject(&bench.lab, &keys, &tagged)?;
        ensure!(said.contains("\n5 of 5 handshakes have their secrets\n"), "{said}");
        ensure!(http_in_clear(&output, port)?.starts_with(&expected));
    }
    Ok(())
}

/// A copy of tcpdump's file in which all frames are of VLAN 5.
fn with_vlan(pcap: &Path) -> Result<PathBuf> {
    let file = fs::read(pcap)?;
    let (header, mut rest) = file.split_at(24);
    let mut tagged = header.to_vec();
    while !rest.is_empty() {
        let lengths = [rest[8..12].try_into()?, rest[12..16].try_into()?].map(u32::from_le_bytes);
        let (packet, after) = rest.split_at(16 + lengths[0] as usize);
        tagged.extend(&packet[..8]);
        tagged.extend(lengths.iter().flat_map(|length| (length + 4).to_le_bytes()));
        tagged.extend(&packet[16..28]);
        tagged.extend([0x81, 0, 0, 5]);
        tagged.extend(&packet[28..]);
        rest = after;
    }
    let path = pcap.with_extension("vlan.pcap");
    fs::write(&path, tagged)?;
    Ok(path)
}

#[test]
fn a_retry_over_ipv6_in_a_file_of_dumpcap() -> Result<()> {
    let Some(lab) = Lab::open()? else {
        return Ok(());
    };
    let mut server = openssl(&lab, &["s_server", "-accept", "[::1]:0", "-www", "-groups", "P-384"]);
    server.arg("-cert").arg(&lab.certificate.certificate).arg("-key").arg(&lab.certificate.key);
    let server = Process::start(&mut server)?;
    let port = server.wait_stdout("ACCEPT [::1]:PORT", |line| {
        line.strip_prefix("ACCEPT [::1]:")?.trim().parse::<u16>().ok()
    })?;
    let file = lab.path("dumpcap.pcapng");
    let mut dumpcap = Command::new("dumpcap");
    dumpcap.args(["-i", "lo", "-f", &format!("tcp port {port}"), "-w"]).arg(&file);
    let mut dumpcap = Process::start(&mut dumpcap)?;
    dumpcap.wait_stderr("File:", |line| line.starts_with("File: ").then_some(()))?;
    Process::run_ok(curl(&lab, port, "retried").args(["--curves", "X25519:P-384"]))?;
    let truth = whole_truth(&lab.path("s_server"), 1)?;
    wait_for_connections(&file, 1)?;
    dumpcap.signal(Signal::INT)?;
    dumpcap.wait()?;
    let (output, said) = inject(&lab, &lab.path("s_server"), &file)?;
    ensure!(said.contains("\n1 of 1 handshakes have their secrets\n"), "{said}");
    check_whole(&secrets_in(&output)?, &truth)?;
    ensure!(http_in_clear(&output, port)? == ["GET /retried"]);
    accepted(&output)?;
    Ok(())
}

#[test]
fn tls_that_begins_later_is_found_and_what_has_no_key_is_listed() -> Result<()> {
    let Some(bench) = Bench::open(Protocol::Postgres)? else {
        return Ok(());
    };
    for (index, peer) in bench.peers.iter().enumerate() {
        let capture = Capture::start(&bench.lab, peer.port())?;
        let address = format!("127.0.0.1:{}", peer.port());
        let client = ["s_client", "-starttls", "postgres", "-connect", &address];
        Process::run(openssl(&bench.lab, &client).args(["-servername", "db.example"]))?;
        let truth = peer.whole_truth(1)?;
        capture.wait_for(1)?;
        let (pcap, _) = capture.stop()?;
        let keys = bench.lab.path(&format!("truth-Postgres-{:?}", peer.version()));
        let (output, said) = inject(&bench.lab, &keys, &pcap)?;
        ensure!(said.contains("\n1 of 1 handshakes have their secrets\n"), "{said}");
        check_whole(&secrets_in(&output)?, &truth)?;

        let other = bench.lab.path(&format!("other-{index}.pcap"));
        fs::copy(&pcap, &other)?;
        let none = bench.lab.path("none");
        fs::write(&none, "# nothing\n")?;
        let (_, said) = inject(&bench.lab, &none, &other)?;
        let random = &truth.client_randoms()[0][..8];
        let line = format!(
            " > {address} db.example {} random {random}: no secret\n",
            peer.version().name()
        );
        ensure!(said.contains("\n0 of 1 handshakes have their secrets\n"), "{said}");
        ensure!(said.ends_with(&line), "{said}");
    }
    Ok(())
}

#[test]
fn no_root_is_needed_and_nothing_is_overwritten() -> Result<()> {
    let Some(bench) = Bench::open(Protocol::Http)? else {
        return Ok(());
    };
    /// `nobody` of Debian and Fedora.
    const NOBODY: u32 = 65534;
    let peer = &bench.peers[0];
    let capture = Capture::start(&bench.lab, peer.port())?;
    Process::run_ok(&mut curl(&bench.lab, peer.port(), ""))?;
    peer.whole_truth(1)?;
    capture.wait_for(1)?;
    let (pcap, _) = capture.stop()?;
    let (folder, program) = public_copy()?;
    let path = |name: &str| folder.path().join(name);
    fs::create_dir(path("own"))?;
    fs::set_permissions(path("own"), fs::Permissions::from_mode(0o777))?;
    fs::copy(&pcap, path("capture"))?;
    fs::copy(bench.lab.path("truth-Http-Tls13"), path("keys"))?;
    for name in ["capture", "keys"] {
        fs::set_permissions(path(name), fs::Permissions::from_mode(0o644))?;
    }
    let output = path("own").join("out");
    let mut command = Command::new(program);
    command.uid(NOBODY).gid(NOBODY).current_dir("/").arg("inject");
    command.arg("-k").arg(path("keys")).arg(path("capture")).arg(&output);
    let ended = Process::run_ok(&mut command)?;
    ensure!(ended.stdout.contains("\n1 of 1 handshakes"), "{}", ended.stdout);
    let metadata = fs::metadata(&output)?;
    ensure!((metadata.mode() & 0o7777, metadata.uid()) == (0o600, NOBODY));
    let before = fs::read(&output)?;
    let ended = Process::run(&mut command)?;
    ensure!(ended.code() == Some(1) && ended.stderr.contains("exists already"), "{}", ended.stderr);
    ensure!(fs::read(&output)? == before);
    Ok(())
}
