//! From a checked task to an exit code: 0, 1 failed while running, 2 usage, 3 not permitted or not supported.

mod capture;
mod exit;
mod named;
mod open_files;

use std::io::{self, Write as _};
use std::process::ExitCode;

use anyhow::Context as _;

use crate::cli::{self, Task};
use crate::config;
use crate::harden;
use crate::headless::say;
use crate::inject::{Injection, inject};
use crate::keylog::Owner;
use crate::preflight::{self, Check};
use crate::report;
use crate::rights::Rights;
use crate::target::follow::follower::Follower;
use crate::target::follow::watch::Watch;
use crate::target::layout::Forced;
use crate::target::registry::Registry;
use exit::{NOT_PERMITTED, failed};

/// Does it.
pub fn run(task: Task) -> ExitCode {
    let result = match task {
        Task::Capture(task) => return capture::capture(*task),
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

/// A layout that nothing proves is told, loudly.
fn warn_of(layout: Option<&Forced>) {
    if let Some(layout) = layout {
        let warning = layout.warning();
        tracing::warn!("{warning}");
        say(&format!("warning: {warning}"));
    }
}
