//! What tlskeytop takes for itself: time to be ready, processor, memory.

use std::fs;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use tlskeytop_tests::{Lab, Screen, Tlskeytop, until};

use crate::effort::Effort;
use crate::row::{Goal, Row, Unit};
use crate::sample::Sample;
use crate::workload::{Program, Work, Workload};

/// From its start to the line that says that all is attached.
///
/// # Errors
/// When it does not come up.
pub fn starts(lab: &Lab, program: &Program, effort: &Effort) -> Result<Vec<Row>> {
    let workload = program.start(lab, "own")?;
    let pid = workload.pid().to_string();
    let (mut rows, mut after) = (Vec::new(), Vec::new());
    for (args, most, what) in [
        (&["--pid", &pid][..], 200.0, "from start to ready, one pid"),
        (&["--all"], 1000.0, "from start to ready, the whole machine"),
    ] {
        let mut times = Vec::new();
        for _ in 0..effort.starts {
            let start = Instant::now();
            let tlskeytop = Tlskeytop::keylog_to(lab, "starts", args)?;
            times.push(start.elapsed().as_secs_f64() * 1e3);
            tlskeytop.stop()?;
        }
        let sample = Sample::of(times).context("no starts")?;
        rows.push(Row::median(what, Unit::Milliseconds, Goal::AtMost(most), &sample));
    }
    for _ in 0..effort.samples {
        let tlskeytop = Tlskeytop::keylog_to(lab, "starts", ["--pid", &pid])?;
        after.push(quiet(tlskeytop.process.pid())? * 1e3);
        tlskeytop.stop()?;
    }
    let sample = Sample::of(after).context("no starts")?;
    let what = "what it then still does, of a processor's time, one pid";
    rows.push(Row::median(what, Unit::Milliseconds, Goal::None, &sample));
    Ok(rows)
}

/// Its share of a processor, idle and at work, and its memory, without the interface.
///
/// # Errors
/// When it does not come up.
pub fn headless(lab: &Lab, program: &Program, effort: &Effort) -> Result<Vec<Row>> {
    let _idle = idle(lab, program, effort)?;
    let mut maker = program.start(lab, "own")?;
    let tlskeytop = Tlskeytop::keylog_to(lab, "usage", ["--all"])?;
    let rows = measure(tlskeytop.process.pid(), &mut maker, "", effort)?;
    tlskeytop.stop()?;
    Ok(rows)
}

/// The same with the interface.
///
/// # Errors
/// When it does not come up.
pub fn with_interface(lab: &Lab, program: &Program, effort: &Effort) -> Result<Vec<Row>> {
    let _idle = idle(lab, program, effort)?;
    let mut maker = program.start(lab, "own")?;
    let screen = Screen::open(lab, 160, 50)?;
    let pid = interface(lab, &screen)?;
    let rows = measure(pid, &mut maker, ", with the interface", effort)?;
    screen.press("q")?;
    screen.press("y")?;
    until("the interface's end", || Ok((!fs::exists(format!("/proc/{pid}"))?).then_some(())))?;
    Ok(rows)
}

/// Processes that have the library and do nothing.
fn idle(lab: &Lab, program: &Program, effort: &Effort) -> Result<Vec<Workload>> {
    (0..effort.processes).map(|_| program.start(lab, "idle")).collect()
}

/// The interface in a terminal, once it has attached to all; its process id.
fn interface(lab: &Lab, screen: &Screen) -> Result<u32> {
    let file = lab.path("interface");
    let binary = Tlskeytop::binary()?;
    screen.type_line(&format!("echo $$ > {}; exec {} --all", file.display(), binary.display()))?;
    let pid = until("the interface's process id", || {
        Ok(fs::read_to_string(&file).ok().and_then(|text| text.trim().parse().ok()))
    })?;
    screen.wait_for("the interface", |line| has_attached(line).then_some(()))?;
    Ok(pid)
}

/// Most samples until it does no more than before: the first sweeps come soon after the start.
const SETTLING: usize = 10;

