//! A control group of the test's own, as a container runtime makes them.

use std::path::PathBuf;

use anyhow::{Context, Result};

use crate::lab::skip;

/// A folder in the unified hierarchy; removed when dropped.
pub struct Cgroup(PathBuf);

impl Cgroup {
    /// Makes one of this name; None, with the reason printed, where the hierarchy is not mounted or not writable.
    ///
    /// # Errors
    /// When it is not there and live tests must not be skipped.
    pub fn make(name: &str) -> Result<Option<Self>> {
        let mounts = std::fs::read_to_string("/proc/self/mounts")?;
        let unified = mounts.lines().find_map(|line| {
            let mut fields = line.split(' ');
            let (_, folder, kind) = (fields.next()?, fields.next()?, fields.next()?);
            (kind == "cgroup2").then(|| PathBuf::from(folder))
        });
        let Some(unified) = unified else { return skip("cgroup2 is not mounted") };
        let folder = unified.join(name);
        match std::fs::create_dir(&folder) {
            Ok(()) => Ok(Some(Self(folder))),
            Err(error) => skip(&format!("{}: {error}", folder.display())),
        }
    }

    /// Where a process id is written to move that process, `0` for the writer itself.
    pub fn processes(&self) -> PathBuf {
        self.0.join("cgroup.procs")
    }

    /// Moves a process into it.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn take(&self, pid: u32) -> Result<()> {
        std::fs::write(self.processes(), pid.to_string())
            .with_context(|| format!("moving {pid} to {}", self.0.display()))
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        // Its processes were children of the test, and are reaped by now.
        if let Err(error) = std::fs::remove_dir(&self.0) {
            eprintln!("{}: {error}", self.0.display());
        }
    }
}
