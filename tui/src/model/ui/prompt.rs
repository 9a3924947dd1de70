//! A line of text at the bottom: a filter, a search, a path.

use tui_input::{Input, InputRequest};

use super::{App, Level};
use crate::action::Action;
use crate::model::{Effect, Time};

/// What a text is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// Which sessions are shown; it holds while it is typed.
    Filter,
    /// Which processes are shown; it holds while it is typed.
    Search,
    /// Where to save to.
    SavePath,
    /// Where to write the sessions that are shown.
    ExportPath,
}

/// A text that is being typed.
#[derive(Clone, Debug)]
pub struct Prompt {
    /// What it is for.
    pub purpose: Purpose,
    /// The text and the cursor in it.
    pub input: Input,
    /// What it was at first.
    before: String,
}

/// Most characters of a text: more than a path can have.
const LONGEST: usize = 4096;

impl Prompt {
    pub(super) fn new(purpose: Purpose, text: String) -> Self {
        Self { purpose, input: Input::new(text.clone()), before: text }
    }
}

impl App {
    pub(super) fn open_prompt(&mut self, purpose: Purpose, text: String) {
        self.ui.prompt = Some(Prompt::new(purpose, text));
    }

    /// Changes the text that is being typed.
    pub fn edit(&mut self, request: InputRequest) {
        let Some(prompt) = &mut self.ui.prompt else { return };
        let inserts = matches!(request, InputRequest::InsertChar(_));
        if inserts && prompt.input.value().chars().count() >= LONGEST {
            return;
        }
        prompt.input.handle(request);
        let (purpose, text) = (prompt.purpose, prompt.input.value().to_owned());
        self.prompt_changed(purpose, &text);
    }

    /// Takes a text that was pasted: into the line that is being typed, and nowhere else, since it is no row of keys.
    pub fn paste(&mut self, now: Time, text: &str) {
        let Some(prompt) = &mut self.ui.prompt else {
            self.tell(now, Level::Info, "a pasted text goes into prompts only");
            return;
        };
        let room = LONGEST.saturating_sub(prompt.input.value().chars().count());
        for c in text.chars().filter(|c| !c.is_control()).take(room) {
            prompt.input.handle(InputRequest::InsertChar(c));
        }
        let (purpose, text) = (prompt.purpose, prompt.input.value().to_owned());
        self.prompt_changed(purpose, &text);
    }

    pub(super) fn act_in_prompt(&mut self, now: Time, action: Action) -> Vec<Effect> {
        match action {
            Action::Confirm => {
                let Some(prompt) = self.ui.prompt.take() else { return Vec::new() };
                self.prompt_taken(now, prompt.purpose, prompt.input.value())
            }
            Action::Back => {
                let Some(prompt) = self.ui.prompt.take() else { return Vec::new() };
                self.prompt_changed(prompt.purpose, &prompt.before);
                Vec::new()
            }
            _ => Vec::new(),
        }
    }

    /// The text is another one, and is not taken yet.
    fn prompt_changed(&mut self, purpose: Purpose, text: &str) {
        match purpose {
            Purpose::Filter => self.ui.list.set_filter(text),
            Purpose::Search => self.ui.picker.set_search(&self.model.targets, text),
            Purpose::SavePath | Purpose::ExportPath => {}
        }
    }

    /// The user took the text.
    fn prompt_taken(&mut self, now: Time, purpose: Purpose, text: &str) -> Vec<Effect> {
        match purpose {
            Purpose::Filter => {
                if let Some(error) = self.ui.list.filter().error() {
                    let text = format!("a word of the filter is left out: {error}");
                    self.tell(now, Level::Warning, &text);
                }
                Vec::new()
            }
            Purpose::Search => Vec::new(),
            Purpose::SavePath => self.save_to(now, text),
            Purpose::ExportPath => self.export_to(now, text),
        }
    }
}
