//! A root folder made by hand, as a container has one: a program, its libraries, and what these read.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use crate::lab::Lab;
use crate::process::Process;
use crate::wait::until;

/// Where programs see their libssl in it.
const LIBRARIES: &str = "usr/lib/x86_64-linux-gnu";

/// The folder, in the lab.
pub struct Root {
    folder: PathBuf,
}

impl Root {
    /// One with `program` at `/bin/client`, copies of its libraries, and the lab's certificate at `/cert.pem`.
    ///
    /// # Errors
    /// When something cannot be copied.
    pub fn make(lab: &Lab, name: &str, program: &Path) -> Result<Self> {
        let root = Self { folder: lab.path(name) };
        for folder in [LIBRARIES, "bin", "etc/ssl", "proc"] {
            fs::create_dir_all(root.path(folder))?;
        }
        // As Debian has it.
        for link in ["lib", "lib64"] {
            symlink(Path::new("/").join(LIBRARIES), root.path(link))?;
        }
        copy(program, &root.path("bin/client"))?;
        root.copy_libraries_of(program)?;
        copy(Path::new("/etc/ssl/openssl.cnf"), &root.path("etc/ssl/openssl.cnf"))?;
        copy(&lab.certificate.certificate, &root.path("cert.pem"))?;
        Ok(root)
    }

    /// Puts these in the place of its libssl and libcrypto; the libssl knows the libcrypto by its own name.
    ///
    /// # Errors
    /// When they cannot be copied.
    pub fn replace_openssl(&self, libssl: &Path, libcrypto: &Path) -> Result<()> {
        let libraries = self.path(LIBRARIES);
        copy(libssl, &libraries.join("libssl.so.3"))?;
        copy(libcrypto, &libraries.join("libcrypto.so.3"))?;
        self.copy_libraries_of(libcrypto)?;
        // In another folder of the loader: two in one would leave open whose the version is.
        let name = libcrypto.file_name().context("a library without a name")?;
        symlink("x86_64-linux-gnu/libcrypto.so.3", self.path("usr/lib").join(name))?;
        Ok(())
    }

    fn copy_libraries_of(&self, program: &Path) -> Result<()> {
        let ldd = Process::run_ok(Command::new("ldd").arg(program))?;
        // `libssl.so.3 => /lib/x86_64-linux-gnu/libssl.so.3 (0x...)`, and the loader by its path alone.
        for library in ldd.stdout.split_whitespace().filter(|word| word.starts_with('/')) {
            let library = Path::new(library);
            let name = library.file_name().context("a library without a name")?;
            copy(library, &self.path(LIBRARIES).join(name))?;
        }
        Ok(())
    }

    /// Its libssl, as programs in it see it.
    pub fn libssl(&self) -> PathBuf {
        Path::new("/").join(LIBRARIES).join("libssl.so.3")
    }

    /// A path in it, from outside.
    pub fn path(&self, inside: &str) -> PathBuf {
        self.folder.join(inside)
    }

    /// `/bin/client ARGS` in it, with mount and pid namespaces of its own: it is process 1 there.
    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new("unshare");
        command
            .args(["--mount", "--pid", "--fork", "--kill-child", "--mount-proc"])
            .arg("--root")
            .arg(&self.folder)
            .arg("/bin/client")
            .args(args);
        command
    }

    /// The process id, outside, of what [`Root::command`] has started.
    ///
    /// # Errors
    /// When it has not started it.
    pub fn pid(unshare: &Process) -> Result<u32> {
        let children = format!("/proc/{0}/task/{0}/children", unshare.pid());
        until("the process in the root", || Ok(fs::read_to_string(&children)?.trim().parse().ok()))
    }
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    fs::copy(from, to)
        .with_context(|| format!("copying {} to {}", from.display(), to.display()))?;
    Ok(())
}
