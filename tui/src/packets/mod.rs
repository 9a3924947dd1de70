//! Packets and the secrets that decrypt them, in one file.
//!
//! One way through: `socket` (the kernel's ring) -> `recording` (what waits for which secrets) -> `output` (pcapng blocks)
//! -> `file`. The `recorder` is the thread in which that happens.
//!
//! For the wire view: `hellos`, of which the kernel leaves out all packets but those with which a handshake begins, and
//! `owner`, which tells whose a connection is, with `holders` for the servers.

pub(crate) mod backlog;
mod blocks;
mod connections;
mod file;
mod filter;
mod hellos;
mod holders;
mod interfaces;
mod keys;
mod links;
mod output;
mod owner;
mod randoms;
mod recorder;
pub(crate) mod recording;
pub(crate) mod ring;
mod socket;

#[cfg(test)]
mod fixture;

#[cfg(test)]
pub(crate) use fixture::plan;

pub use file::{FileError, Rotation};
pub use filter::INTERFACES;
pub use hellos::Hellos;
pub use owner::{Opener, Owners};
pub use recorder::{Plan, Recorder, RecorderError};
pub use recording::{Scope, Terms};
pub use ring::Size;
pub use socket::{Socket, Statistics, advice};
