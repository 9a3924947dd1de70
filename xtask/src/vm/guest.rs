//! One virtual machine: boots, runs init.sh, switches itself off.

use std::fs::{self, File};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};

/// How long a guest may take. In software a boot takes about 20 seconds and a capture 10, on a machine that has nothing else
/// to do.
const LIMIT: Duration = Duration::from_secs(600);

/// What the guest said: name and value of each line `vm-test NAME VALUE`.
pub type Said = Vec<(String, String)>;

/// Boots a kernel; its console goes to `log`.
///
/// # Errors
/// When qemu cannot be started. A guest that hangs is ended, and has said less.
pub fn run(kernel: &Path, initramfs: &Path, log: &Path) -> Result<Said> {
    let mut qemu = Command::new("qemu-system-x86_64");
    // Software emulation, so that it runs in a virtual machine, too, and tests the same everywhere.
    qemu.args(["-accel", "tcg,thread=multi", "-cpu", "max", "-smp", "2", "-m", "1024"]);
    qemu.args(["-nodefaults", "-display", "none", "-serial", "stdio", "-no-reboot"]);
    qemu.arg("-kernel").arg(kernel).arg("-initrd").arg(initramfs);
    // A kernel that panics restarts at once, which ends qemu.
    qemu.args(["-append", "console=ttyS0 panic=-1 quiet"]);
    qemu.stdin(Stdio::null()).stdout(File::create(log)?);
    let mut qemu = qemu.spawn().context("cannot start qemu-system-x86_64")?;
    let end = Instant::now() + LIMIT;
    while qemu.try_wait()?.is_none() {
        if Instant::now() > end {
            qemu.kill()?;
            qemu.wait()?;
            break;
        }
        std::thread::sleep(Duration::from_millis(200));
    }
    let console = fs::read(log).with_context(|| format!("cannot read {}", log.display()))?;
    Ok(said(&String::from_utf8_lossy(&console)))
}

fn said(console: &str) -> Said {
    let lines = console.lines().filter_map(|line| line.trim_end().strip_prefix("vm-test "));
    let pair = |line: &str| {
        let (name, value) = line.split_once(' ').unwrap_or((line, ""));
        (name.to_owned(), value.to_owned())
    };
    lines.map(pair).collect()
}

#[cfg(test)]
mod tests {
    #[test]
    fn what_the_kernel_says_between_is_not_the_guest() {
        let console = "[    0.1] vm-test x\r\nvm-test doctor 0\r\nvm-test tap 6 lines\r\n";
        let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        assert_eq!(super::said(console), [pair("doctor", "0"), pair("tap", "6 lines")]);
    }
}
