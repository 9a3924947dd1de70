//! One session, in a view of its own.

use super::{App, View};
use crate::action::Action;
use crate::model::{Effect, Time};

/// What is selected in it, and whether secrets are shown in full.
#[derive(Clone, Debug, Default)]
pub struct Detail {
    /// The line under the cursor.
    pub cursor: usize,
    /// Secrets are shown in full until then.
    pub revealed_until: Option<Time>,
}

impl App {
    pub(super) fn open_detail(&mut self) {
        if self.ui.list.selected(&self.model.sessions).is_some() {
            self.ui.detail = Detail::default();
            self.ui.view = View::Detail;
        }
    }

    pub(super) fn act_in_detail(&mut self, now: Time, action: Action) -> Vec<Effect> {
        match action {
            Action::Back => self.ui.view = View::Sessions,
            Action::CopyLines => return self.copy_lines(now),
            Action::CopyClientRandom => return self.copy_client_random(now),
            _ => return self.act_in_every_view(now, action),
        }
        Vec::new()
    }
}
