//! The key lines of a session, to copy one of them.

use super::App;
use crate::action::Action;
use crate::model::{Effect, SessionRef, Time};

/// The list, and the row under the cursor.
#[derive(Clone, Debug)]
pub struct Lines {
    /// Whose lines.
    pub session: SessionRef,
    /// The row under the cursor: one for each entry, also for those that are null, so that none moves when one of
    /// these gets a value.
    pub cursor: usize,
}

impl App {
    pub(super) fn act_in_lines(&mut self, now: Time, action: Action) -> Vec<Effect> {
        let Some(lines) = &mut self.ui.lines else { return Vec::new() };
        let count = self.model.sessions.get(lines.session).map_or(0, |s| s.entries.len());
        // As many as any session has: a page is never less than what is shown.
        let page = self.ui.pages.detail.max(1);
        let to = match action {
            Action::Up => lines.cursor.saturating_sub(1),
            Action::Down => lines.cursor + 1,
            Action::PageUp => lines.cursor.saturating_sub(page),
            Action::PageDown => lines.cursor + page,
            Action::First => 0,
            Action::Last => count,
            Action::Confirm => {
                let Lines { session, cursor } = *lines;
                self.ui.lines = None;
                return self.copy_entry(now, session, cursor);
            }
            Action::Back => {
                self.ui.lines = None;
                return Vec::new();
            }
            _ => lines.cursor,
        };
        lines.cursor = to.min(count.saturating_sub(1));
        Vec::new()
    }
}
