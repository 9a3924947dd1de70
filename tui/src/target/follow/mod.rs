//! Following: what the processes of this machine map, run and become, as it happens.
//!
//! The kernel reports it (`rings`, `record`); a table of processes and files is kept from that (`table`, `watch`); files
//! that were never seen are looked at by threads that may hang (`planners`), and what is in them becomes images.

pub mod first;
pub mod follower;
pub mod looking;
pub mod planners;
pub mod prompt;
pub mod readers;
pub mod record;
pub mod rings;
pub mod stamp;
pub mod table;
pub mod watch;
pub mod written;
