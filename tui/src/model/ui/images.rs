//! The images and the last warnings.

use super::{App, View};
use crate::action::Action;
use crate::model::{Effect, Time};

/// How far it is scrolled.
#[derive(Clone, Debug, Default)]
pub struct Images {
    /// Lines above the first that is shown.
    pub scroll: usize,
}

impl App {
    pub(super) fn act_in_images(&mut self, now: Time, action: Action) -> Vec<Effect> {
        match action {
            Action::Back => self.ui.view = View::Sessions,
            _ => return self.act_in_every_view(now, action),
        }
        Vec::new()
    }
}
