//! A signal ends it in seconds, whatever it is doing and wherever its output is stuck.

use std::fs::{self, File, OpenOptions};
use std::io::{BufRead, BufReader, PipeReader, Write, pipe};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use rustix::process::Signal;
use tlskeytop_tests::{
    Bench, Ended, KeyLog, LIBSSL, Lab, OwnCurl, Process, Protocol, Summary, Tlskeytop,
    check_capture, until,
};

/// What a pipe holds: 16 pages, pipe(7).
const PIPE: usize = 65536;
/// Images to attach to at once: some 1,000 probes. Each is planned, which takes 0.1 s unoptimised.
const IMAGES: usize = 200;

fn copies_of_libssl(lab: &Lab) -> Result<Vec<PathBuf>> {
    let folder = lab.path("images");
    fs::create_dir(&folder)?;
    let copy = |number| {
        let path = folder.join(format!("libssl-{number}.so.3"));
        fs::copy(LIBSSL, &path).context("copying libssl")?;
        Ok(path)
    };
    (0..IMAGES).map(copy).collect()
}

/// Files that a process has open; each image and each probe is at least one.
fn open_files(process: &Process) -> Result<usize> {
    Ok(fs::read_dir(format!("/proc/{}/fd", process.pid()))?.count())
}

#[test]
fn sigint_while_hundreds_of_images_are_attached() -> Result<()> {
    let Some(lab) = Lab::open()? else {
        return Ok(());
    };
    let mut command = Tlskeytop::command(&lab)?;
    command.args(["--mode", "keylog"]);
    for image in copies_of_libssl(&lab)? {
        command.arg("--image").arg(image);
    }
    let mut tlskeytop = Process::start(&mut command)?;
    // All the images are open, and the first probes are there.
    until("open files", || Ok((open_files(&tlskeytop)? >= IMAGES + 100).then_some(())))?;
    tlskeytop.signal(Signal::INT)?;
    let ended = tlskeytop.wait_within(Duration::from_secs(15))?;
    ensure!(!ended.stderr.contains("tlskeytop: ready"), "it was ready: this proves nothing");
    ensure!(ended.code() == Some(0), "{}\n{}", ended.status, ended.stderr);
    Ok(())
}

/// A tlskeytop that follows this curl, and prints into a pipe that is full and that nobody reads.
struct Stuck {
    process: Process,
    /// Never read from, and open to the end.
    _reader: PipeReader,
}

impl Stuck {
    fn start(bench: &Bench, own: &OwnCurl, args: &[&str]) -> Result<Self> {
        let (reader, mut writer) = pipe()?;
        writer.write_all(&[b'#'; PIPE])?;
        let mut command = Tlskeytop::command(&bench.lab)?;
        command.args(["--name", &own.name]).args(args);
        let process = Process::start_with_stdout(&mut command, writer.into())?;
        wait_until_ready(&process)?;
        Ok(Self { process, _reader: reader })
    }

    /// SIGTERM ends it by itself, with its summary, and not because something killed it.
    fn terminate(&mut self, within: Duration) -> Result<Ended> {
        self.process.signal(Signal::TERM)?;
        let ended = self.process.wait_within(within)?;
        ensure!(ended.code().is_some(), "{}\n{}", ended.status, ended.stderr);
        Summary::parse(&ended.stderr)?;
        Ok(ended)
    }
}

fn wait_until_ready(process: &Process) -> Result<()> {
    process.wait_stderr("ready line", |line| line.contains("ready, ").then_some(()))
}

fn request(bench: &Bench, own: &OwnCurl) -> Result<()> {
    for peer in &bench.peers {
        Process::run_ok(&mut own.request(&bench.lab, peer.port(), ""))?;
    }
    Ok(())
}

/// Waits until the file has each line of the truth of `handshakes` with each peer.
fn saved(bench: &Bench, keylog: &Path, handshakes: usize) -> Result<()> {
    for peer in &bench.peers {
        let truth = peer.whole_truth(handshakes)?;
        until("all lines of the truth in the file", || {
            Ok(check_capture(&KeyLog::strict(keylog)?, &truth).ok())
        })?;
    }
    Ok(())
}

