//! From a checked task to an exit code: 0, 1 failed while running, 2 usage, 3 not permitted or not supported.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Write as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::mpsc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use anyhow::{Context as _, anyhow};
use rustix::process::{Resource, Rlimit, Signal, getrlimit, setrlimit};
use time::UtcOffset;
use tokio::runtime::Runtime;

use crate::capture::{self, CaptureError, Loaded, RING};
use crate::cli::{self, CaptureTask, Mode, Task};
use crate::command::{Command, Streams};
use crate::config::file::FileError;
use crate::config::{self, Config};
use crate::harden;
use crate::headless::{self, HeadlessError, say};
use crate::inject::{Injection, inject};
use crate::keylog::{Owner, keep_apart, open_private};
use crate::logging;
use crate::model::target::{Ancestor, Selection};
use crate::model::{
    AT_A_TIME, AT_A_TIME_ONE_BY_ONE, CatchingUp, CommandState, DEFAULT_SESSION_LIMIT, Model, Msg,
    WireView,
};
use crate::packets::{Recorder, RecorderError};
use crate::preflight::{self, Check};
use crate::report;
use crate::rights::Rights;
use crate::runtime::{self, Engine as _, Machine, finish, local_offset};
use crate::target::follow::first::First;
use crate::target::follow::follower::Follower;
use crate::target::follow::watch::Watch;
use crate::target::layout::Forced;
use crate::target::process;
use crate::target::registry::Registry;
use crate::text::Foreign;

const FAILED: u8 = 1;
const USAGE: u8 = 2;
const NOT_PERMITTED: u8 = 3;
/// With fewer files that may be open, there is no wire view.
const FILES_FOR_WIRE: u64 = 128;
/// Descriptors that the kernel makes room for at the start: those of some 2,000 images, in 128 KiB.
const DESCRIPTORS: u64 = (16 << 10) - 1;

/// Does it.
pub fn run(task: Task) -> ExitCode {
    let result = match task {
        Task::Capture(task) => return capture(*task),
        Task::Scan { json, layout } => scan(json, layout),
        Task::Inject(injection) => return add_secrets(&injection),
        Task::Doctor => doctor(),
        Task::Completions(shell) => print(|out| {
            clap_complete::generate(shell, &mut cli::command(), "tlskeytop", out);
            Ok(())
        }),
        Task::PrintConfig => print(|out| out.write_all(config::default_text().as_bytes())),
        Task::Man => print(|out| clap_mangen::Man::new(cli::command()).render(out)),
    };
    match result {
        Ok(code) => ExitCode::from(code),
        Err(error) => failed(&error.into()),
    }
}

fn failed(error: &anyhow::Error) -> ExitCode {
    say(&crate::text::sanitize(&chain(error)));
    ExitCode::from(exit_code(error))
}

/// The error and its causes, each that the one before does not say already.
fn chain(error: &anyhow::Error) -> String {
    let mut text = error.to_string();
    for cause in error.chain().skip(1).map(ToString::to_string) {
        if !text.contains(&cause) {
            text = format!("{text}: {cause}");
        }
    }
    text
}

fn exit_code(error: &anyhow::Error) -> u8 {
    let is_refused = |cause: &(dyn std::error::Error + 'static)| {
        let error = cause.downcast_ref::<io::Error>();
        error.is_some_and(|error| error.kind() == io::ErrorKind::PermissionDenied)
    };
    if error.is::<SameFile>() || error.is::<FileError>() {
        USAGE
    } else if error.is::<CaptureError>() && error.chain().any(is_refused)
        || matches!(error.downcast_ref(), Some(HeadlessError::Refused(_)))
        || error.is::<RecorderError>() && error.chain().any(is_refused)
    {
        NOT_PERMITTED
    } else {
        FAILED
    }
}

/// Log and secrets in one file would spoil both.
#[derive(Debug, thiserror::Error)]
#[error("the log and the key log are the same file, {0}: give --log-file another one")]
struct SameFile(Foreign);

