//! Saving and exporting to a path that the user types.

use std::path::{Path, PathBuf};

use super::{App, Level, Purpose};
use crate::model::{Effect, Msg, PendingLine, SavingState, Session, Time};
use crate::text::sanitize;

/// What is offered at first.
const DEFAULT_EXPORT: &str = "./tlskeytop-export.keylog";

/// What the user interface knows of files.
#[derive(Clone, Debug, Default)]
pub struct Files {
    /// The home of the user behind sudo, for a path that begins with `~/`.
    pub home: Option<PathBuf>,
    /// The user knows where the key log is: it was named on the command line, or asked for.
    pub path_known: bool,
    /// The last export, or what is offered for the first.
    pub export: Option<String>,
    /// The program ends as soon as everything is in the file whose path is being asked for.
    pub(super) then_quit: bool,
    /// Lines in the key log at the moment when it was opened, until what was captured before is there too.
    pub(super) backlog: Option<u64>,
}

/// What became of an export.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exported {
    /// To which file.
    pub path: PathBuf,
    /// The sessions whose lines they are.
    pub sessions: usize,
    /// Lines written.
    pub written: usize,
    /// Lines that were in the file already.
    pub known: usize,
    /// Why the others were not written.
    pub error: Option<String>,
}

impl App {
    /// Turns saving on or off; the first time, the user is asked where to.
    pub(super) fn toggle_saving(&mut self, now: Time) -> Vec<Effect> {
        let path = self.model.saving.path.to_string_lossy().into_owned();
        if self.model.saving.is_wanted() {
            self.tell(now, Level::Info, &format!("saving to {} is off", sanitize(&path)));
            return self.receive(now, Msg::Save(false));
        }
        if !self.ui.files.path_known {
            self.ui.files.then_quit = false;
            self.open_prompt(Purpose::SavePath, path);
            return Vec::new();
        }
        self.receive(now, Msg::Save(true))
    }

    /// Asks where to save to, unless that is known; not where there is no room to ask.
    pub(super) fn ask_path_before_quitting(&mut self) -> bool {
        let is_known = self.ui.files.path_known || self.model.saving.is_wanted();
        if is_known || self.ui.pages.too_small {
            return false;
        }
        self.ui.files.then_quit = true;
        let path = self.model.saving.path.to_string_lossy().into_owned();
        self.open_prompt(Purpose::SavePath, path);
        true
    }

    /// Turns saving on, to the path that the user typed.
    pub(super) fn save_to(&mut self, now: Time, text: &str) -> Vec<Effect> {
        match resolve(text, self.ui.files.home.as_deref()) {
            Ok(path) => {
                self.ui.quit_once_saved = self.ui.files.then_quit;
                self.receive(now, Msg::SaveTo(path))
            }
            Err(why) => {
                self.tell(now, Level::Warning, &format!("not saving: {why}"));
                Vec::new()
            }
        }
    }

    /// Tells when what was captured before saving was turned on is in the file.
    pub(super) fn tell_of_saving(&mut self, now: Time, opened: bool) {
        let saving = &self.model.saving;
        let path = sanitize(&saving.path.to_string_lossy());
        if opened {
            self.ui.files.path_known = true;
            self.ui.files.backlog = (saving.pending() > 0).then_some(saving.lines);
            let text = match saving.pending() {
                0 if saving.has_lines() && !self.model.sessions.is_empty() => {
                    format!("saving to {path}: what was captured so far is in it")
                }
                0 => format!("saving to {path}"),
                _ => format!("saving to {path}, with what was captured so far"),
            };
            self.tell(now, Level::Info, &text);
        } else if saving.state == SavingState::Off {
            self.ui.files.backlog = None;
        } else if saving.state == SavingState::On
            && saving.pending() == 0
            && let Some(before) = self.ui.files.backlog.take()
        {
            let text = match saving.lines - before {
                1 => format!("saving to {path}: wrote 1 line, all that was captured so far"),
                count => {
                    format!("saving to {path}: wrote {count} lines, all that was captured so far")
                }
            };
            self.tell(now, Level::Info, &text);
        }
    }

    /// Asks where to write the lines of the sessions that are shown.
    pub(super) fn ask_export(&mut self, now: Time) {
        if self.sessions_with_lines().next().is_none() {
            self.tell(now, Level::Info, "no session with a key line is shown");
            return;
        }
        let text = self.ui.files.export.clone().unwrap_or_else(|| DEFAULT_EXPORT.to_owned());
        self.open_prompt(Purpose::ExportPath, text);
    }

