//! The package in a fresh Debian: it is installed, used and removed, and nothing of it stays.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail, ensure};

use crate::tool;

const MIRROR: &str = "http://deb.debian.org/debian";
/// What a package manager changes by itself.
const BOOKKEEPING: [&str; 4] = ["/var/lib/dpkg/", "/var/log/", "/var/cache/", "/root/"];

/// Tries the package out.
///
/// # Errors
/// On the first thing that is not as it should be.
pub fn try_out(package: &Path, suite: &str) -> Result<()> {
    ensure!(tool::is_root(), "only root can make another Debian");
    let guest = Debian::fresh(suite)?;
    let before = guest.files()?;
    fs::copy(package, guest.root.join("root/tlskeytop.deb"))
        .with_context(|| format!("cannot copy {}", package.display()))?;
    guest.run("dpkg --install /root/tlskeytop.deb")?;

    let version = guest.run("tlskeytop --version")?;
    ensure!(version.trim() == format!("tlskeytop {}", super::deb::VERSION), "--version: {version}");
    // It sees the machine's processes: /proc is this one's.
    let scan = guest.run("tlskeytop scan --json")?;
    ensure!(scan.lines().all(|line| line.starts_with('{')), "scan --json: {scan}");
    let doctor = guest.run("tlskeytop doctor")?;
    ensure!(doctor.contains("can run tlskeytop"), "doctor: {doctor}");
    for file in guest.run("dpkg --listfiles tlskeytop")?.lines() {
        let path = guest.root.join(file.trim_start_matches('/'));
        ensure!(path.exists(), "{file} was not installed");
    }
    for (shell, file) in [
        ("bash", "/usr/share/bash-completion/completions/tlskeytop"),
        ("zsh", "/usr/share/zsh/vendor-completions/_tlskeytop"),
        ("fish", "/usr/share/fish/vendor_completions.d/tlskeytop.fish"),
    ] {
        let installed = guest.run(&format!("cat {file}"))?;
        let printed = guest.run(&format!("tlskeytop completions {shell}"))?;
        ensure!(installed == printed, "{file} is not what the program prints");
    }
    guest.run("bash -n /usr/share/bash-completion/completions/tlskeytop")?;
    let manual = guest.run("gzip -dc /usr/share/man/man1/tlskeytop.1.gz")?;
    ensure!(manual == guest.run("tlskeytop man")?, "the man page is not what the program prints");
    guest.run("dpkg --verify tlskeytop")?;

    guest.run("dpkg --remove tlskeytop")?;
    let status = guest.run("dpkg-query -W -f '${db:Status-Status}' tlskeytop || true")?;
    ensure!(!status.contains("installed") && !status.contains("config-files"), "after: {status}");
    let left: Vec<_> = guest.files()?.difference(&before).cloned().collect();
    ensure!(left.is_empty(), "left behind by dpkg --remove: {}", left.join(" "));
    println!("dist: installs, runs and removes cleanly in a fresh {suite}");
    Ok(())
}

/// A fresh Debian under target/, and the mounts in it until it is dropped.
struct Debian {
    root: PathBuf,
    mounted: Vec<PathBuf>,
}

impl Debian {
    fn fresh(suite: &str) -> Result<Self> {
        let folder = super::folder();
        // Made once, since it takes a minute, and copied for each use.
        let base = folder.join(format!("debian-{suite}"));
        if !base.join("made").exists() {
            if base.exists() {
                fs::remove_dir_all(&base)?;
            }
            fs::create_dir_all(&base)?;
            let debootstrap = tool::find("debootstrap").context("no debootstrap here")?;
            let root = base.join("root");
            let mut make = Command::new(debootstrap);
            make.args(["--variant=minbase", "--arch=amd64", suite]).arg(root).arg(MIRROR);
            tool::run(&mut make)?;
            fs::write(base.join("made"), "")?;
        }
        let root = folder.join("debian");
        if root.exists() {
            // A mount that an interrupted run has left would be emptied.
            ensure!(
                !fs::read_to_string("/proc/self/mounts")?.contains(&*root.to_string_lossy()),
                "{} has something mounted in it: unmount that first",
                root.display()
            );
            fs::remove_dir_all(&root)?;
        }
        tool::run(Command::new("cp").arg("-a").arg(base.join("root")).arg(&root))?;
        let mut debian = Self { root, mounted: Vec::new() };
        debian.mount("proc")?;
        debian.mount("sysfs")?;
        Ok(debian)
    }

    fn mount(&mut self, kind: &str) -> Result<()> {
        let place = self.root.join(kind.trim_end_matches("fs"));
        tool::run(Command::new("mount").args(["-t", kind, kind]).arg(&place))?;
        self.mounted.push(place);
        Ok(())
    }

    /// What a shell command prints in it.
    fn run(&self, command: &str) -> Result<String> {
        println!("dist: debian# {command}");
        let mut chroot = Command::new("chroot");
        chroot.arg(&self.root).args(["/bin/sh", "-c", command]).env_clear();
        chroot.env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin").env("HOME", "/root");
        tool::output(&mut chroot)
    }

    /// Every file and folder, but for what a package manager writes down for itself.
    fn files(&self) -> Result<BTreeSet<String>> {
        let list = self.run("find / -xdev -not -path '/proc/*' -not -path '/sys/*'")?;
        let is_ours = |path: &&str| !BOOKKEEPING.iter().any(|folder| path.starts_with(folder));
        let files: BTreeSet<_> = list.lines().filter(is_ours).map(str::to_owned).collect();
        if files.len() < 1000 {
            bail!("a Debian with {} files", files.len());
        }
        Ok(files)
    }
}

impl Drop for Debian {
    fn drop(&mut self) {
        for place in self.mounted.iter().rev() {
            // Without it the next run refuses to start, and says so.
            let _ = Command::new("umount").arg(place).status();
        }
    }
}
