//! Where a live test starts: may it run here, and a folder and a certificate of its own.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Result, bail};
use tempfile::TempDir;

use crate::certificate::Certificate;
use crate::wait::until_within;

/// One test's own place: everything in it is removed when dropped. Whatever has its files there is to be dropped before: a
/// folder that stays, as one with a mount in it does, fails the test.
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

impl Drop for Lab {
    fn drop(&mut self) {
        // A process that has just been killed may still make a file.
        const PATIENCE: Duration = Duration::from_secs(5);
        let mut last = None;
        let removed = until_within(PATIENCE, "the folder is gone", || {
            last = fs::remove_dir_all(self.folder()).err();
            let is_gone = last.as_ref().is_none_or(|error| error.kind() == ErrorKind::NotFound);
            Ok(is_gone.then_some(()))
        });
        let told =
            removed.err().map(|error| format!("{}: {error:#}: {last:?}", self.folder().display()));
        if let Some(told) = told {
            assert!(std::thread::panicking(), "{told}");
            eprintln!("{told}");
        }
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
