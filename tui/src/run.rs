//! From a checked task to an exit code: 0, 1 failed while running, 3 not permitted or not supported (2 is usage).

use std::io::{self, Write as _};
use std::process::ExitCode;

use anyhow::Context as _;

use crate::capture;
use crate::cli::{self, CaptureTask, Mode, Task};
use crate::headless::{self, say};
use crate::keylog::{Owner, open_private};
use crate::logging;
use crate::model::{DEFAULT_SESSION_LIMIT, Model, Msg};
use crate::preflight::{self, Check};
use crate::report;
use crate::runtime::{self, Engine as _, Machine, finish, local_offset};
use crate::target::process;
use crate::target::registry::Registry;

const FAILED: u8 = 1;
const NOT_PERMITTED: u8 = 3;
/// Bytes of the ring buffer: 19,000 secrets, some ten seconds at the highest rate that was measured.
const RING: u32 = 4 << 20;

/// Does it.
pub fn run(task: Task) -> ExitCode {
    let result = match task {
        Task::Capture(task) => return capture(&task),
        Task::Scan { json } => scan(json),
        Task::Doctor => doctor(),
        Task::Completions(shell) => print(|out| {
            clap_complete::generate(shell, &mut cli::command(), "tlskeytop", out);
            Ok(())
        }),
        Task::Man => print(|out| clap_mangen::Man::new(cli::command()).render(out)),
    };
    match result {
        Ok(code) => ExitCode::from(code),
        Err(error) => failed(&error.into()),
    }
}

fn failed(error: &anyhow::Error) -> ExitCode {
    say(&crate::text::sanitize(&chain(error)));
    ExitCode::from(FAILED)
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

fn print(write: impl FnOnce(&mut Vec<u8>) -> io::Result<()>) -> io::Result<u8> {
    let mut text = Vec::new();
    write(&mut text)?;
    let mut stdout = io::stdout().lock();
    match stdout.write_all(&text).and_then(|()| stdout.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(error),
        _ => Ok(0),
    }
}

fn scan(json: bool) -> io::Result<u8> {
    let mut registry = Registry::default();
    registry.add_system_libraries();
    let scan = registry.scan();
    let text = if json { report::scan_json(&scan) } else { report::scan_table(&scan) };
    if rustix::process::geteuid().as_raw() != 0 {
        say("not root: only your own processes were looked at; `sudo tlskeytop scan` sees all");
    }
    print(|out| out.write_all(text.as_bytes()))
}

fn doctor() -> io::Result<u8> {
    let checks = preflight::checks();
    let code = if checks.iter().any(Check::is_bad) { NOT_PERMITTED } else { 0 };
    print(|out| out.write_all(report::doctor(&checks).as_bytes()))?;
    Ok(code)
}

fn capture(task: &CaptureTask) -> ExitCode {
    let bad: Vec<Check> = preflight::checks().into_iter().filter(Check::is_bad).collect();
    if !bad.is_empty() {
        for check in &bad {
            say(&check.to_string());
        }
        return ExitCode::from(NOT_PERMITTED);
    }
    match capture_checked(task) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => failed(&error),
    }
}

fn capture_checked(task: &CaptureTask) -> anyhow::Result<()> {
    // Before there are threads: afterwards the zone is not asked any more.
    let offset = local_offset();
    let _log = match &task.log {
        Some((path, level)) => Some(logging::start(path, *level)?),
        None => None,
    };
    no_core_file();
    // A key log that cannot be had is better known before anything is attached.
    if task.save && task.keylog.as_os_str() != "-" {
        open_private(&task.keylog, Owner::of_this_run())?;
    }
    let mut registry = Registry::default();
    add_images(&mut registry, task)?;
    raise_file_limit();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("starting the event loop")?;
    runtime.block_on(async {
        let loaded = capture::load(RING)?;
        let mut machine = Machine::start(loaded, registry)?;
        let selection = task.selection.clone();
        let mut model = Model::new(selection, task.keylog.clone(), DEFAULT_SESSION_LIMIT);
        if task.save {
            for effect in model.update(machine.now(), Msg::Save(true)) {
                machine.perform(effect);
            }
        }
        let result = match task.mode {
            Mode::Tui => {
                let options = runtime::Options::from_env(offset);
                model = runtime::run(&mut machine, model, options).await?;
                finish(&mut machine, &mut model).await.map_err(anyhow::Error::from)
            }
            Mode::Keylog | Mode::Json => {
                let result;
                (model, result) = headless::run(machine, model, task).await;
                result.map_err(anyhow::Error::from)
            }
        };
        say(&headless::summary(&model));
        result
    })
}

/// Adds what was named. One that cannot be used is told, and the rest goes on.
fn add_images(registry: &mut Registry, task: &CaptureTask) -> anyhow::Result<()> {
    let mut usable = 0;
    for path in &task.images {
        match registry.add_named(path) {
            Ok(_) => usable += 1,
            Err(error) => say(&format!("warning: {error}")),
        }
    }
    for &pid in &task.selection.pids {
        match process::start_ticks(pid) {
            Ok(_) => usable += 1,
            Err(error) => {
                say(&format!("warning: process {pid}: {error}; `tlskeytop scan` lists processes"))
            }
        }
    }
    let named = task.images.len() + task.selection.pids.len();
    let others = task.selection.all || !task.selection.names.is_empty();
    let nothing_left = task.images.is_empty() && others;
    if named > 0 && usable == 0 && !nothing_left {
        anyhow::bail!("none of the named processes and images can be used");
    }
    registry.add_system_libraries();
    Ok(())
}

/// Each probe takes two file descriptors. Where the limit stays low, attaching says so.
fn raise_file_limit() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    let _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum });
}

/// The secrets that are held must not end in a core file, nor be read by a debugger of the same user.
fn no_core_file() {
    use rustix::process::{DumpableBehavior, set_dumpable_behavior};
    if let Err(error) = set_dumpable_behavior(DumpableBehavior::NotDumpable) {
        tracing::warn!(%error, "core files cannot be switched off");
    }
}
