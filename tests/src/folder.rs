//! Folders that are not root's alone, and small file systems.

use std::ffi::CString;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};
use tempfile::TempDir;

use crate::lab::Lab;
use crate::process::Process;
use crate::tlskeytop::Tlskeytop;

/// A folder that everybody may enter, with a copy of the binary: an ordinary user may not reach the build's.
///
/// # Errors
/// When there is no binary or it cannot be copied.
pub fn public_copy() -> Result<(TempDir, PathBuf)> {
    let folder = tempfile::Builder::new()
        .prefix("tlskeytop-public-")
        .permissions(std::fs::Permissions::from_mode(0o755))
        .tempdir()?;
    let copy = folder.path().join("tlskeytop");
    std::fs::copy(Tlskeytop::binary()?, &copy)?;
    std::fs::set_permissions(&copy, std::fs::Permissions::from_mode(0o755))?;
    Ok((folder, copy))
}

/// A tmpfs mounted in the lab; unmounted when dropped.
pub struct SmallDisk {
    folder: PathBuf,
}

impl SmallDisk {
    /// Mounts one with these options, for example `size=64k`.
    ///
    /// # Errors
    /// When it cannot be mounted.
    pub fn mount(lab: &Lab, options: &str) -> Result<Self> {
        let folder = lab.path("disk");
        std::fs::create_dir(&folder)?;
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", options, "tmpfs"]).arg(&folder);
        Process::run_ok(&mut mount)?;
        Ok(Self { folder })
    }

    /// A path on it.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// Writes `name` until nothing more fits.
    ///
    /// # Errors
    /// When the file cannot be opened, or it fails for another reason.
    pub fn fill(&self, name: &str) -> Result<PathBuf> {
        use std::io::{ErrorKind, Write};
        let path = self.path(name);
        let mut file = std::fs::File::create(&path)?;
        loop {
            match file.write(&[0; 4096]) {
                Ok(_) => (),
                Err(error) if error.kind() == ErrorKind::StorageFull => return Ok(path),
                Err(error) => return Err(error).context("filling the disk"),
            }
        }
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // Lazily: whoever still has a file open must not keep the test's folder.
        let _ = Process::run(Command::new("umount").arg("--lazy").arg(&self.folder));
    }
}

/// Makes a FIFO that nobody has open.
///
/// # Errors
/// When it cannot be made.
pub fn make_fifo(path: &Path) -> Result<()> {
    let name = CString::new(path.as_os_str().as_encoded_bytes())?;
    rustix::fs::mknodat(
        rustix::fs::CWD,
        name.as_c_str(),
        rustix::fs::FileType::Fifo,
        0o600.into(),
        0,
    )
    .with_context(|| format!("no FIFO at {}", path.display()))
}
