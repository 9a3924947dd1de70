//! Under load nothing is lost: every line of thousands of handshakes, on both ends at the same time. Where the ring buffer is
//! too small, what is lost is counted.

use std::path::Path;
use std::time::Instant;

use anyhow::{Result, ensure};
use tlskeytop_tests::{
    Bench, Held, KeyLog, Lab, Maker, Makers, OwnCurl, Process, Protocol, Screen, Sessions, Summary,
    Tlskeytop, Version, check_whole, is_long, private_libssl,
};

/// Handshakes with each peer: 2,000 over TLS 1.3 and 2,000 over TLS 1.2.
const TIMES: usize = 2000;

#[test]
fn all_lines_of_thousands_of_handshakes() -> Result<()> {
    let Some(bench) = Bench::open(Protocol::Http)? else {
        return Ok(());
    };
    let tlskeytop = Tlskeytop::keylog(&bench.lab, ["--all"])?;
    let mut client = bench.client(Path::new("/usr/bin/python3"), "client_load.py", TIMES);
    let mut client = Process::start(&mut client)?;
    client.wait_stdout("waiting", |line| (line == "waiting").then_some(()))?;
    let start = Instant::now();
    client.say("go")?;
    let ended = client.wait()?;
    ensure!(ended.status.success(), "the client: {}", ended.status);
    let took = start.elapsed();
    eprintln!("{} handshakes in {took:?}", 2 * TIMES);
    // Also insists that the summary counts 0 lost.
    bench.check(tlskeytop, TIMES)
}

/// Each is gone milliseconds after its handshake, four at a time, and it is its name that chooses it.
#[test]
fn all_lines_of_processes_that_are_gone_at_once() -> Result<()> {
    const ROUNDS: usize = 25;
    const AT_ONCE: usize = 4;
    let Some(bench) = Bench::open(Protocol::Http)? else {
        return Ok(());
    };
    let own = OwnCurl::copy(&bench.lab)?;
    let tlskeytop = Tlskeytop::keylog(&bench.lab, ["--name", &own.name])?;
    for peer in &bench.peers {
        for _ in 0..ROUNDS {
            let start = |_| Process::start(&mut own.request(&bench.lab, peer.port(), ""));
            let mut clients: Vec<Process> = (0..AT_ONCE).map(start).collect::<Result<_>>()?;
            for client in &mut clients {
                ensure!(client.wait()?.status.success());
            }
        }
    }
    bench.check(tlskeytop, ROUNDS * AT_ONCE)
}

/// Four processes as fast as they can be, two by the system's library and each other one by its own: three images.
struct Load {
    makers: Vec<Maker>,
    /// Last: the others have their files in it.
    lab: Lab,
}

impl Load {
    fn open() -> Result<Option<Self>> {
        let Some(lab) = Lab::open()? else {
            return Ok(None);
        };
        let program = Makers::build(&lab)?;
        let own = [private_libssl(&lab, "third")?, private_libssl(&lab, "fourth")?];
        let [third, fourth] = own.each_ref().map(|folder| Some(folder.as_path()));
        let start = |(name, libraries)| program.start(&lab, name, libraries);
        let makers = [("first", None), ("second", None), ("third", third), ("fourth", fourth)];
        let makers = makers.into_iter().map(start).collect::<Result<_>>()?;
        Ok(Some(Self { lab, makers }))
    }

    /// The four, and what they do from now on: what is read again of open connections would be counted, too.
    fn args(&self) -> Vec<String> {
        let pids = self.makers.iter().map(|maker| maker.pid().to_string());
        let pids = pids.flat_map(|pid| ["--pid".to_owned(), pid]);
        ["--catch-up".to_owned(), "0".to_owned()].into_iter().chain(pids).collect()
    }

    /// All at the same time, each with both versions one after the other: the handshakes a second.
    fn run(&mut self, seconds: u32) -> Result<f64> {
        // Shorter than what the test waits for an answer.
        const AT_ONCE: u32 = 15;
        let start = Instant::now();
        let (mut left, mut handshakes) = (seconds, 0);
        while left > 0 {
            let now = left.min(AT_ONCE);
            left -= now;
            for maker in &mut self.makers {
                maker.begin(Version::Tls13, now - now / 3, 0)?;
                maker.begin(Version::Tls12, now / 3, 0)?;
            }
            for maker in &self.makers {
                handshakes += maker.end()? + maker.end()?;
            }
        }
        Ok(handshakes as f64 / start.elapsed().as_secs_f64())
    }

    fn truth(&self) -> Result<KeyLog> {
        let mut truth = KeyLog::default();
        for maker in &self.makers {
            truth.merge(maker.truth()?)?;
        }
        Ok(truth)
    }
}

