//! Who is chosen: children and their children, containers, and what is left out whatever chooses it.

use std::process::Command;

use anyhow::{Context, Result, ensure};
use tlskeytop_tests::{
    Bench, Cgroup, KeyLog, LIBSSL, Lab, OwnCurl, Process, Protocol, Sessions, Tlskeytop,
    check_capture, scan_of, until,
};

/// A shell that does what it is told, line by line, and says so: a parent that is there before its children.
struct Shell(Process);

impl Shell {
    fn start() -> Result<Self> {
        Self::start_by(&mut Command::new("sh"))
    }

    fn start_by(command: &mut Command) -> Result<Self> {
        let mut shell = Self(Process::start(command)?);
        shell.does("true")?;
        Ok(shell)
    }

    fn pid(&self) -> u32 {
        self.0.pid()
    }

    /// Runs a line to its end.
    fn does(&mut self, line: &str) -> Result<()> {
        let done = |shell: &Self| shell.0.stdout().matches("done\n").count();
        let before = done(self);
        self.0.say(&format!("{line}\necho done"))?;
        until(line, || Ok((done(self) > before).then_some(())))
    }
}

/// The line of a shell for this request; `after` goes on when it is done.
fn line(bench: &Bench, curl: &OwnCurl) -> String {
    let request = curl.request(&bench.lab, bench.peers[0].port(), "");
    let words = std::iter::once(request.get_program()).chain(request.get_args());
    let words: Vec<_> = words.map(|word| format!("'{}'", word.to_string_lossy())).collect();
    format!("{} >/dev/null", words.join(" "))
}

/// What came to the truth since `before`.
fn new_truth(bench: &Bench, before: &KeyLog, handshakes: usize) -> Result<KeyLog> {
    let mut truth = bench.peers[0].whole_truth(before.client_randoms().len() + handshakes)?;
    truth.remove(&before.client_randoms());
    Ok(truth)
}

/// Ends it: all of `chosen` was captured, on one end, and nothing else of this machine.
fn captured_only(tlskeytop: Tlskeytop, chosen: &[&KeyLog]) -> Result<()> {
    let (ours, summary) = tlskeytop.stop()?;
    let mut expected: Vec<&str> = chosen.iter().flat_map(|truth| truth.client_randoms()).collect();
    expected.sort_unstable();
    let found = ours.client_randoms();
    ensure!(found == expected, "captured {found:?} and not {expected:?}: {summary:?}");
    ensure!(usize::try_from(summary.sessions)? == expected.len(), "{summary:?}");
    chosen.iter().try_for_each(|truth| check_capture(&ours, truth))
}

#[test]
fn children_of_a_chosen_shell_are_captured_and_its_siblings_are_not() -> Result<()> {
    let Some(bench) = Bench::open(Protocol::Http)? else {
        return Ok(());
    };
    let curl = OwnCurl::copy(&bench.lab)?;
    let (mut chosen, mut sibling) = (Shell::start()?, Shell::start()?);
    let tlskeytop = Tlskeytop::keylog(&bench.lab, ["--pid", &chosen.pid().to_string()])?;
    let line = line(&bench, &curl);
    // A child; a grandchild by way of another shell; one that becomes curl by exec.
    chosen.does(&line)?;
    chosen.does(&format!("sh -c \"{line}; true\""))?;
    chosen.does(&format!("sh -c \"exec {line}\""))?;
    let truth = bench.peers[0].whole_truth(3)?;
    sibling.does(&line)?;
    bench.peers[0].whole_truth(4)?;
    captured_only(tlskeytop, &[&truth])
}

/// A file that who reads it waits for.
fn make_fifo(bench: &Bench, name: &str) -> Result<String> {
    let path = bench.lab.path(name);
    tlskeytop_tests::make_fifo(&path)?;
    Ok(path.to_string_lossy().into_owned())
}