fn print(write: impl FnOnce(&mut Vec<u8>) -> io::Result<()>) -> io::Result<u8> {
    let mut text = Vec::new();
    write(&mut text)?;
    let mut stdout = io::stdout().lock();
    match stdout.write_all(&text).and_then(|()| stdout.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(error),
        _ => Ok(0),
    }
}

fn scan(json: bool, layout: Option<Forced>) -> io::Result<u8> {
    warn_of(layout.as_ref());
    let watch = Watch::blind();
    let mut registry = Registry::watching(layout, watch.clone());
    registry.add_system_libraries();
    let scan = Follower::new(registry, watch)?.look();
    let text = if json { report::scan_json(&scan) } else { report::scan_table(&scan) };
    if rustix::process::geteuid().as_raw() != 0 {
        say("not root: only your own processes were looked at; `sudo tlskeytop scan` sees all");
    }
    print(|out| out.write_all(text.as_bytes()))
}

fn add_secrets(injection: &Injection) -> ExitCode {
    harden::keep_memory();
    // Behind sudo nothing is read or written but what the user could.
    let done = match Rights::of(Owner::of_this_run()) {
        Some(rights) => rights.lend(|| inject(injection)).context("taking on the user's rights"),
        None => Ok(inject(injection)),
    };
    let done = done.and_then(|done| Ok(done?));
    let printed = done.and_then(|report| {
        for warning in report.warnings() {
            say(&format!("warning: {warning}"));
        }
        Ok(print(|out| write!(out, "{report}"))?)
    });
    printed.map_or_else(|error| failed(&error), ExitCode::from)
}

fn doctor() -> io::Result<u8> {
    let mut checks = preflight::checks();
    checks.push(preflight::mounts());
    let code = if checks.iter().any(Check::is_bad) { NOT_PERMITTED } else { 0 };
    print(|out| out.write_all(report::doctor(&checks).as_bytes()))?;
    Ok(code)
}

fn capture(mut task: CaptureTask) -> ExitCode {
    // Before there are threads: afterwards the zone is not asked any more.
    let offset = local_offset();
    let config = match config::file::load(task.config.as_deref()) {
        Ok(config) => task.configure(config),
        Err(error) => return failed(&error.into()),
    };
    // Its user's groups are asked for before there are threads, too.
    let command = match std::mem::take(&mut task.command) {
        arguments if arguments.is_empty() => None,
        arguments => Some(Command::prepare(arguments)),
    };
    let bad: Vec<Check> = preflight::checks().into_iter().filter(Check::is_bad).collect();
    if !bad.is_empty() {
        for check in &bad {
            say(&check.to_string());
        }
        return ExitCode::from(NOT_PERMITTED);
    }
    let command = match command.transpose() {
        Ok(command) => command,
        Err(error) => {
            say(&error.to_string());
            return ExitCode::from(error.exit_code());
        }
    };
    match capture_checked(&task, &config, offset, command) {
        Ok(code) => ExitCode::from(code),
        Err(error) => failed(&error),
    }
}

/// The exit code of the command, or 0.
fn capture_checked(
    task: &CaptureTask,
    config: &Config,
    offset: UtcOffset,
    command: Option<Command>,
) -> anyhow::Result<u8> {
    let given_up = harden::drop_capabilities();
    let options =
        (task.mode == Mode::Tui).then(|| runtime::Options::new(config, offset, task.reveal));
    let log = match &task.log {
        Some((path, level)) => Some((open_private(path, Owner::of_this_run())?, *level)),
        None => None,
    };
    // A key log that cannot be had is better known before anything is attached.
    if task.save && task.keylog.as_os_str() != "-" {
        open_private(&task.keylog, Owner::of_this_run())?;
    }
    if let Some((file, _)) = &log {
        check_other_file(file, &task.keylog)?;
        keep_apart(file);
    }
    let log = log.map(|(file, level)| logging::start(file, level));
    if let Err(error) = given_up {
        tracing::warn!(%error, "capabilities that are not needed cannot be given up");
    }
    let result = capture_logged(task, options, command);
    match log.map_or(0, |log| log.dropped_lines()) {
        0 => {}
        lines => say(&format!("warning: {lines} lines are missing in the log: they came too fast")),
    }
    result
}