/// `TLSKEYTOP_LONG` makes it 60 s.
#[test]
fn all_lines_at_the_highest_rate_of_several_processes_and_images() -> Result<()> {
    let Some(mut load) = Load::open()? else {
        return Ok(());
    };
    let tlskeytop = Tlskeytop::keylog(&load.lab, load.args())?;
    let pid = tlskeytop.process.pid();
    let held = Held::attached(pid)?;
    let rate = load.run(if is_long() { 60 } else { 6 })?;
    let (ours, summary) = tlskeytop.stop()?;
    let truth = load.truth()?;
    eprintln!("{rate:.0} handshakes/s, {} lines: {summary:?}", truth.lines());
    check_whole(&ours, &truth)?;
    // Each comes from the client and from the server, in one process.
    let lines = u64::try_from(truth.lines())?;
    ensure!((summary.secrets, summary.saved, summary.duplicates) == (lines, lines, lines));
    held.is_gone(pid)
}

/// A ring buffer of one page is full all the time: what was lost is counted, to the last one, and told.
#[test]
fn what_a_tiny_ring_buffer_loses_is_counted_exactly() -> Result<()> {
    let Some(mut load) = Load::open()? else {
        return Ok(());
    };
    let mut args = vec!["--ring-buffer".to_owned(), "4096".to_owned(), "-k".to_owned()];
    args.extend([load.lab.path("captured.keylog").to_string_lossy().into_owned()]);
    args.extend(load.args());
    let mut tlskeytop = Tlskeytop::json(&load.lab, args)?;
    let pid = tlskeytop.process.pid();
    let held = Held::attached(pid)?;
    load.run(3)?;
    let ended = tlskeytop.interrupt()?;
    ensure!(ended.code() == Some(0), "{}", ended.status);
    let (summary, truth) = (Summary::parse(&ended.stderr)?, load.truth()?);
    eprintln!("{} lines: {summary:?}", truth.lines());
    ensure!(summary.lost > 0, "nothing was lost: this proves nothing");
    let made = 2 * u64::try_from(truth.lines())?;
    let captured = summary.secrets + summary.duplicates;
    ensure!(captured + summary.lost == made, "{made} were made: {summary:?}");
    ensure!((summary.nulls, summary.conflicts, summary.rejected) == (0, 0, 0), "{summary:?}");
    // What was captured is there, and true.
    let ours = KeyLog::strict(&load.lab.path("captured.keylog"))?;
    let lines = ours.lines();
    ensure!(ours.lines_of(&truth)? == lines, "lines that are not in the truth");
    ensure!((u64::try_from(lines)?, summary.saved) == (summary.secrets, summary.secrets));
    let sessions = Sessions::parse(&ended.stdout)?;
    let labels = sessions.all().filter_map(|session| Some(session["secrets"].as_object()?.len()));
    ensure!(labels.sum::<usize>() == lines, "JSON has other secrets than the file");
    held.is_gone(pid)
}

/// The same in the interface.
#[test]
fn what_a_tiny_ring_buffer_loses_is_shown() -> Result<()> {
    let Some(mut load) = Load::open()? else {
        return Ok(());
    };
    let screen = Screen::open(&load.lab, 160, 24)?;
    let binary = Tlskeytop::binary()?;
    let args = load.args().join(" ");
    let command = format!("{} --ring-buffer 4096 -k saved {args}", binary.display());
    screen.type_line(&format!("{command} 2>said; echo exit=$?"))?;
    screen.wait_for("attached", |line| line.contains("attached: 4 proc").then_some(()))?;
    load.run(2)?;
    let lost = |line: &str| {
        let (_, after) = line.split_once("LOST ")?;
        after.split_whitespace().next()?.replace(',', "").parse::<u64>().ok()
    };
    let shown = screen.wait_for("what was lost", lost)?;
    screen.press("q")?;
    screen.wait_for("its end", |line| line.starts_with("exit=0").then_some(()))?;
    let summary = Summary::parse(&std::fs::read_to_string(load.lab.path("said"))?)?;
    // The screen may be a quarter of a second behind.
    ensure!((1..=summary.lost).contains(&shown), "{shown} were shown: {summary:?}");
    let made = 2 * u64::try_from(load.truth()?.lines())?;
    ensure!(summary.secrets + summary.duplicates + summary.lost == made, "{made}: {summary:?}");
    let saved = KeyLog::strict(&load.lab.path("saved"))?;
    ensure!(saved.lines_of(&load.truth()?)? == saved.lines(), "lines that are not in the truth");
    Ok(())
}
