//! The one loop: what happens outside becomes messages, and effects are carried out.

use std::future::Future;
use std::io;

use crate::model::{Effect, Msg, Time};

mod machine;
mod scanner;
mod writer;

pub use machine::Machine;

/// What the loop needs from the outside: where messages come from and effects go.
pub trait Engine {
    /// Waits until something happened and appends it; cancel-safe.
    fn next(&mut self, into: &mut Vec<Msg>) -> impl Future<Output = io::Result<()>>;
    /// Carries out an effect (Copy and Quit are the loop's own).
    fn perform(&mut self, effect: Effect);
    /// Present time.
    fn now(&self) -> Time;
}
