//! Following: what the processes of this machine map, run and become, as it happens.
//!
//! The kernel reports it (`rings`, `record`); a table of processes and files is kept from that (`table`, `watch`); files
//! that were never seen are looked at by threads that may hang (`planners`), and what is in them becomes images. The thread of all that is the `follower`; when it
//! looks and tells is decided by `pace`, `sweeps` and `first_report`.

pub mod first;
mod first_report;
pub mod follower;
pub mod looking;
pub mod news;
mod pace;
pub mod planners;
mod prompt;
pub mod readers;
pub mod record;
mod requests;
pub mod rings;
pub mod stamp;
mod sweeps;
pub mod table;
pub mod watch;
pub mod written;