fn measure(pid: u32, maker: &mut Workload, what: &str, effort: &Effort) -> Result<Vec<Row>> {
    settle(pid, effort)?;
    let memory = resident(pid)?;
    let (mut idle, mut busy, mut started) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..effort.samples {
        let before = forks()?;
        idle.push(idle_share(pid, effort)?);
        started.push((forks()? - before) / effort.sample);
    }
    let work = Work::Handshakes { version: "1.3", loopback: false, resumed: false, rate: 1000 };
    let mut rates = Vec::new();
    for _ in 0..effort.samples {
        let before = processor(pid)?;
        let section = maker.work(work, effort.sample)?;
        busy.push(100.0 * (processor(pid)? - before) / section.seconds);
        rates.push(section.rate());
    }
    let sample = |figures: Vec<f64>| Sample::of(figures).context("no samples");
    let (idle, busy, started) = (sample(idle)?, sample(busy)?, sample(started)?);
    let rate = sample(rates)?.median();
    let share = |of: String, most, sample: &Sample| {
        let of = format!("own share of a processor{of}{what}");
        Row::median(of, Unit::Percent, Goal::AtMost(most), sample)
    };
    let beside = format!("processes and threads that others started meanwhile{what}");
    let processes = effort.processes;
    Ok(vec![
        share(", idle".to_owned(), 0.5, &idle),
        Row::median(beside, Unit::PerSecond, Goal::None, &started),
        share(format!(" at {rate:.0} handshakes/s"), 5.0, &busy),
        Row::one(
            format!("resident memory, no sessions, {processes} more processes with libssl{what}"),
            Unit::Mebibytes,
            Goal::AtMost(40.0),
            memory,
        ),
    ])
}

/// A process that takes less of a processor has done what it does at its start.
const QUIET: f64 = 0.02;
/// How long it is looked at for that, and how often at the most.
const LOOK: Duration = Duration::from_millis(200);
const LOOKS: usize = 50;

/// Waits until a process is quiet, or is not for long; seconds of a processor that it had meanwhile.
///
/// # Errors
/// When it has ended.
pub fn quiet(pid: u32) -> Result<f64> {
    let start = processor(pid)?;
    let mut before = start;
    for _ in 0..LOOKS {
        let from = Instant::now();
        // What it does in this time is what is measured.
        thread::sleep(LOOK);
        let now = processor(pid)?;
        let share = (now - before) / from.elapsed().as_secs_f64();
        before = now;
        if share < QUIET {
            break;
        }
    }
    Ok(before - start)
}

/// Waits until it takes no less than just before.
fn settle(pid: u32, effort: &Effort) -> Result<()> {
    let mut before = f64::INFINITY;
    for _ in 0..SETTLING {
        let share = idle_share(pid, effort)?;
        if share >= before {
            break;
        }
        before = share;
    }
    Ok(())
}

/// Hundredths of a processor that it takes while nothing happens.
fn idle_share(pid: u32, effort: &Effort) -> Result<f64> {
    let (start, before) = (Instant::now(), processor(pid)?);
    // This one thing is time itself: what it does meanwhile.
    thread::sleep(Duration::from_secs_f64(effort.sample));
    Ok(100.0 * (processor(pid)? - before) / start.elapsed().as_secs_f64())
}

/// Processes and threads that were started on the machine since it runs (proc_stat(5)).
fn forks() -> Result<f64> {
    let stat = fs::read_to_string("/proc/stat")?;
    let line = stat.lines().find_map(|line| line.strip_prefix("processes "));
    Ok(line.context("no processes in /proc/stat")?.trim().parse()?)
}

/// Seconds of all processors that the threads of a process had.
///
/// # Errors
/// When it has ended.
pub fn processor(pid: u32) -> Result<f64> {
    let mut nanoseconds = 0;
    for thread in fs::read_dir(format!("/proc/{pid}/task"))? {
        // One that has ended meanwhile.
        let Ok(text) = fs::read_to_string(thread?.path().join("schedstat")) else { continue };
        let time = text.split(' ').next().and_then(|time| time.parse::<u64>().ok());
        nanoseconds += time.context("schedstat")?;
    }
    Ok(nanoseconds as f64 / 1e9)
}

/// Mebibytes that a process has in memory.
///
/// # Errors
/// When it has ended.
pub fn resident(pid: u32) -> Result<f64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("VmRSS")?;
    let kibibytes: f64 = line.trim().trim_end_matches(" kB").parse()?;
    Ok(kibibytes / 1024.0)
}

fn has_attached(line: &str) -> bool {
    line.contains(" attached: ") && !line.contains(" attached: 0 ")
}