    /// Writes the lines of the sessions that are shown now.
    pub(super) fn export_to(&mut self, now: Time, text: &str) -> Vec<Effect> {
        // Else more would be in the file than the user asked for.
        if let Some(error) = self.ui.list.filter().error() {
            let text = format!("not exported: the filter is not understood: {error}");
            self.tell(now, Level::Warning, &text);
            return Vec::new();
        }
        let saving = &self.model.saving;
        let path = match resolve(text, self.ui.files.home.as_deref()) {
            // Two writers would each write what the other one has on its way.
            Ok(path) if saving.is_wanted() && path == saving.path => {
                Err("this is the key log, which gets every line".to_owned())
            }
            path => path,
        };
        let path = match path {
            Ok(path) => path,
            Err(why) => {
                self.tell(now, Level::Warning, &format!("not exported: {why}"));
                return Vec::new();
            }
        };
        self.ui.files.export = Some(text.trim().to_owned());
        let sessions = self.sessions_with_lines().count();
        // With room for all of it, no copy of a secret is left behind by growing.
        let real = |session: &Session| session.entries.iter().filter(|e| !e.is_null()).count();
        let mut lines = Vec::with_capacity(self.sessions_with_lines().map(real).sum());
        for session in self.sessions_with_lines() {
            let version = session.facts.version;
            lines.extend(session.key_lines().map(|line| PendingLine { line, version }));
        }
        self.tell(now, Level::Info, &format!("exporting to {}", sanitize(&path.to_string_lossy())));
        vec![Effect::Export { path, sessions, lines }]
    }

    fn sessions_with_lines(&self) -> impl Iterator<Item = &Session> {
        let has_lines = |session: &&Session| session.entries.iter().any(|e| !e.is_null());
        self.ui.list.shown(&self.model.sessions).filter(has_lines)
    }

    /// Tells what became of it.
    pub(super) fn exported(&mut self, now: Time, done: &Exported) {
        let path = sanitize(&done.path.to_string_lossy());
        let (lines, sessions) = (plural(done.written, "line"), plural(done.sessions, "session"));
        let known = match done.known {
            0 => String::new(),
            1 => "; 1 more was in it".to_owned(),
            count => format!("; {count} more were in it"),
        };
        match &done.error {
            None if done.written == 0 => {
                let lines = plural(done.known, "line");
                let text = format!("nothing new: {path} has the {lines} of {sessions} already");
                self.tell(now, Level::Info, &text);
            }
            None => {
                let text = format!("{lines} of {sessions} exported to {path}{known}");
                self.tell(now, Level::Info, &text);
            }
            Some(error) if done.written == 0 => {
                self.tell(now, Level::Warning, &format!("not exported: {error}"));
            }
            Some(error) => {
                let text = format!("only {lines} exported to {path}: {error}");
                self.tell(now, Level::Warning, &text);
            }
        }
    }
}

fn plural(count: usize, word: &str) -> String {
    if count == 1 { format!("1 {word}") } else { format!("{count} {word}s") }
}

/// The path that a text means: relative to the working directory, or with `~/` to the user's home.
fn resolve(text: &str, home: Option<&Path>) -> Result<PathBuf, String> {
    let text = text.trim();
    if text.is_empty() {
        return Err("the path is empty".to_owned());
    }
    if text == "-" {
        return Err("'-' would be this terminal: name a file".to_owned());
    }
    match text.strip_prefix('~') {
        Some(rest) if rest.is_empty() || rest.starts_with('/') => match home {
            Some(home) => Ok(home.join(rest.trim_start_matches('/'))),
            None => Err("the home directory is not known: name the path in full".to_owned()),
        },
        _ => Ok(text.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_relative_to_the_working_directory_or_to_the_users_home() {
        let home = Some(Path::new("/home/ada"));
        assert_eq!(resolve(" ./a b ", home), Ok("./a b".into()));
        assert_eq!(resolve("~/keys", home), Ok("/home/ada/keys".into()));
        assert_eq!(resolve("~//etc/x", home), Ok("/home/ada/etc/x".into()));
        assert_eq!(resolve("~keys", home), Ok("~keys".into()));
        assert!(resolve("~/keys", None).unwrap_err().contains("home"));
        for refused in ["", "  ", "-"] {
            assert!(resolve(refused, home).is_err());
        }
    }
}
