//! Short messages that go away by themselves.

use std::time::Duration;

use crate::model::Time;
use crate::text::sanitize;

/// How long a toast is shown.
const SHOWN: Duration = Duration::from_secs(3);

/// How much a toast matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    /// Something went as asked.
    Info,
    /// Something did not.
    Warning,
}

/// One message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Toast {
    /// Safe to show.
    pub text: String,
    /// How much it matters.
    pub level: Level,
    until: Time,
}

impl Toast {
    pub(super) fn new(now: Time, level: Level, text: &str) -> Self {
        Self { text: sanitize(text), level, until: now + SHOWN }
    }

    pub(super) fn is_over(&self, now: Time) -> bool {
        now >= self.until
    }
}
