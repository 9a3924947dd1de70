//! Detaching leaves no probe behind: neither when a process is dropped, nor when it ends, nor at the end.
//!
//! `uprobe_profile` of tracefs says nothing of it: it lists the probes that were made through tracefs, and these are
//! made with `bpf(2)`. What counts are the kernel's own links and programs, by their ids.

use anyhow::{Context, Result, ensure};
use rustix::process::{Pid, Signal, kill_process};
use tlskeytop_tests::{
    Bench, Held, Listed, Peer, Process, Protocol, Screen, Tlskeytop, Version, private_libssl, until,
};

/// Nothing that it has ever held is listed any more.
fn is_gone(pid: u32, ever: &[Held]) -> Result<()> {
    ever.iter().try_for_each(|held| held.is_gone(pid))
}

/// Waits until it holds probes, or none.
fn probes(pid: u32, wanted: bool) -> Result<Held> {
    let what = if wanted { "probes" } else { "no probes" };
    let held = until(what, || {
        let held = Held::by(pid)?;
        Ok((held.probes.is_empty() != wanted).then_some(held))
    })
    .with_context(|| format!("{:?}", Held::by(pid)))?;
    let listed = Listed::now()?;
    ensure!(held.programs.is_subset(&listed.programs), "bpftool does not see {held:?}: {listed:?}");
    Ok(held)
}

/// What was attached before is not listed any more, though the program goes on. Its descriptors go first, and what they
/// were for a little later.
fn are_not_listed(before: &Held) -> Result<()> {
    let is_gone = || Ok(before.probes.is_disjoint(&Listed::now()?.links).then_some(()));
    until("the probes are not listed", is_gone).with_context(|| format!("{before:?}"))
}

/// A process of the test with a libssl of its own.
fn holder(bench: &Bench, name: &str) -> Result<Process> {
    let libraries = private_libssl(&bench.lab, name)?;
    let python = std::path::Path::new(tlskeytop_tests::PYTHON);
    let mut command = bench.client(python, "client_ssl.py", 1);
    let client = Process::start(command.env("LD_LIBRARY_PATH", libraries))?;
    client.wait_stdout("waiting", |line| (line == "waiting").then_some(()))?;
    Ok(client)
}

/// Marks or unmarks the one process with this id, and attaches or detaches.
fn toggle(screen: &Screen, pid: u32) -> Result<()> {
    screen.press("/")?;
    // The search before, if any.
    screen.press("C-u")?;
    screen.type_line(&pid.to_string())?;
    let pid = pid.to_string();
    let mark = |line: &str| {
        let (mark, rest) = line.trim_start().split_at_checked("[x]".len())?;
        let is_it = mark.starts_with('[') && rest.split_whitespace().next() == Some(&*pid);
        is_it.then(|| mark.to_owned())
    };
    let before = screen.wait_for("the process in the picker", mark)?;
    screen.press("Space")?;
    screen.wait_for("its other mark", |line| mark(line).filter(|now| *now != before))?;
    screen.press("Enter")
}

fn choose_and_drop(children: &str) -> Result<()> {
    let Some(bench) = Bench::open(Protocol::Http)? else {
        return Ok(());
    };
    let (first, mut second) = (holder(&bench, "first")?, holder(&bench, "second")?);
    let screen = Screen::open(&bench.lab, 140, 40)?;
    let binary = Tlskeytop::binary()?;
    let tui = format!("sh -c 'echo $$ > pid; exec {} {children}'", binary.display());
    screen.type_line(&format!("{tui}; echo exit=$?"))?;
    screen.wait_for("the picker", |line| line.contains("everything, now").then_some(()))?;
    let pid: u32 = std::fs::read_to_string(bench.lab.path("pid"))?.trim().parse()?;
    let probes = |wanted| {
        let screen = || format!("the screen was\n{}", screen.text().unwrap_or_default());
        probes(pid, wanted).with_context(screen)
    };
    let mut ever = vec![probes(false)?];

    toggle(&screen, first.pid())?;
    ever.push(probes(true)?);
    // Dropped again, with the program still there.
    screen.press("p")?;
    toggle(&screen, first.pid())?;
    let after = probes(false)?;
    ensure!(!after.programs.is_empty(), "the programs stay loaded: {after:?}");
    are_not_listed(&ever[1])?;

    // Another one, which then ends.
    screen.press("p")?;
    toggle(&screen, second.pid())?;
    let held = probes(true)?;
    ever.push(held.clone());
    second.signal(Signal::KILL)?;
    second.wait()?;
    probes(false)?;
    are_not_listed(&held)?;

    // And one that is chosen when the program ends.
    screen.press("p")?;
    toggle(&screen, first.pid())?;
    ever.push(probes(true)?);
    screen.press("q")?;
    screen.wait_for("its end", |line| line.starts_with("exit=0").then_some(()))?;
    is_gone(pid, &ever)
}

#[test]
fn choosing_and_dropping_in_the_picker_leaves_nothing() -> Result<()> {
    choose_and_drop("--no-children")
}

#[test]
fn with_children_too() -> Result<()> {
    choose_and_drop("")
}

/// Whatever ends it, the kernel takes everything back with its file descriptors.
#[test]
fn every_end_leaves_nothing() -> Result<()> {
    for signal in [Signal::INT, Signal::TERM, Signal::KILL] {
        let Some(bench) = Bench::open(Protocol::Http)? else {
            return Ok(());
        };
        let peer: &Peer = bench.peers.first().context("no peer")?;
        ensure!(peer.version() == Version::Tls13);
        let mut tlskeytop = Tlskeytop::keylog(&bench.lab, ["--pid", &peer.pid().to_string()])?;
        let pid = tlskeytop.process.pid();
        let held = probes(pid, true)?;
        ensure!(!held.others.is_empty(), "{held:?}");
        let raw = i32::try_from(pid).ok().and_then(Pid::from_raw).context("pid")?;
        kill_process(raw, signal)?;
        tlskeytop.process.wait()?;
        held.is_gone(pid)?;
    }
    Ok(())
}

/// The kernel lets it load its programs and attach none of them.
#[test]
fn a_kernel_that_permits_no_probe_ends_it_with_3() -> Result<()> {
    let Some(bench) = Bench::open(Protocol::Http)? else {
        return Ok(());
    };
    let mut command = std::process::Command::new(tlskeytop_tests::PYTHON);
    command.arg(tlskeytop_tests::peer_script("without_probes.py")).arg(Tlskeytop::binary()?);
    command.args(["--mode", "json", "--all"]).current_dir(bench.lab.folder());
    let ended = Process::run(&mut command)?;
    ensure!(ended.code() == Some(3), "{}: {}", ended.status, ended.stderr);
    ensure!(ended.stderr.contains("the kernel permits no probe"), "{}", ended.stderr);
    Ok(())
}
