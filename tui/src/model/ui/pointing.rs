//! What a click does.

use std::time::Duration;

use super::{App, Column};
use crate::action::Action;
use crate::model::{Effect, Time};

/// Two clicks within this time are one double click, as in most desktops.
const DOUBLE: Duration = Duration::from_millis(400);

/// What was clicked, in the main view.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Hit {
    /// So many rows below the first one of the table of sessions.
    Session(usize),
    /// The heading of this column of it.
    Header(Column),
    /// So many rows below the first one of the picker.
    Process {
        /// The row.
        row: usize,
        /// On its mark.
        on_mark: bool,
    },
}

impl App {
    /// Carries out a click.
    pub fn click(&mut self, now: Time, hit: Hit) -> Vec<Effect> {
        match hit {
            Hit::Session(row) => self.click_session(now, row),
            Hit::Header(column) => {
                self.sort_by(now, column);
                Vec::new()
            }
            Hit::Process { row, on_mark } => {
                let rows = self.ui.picker.rows(&self.model.targets);
                let Some(row) = rows.map(|(line, _)| line.row).nth(row) else { return Vec::new() };
                self.ui.picker.point_at(&self.model.targets, row);
                if on_mark { self.act(now, Action::Mark) } else { Vec::new() }
            }
        }
    }

    /// Selects the row; the second click opens it. Rows move on, so it is the session that counts.
    fn click_session(&mut self, now: Time, row: usize) -> Vec<Effect> {
        let Some(serial) = self.ui.list.select_row(&self.model.sessions, row) else {
            return Vec::new();
        };
        let before = self.ui.clicked.replace((now, serial));
        if before.is_some_and(|(then, same)| same == serial && now.since(then) <= DOUBLE) {
            self.ui.clicked = None;
            return self.act(now, Action::Open);
        }
        Vec::new()
    }
}