/// It is captured while its parent lives, when that has ended, and when the chosen one has ended as well.
#[test]
fn a_grandchild_is_captured_after_its_parents_have_ended() -> Result<()> {
    let Some(bench) = Bench::open(Protocol::Http)? else {
        return Ok(());
    };
    let curl = OwnCurl::copy(&bench.lab)?;
    let mut chosen = Shell::start()?;
    let (go, end) = (make_fifo(&bench, "go")?, make_fifo(&bench, "end")?);
    let line = line(&bench, &curl);
    let script = |name: &str, text: String| -> Result<String> {
        let path = bench.lab.path(name);
        std::fs::write(&path, text)?;
        Ok(path.to_string_lossy().into_owned())
    };
    let pid_of = |name: &str| bench.lab.path(&format!("pid-{name}"));
    let tell = |name: &str| format!("echo $$ > {}\n", pid_of(name).display());
    let handshake = format!("read x < {go}\n{line}\n");
    let grandchild = script("grandchild", tell("grandchild") + &handshake.repeat(3))?;
    let between = format!("{}sh {grandchild} &\nread x < {end}\n", tell("between"));
    let between = script("between", between)?;

    let tlskeytop = Tlskeytop::keylog(&bench.lab, ["--pid", &chosen.pid().to_string()])?;
    chosen.does(&format!("sh {between} >/dev/null 2>&1 &"))?;
    let read_pid = |name: &str| -> Result<u32> {
        until("its process id", || {
            Ok(std::fs::read_to_string(pid_of(name)).ok().and_then(|text| text.trim().parse().ok()))
        })
    };
    let (grandchild, between) = (read_pid("grandchild")?, read_pid("between")?);
    let _end = EndOf(grandchild);
    ensure!(parent_of(grandchild)? == between, "another parent");
    std::fs::write(&go, "go\n")?;
    bench.peers[0].whole_truth(1)?;
    std::fs::write(&end, "end\n")?;
    until("the end of its parent", || Ok((parent_of(grandchild)? != between).then_some(())))?;
    std::fs::write(&go, "go\n")?;
    bench.peers[0].whole_truth(2)?;
    drop(chosen);
    std::fs::write(&go, "go\n")?;
    captured_only(tlskeytop, &[&bench.peers[0].whole_truth(3)?])
}

#[test]
fn no_children_leaves_them_out_and_an_exec_of_the_chosen_one_in() -> Result<()> {
    let Some(bench) = Bench::open(Protocol::Http)? else {
        return Ok(());
    };
    let curl = OwnCurl::copy(&bench.lab)?;
    // With the library that curl uses, so that it is attached though no chosen process is a curl.
    let mut chosen = Shell::start_by(Command::new("sh").env("LD_PRELOAD", LIBSSL))?;
    let pid = chosen.pid().to_string();
    let tlskeytop = Tlskeytop::keylog(&bench.lab, ["--pid", &pid, "--no-children"])?;
    let line = line(&bench, &curl);
    chosen.does(&line)?;
    let child = bench.peers[0].whole_truth(1)?;
    chosen.0.say(&format!("exec {line}"))?;
    ensure!(chosen.0.wait()?.status.success(), "curl");
    captured_only(tlskeytop, &[&new_truth(&bench, &child, 1)?])
}

