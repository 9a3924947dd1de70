//! The key lines of a session, to copy one of them.

use super::App;
use crate::action::Action;
use crate::model::{Effect, SessionRef, Time};

/// The list, and the row under the cursor.
#[derive(Clone, Debug)]
pub struct Lines {
    /// Whose lines.
    pub session: SessionRef,
    /// The row under the cursor.
    pub cursor: usize,
}

impl App {
    pub(super) fn act_in_lines(&mut self, _now: Time, action: Action) -> Vec<Effect> {
        if action == Action::Back {
            self.ui.lines = None;
        }
        Vec::new()
    }
}
