//! The guest's whole file system: busybox, openssl, tlskeytop with the libraries that they load, and a certificate.

use std::fs::{self, File};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, ensure};

use crate::tool;

/// Makes it in `folder`.
///
/// # Errors
/// When a program is missing or the archive cannot be written.
pub fn make(tlskeytop: &Path, folder: &Path) -> Result<PathBuf> {
    let root = folder.join("root");
    if root.exists() {
        fs::remove_dir_all(&root)?;
    }
    for name in ["bin", "etc/ssl", "usr/lib/ssl"] {
        fs::create_dir_all(root.join(name))?;
    }
    let openssl = tool::find("openssl").context("no openssl here")?;
    for (program, name) in [
        (Path::new("/bin/busybox"), "busybox"),
        (openssl.as_path(), "openssl"),
        (tlskeytop, "tlskeytop"),
    ] {
        copy(program, &root.join("bin").join(name))?;
        for library in libraries(program)? {
            copy(&library, &root.join(library.strip_prefix("/")?))?;
        }
    }
    // openssl complains about its absence.
    fs::write(root.join("usr/lib/ssl/openssl.cnf"), "")?;
    crate::demo::make_certificate(&root)?;
    let init = root.join("init");
    fs::write(&init, include_str!("init.sh"))?;
    fs::set_permissions(&init, fs::Permissions::from_mode(0o755))?;
    archive(&root, &folder.join("initramfs"))
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    if let Some(folder) = to.parent() {
        fs::create_dir_all(folder)?;
    }
    fs::copy(from, to).with_context(|| format!("cannot copy {}", from.display()))?;
    Ok(())
}

/// What a program loads; nothing for a static one. The loader resolves it, as on any start of the program.
fn libraries(program: &Path) -> Result<Vec<PathBuf>> {
    let output = Command::new("ldd").arg(program).output().context("cannot start ldd")?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let paths =
        text.lines().filter_map(|line| line.split_whitespace().find(|w| w.starts_with('/')));
    Ok(paths.filter(|path| !path.ends_with(':')).map(PathBuf::from).collect())
}

/// In the format of the kernel's buffer-format.rst, unpacked: the copy into memory is quicker than gzip is there.
fn archive(root: &Path, to: &Path) -> Result<PathBuf> {
    let mut find = Command::new("find");
    let mut find = find.current_dir(root).arg(".").stdout(Stdio::piped()).spawn()?;
    let names = find.stdout.take().context("find has no output")?;
    let mut cpio = Command::new("cpio");
    cpio.current_dir(root).args(["--create", "--format=newc", "--quiet"]);
    let status = cpio.stdin(names).stdout(File::create(to)?).status()?;
    ensure!(status.success() && find.wait()?.success(), "cannot make the initramfs");
    Ok(to.to_path_buf())
}
