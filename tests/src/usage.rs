//! What a process takes of the machine: time of the CPUs, and memory.

use std::fs;
use std::time::Duration;

use anyhow::{Context, Result};

/// The time that all threads of a process, ended ones too, have run: fields 14 and 15 of `/proc/PID/stat` (proc(5)).
///
/// # Errors
/// When it has ended.
pub fn cpu_time(pid: u32) -> Result<Duration> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    let (_, after_name) = stat.rsplit_once(')').context("no name in stat")?;
    let ticks = after_name.split_whitespace().skip(11).take(2);
    let ticks: u64 = ticks.map(str::parse::<u64>).sum::<Result<_, _>>()?;
    let nanoseconds = ticks * 1_000_000_000 / rustix::param::clock_ticks_per_second();
    Ok(Duration::from_nanos(nanoseconds))
}

/// The memory of a process that is resident, in bytes.
///
/// # Errors
/// When it has ended.
pub fn resident(pid: u32) -> Result<u64> {
    of_status(pid, "VmRSS:")
}

/// The most that it was.
///
/// # Errors
/// When it has ended.
pub fn most_resident(pid: u32) -> Result<u64> {
    of_status(pid, "VmHWM:")
}

fn of_status(pid: u32, name: &str) -> Result<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix(name));
    let kibibytes = line.and_then(|line| line.trim().strip_suffix("kB"));
    let kibibytes: u64 = kibibytes.with_context(|| format!("no {name}"))?.trim().parse()?;
    Ok(kibibytes << 10)
}
