//! Builds and starts tlskeytop, with or without the demo.

use std::ffi::OsString;
use std::process::{Command, ExitCode};

use anyhow::{Context as _, Result, ensure};

use crate::demo::Demo;
use crate::tool;

/// Runs it on this terminal; its exit code is the result.
///
/// # Errors
/// When it cannot be built or started, or the demo cannot.
pub fn tlskeytop(demo: bool, release: bool, args: &[OsString]) -> Result<ExitCode> {
    let mut build = tool::cargo();
    build.args(["build", "--locked", "--package", "tlskeytop"]);
    build.args(release.then_some("--release"));
    tool::run(&mut build)?;
    let mut command = command(release)?;
    command.args(demo.then_some("--all")).args(args);
    outlive_ctrl_c()?;
    let _demo = demo.then(Demo::start).transpose()?;
    let status = command.status().with_context(|| format!("cannot start {command:?}"))?;
    Ok(status.code().and_then(|code| u8::try_from(code).ok()).map_or(ExitCode::FAILURE, Into::into))
}

/// tlskeytop by its absolute path, as root.
fn command(release: bool) -> Result<Command> {
    let binary = tool::tlskeytop(release);
    if tool::is_root() {
        return Ok(Command::new(binary));
    }
    let sudo = tool::find("sudo");
    let mut command =
        Command::new(sudo.with_context(|| {
            format!("not root, and no sudo here; as root: {}", binary.display())
        })?);
    command.arg("--").arg(binary);
    Ok(command)
}

/// Ctrl-C goes to all processes of the terminal: tlskeytop ends by it in its own way, and then this one cleans up.
fn outlive_ctrl_c() -> Result<()> {
    extern "C" fn nothing(_: libc::c_int) {}
    let handler = nothing as extern "C" fn(libc::c_int) as libc::sighandler_t;
    // SAFETY: the handler does nothing, and so nothing that is not async-signal-safe. It is a handler and not
    // SIG_IGN, which the children would inherit.
    let before = unsafe { libc::signal(libc::SIGINT, handler) };
    ensure!(before != libc::SIG_ERR, "cannot handle SIGINT");
    Ok(())
}
