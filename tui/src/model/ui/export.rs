//! Saving and exporting to a path that the user types.

use super::App;
use crate::model::{Effect, Time};

impl App {
    pub(super) fn save_to(&mut self, _now: Time, _path: &str) -> Vec<Effect> {
        Vec::new()
    }

    pub(super) fn export_to(&mut self, _now: Time, _path: &str) -> Vec<Effect> {
        Vec::new()
    }
}
