//! What the user wants to be otherwise, from the start.

use std::time::Duration;

use super::App;
use crate::keymap::Keymap;

/// How long secrets are shown in full, unless the user says otherwise.
pub const REVEALED: Duration = Duration::from_secs(30);

/// What a configuration says about the interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// What keys do.
    pub keymap: Keymap,
    /// Names of the columns of the table of sessions, in their order; none for the usual ones.
    pub columns: Vec<String>,
    /// Keep the newest session selected.
    pub follow: bool,
    /// Hide sessions with only null secrets.
    pub hide_nulls: bool,
    /// Ask before secrets are lost by quitting.
    pub confirm_quit: bool,
    /// How long secrets are shown in full.
    pub reveal: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            keymap: Keymap::default(),
            columns: Vec::new(),
            follow: true,
            hide_nulls: true,
            confirm_quit: true,
            reveal: REVEALED,
        }
    }
}

impl App {
    /// Takes the user's settings, before anything is shown.
    #[must_use]
    pub fn with_settings(mut self, settings: Settings) -> Self {
        let Settings { keymap, columns, follow, hide_nulls, confirm_quit, reveal } = settings;
        self.keymap = keymap;
        self.ui.columns = columns;
        self.ui.confirm_quit = confirm_quit;
        self.ui.reveal = reveal;
        self.ui.list.start_with(follow, hide_nulls);
        self
    }
}
