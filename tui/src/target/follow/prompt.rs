//! How often we ask to be woken at once: each wake-up costs more than what it tells.

use std::time::Instant;

/// Wake-ups at the first record, in a second. At some 30 µs each, as a virtual machine takes, they are 0.12% of a CPU.
pub const PROMPT: f64 = 40.0;
/// As many at once: a program with its libraries is some 20 records.
const PROMPT_AT_ONCE: f64 = 50.0;

/// How many wake-ups we may still ask for.
#[derive(Debug)]
pub struct Prompt {
    left: f64,
    since: Instant,
}

impl Prompt {
    /// As many as there may be at once.
    pub fn full(now: Instant) -> Self {
        Self { left: PROMPT_AT_ONCE, since: now }
    }

    /// There was none when one was asked for last.
    pub fn is_spent(&self) -> bool {
        self.left < 1.0
    }

    /// Takes one, if there is one.
    pub fn take(&mut self, now: Instant) -> bool {
        let passed = now.saturating_duration_since(self.since).as_secs_f64();
        self.left = (self.left + passed * PROMPT).min(PROMPT_AT_ONCE);
        self.since = now;
        let is_left = self.left >= 1.0;
        self.left -= f64::from(u8::from(is_left));
        is_left
    }
}
