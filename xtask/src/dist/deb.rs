//! The packages: a .deb by dpkg-deb, and the same tree as a .tar.gz for other distributions.
//!
//! dpkg-deb and not cargo-deb: the tree is made here anyhow, what would be left is one control file, and dpkg-deb is on every
//! Debian, where cargo-deb is 150 crates to compile. Both give the same bytes for the same tree and SOURCE_DATE_EPOCH.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, ensure};

use super::tree::put;
use crate::tool;

/// tlskeytop's version: all crates of the workspace share it.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

/// The Debian package in `folder`.
pub fn path(folder: &Path) -> PathBuf {
    folder.join(format!("tlskeytop_{VERSION}_amd64.deb"))
}

/// Packs `tree` into `folder`.
///
/// # Errors
/// When a file cannot be read or dpkg-deb fails.
pub fn debian(tree: &Path, folder: &Path, epoch: u64) -> Result<PathBuf> {
    let files = files(tree)?;
    let bytes: u64 =
        files.iter().filter_map(|file| fs::metadata(tree.join(file)).ok()).map(|m| m.len()).sum();
    let sums = tool::output(Command::new("md5sum").current_dir(tree).arg("--").args(&files))?;
    // Static: it depends on nothing. No maintainer scripts, and no file under /etc: removal leaves nothing.
    let control = format!(
        "Package: tlskeytop\n\
         Version: {VERSION}\n\
         Architecture: amd64\n\
         Section: net\n\
         Priority: optional\n\
         Maintainer: The tlskeytop maintainers <maintainers@tlskeytop.invalid>\n\
         Installed-Size: {}\n\
         Description: see TLS handshakes as they happen, and log their secrets\n \
         Takes the secrets of TLS sessions out of running programs with eBPF\n \
         uprobes, shows them, and writes a key log with which Wireshark decrypts\n \
         the traffic. Needs root and Linux 5.15 or later.\n",
        bytes.div_ceil(1024)
    );
    put(tree, "DEBIAN/control", control.as_bytes(), 0o644)?;
    put(tree, "DEBIAN/md5sums", sums.as_bytes(), 0o644)?;
    let package = path(folder);
    let built = tool::run(
        Command::new("dpkg-deb")
            .env("SOURCE_DATE_EPOCH", epoch.to_string())
            // One thread: how xz splits its blocks depends on their number.
            .args(["--root-owner-group", "--threads-max=1", "-Zxz", "--build"])
            .arg(tree)
            .arg(&package),
    );
    fs::remove_dir_all(tree.join("DEBIAN"))?;
    built.map(|()| package)
}

/// The same files in one folder, whose contents belong under `/usr` or `/usr/local`.
///
/// # Errors
/// When tar or gzip fails.
pub fn archive(tree: &Path, folder: &Path, epoch: u64) -> Result<PathBuf> {
    let name = format!("tlskeytop-{VERSION}-x86_64-linux");
    let tar = folder.join(format!("{name}.tar"));
    tool::run(
        Command::new("tar")
            .args(["--sort=name", "--owner=0", "--group=0", "--numeric-owner", "--format=gnu"])
            .arg(format!("--mtime=@{epoch}"))
            .arg(format!("--transform=s,^[.]/usr,{name},"))
            .arg("-cf")
            .arg(&tar)
            .arg("-C")
            .arg(tree)
            .arg("./usr"),
    )?;
    tool::run(Command::new("gzip").args(["-9", "--no-name", "--force"]).arg(&tar))?;
    Ok(tar.with_extension("tar.gz"))
}

/// `SHA256SUMS` of the packages, to be checked by `sha256sum --check`.
///
/// # Errors
/// When it cannot be written.
pub fn sums(packages: &[PathBuf], folder: &Path) -> Result<PathBuf> {
    let names = packages.iter().filter_map(|path| path.file_name());
    let path = folder.join("SHA256SUMS");
    let file = File::create(&path).with_context(|| format!("cannot write {}", path.display()))?;
    let status = Command::new("sha256sum")
        .current_dir(folder)
        .arg("--")
        .args(names)
        .stdout(file)
        .status()?;
    ensure!(status.success(), "sha256sum: {status}");
    Ok(path)
}

/// Paths under `tree`, in the order of their names.
fn files(tree: &Path) -> Result<Vec<String>> {
    let list = tool::output(Command::new("find").current_dir(tree).args(["usr", "-type", "f"]))?;
    let mut files: Vec<_> = list.lines().map(str::to_owned).collect();
    files.sort();
    Ok(files)
}
