//! The processes and images that the command line names: which of them there are.

use std::collections::BTreeMap;
use std::path::PathBuf;

use crate::headless::say;
use crate::model::target::Selection;
use crate::target::process;
use crate::target::registry::Registry;

/// Adds the images that were named, and the system's. One that cannot be used is told, and the rest goes on.
pub(super) fn add_images(registry: &mut Registry, images: &[PathBuf]) -> anyhow::Result<()> {
    let mut usable = 0;
    for path in images {
        match registry.add_named(path) {
            Ok(_) => usable += 1,
            Err(error) => say(&format!("warning: {error}")),
        }
    }
    // Only what was named is captured: whatever else was chosen, it would be nothing.
    if !images.is_empty() && usable == 0 {
        anyhow::bail!("none of the named images can be used");
    }
    registry.add_system_libraries();
    Ok(())
}

/// The chosen process ids of which there is a process, with its start. One that is not there is told.
pub(super) fn running(selection: &Selection) -> anyhow::Result<BTreeMap<u32, u64>> {
    let running = starts(selection.pids.keys());
    let nothing_else = !selection.all && !selection.has_patterns();
    if !selection.pids.is_empty() && running.is_empty() && nothing_else {
        anyhow::bail!("none of the named processes can be used");
    }
    Ok(running)
}

/// The start of each of these processes. One that is not there is told, and left out.
pub(super) fn starts<'a>(pids: impl Iterator<Item = &'a u32>) -> BTreeMap<u32, u64> {
    let mut starts = BTreeMap::new();
    for &pid in pids {
        match process::start_ticks(pid) {
            Ok(ticks) => {
                starts.insert(pid, ticks);
            }
            Err(error) => {
                say(&format!("warning: process {pid}: {error}; `tlskeytop scan` lists processes"));
            }
        }
    }
    starts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn named_images_of_which_none_is_usable_end_it() {
        let mut registry = Registry::default();
        let missing = [PathBuf::from("/nonexistent/libssl.so"), PathBuf::from("/proc")];
        let error = add_images(&mut registry, &missing).unwrap_err();
        assert_eq!(error.to_string(), "none of the named images can be used");
        assert!(add_images(&mut registry, &[]).is_ok());
    }

    #[test]
    fn processes_are_known_by_their_start() {
        // No pid is higher: PID_MAX_LIMIT of linux/threads.h.
        let gone = (1 << 22) + 1;
        let own = std::process::id();
        let selection = |pids: &[u32], all| Selection {
            all,
            pids: pids.iter().map(|pid| (*pid, 0)).collect(),
            ..Selection::default()
        };
        let ticks = process::start_ticks(own).unwrap();
        assert_eq!(running(&selection(&[own, gone], false)).unwrap(), [(own, ticks)].into());
        assert!(running(&selection(&[gone], false)).is_err());
        assert!(running(&selection(&[gone], true)).unwrap().is_empty());
        assert!(running(&selection(&[], false)).unwrap().is_empty());
    }
}
