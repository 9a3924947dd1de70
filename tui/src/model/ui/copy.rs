//! What goes to the clipboard. A session keeps at most 48 secrets: their lines are 11 KB, and fit in any terminal's.

use zeroize::Zeroizing;

use super::{App, Level, Lines, View};
use crate::model::{Effect, Session, SessionRef, Time};

impl App {
    /// The key line of the selected session; where it has several, the user chooses one.
    pub(super) fn copy_line(&mut self, now: Time) -> Vec<Effect> {
        let Some(session) = self.ui.list.selected(&self.model.sessions) else {
            return self.nothing(now, "no session is selected");
        };
        let mut real =
            session.entries.iter().enumerate().filter(|(_, e)| !e.is_null()).map(|(at, _)| at);
        match (real.next(), real.next()) {
            (Some(first), Some(_)) => {
                let session = self.model.sessions.reference_of(&session.key);
                self.ui.lines = session.map(|session| Lines { session, cursor: first });
                Vec::new()
            }
            _ => self.copy_lines(now),
        }
    }

    /// The line of one entry of a session.
    pub(super) fn copy_entry(&mut self, now: Time, session: SessionRef, at: usize) -> Vec<Effect> {
        let Some(session) = self.model.sessions.get(session) else {
            return self.nothing(now, GONE);
        };
        match session.entries.get(at) {
            None => self.nothing(now, "this secret was not captured"),
            Some(entry) if entry.is_null() => {
                self.nothing(now, "this secret is null: there is nothing to copy")
            }
            Some(entry) => {
                let mut text = session.key_line(entry).to_text();
                text.pop();
                vec![Effect::Copy { text: text.into(), what: "key line" }]
            }
        }
    }

    pub(super) fn copy_lines(&mut self, now: Time) -> Vec<Effect> {
        let Some(session) = self.session_to_copy() else { return self.no_session(now) };
        match lines(session) {
            Some((text, 1)) => vec![Effect::Copy { text: text.into(), what: "key line" }],
            Some((text, _)) => vec![Effect::Copy { text: text.into(), what: "key lines" }],
            None if session.entries.is_empty() => {
                self.nothing(now, "the session has no secret to copy: none was captured")
            }
            None => self.nothing(now, "the session has no secret to copy: all are null"),
        }
    }

    pub(super) fn copy_client_random(&mut self, now: Time) -> Vec<Effect> {
        let Some(session) = self.session_to_copy() else { return self.no_session(now) };
        let text = Zeroizing::new(session.key.client_random.to_string());
        vec![Effect::Copy { text: text.into(), what: "client random" }]
    }

    /// The session that is looked at, or the selected one.
    fn session_to_copy(&self) -> Option<&Session> {
        match self.ui.view {
            View::Detail => self.detail_session(),
            _ => self.ui.list.selected(&self.model.sessions),
        }
    }

    fn no_session(&mut self, now: Time) -> Vec<Effect> {
        let why = if self.ui.view == View::Detail { GONE } else { "no session is selected" };
        self.nothing(now, why)
    }

    fn nothing(&mut self, now: Time, why: &str) -> Vec<Effect> {
        self.tell(now, Level::Info, why);
        Vec::new()
    }
}

/// Of a session that the limit made go.
const GONE: &str = "the session was dropped to make room for newer ones";

/// All key lines of a session and their number. Without the last newline, so that nothing is carried
/// out when the text is pasted into a shell.
fn lines(session: &Session) -> Option<(Zeroizing<String>, usize)> {
    let lines: Vec<_> = session.key_lines().map(|line| line.to_text()).collect();
    // With room for all of it, no copy is left behind by growing.
    let mut text = Zeroizing::new(String::with_capacity(lines.iter().map(|line| line.len()).sum()));
    for line in &lines {
        text.push_str(line);
    }
    text.pop();
    (!lines.is_empty()).then_some((text, lines.len()))
}
