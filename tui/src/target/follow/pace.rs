//! By what the thread that follows is woken, and how soon: each wake-up costs more than what it tells.

use std::time::{Duration, Instant};

use super::prompt::Prompt;
use super::rings::Wake;

/// While more comes than [`Prompt`] allows, we look this often, and do not ask to be woken.
pub const COALESCE: Duration = Duration::from_millis(1);
/// The same while all files are known that are mapped. A program that was never seen waits so much longer, the first of
/// them only.
const COALESCE_KNOWN: Duration = Duration::from_millis(16);
/// Where one file is new, others may follow: so long they are expected.
const NEW: Duration = Duration::from_millis(100);
/// So long after the last record, we are woken by mappings alone: programs that come and go would wake us three times
/// each. Who ended meanwhile is seen then.
const CALM: Duration = Duration::from_millis(10);
/// After so long with more than [`Prompt`] allows, nobody waits for a single event, and others may go before us. To change
/// the priority costs as much as what it is changed for: not for each program that comes and goes.
const STORM: Duration = Duration::from_millis(10);

/// How much is reported, and how promptly it has to be looked at.
#[derive(Debug)]
pub struct Pace {
    prompt: Prompt,
    /// When something was last reported.
    last_event: Instant,
    /// When a file was last mapped that was not known.
    last_new: Instant,
    /// Since when more comes than [`Prompt`] allows.
    storm: Option<Instant>,
}

impl Pace {
    /// Nothing was reported before `now`.
    pub fn new(now: Instant) -> Self {
        Self { prompt: Prompt::full(now), last_event: now, last_new: now, storm: None }
    }

    /// Something was reported.
    pub fn has_event(&mut self) {
        self.last_event = Instant::now();
    }

    /// A file was mapped that was not known.
    pub fn has_new_file(&mut self) {
        self.last_new = Instant::now();
    }

    /// Whether nobody waits for a single event any more. `is_active`: something was just reported.
    pub fn is_storm(&mut self, is_active: bool) -> bool {
        if !(is_active && self.prompt.is_spent()) {
            self.storm = None;
            return false;
        }
        self.storm.get_or_insert_with(Instant::now).elapsed() >= STORM
    }

    /// By what the thread wants to be woken, and when it looks by itself, `until` at the latest.
    pub fn next(&mut self, now: Instant, until: Instant, is_active: bool) -> (Wake, Instant) {
        let calm = self.last_event + CALM;
        match self.prompt.take(now) {
            false if is_active => {
                let is_known = now >= self.last_new + NEW;
                let pause = if is_known { COALESCE_KNOWN } else { COALESCE };
                (Wake::Nothing, until.min(now + pause))
            }
            _ if now < calm => (Wake::Mappings, until.min(calm)),
            // The first one is free, and counts all the same.
            _ => (Wake::Everything, until),
        }
    }
}
