//! One session, in a view of its own.

use std::time::Duration;

use super::{App, Level, View};
use crate::action::Action;
use crate::model::{Effect, Entry, Session, SessionRef, Time};
use crate::text::Foreign;
use crate::tls::Label;

/// What is selected in it, and whether secrets are shown in full.
#[derive(Clone, Debug, Default)]
pub struct Detail {
    /// The session that is looked at, whatever becomes of the rows of the table.
    pub session: Option<SessionRef>,
    /// The line under the cursor: see [`rows`].
    pub cursor: usize,
    /// Lines that it is scrolled beyond what shows the cursor.
    pub past: usize,
    /// Secrets are shown in full until then.
    pub revealed_until: Option<Time>,
    /// No longer than this, also when the clock is set back.
    revealed_for: Duration,
    /// The command line of its process.
    pub command_line: CommandLine,
    /// The seconds left that were shown last.
    seconds_shown: u64,
}

/// The command line of a process: nothing of it is kept before somebody looks.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum CommandLine {
    /// It is being read.
    #[default]
    Reading,
    /// As the process shows it.
    Known(Foreign),
    /// Why it cannot be read.
    Unknown(String),
}

/// A label of a session: captured, or missing.
#[derive(Clone, Copy, Debug)]
pub enum Secrets<'a> {
    /// Captured, or null.
    Held(&'a Entry),
    /// The version has this secret, and it did not come.
    Missing(&'static Label),
}

/// The labels of a session as they came, so that none moves under the cursor, then those that the version wants.
pub fn rows(session: &Session) -> Vec<Secrets<'_>> {
    let held = session.entries.iter().map(Secrets::Held);
    held.chain(session.missing().map(Secrets::Missing)).collect()
}

impl Detail {
    /// The seconds that secrets are still shown in full; `None` when they are masked.
    pub fn seconds_left(&self, now: Time) -> Option<u64> {
        let left = self.revealed_until?.since(now).min(self.revealed_for);
        (!left.is_zero()).then(|| left.as_millis().div_ceil(1000) as u64)
    }

    /// Lets time go on; tells whether that changes what is shown.
    pub(super) fn expire(&mut self, now: Time) -> bool {
        if self.revealed_until.is_none() {
            return false;
        }
        let left = self.seconds_left(now);
        if left.is_none() {
            self.revealed_until = None;
        }
        let left = left.unwrap_or(0);
        std::mem::replace(&mut self.seconds_shown, left) != left || left == 0
    }

    /// Secrets are masked as soon as the user looks at something else.
    pub(super) fn leave(&mut self) {
        self.revealed_until = None;
    }
}

impl App {
    /// The session in the detail, if it is still kept.
    pub fn detail_session(&self) -> Option<&Session> {
        self.model.sessions.get(self.ui.detail.session?)
    }

    pub(super) fn open_detail(&mut self) -> Vec<Effect> {
        let Some(session) = self.ui.list.selected(&self.model.sessions) else { return Vec::new() };
        let look =
            Effect::LookAt { pid: session.key.pid, start_ticks: session.process.start_ticks };
        let session = self.model.sessions.reference_of(&session.key);
        self.ui.detail = Detail { session, ..Detail::default() };
        self.ui.view = View::Detail;
        vec![look]
    }

    /// The command line of a process came, which may not be the one that is looked at any more.
    pub(super) fn command_line(&mut self, process: (u32, u64), result: Result<Foreign, String>) {
        let is_same = |s: &Session| (s.key.pid, s.process.start_ticks) == process;
        if self.detail_session().is_some_and(is_same) {
            self.ui.detail.command_line = match result {
                Ok(text) => CommandLine::Known(text),
                // It has ended; the last look at the machine may have seen it.
                Err(why) => match self.model.targets.processes.get(&process.0) {
                    Some(target) if target.process.start_ticks == process.1 => {
                        target.command.clone().map_or(CommandLine::Unknown(why), CommandLine::Known)
                    }
                    _ => CommandLine::Unknown(why),
                },
            };
        }
    }

    pub(super) fn act_in_detail(&mut self, now: Time, action: Action) -> Vec<Effect> {
        let rows = self.detail_session().map_or(0, |session| rows(session).len());
        let page = self.ui.pages.detail.max(1);
        match action {
            Action::Up => self.detail_up(1),
            Action::Down => self.detail_down(1, rows),
            Action::PageUp => self.detail_up(page),
            Action::PageDown => self.detail_down(page, rows),
            Action::First => self.detail_up(usize::MAX),
            Action::Last => self.detail_down(usize::MAX, rows),
            Action::Reveal => self.toggle_reveal(now),
            Action::Back => self.ui.view = View::Sessions,
            Action::CopyLine => {
                if let Some(session) = self.ui.detail.session {
                    return self.copy_entry(now, session, self.ui.detail.cursor);
                }
            }
            Action::CopyLines => return self.copy_lines(now),
            Action::CopyClientRandom => return self.copy_client_random(now),
            _ => return self.act_in_every_view(now, action),
        }
        Vec::new()
    }

    /// First back to the cursor, then the cursor itself.
    fn detail_up(&mut self, lines: usize) {
        let detail = &mut self.ui.detail;
        let back = detail.past.min(lines);
        detail.past -= back;
        detail.cursor = detail.cursor.saturating_sub(lines - back);
    }

    /// The cursor to the last label, then what is below comes into view.
    fn detail_down(&mut self, lines: usize, rows: usize) {
        let detail = &mut self.ui.detail;
        let down = (rows.saturating_sub(1)).saturating_sub(detail.cursor).min(lines);
        detail.cursor += down;
        detail.past = detail.past.saturating_add(lines - down).min(self.ui.pages.detail_past);
    }

    fn toggle_reveal(&mut self, now: Time) {
        let detail = &mut self.ui.detail;
        detail.revealed_for = self.ui.reveal;
        detail.revealed_until = match detail.seconds_left(now) {
            Some(_) => None,
            None => Some(now + detail.revealed_for),
        };
        if detail.revealed_until.is_some() && self.detail_session().is_none() {
            self.ui.detail.leave();
            self.tell(now, Level::Info, "there is nothing to reveal any more");
        }
    }
}
