//! What goes to the clipboard.

use zeroize::Zeroizing;

use super::{App, Level};
use crate::model::{Effect, Session, Time};

impl App {
    pub(super) fn copy_lines(&mut self, now: Time) -> Vec<Effect> {
        let Some(session) = self.ui.list.selected(&self.model.sessions) else {
            return self.nothing(now, "no session is selected");
        };
        match lines(session) {
            Some((text, 1)) => vec![Effect::Copy { text, what: "key line" }],
            Some((text, _)) => vec![Effect::Copy { text, what: "key lines" }],
            None => self.nothing(now, "the session has no secret to copy: all are null"),
        }
    }

    pub(super) fn copy_client_random(&mut self, now: Time) -> Vec<Effect> {
        let Some(session) = self.ui.list.selected(&self.model.sessions) else {
            return self.nothing(now, "no session is selected");
        };
        let text = Zeroizing::new(session.key.client_random.to_string());
        vec![Effect::Copy { text, what: "client random" }]
    }

    fn nothing(&mut self, now: Time, why: &str) -> Vec<Effect> {
        self.tell(now, Level::Info, why);
        Vec::new()
    }
}

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
