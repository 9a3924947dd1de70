//! What it has given up when it runs, by the kernel's own word.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use rustix::process::Signal;
use tlskeytop_tests::{
    Held, Lab, Maker, Makers, Process, Tlskeytop, Version, check_whole, resident,
};

/// What it keeps, by the names of capability.h.
const KEPT: [&str; 13] = [
    "bpf",
    "perfmon",
    "sys_admin",
    "sys_ptrace",
    "dac_read_search",
    "dac_override",
    "chown",
    "setuid",
    "setgid",
    "kill",
    "sys_nice",
    "net_raw",
    "ipc_lock",
];

fn open() -> Result<Option<(Lab, Maker)>> {
    let Some(lab) = Lab::open()? else {
        return Ok(None);
    };
    let maker = Makers::build(&lab)?.start(&lab, "maker", None)?;
    Ok(Some((lab, maker)))
}

fn status(pid: u32) -> Result<impl Fn(&str) -> Result<String>> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    Ok(move |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name));
        Ok(line.with_context(|| format!("no {name}"))?.trim().to_owned())
    })
}

/// The names of a set of capabilities, by capsh(1).
fn names(set: &str) -> Result<Vec<String>> {
    let ended = Process::run_ok(Command::new("capsh").arg(format!("--decode={set}")))?;
    let (_, names) = ended.stdout.trim().split_once('=').context("capsh")?;
    let mut names: Vec<String> =
        names.split(',').map(|name| name.trim_start_matches("cap_").to_owned()).collect();
    names.sort_unstable();
    Ok(names)
}

/// In each thread: no more than the kept capabilities, the filter of system calls, and no way to get more back. And all
/// is captured so.
#[test]
fn each_thread_has_given_up_the_same() -> Result<()> {
    let Some((lab, mut maker)) = open()? else {
        return Ok(());
    };
    let tlskeytop = Tlskeytop::keylog(&lab, ["--pid", &maker.pid().to_string()])?;
    let pid = tlskeytop.process.pid();
    let held = Held::by(pid)?;
    let mut kept = KEPT.map(str::to_owned);
    kept.sort_unstable();
    let mut threads = 0;
    for thread in fs::read_dir(format!("/proc/{pid}/task"))? {
        let thread = thread?.file_name().to_string_lossy().parse()?;
        // Some have done what they were for.
        let Ok(status) = status(thread) else { continue };
        let name = status("Name:")?;
        for set in ["CapEff:", "CapPrm:"] {
            ensure!(names(&status(set)?)? == kept, "{name}: {set} {}", status(set)?);
        }
        ensure!(names(&status("CapInh:")?)? == [""], "{name}: {}", status("CapInh:")?);
        ensure!(status("Seccomp:")? == "2", "{name}: Seccomp {}", status("Seccomp:")?);
        threads += 1;
    }
    ensure!(threads > 3, "{threads} threads");
    maker.work(Version::Tls13, 1, 50)?;
    let (ours, _) = tlskeytop.stop()?;
    check_whole(&ours, &maker.truth()?)?;
    held.is_gone(pid)
}

/// Locked where it is used, and not where it is not: the whole is not larger than it was meant to be.
#[test]
fn its_memory_is_locked_and_small() -> Result<()> {
    // Of a release build 40 MiB are wanted; the other one has more code.
    const MOST: u64 = if cfg!(debug_assertions) { 80 << 20 } else { 40 << 20 };
    let Some((lab, maker)) = open()? else {
        return Ok(());
    };
    let tlskeytop = Tlskeytop::keylog(&lab, ["--pid", &maker.pid().to_string()])?;
    let pid = tlskeytop.process.pid();
    let (status, memory) = (status(pid)?, resident(pid)?);
    let locked = status("VmLck:")?;
    eprintln!("{} KiB resident, {locked} locked, {} at all", memory >> 10, status("VmSize:")?);
    let locked: u64 = locked.trim_end_matches(" kB").parse()?;
    ensure!(locked << 10 >= memory / 2, "{locked} KiB are locked");
    ensure!(memory < MOST, "{memory} bytes");
    tlskeytop.stop().map(drop)
}

/// Whatever makes it crash leaves no core file, though the limit allows one.
#[test]
fn a_crash_leaves_no_core() -> Result<()> {
    let Some((lab, maker)) = open()? else {
        return Ok(());
    };
    // Rust takes the first SIGSEGV that no fault has caused, and goes on.
    for signal in [Signal::ABORT, Signal::ILL] {
        let keylog = lab.path("captured.keylog");
        let mut command = Command::new("prlimit");
        command.arg("--core=unlimited:unlimited").arg(Tlskeytop::binary()?);
        command.args(["--mode", "keylog", "--pid", &maker.pid().to_string(), "-k"]).arg(&keylog);
        command.current_dir(lab.folder());
        let mut tlskeytop = Tlskeytop::start(command, keylog)?;
        let pid = tlskeytop.process.pid();
        let held = Held::by(pid)?;
        // The kernel gives what is not dumpable to root; and memory cannot be had without the right to trace.
        ensure!(fs::metadata(format!("/proc/{pid}/mem"))?.uid() == 0);
        tlskeytop.process.signal(signal)?;
        let ended = tlskeytop.process.wait()?;
        ensure!(ended.signal() == Some(signal.as_raw()), "{}", ended.status);
        ensure!(!std::os::unix::process::ExitStatusExt::core_dumped(&ended.status), "a core");
        held.is_gone(pid)?;
    }
    Ok(())
}
