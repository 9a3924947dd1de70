//! Waiting for a condition, with a deadline; never for a time.

use std::time::{Duration, Instant};

use anyhow::{Result, bail};

/// How long anything on a busy machine of two cores may take before the test calls it broken.
pub const DEADLINE: Duration = Duration::from_secs(60);

/// How often a condition is looked at that nothing signals.
const POLL: Duration = Duration::from_millis(10);

/// Looks at `condition` until it gives a value.
///
/// # Errors
/// What `condition` fails with, at once; or, after [`DEADLINE`], that `what` did not happen.
pub fn until<T>(what: &str, condition: impl FnMut() -> Result<Option<T>>) -> Result<T> {
    until_within(DEADLINE, what, condition)
}

/// As [`until`], for what has a deadline of its own.
///
/// # Errors
/// As [`until`].
pub fn until_within<T>(
    within: Duration,
    what: &str,
    mut condition: impl FnMut() -> Result<Option<T>>,
) -> Result<T> {
    let end = Instant::now() + within;
    loop {
        if let Some(value) = condition()? {
            return Ok(value);
        }
        if Instant::now() >= end {
            bail!("{what}: not within {} s", within.as_secs());
        }
        std::thread::sleep(POLL);
    }
}
