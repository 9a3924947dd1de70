//! What tlskeytop knows, and the rules by which it changes. Pure: no I/O, no clock, no terminal.
//!
//! The TUI and the headless modes run this same model: messages come in, effects go out.

#![forbid(unsafe_code)]

mod catch_up;
mod command;
pub mod container;
mod family;
#[cfg(test)]
pub(crate) mod fixture;
mod known_lines;
mod missed;
mod msg;
mod process;
mod reason;
mod recording;
mod saving;
pub mod selection;
mod session;
mod state;
mod stats;
mod store;
pub mod target;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod tests_choosing;
#[cfg(test)]
mod tests_clock;
#[cfg(test)]
mod tests_saving;
#[cfg(test)]
mod tests_targets;
#[cfg(test)]
mod tests_wire;
mod time;
mod touched;
pub mod ui;
mod wire;

use std::path::PathBuf;
use std::time::Duration;

pub use catch_up::{
    AT_A_TIME, AT_A_TIME_ONE_BY_ONE, CatchUpState, CatchingUp, DEFAULT_LIMIT as CATCH_UP_LIMIT,
};
pub use command::{CommandState, Ending};
pub use missed::{Loss, Missed};
pub use msg::{Effect, KeyLogMsg, Msg};
pub use reason::{Reason, Verdict};
pub use recording::{PacketKey, Recorded, RecordingMsg, RecordingState, Recordings};
pub use saving::{InFile, KnownLine, LINES_REMEMBERED, PendingLine, Saving, SavingState};
pub use session::{Captured, Entry, Facts, Method, Outcome, Session, SessionKey, WhoIsWho};
pub use state::SecretState;
pub use stats::{KernelCounters, Rate, Stats};
pub use store::{Evicted, SessionRef, Store};
pub use time::Time;
pub use touched::Touched;
pub use wire::{
    Chosen, Coverage, GRACE, Lost, OnWire, Owner, Owners, REMEMBERED, Wire, WireMsg, WireView,
};

use target::{ImageState, Selection, Targets};

/// Sessions kept unless the user says otherwise.
pub const DEFAULT_SESSION_LIMIT: usize = 100_000;
/// How long after a failed write the next one is tried.
const RETRY: Duration = Duration::from_secs(1);

/// Said once.
const TOO_MANY_CHILDREN: &str = "the chosen processes have more descendants than are remembered: of some, those \
    whose parents have ended may be missed";

/// Everything.
#[derive(Debug)]
pub struct Model {
    /// The handshakes.
    pub sessions: Store,
    /// Processes, images, and what was chosen.
    pub targets: Targets,
    /// The key log.
    pub saving: Saving,
    /// Whether packets are recorded, and what came of it.
    pub recording: Recordings,
    /// How old the secrets are that a recorder gets when it begins; `None`: of any age.
    pub recorded_back: Option<Duration>,
    /// Whose open connections are looked for.
    pub catching_up: CatchingUp,
    /// What was counted.
    pub stats: Stats,
    /// What was not captured since its image was attached too late.
    pub missed: Missed,
    /// What the wire shows.
    pub wire: Wire,
    /// Time of the last message.
    pub now: Time,
    /// A look at the machine has come in.
    pub scanned: bool,
    /// The command to run, if there is one.
    pub command: Option<CommandState>,
}

impl Model {
    /// An empty model with what was chosen on the command line.
    pub fn new(selection: Selection, keylog: PathBuf, session_limit: usize) -> Self {
        Self {
            sessions: Store::new(session_limit),
            targets: Targets::new(selection),
            saving: Saving::new(keylog),
            recording: Recordings::default(),
            recorded_back: Some(Duration::ZERO),
            catching_up: CatchingUp::new(CATCH_UP_LIMIT, AT_A_TIME),
            stats: Stats::default(),
            missed: Missed::default(),
            wire: Wire::default(),
            now: Time(0),
            scanned: false,
            command: None,
        }
    }

