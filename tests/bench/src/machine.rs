//! On what it was measured.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use rustix::system::uname;
use time::OffsetDateTime;
use time::macros::format_description;
use tlskeytop_tests::LIBSSL;

use crate::tool::Tool;

/// A file of the repository, or of its target folder.
pub fn in_repository(path: &str) -> PathBuf {
    // This package is tests/bench.
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(path)
}

/// A list, in Markdown, of what the figures depend on.
pub fn describe(tools: &[Tool]) -> String {
    let system = uname();
    let date = OffsetDateTime::now_utc()
        .format(format_description!("[year]-[month]-[day] [hour]:[minute] UTC"))
        .unwrap_or_default();
    let processors = std::thread::available_parallelism().map_or(0, usize::from);
    let model = line_of("/proc/cpuinfo", "model name").unwrap_or_default();
    let hypervisor = match line_of("/proc/cpuinfo", "flags") {
        Some(flags) if flags.split(' ').any(|flag| flag == "hypervisor") => ", a virtual machine",
        _ => "",
    };
    let memory = line_of("/proc/meminfo", "MemTotal").unwrap_or_default();
    let load = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let load = load.split(' ').next().unwrap_or_default();
    let mut list = format!(
        "- {date}; load average at the start {load}\n\
         - {processors} processors, {model}{hypervisor}; memory {memory}\n\
         - Linux {}, {}\n\
         - {}, as {LIBSSL}\n\
         - tlskeytop {}{}\n",
        system.release().to_string_lossy(),
        system.machine().to_string_lossy(),
        first_line("openssl", &["version"]).unwrap_or_default(),
        env!("CARGO_PKG_VERSION"),
        first_line("git", &["describe", "--always", "--dirty"])
            .map(|commit| format!(", {commit}"))
            .unwrap_or_default(),
    );
    for tool in tools.iter().filter(|tool| matches!(tool, Tool::Bpftrace | Tool::FriTap)) {
        let version = tool.version().unwrap_or_else(|| "not installed".to_owned());
        list += &format!("- {}: {version}\n", tool.name());
    }
    list
}

/// What stands behind a name and a colon.
fn line_of(path: &str, name: &str) -> Option<String> {
    let text = fs::read_to_string(path).ok()?;
    let value = text.lines().find_map(|line| line.strip_prefix(name))?;
    Some(value.trim_start_matches([' ', '\t', ':']).to_owned())
}

fn first_line(program: &str, args: &[&str]) -> Option<String> {
    let output = Command::new(program).args(args).output().ok()?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    text.lines().next().map(str::to_owned)
}
