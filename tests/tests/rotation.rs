//! The key log is moved away or replaced while lines come, or its disk is full for a while: no line is missing
//! and none is there twice.

use std::fs::{self, Permissions};
use std::io::{BufWriter, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use rustix::process::Signal;
use tlskeytop_tests::{
    Bench, KeyLog, OwnCurl, PYTHON, Process, Protocol, SmallDisk, Tlskeytop, check_capture, until,
};

/// How often the file is moved, each time in the middle of a round.
const MOVES: usize = 5;
/// Handshakes with each peer in a round.
const ROUND: usize = 60;
/// And in all of them.
const TIMES: usize = MOVES * ROUND;

/// A private file with this many valid lines, of handshakes that nobody made.
fn large_keylog(path: &Path, lines: u64) -> Result<()> {
    let mut file = BufWriter::new(fs::File::create(path)?);
    for number in 0..lines {
        writeln!(file, "CLIENT_RANDOM {number:064x} {:096x}", number + 1)?;
    }
    file.flush()?;
    Ok(fs::set_permissions(path, Permissions::from_mode(0o600))?)
}

/// Shakes hands without pause, and calls `rotate` in each round when the key log has new lines of it.
fn under_load(
    bench: &Bench,
    keylog: &Path,
    mut rotate: impl FnMut(usize) -> Result<()>,
) -> Result<()> {
    for number in 0..MOVES {
        let mut client = bench.client(Path::new(PYTHON), "client_load.py", ROUND);
        let mut client = Process::start(&mut client)?;
        client.wait_stdout("waiting", |line| (line == "waiting").then_some(()))?;
        let size = || fs::metadata(keylog).map_or(0, |metadata| metadata.len());
        let before = size();
        client.say("go")?;
        until("new lines in the key log", || Ok((size() > before).then_some(())))?;
        rotate(number)?;
        ensure!(client.wait()?.status.success(), "the client");
    }
    Ok(())
}

/// Every line of the truth is in one of the files; none of them has a line twice.
fn union_is_the_truth(bench: &Bench, files: &[PathBuf]) -> Result<()> {
    let logs = files.iter().map(|file| KeyLog::strict(file)).collect::<Result<Vec<_>>>()?;
    let mut union = KeyLog::default();
    for log in logs {
        union.merge(log)?;
    }
    for peer in &bench.peers {
        check_capture(&union, &peer.whole_truth(TIMES)?)?;
    }
    Ok(())
}

#[test]
fn moved_away_under_load() -> Result<()> {
    let Some(bench) = Bench::open(Protocol::Http)? else {
        return Ok(());
    };
    let tlskeytop = Tlskeytop::keylog(&bench.lab, ["--name", "python3*"])?;
    let keylog = tlskeytop.keylog_path().to_owned();
    let mut files = vec![keylog.clone()];
    under_load(&bench, &keylog, |number| {
        let moved = bench.lab.path(&format!("moved-{number}"));
        fs::rename(&keylog, &moved)?;
        files.push(moved);
        until("the file is made again", || Ok(keylog.exists().then_some(())))
    })?;
    tlskeytop.stop()?;
    union_is_the_truth(&bench, &files)
}

/// What was written before is gone with the file, and comes again into the new one, whose own lines stay.
#[test]
fn replaced_by_other_files_under_load() -> Result<()> {
    const LINES: u64 = 100_000;
    let Some(bench) = Bench::open(Protocol::Http)? else {
        return Ok(());
    };
    let other = |number: usize| bench.lab.path(&format!("other-{number}"));
    for number in 0..MOVES {
        large_keylog(&other(number), if number == MOVES - 2 { LINES } else { 10 })?;
    }
    let tlskeytop = Tlskeytop::keylog(&bench.lab, ["--name", "python3*"])?;
    let keylog = tlskeytop.keylog_path().to_owned();
    let kept = bench.lab.path("kept");
    under_load(&bench, &keylog, |number| {
        if number == MOVES - 1 {
            // The large one is kept, to be looked at.
            fs::rename(&keylog, &kept)?;
        }
        Ok(fs::rename(other(number), &keylog)?)
    })?;
    let (_, summary) = tlskeytop.stop()?;
    eprintln!("{summary:?}");
    let lines = fs::read_to_string(&kept)?;
    ensure!(lines.lines().count() as u64 >= LINES, "lines of the large file are gone");
    union_is_the_truth(&bench, &[keylog, kept])
}

/// The message says that the lines are kept; the end tries them once more.
#[test]
fn room_made_just_before_the_end_is_used() -> Result<()> {
    let Some(bench) = Bench::open(Protocol::Http)? else {
        return Ok(());
    };
    let own = OwnCurl::copy(&bench.lab)?;
    let disk = SmallDisk::mount(&bench.lab, "size=64k")?;
    let keylog = disk.path("keylog");
    // Little is left of its page of 4,096 bytes, which is its own: the disk takes a part of the first line.
    let mine = format!("# {:4000}\n", "mine");
    fs::write(&keylog, &mine)?;
    fs::set_permissions(&keylog, Permissions::from_mode(0o600))?;
    let mut command = Tlskeytop::command(&bench.lab)?;
    command.args(["--mode", "keylog", "--name", &own.name, "-k"]).arg(&keylog);
    let mut tlskeytop = Tlskeytop::start(command, keylog.clone())?;
    let filler = disk.fill("filler")?;
    for peer in &bench.peers {
        Process::run_ok(&mut own.request(&bench.lab, peer.port(), ""))?;
    }
    tlskeytop.process.wait_stderr("message about the full disk", |line| {
        line.contains("No space left").then_some(())
    })?;
    let truths = bench.peers.iter().map(|peer| peer.whole_truth(1)).collect::<Result<Vec<_>>>()?;
    fs::remove_file(filler)?;
    tlskeytop.process.signal(Signal::TERM)?;
    let ended = tlskeytop.process.wait()?;
    ensure!(ended.code() == Some(0), "{}\n{}", ended.status, ended.stderr);
    let text = fs::read_to_string(&keylog)?;
    let ours = KeyLog::parse_strict(text.strip_prefix(&*mine).context("my line is changed")?)?;
    truths.iter().try_for_each(|truth| check_capture(&ours, truth))
}