#[test]
fn excludes_win_over_children_names_and_everything() -> Result<()> {
    let Some(bench) = Bench::open(Protocol::Http)? else {
        return Ok(());
    };
    let (curl, other) = (OwnCurl::copy(&bench.lab)?, OwnCurl::copy_as(&bench.lab, "other")?);
    let (mut chosen, mut excluded) = (Shell::start()?, Shell::start()?);
    let names = format!("{{{},{}}}", curl.name, other.name);
    let server = bench.peers[0].pid().to_string();
    let (chosen_pid, excluded_pid) = (chosen.pid().to_string(), excluded.pid().to_string());
    let without = ["--exclude-name", &other.name, "--exclude-pid", &excluded_pid];
    let without = without.into_iter().chain(["--exclude-pid", &server]);
    let all: Vec<&str> = ["--all"].into_iter().chain(without.clone()).collect();
    let by_name: Vec<&str> = ["--name", &names].into_iter().chain(without.clone()).collect();
    let by_pid = ["--pid", &chosen_pid, "--pid", &excluded_pid].into_iter();
    let by_pid: Vec<&str> = by_pid.chain(without).collect();
    let start = |name, args: &[&str]| Tlskeytop::keylog_to(&bench.lab, name, args.iter().copied());
    let (all, by_name, by_pid) =
        (start("all", &all)?, start("by-name", &by_name)?, start("by-pid", &by_pid)?);
    chosen.does(&line(&bench, &curl))?;
    let truth = bench.peers[0].whole_truth(1)?;
    chosen.does(&line(&bench, &other))?;
    excluded.does(&line(&bench, &curl))?;
    let left_out = new_truth(&bench, &truth, 2)?;
    captured_only(by_name, &[&truth])?;
    captured_only(by_pid, &[&truth])?;
    // What else this machine does at the same time is in it, too.
    let (mut ours, _) = all.stop()?;
    let has = |random: &&str| ours.client_randoms().contains(random);
    ensure!(!left_out.client_randoms().iter().any(has), "what is left out was captured");
    let others: Vec<String> = ours.client_randoms().into_iter().map(str::to_owned).collect();
    let others: Vec<&str> = others.iter().map(String::as_str).collect();
    let others: Vec<&str> =
        others.into_iter().filter(|random| !truth.client_randoms().contains(random)).collect();
    ours.remove(&others);
    check_capture(&ours, &truth)
}

#[test]
fn a_container_is_chosen_by_the_first_digits_of_its_id_and_by_a_glob() -> Result<()> {
    let Some(bench) = Bench::open(Protocol::Http)? else {
        return Ok(());
    };
    // No real container has this id.
    let id = format!("{:08x}{}", std::process::id(), "7e57".repeat(14));
    let Some(cgroup) = Cgroup::make(&format!("docker-{id}.scope"))? else {
        return Ok(());
    };
    let curl = OwnCurl::copy(&bench.lab)?;
    let (mut inside, mut outside) = (Shell::start()?, Shell::start()?);
    cgroup.take(inside.pid())?;
    let by_digits = Tlskeytop::keylog(&bench.lab, ["--container", &id[..12]])?;
    let without = ["--name", &curl.name, "--exclude-container", &format!("{}*", &id[..12])];
    let without = Tlskeytop::keylog_to(&bench.lab, "without", without)?;
    let mut json = Tlskeytop::json(&bench.lab, ["--container", &format!("*{}", &id[40..])])?;
    inside.does(&line(&bench, &curl))?;
    let truth = bench.peers[0].whole_truth(1)?;
    outside.does(&line(&bench, &curl))?;
    let other = new_truth(&bench, &truth, 1)?;
    captured_only(by_digits, &[&truth])?;
    captured_only(without, &[&other])?;
    let ended = json.interrupt()?;
    let sessions = Sessions::parse(&ended.stdout)?;
    ensure!(sessions.all().count() == 1, "{}", ended.stdout);
    let session = sessions.of(truth.client_randoms()[0]);
    let session = session.first().context("no session")?;
    ensure!(session["container"] == *id && session["runtime"] == "docker", "{session}");
    ensure!(session["inner_pid"].is_null() && session["unit"].is_null(), "{session}");
    // They have to be out of it before it can be removed.
    drop(inside);
    Ok(())
}