    /// Takes a message and says what to do.
    pub fn update(&mut self, now: Time, msg: Msg) -> Vec<Effect> {
        if now < self.now {
            self.clock_was_set_back(now);
        }
        self.now = now;
        let mut effects = Vec::new();
        match msg {
            Msg::Secret(event) => self.secret(event, &mut effects),
            Msg::Rejected { pid, thread, reason } => {
                self.stats.rejected += 1;
                effects.push(Effect::Warn(format!("rejected from {thread} ({pid}): {reason}")));
            }
            Msg::LabelLost => self.stats.label_lost += 1,
            Msg::Counters(counters) => self.stats.kernel = counters,
            Msg::Scanned(mut scan) => {
                effects.extend(std::mem::take(&mut scan.warnings).into_iter().map(Effect::Warn));
                let began = scan.began;
                let ended = std::mem::take(&mut scan.ended);
                let unread = std::mem::take(&mut scan.unread);
                effects.extend(self.targets.merge(scan).into_iter().map(Effect::Capture));
                effects.extend(self.targets.may_have_ended().then_some(Effect::Report));
                self.missed.ended(&ended, &self.targets);
                self.missed.unread(&unread, &self.targets);
                if self.targets.selection.take_overflow() {
                    effects.push(Effect::Warn(TOO_MANY_CHILDREN.to_owned()));
                }
                self.stats.events.retain(|id, _| self.targets.images.contains_key(id));
                self.scanned = true;
                self.catching_up.looked(&self.targets, began);
                self.reconcile(&mut effects);
            }
            Msg::Found(image) => {
                let id = image.id;
                if let Some(change) = self.targets.found(image) {
                    // It may be attached before we hear of that.
                    self.missed.attached(id, now);
                    effects.push(Effect::Capture(change));
                }
            }
            Msg::Refused(image) => {
                self.targets.refused.insert(image);
            }
            Msg::Attached { image, result } => self.attached(image, result, &mut effects),
            Msg::CatchingUp { pid, image, result } => {
                let connections = result.unwrap_or_else(|reason| {
                    effects.push(Effect::Warn(format!("catching up with process {pid}: {reason}")));
                    Some(0)
                });
                let ended = self.catching_up.answered((pid, image), connections, now);
                effects.extend(ended.map(Effect::Capture));
            }
            Msg::KeyLog(msg) => self.key_log(msg, &mut effects),
            Msg::Warning(text) => effects.push(Effect::Warn(text)),
            Msg::Tick => {
                self.stats.rate.advance(now);
                let (ended, told) = self.catching_up.tick(&self.targets, now);
                effects.extend(ended.into_iter().map(Effect::Capture));
                effects.extend(told.into_iter().map(Effect::Warn));
                self.wire_tick(&mut effects);
            }
            Msg::ChoosePid(pid, chosen) => {
                self.catching_up.before_choosing(&self.targets);
                self.targets.choose_pid(pid, chosen);
                self.reconcile(&mut effects);
            }
            Msg::ChooseAll(all) => {
                self.catching_up.before_choosing(&self.targets);
                self.targets.selection.all = all;
                self.reconcile(&mut effects);
            }
            Msg::Wire(msg) => self.wire_says(msg, &mut effects),
            Msg::Recording(msg) => self.recording_says(msg, &mut effects),
            Msg::Recorded(recorded) => self.recorded(recorded),
            Msg::Save(on) => self.save(on, &mut effects),
            Msg::SaveTo(path) => {
                if path != self.saving.path {
                    self.save(false, &mut effects);
                    let before = std::mem::replace(&mut self.saving.path, path);
                    self.saving.path_before.get_or_insert(before);
                }
                self.save(true, &mut effects);
            }
            // For who looks at it: nothing of it is kept here.
            Msg::CommandLine { .. } | Msg::Exported(_) => {}
            Msg::Flush => self.saving.retry_now(),
            Msg::CommandEnded(ending) => self.command = Some(CommandState::Ended(ending)),
        }
        if self.command == Some(CommandState::Waiting)
            && self.is_ready()
            && self.saving.state != SavingState::Opening
        {
            self.command = Some(CommandState::Running);
            effects.push(Effect::StartCommand);
        }
        if let Some((generation, lines)) = self.saving.next_batch(&self.sessions, now) {
            effects.push(Effect::WriteLines { generation, lines });
        }
        effects
    }

