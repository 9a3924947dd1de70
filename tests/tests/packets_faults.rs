//! Recording packets where something goes wrong: a full disk, interfaces that come and go, too many packets at once.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use rustix::process::Signal;
use tlskeytop_tests::{
    Bench, Lab, Netns, OwnCurl, PYTHON, Process, Protocol, Recording, SmallDisk, Tlskeytop, until,
    whole_truth,
};

const PORT: u16 = 8443;

/// A frame of 60 bytes with a tag, to 192.0.2.9.
const TAGGED: &str = r#"
import socket
packet = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
packet.bind(("eth0", 0))
ip = bytes.fromhex("4500002a000000004011" + "0000" + "c0000201" + "c0000209")
tag = bytes.fromhex("8100" + "0007" + "0800")
packet.send(b"\xff" * 6 + b"\x02" + bytes(5) + tag + ip.ljust(42, b"\0"))
"#;

/// openssl as the server of a lab, on this address.
fn server(lab: &Lab, mut openssl: Command, address: &str) -> Result<Process> {
    openssl.args(["s_server", "-quiet", "-www", "-accept", address, "-cert"]);
    openssl.arg(&lab.certificate.certificate).arg("-key").arg(&lab.certificate.key);
    Process::start(&mut openssl)
}

/// A request over this address, once its server accepts.
fn request(lab: &Lab, curl: &OwnCurl, inside: Option<&Netns>, to: &str, path: &str) -> Result<()> {
    let to = if to.contains(':') { format!("[{to}]") } else { to.to_owned() };
    let plain = curl.request(lab, PORT, path);
    let mut command = match inside {
        Some(netns) => {
            let mut command = netns.command(plain.get_program());
            command.args(plain.get_args());
            command
        }
        None => plain,
    };
    command.args(["--retry", "50", "--retry-connrefused", "--retry-delay", "1"]);
    command
        .args(["--connect-to", &format!("::{to}:{PORT}")])
        .env("SSLKEYLOGFILE", lab.path("truth"));
    Process::run_ok(&mut command).map(|_| ())
}

#[test]
fn a_container_over_a_pair_of_interfaces_that_come_and_go() -> Result<()> {
    let Some(lab) = Lab::open()? else {
        return Ok(());
    };
    let curl = OwnCurl::copy(&lab)?;
    let netns = Netns::make()?;
    let name = netns.interface().to_owned();
    let args = ["-i", &name, "-i", "no-such-one", "--name", &curl.name];
    let (tlskeytop, recording) = Recording::start(&lab, args)?;
    let missing = "there is no interface no-such-one";
    tlskeytop.process.wait_stderr(missing, |line| line.contains(missing).then_some(()))?;

    let inside = server(&lab, netns.command("openssl"), &PORT.to_string())?;
    request(&lab, &curl, None, &netns.v4(2), "v4")?;
    request(&lab, &curl, None, &netns.v6(2), "v6")?;
    // In VLAN 7, whose tag the kernel takes out.
    let mut tagged = netns.command(PYTHON);
    Process::run_ok(tagged.args(["-c", TAGGED]))?;
    // The other way round: the client is in the container.
    let outside = server(&lab, Command::new("openssl"), &format!("{}:{PORT}", netns.v4(1)))?;
    request(&lab, &curl, Some(&netns), &netns.v4(1), "inside")?;
    drop((inside, outside, netns));

    let netns = Netns::make()?;
    ensure!(netns.interface() == name);
    let _inside = server(&lab, netns.command("openssl"), &PORT.to_string())?;
    request(&lab, &curl, None, &netns.v4(2), "again")?;
    let truth = whole_truth(&lab.path("truth"), 4)?;
    recording.finish(tlskeytop)?;
    let requests = recording.requests(&[PORT])?;
    let expected = ["again", "inside", "v4", "v6"].map(|path| format!("GET /{path}"));
    ensure!(requests == expected, "{requests:?}");
    let tagged = recording.fields(&[], "vlan.id == 7", &["ip.dst", "frame.len"])?;
    ensure!(tagged == [["192.0.2.9", "60"]], "{tagged:?}");
    let interfaces = recording.fields(&[PORT], "http.request", &["frame.interface_name"])?;
    ensure!(interfaces.iter().all(|shown| shown[..] == [name.as_str()]), "{interfaces:?}");
    recording.has_secrets(&truth)
}

#[test]
fn a_disk_that_is_full_for_a_while() -> Result<()> {
    let Some(bench) = Bench::open(Protocol::Http)? else {
        return Ok(());
    };
    let own = OwnCurl::copy(&bench.lab)?;
    let disk = SmallDisk::mount(&bench.lab, "size=4m")?;
    let args = ["-i", "lo", "--pcap-scope", "attached", "--name", &own.name];
    let file = disk.path("packets.pcapng");
    let (tlskeytop, recording) = Recording::start_to(&bench.lab, file, args)?;
    let port = bench.peers[0].port();
    let mut asked = 0;
    let mut ask = || {
        asked += 1;
        Process::run_ok(&mut own.request(&bench.lab, port, &format!("page-{asked:03}")))?;
        Ok::<_, anyhow::Error>(asked)
    };
    ask()?;
    until("the first request in the file", || {
        Ok(recording.requests(&[port]).is_ok_and(|requests| requests.len() == 1).then_some(()))
    })?;
    let filler = disk.fill("filler")?;
    let is_told = |what: &str| {
        let stderr = tlskeytop.process.stderr();
        stderr.lines().any(|line| line.contains(what))
    };
    // What is left of the file's last page takes a few more.
    until("the full disk is told", || {
        ask()?;
        Ok(is_told("packets cannot be written").then_some(()))
    })?;
    // What is on the disk is whole blocks.
    recording.is_sound()?;
    fs::remove_file(filler)?;
    until("the disk is used again", || Ok(is_told("packets are written again").then_some(())))?;
    let last = ask()?;
    let truth = bench.peers[0].whole_truth(last)?;
    recording.finish(tlskeytop)?;
    let requests = recording.requests(&[port])?;
    let expected: Vec<String> = (1..=last).map(|number| format!("GET /page-{number:03}")).collect();
    ensure!(requests == expected, "{requests:?}");
    recording.has_secrets(&truth)
}

