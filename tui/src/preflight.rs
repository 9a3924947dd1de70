//! Whether this machine can run a capture, and what to do if not. `tlskeytop doctor` shows all of it;
//! before a capture the same checks run and give the same words.

use std::fmt;
use std::fs;

use crate::target::mounts;

/// One thing that was looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Check {
    /// What was looked at.
    pub name: &'static str,
    /// What was found.
    pub found: String,
    /// How it stands.
    pub verdict: Verdict,
}

/// How a check stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// As it should be.
    Good,
    /// Capture may work; what to do if not.
    Warning(String),
    /// Capture cannot work; what to do.
    Bad(String),
}

impl Check {
    /// Whether capture cannot work.
    pub fn is_bad(&self) -> bool {
        matches!(self.verdict, Verdict::Bad(_))
    }
}

impl fmt::Display for Check {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, found, verdict } = self;
        match verdict {
            Verdict::Good => write!(f, "ok      {name}: {found}"),
            Verdict::Warning(advice) => write!(f, "warning {name}: {found}\n        {advice}"),
            Verdict::Bad(advice) => write!(f, "FAILED  {name}: {found}\n        {advice}"),
        }
    }
}

/// The oldest kernel with ring buffers, attach cookies and what else the programs use.
const OLDEST_KERNEL: (u32, u32) = (5, 15);
/// `CAP_SYS_ADMIN` of `linux/capability.h`: kernels of 2025 and later ask it of everyone who sets a
/// uprobe through `perf_event_open` (the fix of CVE-2025-38466).
const CAP_SYS_ADMIN: u32 = 21;

/// Everything that can be looked at without attaching anything.
pub fn checks() -> Vec<Check> {
    vec![
        privileges(),
        kernel(),
        architecture(),
        btf(),
        uprobes(),
        lockdown(),
        paranoid(),
        pid_namespace(),
        time_namespace(),
    ]
}

/// Where nothing is captured: whether a server of FUSE answers, only its answer would show.
pub fn mounts() -> Check {
    let mounts = mounts::of("self");
    let served = mounts.iter().filter(|mount| mount.is_fuse());
    let paths: Vec<_> = served.map(|mount| mount.path.to_string_lossy()).collect();
    let (found, verdict) = match paths.is_empty() {
        true => ("none of FUSE".to_owned(), Verdict::Good),
        false => (
            format!("FUSE on {}", crate::text::sanitize(&paths.join(", "))),
            Verdict::Warning(
                "Programs and libraries that are there are not captured: while a probe waits for \
                 a server, no program of this machine can start."
                    .to_owned(),
            ),
        ),
    };
    Check { name: "mounts", found, verdict }
}

fn privileges() -> Check {
    let name = "privileges";
    let euid = rustix::process::geteuid().as_raw();
    let capabilities = effective_capabilities();
    let has_admin = capabilities.is_some_and(|set| set & (1 << CAP_SYS_ADMIN) != 0);
    let found = match (euid, has_admin) {
        (0, true) => "root".to_owned(),
        (0, false) => "root without CAP_SYS_ADMIN (a container?)".to_owned(),
        (_, true) => format!("user {euid} with CAP_SYS_ADMIN"),
        (_, false) => format!("user {euid}"),
    };
    let verdict = match (euid, has_admin) {
        (0, true) => Verdict::Good,
        (0, false) => Verdict::Bad(
            "Run it on the host, or give the container CAP_SYS_ADMIN and the host's pid namespace."
                .to_owned(),
        ),
        (_, true) => Verdict::Warning(
            "Other users' processes and files may stay closed to it; `sudo tlskeytop` sees all."
                .to_owned(),
        ),
        (_, false) => Verdict::Bad(
            "Run `sudo tlskeytop`: the kernel lets only root set probes in other programs."
                .to_owned(),
        ),
    };
    Check { name, found, verdict }
}

/// The line `CapEff` of `/proc/self/status` (proc(5)).
fn effective_capabilities() -> Option<u64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let set = status.lines().find_map(|line| line.strip_prefix("CapEff:"))?;
    u64::from_str_radix(set.trim(), 16).ok()
}

fn kernel() -> Check {
    let release = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let release = release.trim();
    let verdict = match parse_release(release) {
        Some(version) if version >= OLDEST_KERNEL => Verdict::Good,
        Some(_) => Verdict::Bad(
            "Linux 5.15 or later is needed (ring buffers and attach cookies).".to_owned(),
        ),
        None => Verdict::Warning(
            "The kernel's version cannot be read; Linux 5.15 or later is needed.".to_owned(),
        ),
    };
    Check { name: "kernel", found: crate::text::sanitize(release), verdict }
}

/// The kernel's release, as (6, 18).
pub fn release() -> Option<(u32, u32)> {
    parse_release(fs::read_to_string("/proc/sys/kernel/osrelease").ok()?.trim())
}

fn parse_release(release: &str) -> Option<(u32, u32)> {
    let mut numbers = release.split(|c: char| !c.is_ascii_digit());
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}

fn architecture() -> Check {
    let found = std::env::consts::ARCH;
    let verdict = match found {
        "x86_64" => Verdict::Good,
        _ => Verdict::Bad("Only x86-64 is supported by now.".to_owned()),
    };
    Check { name: "architecture", found: found.to_owned(), verdict }
}

