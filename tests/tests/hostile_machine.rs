//! A machine with more of everything than there should be: processes, forks, mappings.

use std::fs;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use tlskeytop_tests::{
    Bench, Crowd, LIBSSL, OwnCurl, Process, Protocol, Tlskeytop, most_resident, scan_of,
};

/// What it may take at the most, by far: 65,536 processes are remembered.
const MEMORY: u64 = 200 << 20;

/// The peers, and a curl with a name of its own.
fn open() -> Result<Option<(Bench, OwnCurl)>> {
    let Some(bench) = Bench::open(Protocol::Http)? else {
        return Ok(None);
    };
    let own = OwnCurl::copy(&bench.lab)?;
    Ok(Some((bench, own)))
}

fn request(bench: &Bench, own: &OwnCurl) -> Result<()> {
    for peer in &bench.peers {
        Process::run_ok(&mut own.request(&bench.lab, peer.port(), ""))?;
    }
    Ok(())
}

/// It ends soon, has captured so many handshakes with each peer, and was never large.
fn ends_well(bench: &Bench, tlskeytop: Tlskeytop, times: usize) -> Result<()> {
    let memory = most_resident(tlskeytop.process.pid())?;
    let start = Instant::now();
    bench.check(tlskeytop, times)?;
    let took = start.elapsed();
    eprintln!("{} KiB at the most; it ended after {took:?}", memory >> 10);
    ensure!(memory < MEMORY, "{memory} bytes");
    ensure!(took < Duration::from_secs(10), "it ended after {took:?}");
    Ok(())
}

/// Some thousand processes at a time, of which each forks and ends, as fast as they can.
#[test]
fn a_fork_bomb() -> Result<()> {
    const SECONDS: u32 = 4;
    const AT_ONCE: usize = 3000;
    let Some((bench, own)) = open()? else {
        return Ok(());
    };
    let crowd = Crowd::build(&bench.lab)?;
    let tlskeytop = Tlskeytop::keylog(&bench.lab, ["--name", &own.name])?;
    let mut bomb = crowd.fork_bomb(SECONDS, AT_ONCE)?;
    bomb.close_stdin();
    request(&bench, &own)?;
    let ended = bomb.wait()?;
    let forks = ended.stdout.lines().find_map(|line| line.strip_prefix("forks "));
    let forks: u64 = forks.context("how many forks")?.parse()?;
    eprintln!("{forks} forks");
    ensure!(forks > 2 * AT_ONCE as u64, "{forks} forks are no bomb");
    request(&bench, &own)?;
    ends_well(&bench, tlskeytop, 2)
}

#[test]
fn ten_thousand_processes() -> Result<()> {
    const COUNT: usize = 10_000;
    let Some((bench, own)) = open()? else {
        return Ok(());
    };
    let crowd = Crowd::build(&bench.lab)?;
    let mut sleepers = crowd.sleepers(COUNT)?;
    let start = Instant::now();
    let tlskeytop = Tlskeytop::keylog(&bench.lab, ["--name", &own.name])?;
    eprintln!("ready after {:?}", start.elapsed());
    request(&bench, &own)?;
    ends_well(&bench, tlskeytop, 1)?;
    sleepers.close_stdin();
    ensure!(sleepers.wait()?.status.success());
    Ok(())
}

/// How many mappings a process may have, raised until it is dropped. A shell has the number from before, and writes it when
/// its input ends: also when this test is killed.
struct MostMappings(Process);

impl MostMappings {
    const PATH: &str = "/proc/sys/vm/max_map_count";

    fn raise(to: usize) -> Result<Self> {
        let before = fs::read_to_string(Self::PATH)?;
        let script = "echo ready; read -r end; echo \"$1\" > \"$2\"";
        let mut shell = Command::new("sh");
        // Whoever ends a test by force ends its process group.
        shell.args(["-c", script, "sh", before.trim(), Self::PATH]).process_group(0);
        let shell = Process::start(&mut shell)?;
        shell.wait_stdout("ready", |line| (line == "ready").then_some(()))?;
        fs::write(Self::PATH, to.to_string()).context(Self::PATH)?;
        Ok(Self(shell))
    }
}

impl Drop for MostMappings {
    fn drop(&mut self) {
        self.0.close_stdin();
        // One that does not end so is killed with its process.
        let _ = self.0.wait();
    }
}

#[test]
fn maps_of_a_million_lines() -> Result<()> {
    const LINES: usize = 1_000_000;
    let Some((bench, own)) = open()? else {
        return Ok(());
    };
    let _raised = MostMappings::raise(2 * LINES)?;
    let before = Crowd::with_maps(&bench.lab, LINES, Path::new(LIBSSL))?;
    let start = Instant::now();
    let tlskeytop = Tlskeytop::keylog(&bench.lab, ["--name", &own.name])?;
    eprintln!("ready after {:?}", start.elapsed());
    request(&bench, &own)?;
    ends_well(&bench, tlskeytop, 1)?;
    // Its library comes last, and is found.
    let found = scan_of(&bench.lab, before.pid())?;
    ensure!(found.iter().any(|image| image["image"] == LIBSSL), "{found:?}");
    Ok(())
}