/// Fails when the path names this file, by whatever name.
fn check_other_file(log: &File, keylog: &Path) -> anyhow::Result<()> {
    // One that is not there yet is another one, and one that cannot be looked at is refused when it is opened.
    let Ok(keylog_file) = std::fs::metadata(keylog) else { return Ok(()) };
    let log_file = log.metadata().context("looking at the log file")?;
    if (log_file.dev(), log_file.ino()) == (keylog_file.dev(), keylog_file.ino()) {
        return Err(SameFile(Foreign::from(keylog.as_os_str())).into());
    }
    Ok(())
}

fn capture_logged(
    task: &CaptureTask,
    options: Option<runtime::Options>,
    command: Option<Command>,
) -> anyhow::Result<u8> {
    harden::keep_memory();
    warn_of(task.layout.as_ref());
    // First of all: what happens from here on is not missed.
    let (watch, refused) = Watch::start();
    if let Some(error) = refused {
        let warning = format!(
            "the kernel does not report what processes do ({error}): new ones are looked for every 2 s"
        );
        tracing::warn!("{warning}");
        say(&format!("warning: {warning}"));
    }
    let files = raise_file_limit();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("starting the event loop")?;
    let loading = start_loading(&runtime, task).context("starting to load the eBPF object")?;
    let mut registry = Registry::watching(task.layout.clone(), watch.clone());
    registry.exclude(&task.excluded_images);
    add_images(&mut registry, &task.images)?;
    let mut selection = task.selection.clone();
    selection.pids = running(&selection)?;
    selection.excluded.pids = starts(selection.excluded.pids.keys());
    if let Some(command) = &command {
        registry.add_lasting(command.files.iter().cloned());
        let pid = std::process::id();
        let start_ticks = process::start_ticks(pid).context("looking at ourselves")?;
        selection.root = Some(Ancestor { pid, start_ticks });
    }
    if selection.all && (!selection.pids.is_empty() || selection.has_patterns()) {
        say("warning: --all takes every process; --pid, --name and --container add nothing to it");
    }
    let first = First {
        pids: selection.pids.keys().copied().collect(),
        children: selection.children,
        alone: !selection.pids.is_empty() && !selection.all && !selection.has_patterns(),
    };
    runtime.block_on(async {
        let loaded = loading.join().map_err(|_| anyhow!("loading the eBPF object failed"))??;
        for warning in &loaded.warnings {
            tracing::warn!("{warning}");
            say(&format!("warning: {}", crate::text::sanitize(warning)));
        }
        // What cannot be recorded is better known before anything is attached, and no handshake comes before its packets.
        let recorder = task.packets.first.clone();
        let recorder = recorder.map(|plan| Recorder::start(plan, Owner::of_this_run()));
        let recorder = recorder.transpose()?;
        let at_a_time = match loaded.probes.are_linked_one_by_one() {
            true => AT_A_TIME_ONE_BY_ONE,
            false => AT_A_TIME,
        };
        let only_named = selection.only_named_images;
        let mut machine = Machine::start(loaded, registry, watch, first, only_named)?;
        let mut model = Model::new(selection, task.keylog.clone(), DEFAULT_SESSION_LIMIT);
        model.catching_up = CatchingUp::new(task.catch_up, at_a_time);
        model.wire.view = match task.mode {
            _ if !machine.has_wire() => WireView::Off,
            Mode::Keylog | Mode::Pcap => WireView::Count,
            Mode::Tui | Mode::Json => WireView::Rows,
        };
        let terms = task.packets.later.terms;
        model.recorded_back = (!terms.all_secrets).then_some(terms.wait);
        machine.set_plan(task.packets.later.clone());
        if let Some(recorder) = recorder {
            machine.set_recorder(recorder);
            model.update(machine.now(), Msg::Record(true));
        }
        if let Some(command) = command {
            let streams = if options.is_some() { Streams::Apart } else { Streams::Ours };
            machine.set_command(command, streams, files);
            model.command = Some(CommandState::Waiting);
        } else {
            harden::forbid_calls();
        }
        if task.save {
            for effect in model.update(machine.now(), Msg::Save(true)) {
                machine.perform(effect);
            }
        }
        let result = match options {
            Some(options) => {
                let ended;
                (model, ended) = runtime::run(&mut machine, model, options).await;
                // Nobody would see it any more.
                machine.signal_command(Signal::TERM);
                let finished = finish(&mut machine, &mut model, |_, _| true).await;
                ended.map_err(anyhow::Error::from).and(finished.map_err(anyhow::Error::from))
            }
            None => {
                let result;
                (model, result) = headless::run(machine, model, task).await;
                result.map_err(anyhow::Error::from)
            }
        };
        if model.command == Some(CommandState::Running) && task.mode != Mode::Tui {
            say("the command goes on, and is not captured any more");
        }
        say_in_time(headless::summary(&model));
        result.map(|()| match &model.command {
            Some(CommandState::Ended(ending)) => ending.exit_code(),
            _ => 0,
        })
    })
}

