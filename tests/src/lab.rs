//! Where a live test starts: may it run here, and a folder and a certificate of its own.

use std::path::{Path, PathBuf};

use anyhow::{Result, bail};
use tempfile::TempDir;

use crate::certificate::Certificate;

/// One test's own place: everything in it is removed when dropped.
pub struct Lab {
    folder: TempDir,
    /// The certificate of this test's servers.
    pub certificate: Certificate,
}

impl Lab {
    /// A lab, or None where live tests cannot run: then the reason is printed.
    ///
    /// # Errors
    /// Where they cannot run but must (`TLSKEYTOP_REQUIRE_LIVE`), and when the certificate cannot be made.
    pub fn open() -> Result<Option<Self>> {
        if !require_live()? {
            return Ok(None);
        }
        let folder = tempfile::Builder::new().prefix("tlskeytop-test-").tempdir()?;
        let certificate = Certificate::make(folder.path())?;
        Ok(Some(Self { folder, certificate }))
    }

    /// The folder, readable by root alone.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// A path in the folder.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }
}

/// True when live tests can run here; otherwise the reason is printed.
///
/// # Errors
/// When they cannot, and `TLSKEYTOP_REQUIRE_LIVE` says that they must.
pub fn require_live() -> Result<bool> {
    if rustix::process::geteuid().is_root() {
        return Ok(true);
    }
    skip::<()>("only root can attach uprobes")?;
    Ok(false)
}

/// None, with the reason printed; or the error where live tests must not be skipped.
pub(crate) fn skip<T>(reason: &str) -> Result<Option<T>> {
    if std::env::var_os("TLSKEYTOP_REQUIRE_LIVE").is_some() {
        bail!("a live test cannot run here: {reason}");
    }
    eprintln!("skipped: {reason}");
    Ok(None)
}