#[test]
fn in_a_pid_namespace_the_inner_pid_is_shown_beside_the_hosts() -> Result<()> {
    let Some(bench) = Bench::open(Protocol::Http)? else {
        return Ok(());
    };
    let curl = OwnCurl::copy(&bench.lab)?;
    // It becomes process 1 of a namespace of its own, and the last thing it does is to become curl.
    let mut unshare = Command::new("unshare");
    unshare.args(["--pid", "--fork", "--mount-proc", "sh"]);
    let mut shell = Shell::start_by(&mut unshare)?;
    let mut json = Tlskeytop::json(&bench.lab, ["--pid", &shell.pid().to_string()])?;
    shell.0.say(&format!("exec {}", line(&bench, &curl)))?;
    shell.0.wait()?;
    let truth = bench.peers[0].whole_truth(1)?;
    let ended = json.interrupt()?;
    let sessions = Sessions::parse(&ended.stdout)?;
    let session = sessions.of(truth.client_randoms()[0]);
    let session = session.first().with_context(|| ended.stdout.clone())?;
    ensure!(session["inner_pid"] == 1, "{session}");
    ensure!(session["pid"].as_u64() > Some(u64::from(shell.pid())), "{session}");
    ensure!(session["comm"] == *curl.name && session["state"] == "complete", "{session}");
    Ok(())
}

#[test]
fn in_a_pid_namespace_of_its_own_tlskeytop_refuses_and_says_what_to_do() -> Result<()> {
    let Some(bench) = Bench::open(Protocol::Http)? else {
        return Ok(());
    };
    for args in [&["--mode", "json"][..], &["doctor"]] {
        let mut command = Command::new("unshare");
        command.args(["--pid", "--fork", "--mount-proc"]).arg(Tlskeytop::binary()?).args(args);
        let ended = Process::run(command.current_dir(bench.lab.folder()))?;
        let said = format!("{}{}", ended.stdout, ended.stderr);
        ensure!(ended.code() == Some(3), "{args:?}: {}\n{said}", ended.status);
        ensure!(said.contains("docker run --pid=host"), "{args:?}: {said}");
    }
    Ok(())
}

/// A 32-bit program that pauses, with the labels in it: no 32-bit library is needed to link it.
#[test]
fn a_32_bit_program_is_reported_as_unsupported() -> Result<()> {
    const SOURCE: &str = "
        .globl _start
        _start: mov $29, %eax   # pause of asm/unistd_32.h
        int $0x80
        jmp _start
        .section .rodata
        .asciz \"CLIENT_RANDOM\"
        .asciz \"EXPORTER_SECRET\"
    ";
    let Some(lab) = Lab::open()? else {
        return Ok(());
    };
    let path = |name| lab.path(name);
    std::fs::write(path("source.s"), SOURCE)?;
    let (object, program) = (path("object.o"), path("program-32"));
    Process::run_ok(Command::new("as").arg("--32").arg("-o").args([&object, &path("source.s")]))?;
    Process::run_ok(Command::new("ld").args(["-m", "elf_i386", "-o"]).args([&program, &object]))?;
    let Ok(running) = Process::start(&mut Command::new(&program)) else {
        eprintln!("skipped: this kernel runs no 32-bit programs");
        return Ok(());
    };
    let found = scan_of(&lab, running.pid())?;
    let [found] = &found[..] else { anyhow::bail!("{found:?}") };
    ensure!(found["method"].is_null() && found["library"].is_null(), "{found}");
    ensure!(found["reason"] == "no tap: 32-bit programs cannot be captured", "{found}");
    let mut command = Tlskeytop::command(&lab)?;
    command.args(["--mode", "json", "--pid", &running.pid().to_string(), "--duration", "1"]);
    let ended = Process::run(&mut command)?;
    let told =
        format!("({}) cannot be captured: 32-bit programs cannot be captured", running.pid());
    ensure!(ended.stderr.contains(&told), "{}", ended.stderr);
    Ok(())
}

/// Ends a process that is no child of the test, by its id.
struct EndOf(u32);

impl Drop for EndOf {
    fn drop(&mut self) {
        if let Some(pid) = i32::try_from(self.0).ok().and_then(rustix::process::Pid::from_raw) {
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
        }
    }
}

fn parent_of(pid: u32) -> Result<u32> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let parent = status.lines().find_map(|line| line.strip_prefix("PPid:"));
    Ok(parent.context("no PPid")?.trim().parse()?)
}
