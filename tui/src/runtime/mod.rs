//! The one select loop and what belongs to it: the terminal, the keys, the outside world.

mod asked;
mod background;
mod console;
mod errands;
mod finish;
mod frames;
mod machine;
mod mouse;
mod owners;
mod printer;
mod recording;
mod scanner;
mod terminal;
mod tui;
mod wire;
mod writer;

use std::future::Future;
use std::io;

pub use finish::{Unsaved, finish};
pub use machine::Machine;
pub use printer::Printer;
pub use tui::{Options, TuiError, local_offset, run};

use crate::model::{Effect, Msg, Time};

/// What the loop needs from the outside: where messages come from and effects go.
pub trait Engine {
    /// Waits until something happened and appends it to `into`.
    ///
    /// Must be cancel-safe: the loop drops the future when a key comes first.
    ///
    /// # Errors
    ///
    /// When nothing can come any more; the loop then ends with this error.
    fn next(&mut self, into: &mut Vec<Msg>) -> impl Future<Output = io::Result<()>>;

    /// Carries out an effect (`Copy` and `Quit` are the loop's own).
    fn perform(&mut self, effect: Effect);

    /// Present time.
    fn now(&self) -> Time;
}
