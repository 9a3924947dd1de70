//! Kernels from Debian's mirror, through an apt of our own: the machine's own packages and sources stay as they are, and
//! its proxy and keys are used.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, ensure};

use crate::tool;

/// Where Debian's archive is.
const MIRROR: &str = "http://deb.debian.org/debian";
/// The keys with which its suites are signed.
const KEYS: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";

/// One kernel.
pub struct Kernel {
    /// Where it is from.
    pub suite: String,
    /// As `uname -r` gives it.
    pub release: String,
    /// The bzImage.
    pub image: PathBuf,
}

/// The newest kernel of each suite.
///
/// # Errors
/// When the mirror cannot be reached, or a package is not as expected.
pub fn fetch(folder: &Path, suites: &[String]) -> Result<Vec<Kernel>> {
    let apt = Apt::new(&folder.join("apt"), suites)?;
    suites.iter().map(|suite| kernel(&apt, suite, folder)).collect()
}

fn kernel(apt: &Apt, suite: &str, folder: &Path) -> Result<Kernel> {
    let depends = apt.cache(&["depends", &format!("linux-image-amd64/{suite}")])?;
    let release = depends
        .lines()
        .find_map(|line| line.trim().strip_prefix("Depends: linux-image-"))
        .with_context(|| format!("linux-image-amd64 of {suite} depends on no kernel"))?
        .to_owned();
    let image = folder.join(format!("vmlinuz-{release}"));
    if !image.exists() {
        // From 7.0 on the image is in a package of its own.
        let split = format!("linux-binary-{release}");
        let package = match apt.cache(&["show", &split]) {
            Ok(_) => split,
            Err(_) => format!("linux-image-{release}"),
        };
        let package = apt.download(&package)?;
        extract(&package, &release, &image)?;
    }
    Ok(Kernel { suite: suite.to_owned(), release, image })
}

/// Writes the bzImage of a package to `image`.
fn extract(package: &Path, release: &str, image: &Path) -> Result<()> {
    let folder = tool::output(Command::new("dpkg-deb").arg("--contents").arg(package))?;
    let places =
        [format!("./boot/vmlinuz-{release}"), format!("./usr/lib/modules/{release}/vmlinuz")];
    let place = places
        .iter()
        .find(|place| folder.lines().any(|line| line.ends_with(*place)))
        .with_context(|| format!("{} has no vmlinuz", package.display()))?;
    let mut unpack = Command::new("dpkg-deb");
    unpack.arg("--fsys-tarfile").arg(package).stdout(Stdio::piped());
    let mut unpack = unpack.spawn().context("cannot start dpkg-deb")?;
    let archive = unpack.stdout.take().context("dpkg-deb has no output")?;
    // Under another name until it is whole.
    let part = image.with_extension("part");
    let file = fs::File::create(&part)?;
    let tar =
        Command::new("tar").args(["-xO", place.as_str()]).stdin(archive).stdout(file).status();
    ensure!(tar?.success() && unpack.wait()?.success(), "cannot unpack {}", package.display());
    fs::rename(part, image)?;
    Ok(())
}

/// apt with folders of its own.
struct Apt {
    folder: PathBuf,
}

impl Apt {
    fn new(folder: &Path, suites: &[String]) -> Result<Self> {
        fs::create_dir_all(folder.join("lists/partial"))?;
        fs::create_dir_all(folder.join("archives/partial"))?;
        let line = |suite: &String| format!("deb [signed-by={KEYS}] {MIRROR} {suite} main\n");
        fs::write(folder.join("sources.list"), suites.iter().map(line).collect::<String>())?;
        let apt = Self { folder: folder.to_path_buf() };
        tool::run(apt.command("apt-get").args(["-q", "update"]))?;
        Ok(apt)
    }

    fn command(&self, program: &str) -> Command {
        let at = |name: &str| self.folder.join(name).display().to_string();
        let mut command = Command::new(program);
        command.current_dir(&self.folder).stdin(Stdio::null());
        for option in [
            format!("Dir::State={}", at("")),
            format!("Dir::State::lists={}", at("lists")),
            "Dir::State::status=/dev/null".to_owned(),
            format!("Dir::Cache={}", at("")),
            format!("Dir::Etc::sourcelist={}", at("sources.list")),
            "Dir::Etc::sourceparts=/dev/null".to_owned(),
            "Acquire::Languages=none".to_owned(),
            // What graphical programs show.
            "Acquire::IndexTargets::deb::DEP-11::DefaultEnabled=false".to_owned(),
            // The user `_apt` cannot enter our folder.
            "APT::Sandbox::User=root".to_owned(),
            "APT::Architecture=amd64".to_owned(),
        ] {
            command.arg("-o").arg(option);
        }
        command
    }

    fn cache(&self, args: &[&str]) -> Result<String> {
        tool::output(self.command("apt-cache").args(args))
    }

    fn download(&self, package: &str) -> Result<PathBuf> {
        let is_it = |path: &PathBuf| {
            let name = path.file_name().and_then(|name| name.to_str());
            name.is_some_and(|name| name.starts_with(&format!("{package}_")))
        };
        tool::run(self.command("apt-get").args(["-q", "download", package]))?;
        let entries = fs::read_dir(&self.folder)?.flatten().map(|entry| entry.path());
        entries.filter(is_it).last().with_context(|| format!("apt-get left no {package}"))
    }
}
