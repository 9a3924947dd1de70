//! How many files may be open: each probe takes two descriptors.

use std::fs::File;
use std::io;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::headless::say;

/// With fewer files that may be open, there is no wire view.
const FILES_FOR_WIRE: u64 = 128;
/// Descriptors that the kernel makes room for at the start: those of some 2,000 images, in 128 KiB.
const DESCRIPTORS: u64 = (16 << 10) - 1;

/// Whether there are: what the wire view takes must not be missing for images.
pub(super) fn has_files_for_wire() -> bool {
    let most = getrlimit(Resource::Nofile).current;
    let is_enough = most.is_none_or(|most| most >= FILES_FOR_WIRE);
    if !is_enough {
        let warning = format!(
            "not looking at the network: fewer than {FILES_FOR_WIRE} files may be open (see `ulimit -n`)"
        );
        tracing::warn!("{warning}");
        say(&format!("warning: {warning}"));
    }
    is_enough
}

/// Each probe takes two file descriptors. Where the limit stays low, attaching says so.
/// The limit as it was is for the command: with a high one, programs that close every possible file take long.
pub(super) fn raise_file_limit() -> Rlimit {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit { current: limit.maximum, maximum: limit.maximum };
    let _ = setrlimit(Resource::Nofile, raised);
    let highest =
        raised.current.map_or(DESCRIPTORS, |most| DESCRIPTORS.min(most.saturating_sub(1)));
    if let Err(error) = make_room(highest) {
        tracing::debug!(%error, "no room for descriptors");
    }
    limit
}

/// Lets the kernel's table of descriptors grow at once, and not whenever it is full: then each thread that opens a file
/// waits until every CPU has seen the new table, 10 ms, and a program that runs once is gone by then.
fn make_room(highest: u64) -> io::Result<()> {
    let file = File::open("/dev/null")?;
    let highest = i32::try_from(highest).unwrap_or(i32::MAX);
    rustix::io::fcntl_dupfd_cloexec(&file, highest)?;
    Ok(())
}