    /// Whether everything that was chosen is attached, or failed to be.
    pub fn is_ready(&self) -> bool {
        self.scanned && !self.targets.is_attaching() && !self.catching_up.is_starting()
    }

    fn reconcile(&mut self, effects: &mut Vec<Effect>) {
        effects.extend(self.targets.reconcile().into_iter().map(Effect::Capture));
        let catching_up = self.catching_up.reconcile(&self.targets);
        effects.extend(catching_up.into_iter().map(Effect::Capture));
    }

    fn secret(&mut self, event: Captured, effects: &mut Vec<Effect>) {
        if self.targets.images.contains_key(&event.image) {
            *self.stats.events.entry(event.image).or_default() += 1;
        }
        let (chosen, change) = self.targets.decide(&event.process);
        effects.extend(change.map(Effect::Capture));
        if !chosen {
            self.stats.unattributed +=
                u64::from(self.targets.selection.might_choose(&event.process));
            return;
        }
        let label = event.label.clone();
        let key = (event.process.pid, event.image);
        let caught_up = event.caught_up;
        if let Some(connection) = caught_up {
            let ended = self.catching_up.saw(key, connection, self.now);
            effects.extend(ended.map(Effect::Capture));
        }
        let is_first = || self.sessions.find(&event.session_key()).is_none();
        self.missed.session(&event, is_first);
        let taken = self.sessions.take(event);
        if taken.created {
            self.stats.sessions += 1;
            self.stats.rate.count(self.now);
        }
        self.stats.complete += u64::from(taken.completed);
        self.meet_wire(taken.session);
        match taken.outcome {
            Outcome::Null => self.stats.nulls += 1,
            // Catching up meets also what is known: that says nothing to anybody.
            Outcome::Duplicate => self.stats.duplicates += u64::from(caught_up.is_none()),
            Outcome::NotKept => self.stats.not_kept += 1,
            Outcome::Conflict => {
                self.stats.conflicts += 1;
                self.warn_conflict(taken.session, &label, "in one session", effects);
            }
            Outcome::New => {
                self.stats.secrets += 1;
                self.new_secret(taken.session, &label, effects);
            }
        }
        self.make_room();
    }

    fn make_room(&mut self) {
        let evicted = self.sessions.evict();
        self.stats.evicted.sessions += evicted.sessions;
        self.stats.evicted.unsaved += evicted.unsaved;
    }

    fn new_secret(
        &mut self,
        session: SessionRef,
        label: &crate::tls::Label,
        effects: &mut Vec<Effect>,
    ) {
        if self.sessions.check_other_processes(session, label) {
            self.stats.conflicts += 1;
            self.warn_conflict(session, label, "between processes", effects);
            return;
        }
        self.record_secret(session, label, effects);
        if self.saving.is_wanted() {
            self.offer(session, effects);
        }
    }

    /// Gives a session's unsaved entries to the key log, or notes that they are there already.
    fn offer(&mut self, reference: SessionRef, effects: &mut Vec<Effect>) {
        let Some(session) = self.sessions.get(reference) else { return };
        let random = session.key.client_random;
        let unsaved: Vec<_> = session
            .entries
            .iter()
            .filter(|entry| entry.wants_saving() && !entry.queued)
            .map(|entry| {
                let found = self.saving.look_up(&entry.label, &random, &entry.secret);
                (session.key_line(entry), found)
            })
            .collect();
        for (line, found) in unsaved {
            match found {
                InFile::No if self.sessions.has_rival(reference, &line) => {
                    self.sessions.mark_shadowed(reference, &line.label);
                }
                InFile::No => {
                    self.sessions.mark_queued(reference, &line);
                    self.saving.enqueue(&self.sessions, reference, line.label);
                }
                InFile::Same => self.sessions.mark_saved(&line),
                InFile::Different => {
                    self.sessions.shadow(reference, &line.label);
                    self.stats.conflicts += 1;
                    self.warn_conflict(reference, &line.label, "with the key log", effects);
                }
            }
        }
    }