/// 96 MiB while nobody takes them: more than the ring holds.
#[test]
fn dropped_packets_are_counted() -> Result<()> {
    const CHUNKS: usize = 96 * 16;
    let Some(lab) = Lab::open()? else {
        return Ok(());
    };
    let args = ["-i", "lo", "--pcap-scope", "attached", "--name", "nobody at all"];
    let (mut tlskeytop, recording) = Recording::start(&lab, args)?;
    tlskeytop.process.signal(Signal::STOP)?;
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let mut sender = TcpStream::connect(listener.local_addr()?)?;
    let mut receiver = listener.accept()?.0;
    let mut room = vec![0; 64 << 10];
    for _ in 0..CHUNKS {
        sender.write_all(&vec![0; room.len()])?;
        receiver.read_exact(&mut room)?;
    }
    tlskeytop.process.signal(Signal::CONT)?;
    let ended = tlskeytop.interrupt()?;
    ensure!(ended.code() == Some(0), "{}", ended.status);
    let summary = ended.stderr.lines().last().context("no summary")?;
    let before = summary.split_once(" packets dropped").context("no packets")?.0;
    let dropped = before.rsplit(' ').next().context("no number")?;
    ensure!(dropped.parse::<u64>()? > 100, "{summary}");
    recording.is_sound()
}

#[test]
fn what_is_no_capture_is_left_alone() -> Result<()> {
    let Some(lab) = Lab::open()? else {
        return Ok(());
    };
    let run = |file: PathBuf, more: &[&str]| {
        let mut command = Tlskeytop::command(&lab)?;
        command.args(["--mode", "pcap", "--duration", "0.1", "--pcap-file"]).arg(file).args(more);
        Process::run(&mut command)
    };
    let key = lab.path("own.key");
    fs::write(&key, "-----BEGIN PRIVATE KEY-----\n")?;
    fs::set_permissions(&key, fs::Permissions::from_mode(0o600))?;
    let ended = run(key.clone(), &[])?;
    ensure!(ended.code() == Some(1) && ended.stderr.contains("other contents"), "{}", ended.stderr);
    ensure!(fs::read_to_string(&key)?.starts_with("-----BEGIN"));
    let ended = run(lab.path("p"), &["-i", "no-such-one"])?;
    ensure!(ended.code() == Some(1) && ended.stderr.contains("no interface"), "{}", ended.stderr);
    let both = lab.path("both");
    let ended = run(both.clone(), &["-k", &both.display().to_string()])?;
    ensure!(ended.code() == Some(1) && ended.stderr.contains("another file"), "{}", ended.stderr);
    Ok(())
}

/// Without the right to packets, nothing can be recorded in the place of what is there.
#[test]
fn a_start_that_fails_leaves_an_earlier_recording() -> Result<()> {
    let Some(lab) = Lab::open()? else {
        return Ok(());
    };
    let (tlskeytop, recording) = Recording::start(&lab, ["-i", "lo"])?;
    recording.finish(tlskeytop)?;
    let before = fs::read(recording.path())?;
    ensure!(!before.is_empty());
    let mut command = Command::new("setpriv");
    command.arg("--bounding-set=-net_raw").arg(Tlskeytop::binary()?);
    command.args(["--mode", "pcap", "--pcap-file"]).arg(recording.path());
    let ended = Process::run(command.current_dir(lab.folder()))?;
    ensure!(ended.code() == Some(3), "{}: {}", ended.status, ended.stderr);
    ensure!(fs::read(recording.path())? == before, "it was replaced: {}", ended.stderr);
    Ok(())
}

/// What the summary says is recorded is in the file.
#[test]
fn a_disk_that_is_full_at_the_end() -> Result<()> {
    let Some(bench) = Bench::open(Protocol::Http)? else {
        return Ok(());
    };
    let own = OwnCurl::copy(&bench.lab)?;
    let disk = SmallDisk::mount(&bench.lab, "size=4m")?;
    let file = disk.path("packets.pcapng");
    let args = ["-i", "lo", "--name", &own.name];
    let (mut tlskeytop, recording) = Recording::start_to(&bench.lab, file, args)?;
    disk.fill("filler")?;
    until("the full disk is told", || {
        Process::run_ok(&mut own.request(&bench.lab, bench.peers[0].port(), "page"))?;
        let stderr = tlskeytop.process.stderr();
        Ok(stderr.contains("packets cannot be written").then_some(()))
    })?;
    Process::run_ok(&mut own.request(&bench.lab, bench.peers[0].port(), "last"))?;
    let ended = tlskeytop.interrupt()?;
    ensure!(ended.code() == Some(1), "{}: {}", ended.status, ended.stderr);
    recording.is_sound()?;
    let packets = recording.fields(&[], "frame", &["frame.number"])?.len();
    let secrets = recording.secrets()?.lines();
    let summary = ended.stderr.lines().find(|line| line.contains(" packets recorded"));
    let summary = summary.context("no summary")?;
    let expected = format!("; {packets} packets recorded with {secrets} secrets, ");
    ensure!(summary.contains(&expected), "{packets} packets, {secrets} secrets: {summary}");
    ensure!(!summary.contains(" 0 packets dropped"), "{summary}");
    Ok(())
}
