//! Packets and the secrets that decrypt them, in one file.
//!
//! One way through: `socket` (the kernel's ring) -> `recording` (what waits for which secrets) -> `output` (pcapng blocks)
//! -> `file`. The `recorder` is the thread in which that happens.

mod backlog;
mod connections;
mod file;
mod filter;
mod interfaces;
mod keys;
mod output;
mod recorder;
mod recording;
mod ring;
mod socket;

pub use file::{FileError, Rotation};
pub use filter::INTERFACES;
pub use recorder::{Plan, Recorder, RecorderError};
pub use recording::{Scope, Terms};
