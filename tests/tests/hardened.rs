//! What it has given up when it runs, by the kernel's own word.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::ExitStatusExt;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use rustix::process::Signal;
use tlskeytop_tests::{
    Held, Lab, Maker, Makers, Process, Screen, Tlskeytop, Version, check_whole, resident, until,
};

/// What it keeps, by the names of capability.h.
const KEPT: [&str; 11] = [
    "bpf",
    "perfmon",
    "sys_admin",
    "sys_ptrace",
    "dac_read_search",
    "dac_override",
    "setuid",
    "setgid",
    "kill",
    "sys_nice",
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

/// In each thread: no more than the kept capabilities, the filters of system calls, and no way to get more back.
fn has_given_up(pid: u32) -> Result<()> {
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
    Ok(())
}

/// And all is captured so.
#[test]
fn each_thread_has_given_up_the_same() -> Result<()> {
    let Some((lab, mut maker)) = open()? else {
        return Ok(());
    };
    let tlskeytop = Tlskeytop::keylog(&lab, ["--pid", &maker.pid().to_string()])?;
    let pid = tlskeytop.process.pid();
    let held = Held::attached(pid)?;
    has_given_up(pid)?;
    maker.work(Version::Tls13, 1, 50)?;
    let (ours, _) = tlskeytop.stop()?;
    check_whole(&ours, &maker.truth()?)?;
    held.is_gone(pid)
}

/// The same where keys are pressed, and drawn.
#[test]
fn the_interface_has_given_up_the_same() -> Result<()> {
    let Some((lab, maker)) = open()? else {
        return Ok(());
    };
    let screen = Screen::open(&lab, 120, 30)?;
    let command = format!("{} --pid {}", Tlskeytop::binary()?.display(), maker.pid());
    // The shell leaves its process id, which is then the TUI's.
    screen.type_line(&format!("sh -c 'echo $$ > pid; exec {command}'"))?;
    screen.wait_for("attached", |line| line.contains("attached: 1 process").then_some(()))?;
    let pid = fs::read_to_string(lab.path("pid"))?.trim().parse()?;
    has_given_up(pid)?;
    screen.press("q")?;
    until("its end", || Ok(Held::by(pid).is_err().then_some(())))
}

/// The same once the command runs, which itself has all that its user has.
#[test]
fn the_command_keeps_what_its_user_has() -> Result<()> {
    let Some(lab) = Lab::open()? else {
        return Ok(());
    };
    let keylog = lab.path("captured.keylog");
    let mut command = Tlskeytop::command(&lab)?;
    command.arg("-k").arg(&keylog).args(["--", "sh", "-c", "echo $$; read go"]);
    let mut tlskeytop = Process::start(&mut command)?;
    let child = tlskeytop.wait_stdout("process id", |line| line.parse().ok())?;
    has_given_up_soon(tlskeytop.pid())?;
    let (its, ours) = (status(child)?, status(std::process::id())?);
    for name in ["CapEff:", "CapPrm:", "CapBnd:", "NoNewPrivs:", "Seccomp:", "Uid:", "Gid:"] {
        ensure!(its(name)? == ours(name)?, "{name} {} and not {}", its(name)?, ours(name)?);
    }
    tlskeytop.say("go")?;
    ensure!(tlskeytop.wait()?.code() == Some(0), "{}", tlskeytop.stderr());
    Ok(())
}

/// The calls are forbidden when the command has been started, which may be heard of first.
fn has_given_up_soon(pid: u32) -> Result<()> {
    let filtered = || Ok((status(pid)?("Seccomp:")? == "2").then_some(()));
    until("the filter", filtered)?;
    has_given_up(pid)
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
    let (private, locked) = private_memory(pid)?;
    ensure!(private > 1 << 10 && locked == private, "{locked} of {private} KiB are locked");
    ensure!(memory < MOST, "{memory} bytes");
    tlskeytop.stop().map(drop)
}

/// What of the heap, of stacks and of other memory that is no file's is resident, and how much of that is locked, in KiB
/// (`/proc/PID/smaps`, proc(5)).
fn private_memory(pid: u32) -> Result<(u64, u64)> {
    let smaps = fs::read_to_string(format!("/proc/{pid}/smaps"))?;
    let (mut resident, mut locked) = (0, 0);
    let mut counts = false;
    for line in smaps.lines() {
        let words: Vec<&str> = line.split_whitespace().collect();
        match words[..] {
            // Addresses, rights, offset, device, inode, name.
            [_, rights, _, "00:00", "0", ref name @ ..] => {
                let is_private = matches!(name, [] | ["[heap]"] | ["[stack]"]);
                counts = is_private && rights.starts_with("rw");
            }
            [_, _, _, device, ..] if device.contains(':') => counts = false,
            ["Rss:", number, _] if counts => resident += number.parse::<u64>()?,
            ["Locked:", number, _] if counts => locked += number.parse::<u64>()?,
            _ => {}
        }
    }
    Ok((resident, locked))
}

/// As a group that is not root's: the kernel gives the files in `/proc/PID` of what is not dumpable to root's group, and those of
/// the others to their own (`task_dump_owner` in fs/proc/base.c).
const AS_GROUP: [&str; 4] = ["setpriv", "--regid", "65534", "--clear-groups"];

fn group_of_memory(pid: u32) -> Result<u32> {
    Ok(fs::metadata(format!("/proc/{pid}/mem"))?.gid())
}

/// How a program that waits ends by this signal, under the same limit.
fn dumps_core(lab: &Lab, signal: Signal) -> Result<bool> {
    let mut command = Command::new("prlimit");
    command.arg("--core=unlimited:unlimited").args(AS_GROUP).args(["sh", "-c", "echo up; read go"]);
    let mut other = Process::start(command.current_dir(lab.folder()))?;
    other.wait_stdout("up", |line| (line == "up").then_some(()))?;
    ensure!(group_of_memory(other.pid())? == 65534, "another rule for what is dumpable");
    other.signal(signal)?;
    Ok(other.wait()?.status.core_dumped())
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
        if !dumps_core(&lab, signal)? {
            eprintln!("nothing leaves a core file on this machine: only what it may is looked at");
        }
        let mut command = Command::new("prlimit");
        command.arg("--core=unlimited:unlimited").args(AS_GROUP).arg(Tlskeytop::binary()?);
        command.args(["--mode", "keylog", "--pid", &maker.pid().to_string(), "-k"]).arg(&keylog);
        command.current_dir(lab.folder());
        let mut tlskeytop = Tlskeytop::start(command, keylog)?;
        let pid = tlskeytop.process.pid();
        let held = Held::attached(pid)?;
        ensure!(group_of_memory(pid)? == 0, "it is dumpable");
        tlskeytop.process.signal(signal)?;
        let ended = tlskeytop.process.wait()?;
        ensure!(ended.signal() == Some(signal.as_raw()), "{}", ended.status);
        ensure!(!ended.status.core_dumped(), "a core");
        held.is_gone(pid)?;
    }
    Ok(())
}