fn btf() -> Check {
    let path = "/sys/kernel/btf/vmlinux";
    let (found, verdict) = match fs::metadata(path) {
        Ok(_) => (path.to_owned(), Verdict::Good),
        Err(error) => (
            format!("{path}: {error}"),
            Verdict::Warning("A kernel with CONFIG_DEBUG_INFO_BTF=y is recommended.".to_owned()),
        ),
    };
    Check { name: "BTF", found, verdict }
}

fn uprobes() -> Check {
    let path = "/sys/bus/event_source/devices/uprobe/type";
    let (found, verdict) = match fs::metadata(path) {
        Ok(_) => ("there".to_owned(), Verdict::Good),
        Err(error) => (
            format!("{path}: {error}"),
            Verdict::Bad(
                "The kernel needs CONFIG_UPROBE_EVENTS=y and CONFIG_BPF_EVENTS=y, and /sys must be mounted."
                    .to_owned(),
            ),
        ),
    };
    Check { name: "uprobes", found, verdict }
}

/// `/sys/kernel/security/lockdown` (kernel_lockdown(7)): "confidentiality" closes perf and BPF reads.
fn lockdown() -> Check {
    let text = fs::read_to_string("/sys/kernel/security/lockdown").unwrap_or_default();
    let mode = text.split(['[', ']']).nth(1).unwrap_or("none").to_owned();
    let verdict = match mode.as_str() {
        "confidentiality" => Verdict::Bad(
            "Boot with `lockdown=integrity` or none: this mode keeps eBPF from reading memory."
                .to_owned(),
        ),
        _ => Verdict::Good,
    };
    Check { name: "lockdown", found: crate::text::sanitize(&mode), verdict }
}

fn paranoid() -> Check {
    let text = fs::read_to_string("/proc/sys/kernel/perf_event_paranoid").unwrap_or_default();
    let level = text.trim();
    let restricted = level.parse::<i32>().is_ok_and(|level| level > 2);
    let verdict = match restricted && rustix::process::geteuid().as_raw() != 0 {
        true => {
            Verdict::Warning("It closes perf to all but root: run `sudo tlskeytop`.".to_owned())
        }
        false => Verdict::Good,
    };
    let found = if level.is_empty() { "unknown".to_owned() } else { crate::text::sanitize(level) };
    Check { name: "perf_event_paranoid", found, verdict }
}

/// The kernel reports process ids of the initial namespace: in another one they would not match `/proc`.
fn pid_namespace() -> Check {
    /// `PROC_PID_INIT_INO` of `linux/proc_ns.h`.
    const INITIAL: &str = "pid:[4026531836]";
    let link = fs::read_link("/proc/self/ns/pid").unwrap_or_default();
    let found = crate::text::sanitize(&link.to_string_lossy());
    let verdict = match found == INITIAL {
        true => Verdict::Good,
        false => Verdict::Bad(
            "Run it in the host's pid namespace (`docker run --pid=host`): process ids do not match otherwise."
                .to_owned(),
        ),
    };
    Check { name: "pid namespace", found, verdict }
}

/// Events have the kernel's own time, and `/proc` has that of the reader's namespace: processes would seem to have begun
/// after what they did, or long before it.
fn time_namespace() -> Check {
    // Not there in a kernel without such namespaces.
    let offsets = fs::read_to_string("/proc/self/timens_offsets").unwrap_or_default();
    let (found, verdict) = match has_other_clocks(&offsets) {
        false => ("the machine's clocks", Verdict::Good),
        true => (
            "clocks of its own",
            Verdict::Bad(
                "Run it in the host's time namespace: times do not match otherwise.".to_owned(),
            ),
        ),
    };
    Check { name: "time namespace", found: found.to_owned(), verdict }
}

/// Whether a line has an offset, in seconds or nanoseconds: `monotonic 1000 0`, time_namespaces(7).
fn has_other_clocks(offsets: &str) -> bool {
    let numbers = |line: &str| line.split_whitespace().skip(1).any(|number| number != "0");
    offsets.lines().any(numbers)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clocks_are_the_machines_without_an_offset() {
        let usual = "monotonic           0         0\nboottime            0         0\n";
        assert!(!has_other_clocks(usual) && !has_other_clocks(""));
        assert!(has_other_clocks(&usual.replacen('0', "-86400", 1)));
        assert!(has_other_clocks("monotonic 0 0\nboottime 0 5\n"));
    }

    #[test]
    fn releases_are_compared_as_numbers() {
        assert_eq!(parse_release("5.4.0-42-generic"), Some((5, 4)));
        assert_eq!(parse_release("6.18.44-fc-v669"), Some((6, 18)));
        assert!(parse_release("5.15.0") >= Some(OLDEST_KERNEL));
        assert!(parse_release("5.9.16") < Some(OLDEST_KERNEL));
        assert_eq!(parse_release("unknown"), None);
    }

    #[test]
    fn every_check_that_is_not_good_says_what_to_do() {
        for check in checks() {
            match &check.verdict {
                Verdict::Good => {}
                Verdict::Warning(advice) | Verdict::Bad(advice) => {
                    assert!(advice.len() > 20, "{check}")
                }
            }
        }
    }
}