    fn warn_conflict(
        &self,
        session: SessionRef,
        label: &crate::tls::Label,
        place: &str,
        effects: &mut Vec<Effect>,
    ) {
        if let Some(session) = self.sessions.get(session) {
            effects.push(Effect::Warn(format!(
                "conflict {place}: {label} of {} from {} ({})",
                session.key.client_random, session.process.comm, session.key.pid
            )));
        }
    }

    fn attached(
        &mut self,
        image: target::ImageId,
        result: Result<usize, String>,
        effects: &mut Vec<Effect>,
    ) {
        let Some(image) = self.targets.images.get_mut(&image) else { return };
        image.state = match result {
            Ok(probes) => {
                self.missed.attached(image.id, self.now);
                self.targets.refused.remove(&image.id);
                ImageState::Attached { probes }
            }
            Err(reason) => {
                effects.push(Effect::Warn(format!("{}: {reason}", image.path)));
                ImageState::Failed(reason)
            }
        };
        // Nobody may want it any more.
        self.reconcile(effects);
    }

    fn save(&mut self, on: bool, effects: &mut Vec<Effect>) {
        if on && !self.saving.is_wanted() {
            self.saving.state = SavingState::Opening;
            effects.push(Effect::OpenKeyLog(self.saving.path.clone()));
        } else if !on && self.saving.is_wanted() {
            self.saving.state = SavingState::Off;
            self.saving.forget();
            effects.push(Effect::CloseKeyLog);
        }
    }

    fn key_log(&mut self, msg: KeyLogMsg, effects: &mut Vec<Effect>) {
        if !self.saving.is_wanted() {
            return;
        }
        match msg {
            KeyLogMsg::Opened { generation, known } => {
                self.saving.opened(generation, known);
                self.sessions.clear_saved();
                for session in self.sessions.references().collect::<Vec<_>>() {
                    self.offer(session, effects);
                }
            }
            KeyLogMsg::Refused { reason } => {
                effects.push(Effect::Warn(reason.clone()));
                self.saving.refusal = reason;
                self.saving.state = SavingState::Off;
                if let Some(before) = self.saving.path_before.take() {
                    self.saving.path = before;
                }
            }
            // Of a file that was closed since.
            KeyLogMsg::Wrote { .. } | KeyLogMsg::Checked { .. }
                if self.saving.state == SavingState::Opening => {}
            KeyLogMsg::Wrote { generation, written, error } => {
                self.warn_of_failing(error.as_ref(), effects);
                let retry_at = self.now + RETRY;
                self.saving.wrote(&mut self.sessions, generation, written, error, retry_at);
            }
            KeyLogMsg::Checked { error } => {
                self.warn_of_failing(error.as_ref(), effects);
                self.saving.checked(error, self.now + RETRY);
            }
            KeyLogMsg::ReaderGone => self.saving.set_reader_gone(),
        }
    }

    /// What was to happen at a time happens no later than from now on: who waits must not wait until the clock is there
    /// again.
    fn clock_was_set_back(&mut self, now: Time) {
        self.saving.retry_by(now + RETRY);
        self.catching_up.clock_was_set_back(now);
        self.missed.clock_was_set_back(now);
        self.wire.clock_was_set_back(now);
    }

    /// Tells a failure once, not at each retry.
    fn warn_of_failing(&self, error: Option<&String>, effects: &mut Vec<Effect>) {
        let known = match &self.saving.state {
            SavingState::Failing(known) => Some(known),
            _ => None,
        };
        if error != known {
            effects.extend(error.cloned().map(Effect::Warn));
        }
    }
}