#[test]
fn json_that_nobody_reads_holds_up_neither_saving_nor_the_end() -> Result<()> {
    let Some(bench) = Bench::open(Protocol::Http)? else {
        return Ok(());
    };
    let own = OwnCurl::copy(&bench.lab)?;
    let mut stuck = Stuck::start(&bench, &own, &["--mode", "json", "-s", "-k", "saved"])?;
    // The second and the third come when the first has long had its line of JSON.
    for round in 1..=3 {
        request(&bench, &own)?;
        saved(&bench, &bench.lab.path("saved"), round)?;
    }
    stuck.terminate(Duration::from_secs(10))?;
    saved(&bench, &bench.lab.path("saved"), 3)
}

#[test]
fn json_that_nobody_reads_and_no_saving_ends_on_sigterm() -> Result<()> {
    let Some(bench) = Bench::open(Protocol::Http)? else {
        return Ok(());
    };
    let own = OwnCurl::copy(&bench.lab)?;
    let mut stuck = Stuck::start(&bench, &own, &["--mode", "json"])?;
    request(&bench, &own)?;
    stuck.terminate(Duration::from_secs(10))?;
    Ok(())
}

#[test]
fn key_lines_that_nobody_reads_do_not_hold_up_the_end() -> Result<()> {
    let Some(bench) = Bench::open(Protocol::Http)? else {
        return Ok(());
    };
    let own = OwnCurl::copy(&bench.lab)?;
    let mut stuck = Stuck::start(&bench, &own, &["--mode", "keylog", "-k", "-"])?;
    request(&bench, &own)?;
    // It says that secrets are not where they should be.
    let ended = stuck.terminate(Duration::from_secs(15))?;
    ensure!(ended.code() == Some(1), "{}\n{}", ended.status, ended.stderr);
    Ok(())
}

fn to_stdout(bench: &Bench, own: &OwnCurl) -> Result<Command> {
    let mut command = Tlskeytop::command(&bench.lab)?;
    command.args(["--mode", "keylog", "--name", &own.name, "-k", "-"]);
    Ok(command)
}

#[test]
fn a_full_device_on_stdout_is_a_failure_with_a_message() -> Result<()> {
    let Some(bench) = Bench::open(Protocol::Http)? else {
        return Ok(());
    };
    let own = OwnCurl::copy(&bench.lab)?;
    let full: File = OpenOptions::new().write(true).open("/dev/full")?;
    let mut command = to_stdout(&bench, &own)?;
    let mut tlskeytop = Process::start_with_stdout(&mut command, full.into())?;
    wait_until_ready(&tlskeytop)?;
    request(&bench, &own)?;
    tlskeytop.wait_stderr("message about the full device", |line| {
        line.contains("No space left").then_some(())
    })?;
    // A disk behind stdout may have room again, and so it may wait for that; not after this.
    tlskeytop.signal(Signal::TERM)?;
    let ended = tlskeytop.wait_within(Duration::from_secs(15))?;
    ensure!(ended.code() == Some(1), "{}\n{}", ended.status, ended.stderr);
    Ok(())
}

/// As in `tlskeytop -k - | head -1`.
#[test]
fn a_reader_that_has_enough_ends_it_well() -> Result<()> {
    let Some(bench) = Bench::open(Protocol::Http)? else {
        return Ok(());
    };
    let own = OwnCurl::copy(&bench.lab)?;
    let (reader, writer) = pipe()?;
    let mut tlskeytop = Process::start_with_stdout(&mut to_stdout(&bench, &own)?, writer.into())?;
    wait_until_ready(&tlskeytop)?;
    request(&bench, &own)?;
    let mut line = String::new();
    BufReader::new(reader).read_line(&mut line)?;
    KeyLog::parse_strict(&line).context("the line that the reader took")?;
    ensure!(!line.is_empty());
    // The reader is gone; the next lines find that out.
    request(&bench, &own)?;
    let ended = tlskeytop.wait()?;
    ensure!(ended.code() == Some(0), "{}\n{}", ended.status, ended.stderr);
    Ok(())
}