/// Loads the object on a thread of its own: that takes as long as to look at the system's libraries, and waits for the
/// kernel's verifier.
fn start_loading(
    runtime: &Runtime,
    task: &CaptureTask,
) -> io::Result<JoinHandle<Result<Loaded, CaptureError>>> {
    let (ring, ways) = (task.ring_bytes.unwrap_or(RING), task.selection.ways);
    let wire = task.wire && has_files_for_wire();
    let handle = runtime.handle().clone();
    thread::Builder::new().name("load".to_owned()).spawn(move || {
        let _entered = handle.enter();
        capture::load(ring, ways, wire)
    })
}

/// A layout that nothing proves is told, loudly.
fn warn_of(layout: Option<&Forced>) {
    if let Some(layout) = layout {
        let warning = layout.warning();
        tracing::warn!("{warning}");
        say(&format!("warning: {warning}"));
    }
}

/// Says the last words, but does not wait for a terminal that does not read.
fn say_in_time(text: String) {
    const PATIENCE: Duration = Duration::from_secs(1);
    let (said, heard) = mpsc::channel();
    let speaker = thread::Builder::new().name("summary".to_owned()).spawn(move || {
        say(&text);
        let _ = said.send(());
    });
    if speaker.is_ok() {
        let _ = heard.recv_timeout(PATIENCE);
    }
}

/// Adds the images that were named, and the system's. One that cannot be used is told, and the rest goes on.
fn add_images(registry: &mut Registry, images: &[PathBuf]) -> anyhow::Result<()> {
    let mut usable = 0;
    for path in images {
        match registry.add_named(path) {
            Ok(_) => usable += 1,
            Err(error) => say(&format!("warning: {error}")),
        }
    }
    // Only what was named is captured: whatever else was chosen, it would be nothing.
    if !images.is_empty() && usable == 0 {
        anyhow::bail!("none of the named images can be used");
    }
    registry.add_system_libraries();
    Ok(())
}

/// The chosen process ids of which there is a process, with its start. One that is not there is told.
fn running(selection: &Selection) -> anyhow::Result<BTreeMap<u32, u64>> {
    let running = starts(selection.pids.keys());
    let nothing_else = !selection.all && !selection.has_patterns();
    if !selection.pids.is_empty() && running.is_empty() && nothing_else {
        anyhow::bail!("none of the named processes can be used");
    }
    Ok(running)
}

/// The start of each of these processes. One that is not there is told, and left out.
fn starts<'a>(pids: impl Iterator<Item = &'a u32>) -> BTreeMap<u32, u64> {
    let mut starts = BTreeMap::new();
    for &pid in pids {
        match process::start_ticks(pid) {
            Ok(ticks) => {
                starts.insert(pid, ticks);
            }
            Err(error) => {
                say(&format!("warning: process {pid}: {error}; `tlskeytop scan` lists processes"));
            }
        }
    }
    starts
}

/// Whether there are: what the wire view takes must not be missing for images.
fn has_files_for_wire() -> bool {
    let most = getrlimit(Resource::Nofile).current;
    let is_enough = most.is_none_or(|most| most >= FILES_FOR_WIRE);
    if !is_enough {
        let warning = format!(
            "not looking at the network: fewer than {FILES_FOR_WIRE} files may be open (see `ulimit -n`)"
        );
        tracing::warn!("{warning}");
        say(&format!("warning: {warning}"));
    }
    is_enough
}

