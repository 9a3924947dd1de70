//! Many processes: how soon all is attached, and what it costs to follow them as they come and go.

use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use tlskeytop_tests::{
    Bench, Crowd, Lab, OwnCurl, Process, Protocol, Tlskeytop, cpu_time, resident, until,
};

/// Ends one that has seen nothing, and says what it had said of records that were lost.
fn stop_idle(tlskeytop: Tlskeytop) -> Result<()> {
    let said = tlskeytop.process.stderr();
    ensure!(!said.contains("the kernel lost"), "{said}");
    tlskeytop.stop().map(|_| ())
}

/// Of a release build less than a second and 40 MiB are wanted; one that is not optimised has ten times as long.
#[test]
fn ready_soon_and_small_with_300_processes() -> Result<()> {
    const WITHOUT_TLS: usize = 240;
    const WITH_TLS: usize = 60;
    let Some(lab) = Lab::open()? else {
        return Ok(());
    };
    let crowd = Crowd::build(&lab)?;
    let _sleeping = crowd.running(WITHOUT_TLS, &["sleep", "infinity"])?;
    let server = ["openssl", "s_server", "-nocert", "-accept", "127.0.0.1:0"];
    let serving = crowd.running(WITH_TLS, &server)?;
    // An exec comes after the fork that was waited for.
    until("all servers have their library", || {
        let pid = serving.pid();
        let children = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"))?;
        let has_library = |child: &str| {
            let maps = std::fs::read_to_string(format!("/proc/{child}/maps"));
            maps.is_ok_and(|maps| maps.contains("/libssl.so.3"))
        };
        Ok(children.split_whitespace().all(has_library).then_some(()))
    })?;
    // The files are in memory after the first one.
    stop_idle(Tlskeytop::keylog(&lab, ["--all"])?)?;
    let start = Instant::now();
    let tlskeytop = Tlskeytop::keylog_to(&lab, "second", ["--all"])?;
    let took = start.elapsed();
    ensure!(tlskeytop.targets >= WITH_TLS, "{} targets", tlskeytop.targets);
    let memory = resident(tlskeytop.process.pid())? >> 10;
    eprintln!("ready after {took:?} with {} targets; {memory} KiB", tlskeytop.targets);
    ensure!(took < Duration::from_secs(10), "ready after {took:?}");
    ensure!(memory < 80 << 10, "{memory} KiB");
    stop_idle(tlskeytop)
}

/// Does something so many times a second, until it is told to end; how often that was.
fn at_a_rate(
    a_second: u32,
    is_over: &AtomicBool,
    mut act: impl FnMut() -> Result<()>,
) -> Result<u32> {
    let start = Instant::now();
    let mut count = 0;
    while !is_over.load(Ordering::Relaxed) {
        let next = start + Duration::from_secs(1) * count / a_second;
        thread::sleep(next.saturating_duration_since(Instant::now()));
        act()?;
        count += 1;
    }
    Ok(count)
}

fn run_true() -> Result<()> {
    let status = Command::new("/bin/true").stdin(Stdio::null()).status()?;
    ensure!(status.success());
    Ok(())
}

/// Programs that come and go, and curls among them: every line of these is captured. The CPU's time for each exec.
fn busy(execs: u32, curls: u32, during: Duration) -> Result<Option<Duration>> {
    let Some(bench) = Bench::open(Protocol::Http)? else {
        return Ok(None);
    };
    let own = OwnCurl::copy(&bench.lab)?;
    let tlskeytop = Tlskeytop::keylog(&bench.lab, ["--name", &own.name])?;
    let pid = tlskeytop.process.pid();
    let is_over = AtomicBool::new(false);
    let request = || {
        for peer in &bench.peers {
            Process::run_ok(&mut own.request(&bench.lab, peer.port(), ""))?;
        }
        Ok(())
    };
    // What is planned once is no part of what each costs.
    request()?;
    let (before, start) = (cpu_time(pid)?, Instant::now());
    let (count, rounds) = thread::scope(|scope| {
        let execs = scope.spawn(|| at_a_rate(execs, &is_over, run_true));
        // One with each peer.
        let curls = scope.spawn(|| at_a_rate(curls / 2, &is_over, request));
        thread::sleep(during);
        is_over.store(true, Ordering::Relaxed);
        let of = |thread: thread::ScopedJoinHandle<'_, Result<u32>>| {
            thread.join().expect("it does not panic")
        };
        anyhow::Ok((of(execs)?, of(curls)?))
    })?;
    let used = cpu_time(pid)?.saturating_sub(before);
    let curls = usize::try_from(rounds)? + 1;
    let each = used / (count + 2 * rounds);
    let second = start.elapsed().as_secs_f64();
    eprintln!(
        "{:.0} execs and {:.1} curls a second for {second:.1} s: {used:?}, {each:?} for each",
        f64::from(count) / second,
        f64::from(2 * rounds) / second
    );
    let said = tlskeytop.process.stderr();
    ensure!(!said.contains("the kernel lost"), "{said}");
    bench.check(tlskeytop, curls)?;
    Ok(Some(each))
}

#[test]
fn every_curl_while_programs_come_and_go() -> Result<()> {
    let each = busy(100, 6, Duration::from_secs(4))?;
    // Not optimised, and beside other tests.
    ensure!(each.is_none_or(|each| each < Duration::from_millis(2)), "{each:?}");
    Ok(())
}

#[test]
#[ignore = "a figure, of a release build on a machine where nothing else runs"]
fn cost_of_an_exec_at_400_a_second() -> Result<()> {
    let each = busy(400, 10, Duration::from_secs(15))?;
    ensure!(each.is_none_or(|each| each < Duration::from_micros(50)), "{each:?}");
    Ok(())
}
