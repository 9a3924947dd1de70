//! Capturing: what is checked and begun before the first handshake, in its order, and what is said at the end.

use std::fs::File;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::process::ExitCode;
use std::sync::mpsc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use anyhow::{Context as _, anyhow};
use rustix::process::Signal;
use time::UtcOffset;
use tokio::runtime::Runtime;

use super::exit::{NOT_PERMITTED, SameFile, failed};
use super::named::{add_images, running, starts};
use super::open_files::{has_files_for_wire, raise_file_limit};
use super::warn_of;
use crate::capture::{self, CaptureError, Loaded, RING};
use crate::cli::{CaptureTask, Mode};
use crate::command::{Command, Streams};
use crate::config::{self, Config};
use crate::harden;
use crate::headless::{self, say};
use crate::keylog::{Owner, keep_apart, open_private};
use crate::logging;
use crate::model::target::Ancestor;
use crate::model::{
    AT_A_TIME, AT_A_TIME_ONE_BY_ONE, CatchingUp, CommandState, DEFAULT_SESSION_LIMIT, Model, Msg,
    RecordingMsg, WireView,
};
use crate::packets::Recorder;
use crate::preflight::{self, Check};
use crate::runtime::{self, Engine as _, Machine, finish, local_offset};
use crate::target::follow::first::First;
use crate::target::follow::watch::Watch;
use crate::target::process;
use crate::target::registry::Registry;
use crate::text::Foreign;

pub(super) fn capture(mut task: CaptureTask) -> ExitCode {
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
        let recorder = task.packets.first.clone().map(|plan| {
            let path = plan.path.clone();
            Recorder::start(plan, Owner::of_this_run()).map(|recorder| (recorder, path))
        });
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
        if let Some((recorder, path)) = recorder {
            machine.set_recorder(recorder);
            model.update(machine.now(), Msg::Recording(RecordingMsg::Began(path)));
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
                // Of those that ended before, the interface has told.
                let failing = model.recording.current.failing.clone();
                let recorded = failing.map(headless::HeadlessError::Packets).map_or(Ok(()), Err);
                (ended.map_err(anyhow::Error::from))
                    .and(finished.map_err(anyhow::Error::from))
                    .and(recorded.map_err(anyhow::Error::from))
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

#[cfg(test)]
mod tests {
    use super::super::exit::{USAGE, exit_code};
    use super::*;

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
}