/// Each probe takes two file descriptors. Where the limit stays low, attaching says so.
/// The limit as it was is for the command: with a high one, programs that close every possible file take long.
fn raise_file_limit() -> Rlimit {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit { current: limit.maximum, maximum: limit.maximum };
    let _ = setrlimit(Resource::Nofile, raised);
    let highest =
        raised.current.map_or(DESCRIPTORS, |most| DESCRIPTORS.min(most.saturating_sub(1)));
    if let Err(error) = make_room(highest) {
        tracing::debug!(%error, "no room for descriptors");
    }
    limit
}

/// Lets the kernel's table of descriptors grow at once, and not whenever it is full: then each thread that opens a file
/// waits until every CPU has seen the new table, 10 ms, and a program that runs once is gone by then.
fn make_room(highest: u64) -> std::io::Result<()> {
    let file = std::fs::File::open("/dev/null")?;
    let highest = i32::try_from(highest).unwrap_or(i32::MAX);
    rustix::io::fcntl_dupfd_cloexec(&file, highest)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn named_images_of_which_none_is_usable_end_it() {
        let mut registry = Registry::default();
        let missing = [PathBuf::from("/nonexistent/libssl.so"), PathBuf::from("/proc")];
        let error = add_images(&mut registry, &missing).unwrap_err();
        assert_eq!(error.to_string(), "none of the named images can be used");
        assert!(add_images(&mut registry, &[]).is_ok());
    }

    #[test]
    fn log_and_key_log_are_told_apart_by_the_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        let log = File::create(path("log")).unwrap();
        std::os::unix::fs::symlink(path("log"), path("link")).unwrap();
        File::create(path("keys")).unwrap();
        for same in ["log", "link", "../log"] {
            let same = if same.starts_with("..") {
                folder.path().join("..").join(folder.path().file_name().unwrap()).join("log")
            } else {
                path(same)
            };
            let error = check_other_file(&log, &same).unwrap_err();
            assert_eq!(exit_code(&error), USAGE, "{error}");
        }
        assert!(check_other_file(&log, &path("keys")).is_ok());
        assert!(check_other_file(&log, &path("not there yet")).is_ok());
        assert!(check_other_file(&log, Path::new("-")).is_ok());
    }

    #[test]
    fn what_the_kernel_refuses_is_not_permitted() {
        use aya::programs::ProgramError;
        use aya::sys::SyscallError;

        let load = |number| {
            let io_error = io::Error::from_raw_os_error(number);
            let error = SyscallError { call: "bpf_prog_load", io_error };
            anyhow::Error::from(CaptureError::Program(ProgramError::SyscallError(error)))
        };
        assert_eq!(exit_code(&load(libc::EPERM)), NOT_PERMITTED);
        assert_eq!(exit_code(&load(libc::EACCES)), NOT_PERMITTED);
        assert_eq!(exit_code(&load(libc::E2BIG)), FAILED);
        let unreadable = anyhow::Error::from(io::Error::from(io::ErrorKind::PermissionDenied));
        assert_eq!(exit_code(&unreadable), FAILED, "a file's own refusal is another matter");
    }

    #[test]
    fn processes_are_known_by_their_start() {
        // No pid is higher: PID_MAX_LIMIT of linux/threads.h.
        let gone = (1 << 22) + 1;
        let own = std::process::id();
        let selection = |pids: &[u32], all| Selection {
            all,
            pids: pids.iter().map(|pid| (*pid, 0)).collect(),
            ..Selection::default()
        };
        let ticks = process::start_ticks(own).unwrap();
        assert_eq!(running(&selection(&[own, gone], false)).unwrap(), [(own, ticks)].into());
        assert!(running(&selection(&[gone], false)).is_err());
        assert!(running(&selection(&[gone], true)).unwrap().is_empty());
        assert!(running(&selection(&[], false)).unwrap().is_empty());
    }
}
