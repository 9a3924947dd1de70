//! The state of the user interface: which view is open, what is selected, what is asked and told.
//!
//! Pure like the model beside it. [`App`] pairs the two: actions and messages go in, effects come out.

mod copy;
mod detail;
mod export;
mod filter;
mod images;
mod index;
mod lines;
mod order;
mod picker;
mod pointing;
mod prompt;
mod ranks;
mod recording;
mod sessions;
mod settings;
mod sieve;
mod toast;

pub use detail::{CommandLine, Detail, Secrets, rows as detail_rows};
pub use export::{Exported, Files};
pub use filter::Filter;
pub use images::{ImageLine, Images, Warning};
pub use lines::Lines;
pub use order::{Column, Columns, Order};
pub(crate) use picker::searched_letters;
pub use picker::{Highlighter, Line, Mark, Picker, Row};
pub use pointing::Hit;
pub use prompt::{Prompt, Purpose};
pub use sessions::SessionList;
pub use settings::{REVEALED, Settings};
pub use toast::{Level, Toast};

use std::time::Duration;

use super::{Effect, KeyLogMsg, Model, Msg, SavingState, Time};
use crate::action::{Action, Context};
use crate::keymap::Keymap;

/// The views that fill the screen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum View {
    /// The table of sessions.
    Sessions,
    /// One session.
    Detail,
    /// The processes to choose from.
    Picker,
    /// The images, and the last warnings.
    Images,
}

/// Something that is answered with yes or no.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Question {
    /// Whether to quit, although secrets would be lost.
    Quit {
        /// Sessions with a secret that is not in the key log.
        unsaved: usize,
    },
}

/// How many rows each list can show at the moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pages {
    /// Rows of the table of sessions.
    pub sessions: usize,
    /// Rows of the picker.
    pub picker: usize,
    /// Lines of the detail.
    pub detail: usize,
    /// Lines that the detail has below those that show its last label.
    pub detail_past: usize,
    /// Lines of the images and warnings.
    pub images: usize,
    /// Rows of the help.
    pub help: usize,
    /// Lines that the help has.
    pub help_lines: usize,
    /// The columns of the table of sessions.
    pub columns: Columns,
    /// The screen has no room for any of them, and shows nothing but that, or a question.
    pub too_small: bool,
}

/// The state of the user interface.
#[derive(Debug)]
pub struct Ui {
    /// The main view.
    pub view: View,
    /// The help lies over it, scrolled by so many lines.
    pub help: Option<usize>,
    /// A question lies over everything.
    pub question: Option<Question>,
    /// A text is being typed.
    pub prompt: Option<Prompt>,
    /// The key lines of a session lie over the view.
    pub lines: Option<Lines>,
    /// The session in its own view.
    pub detail: Detail,
    /// The images and warnings.
    pub images: Images,
    /// The table of sessions.
    pub list: SessionList,
    /// The processes to choose from.
    pub picker: Picker,
    /// The last thing that was told, until its time is over.
    pub toast: Option<Toast>,
    /// Paths that the user types.
    pub files: Files,
    /// Names of the columns of the table of sessions; none for the usual ones.
    pub columns: Vec<String>,
    /// Quitting asks when secrets are not in the key log.
    pub confirm_quit: bool,
    /// How long secrets are shown in full.
    pub reveal: Duration,
    /// The last click on a session, which may become a double click.
    clicked: Option<(Time, u64)>,
    /// The program ends as soon as everything is in the key log.
    quit_once_saved: bool,
    pages: Pages,
}

/// The model and the state of its user interface.
#[derive(Debug)]
pub struct App {
    /// What is known.
    pub model: Model,
    /// How it is looked at.
    pub ui: Ui,
    /// What keys do.
    pub keymap: Keymap,
}

impl App {
    /// Opens the picker when nothing was chosen, else the sessions.
    pub fn new(model: Model) -> Self {
        let view = match model.targets.selection.is_empty() {
            true => View::Picker,
            false => View::Sessions,
        };
        let ui = Ui {
            view,
            help: None,
            question: None,
            prompt: None,
            lines: None,
            detail: Detail::default(),
            images: Images::default(),
            list: SessionList::default(),
            picker: Picker::default(),
            toast: None,
            files: Files { path_known: model.saving.is_wanted(), ..Files::default() },
            columns: Vec::new(),
            confirm_quit: true,
            reveal: REVEALED,
            clicked: None,
            quit_once_saved: false,
            pages: Pages::default(),
        };
        Self { model, ui, keymap: Keymap::default() }
    }

    /// What keys mean at the moment.
    pub fn context(&self) -> Context {
        match self.ui {
            Ui { question: Some(_), .. } => Context::Question,
            Ui { prompt: Some(_), .. } => Context::Prompt,
            Ui { lines: Some(_), .. } => Context::Lines,
            Ui { help: Some(_), .. } => Context::Help,
            _ => self.main_context(),
        }
    }

    /// What keys mean in the main view, whatever lies over it.
    pub fn main_context(&self) -> Context {
        match self.ui.view {
            View::Sessions => Context::Sessions,
            View::Detail => Context::Detail,
            View::Picker => Context::Picker,
            View::Images => Context::Images,
        }
    }

    /// Takes a message for the model.
    pub fn receive(&mut self, now: Time, msg: Msg) -> Vec<Effect> {
        match msg {
            Msg::CommandEnded(ending) => {
                let level = if ending.exit_code() == 0 { Level::Info } else { Level::Warning };
                let text = ending.to_string();
                let effects = self.model.update(now, Msg::CommandEnded(ending));
                self.tell(now, level, &text);
                return effects;
            }
            Msg::CommandLine { process, result } => {
                self.command_line(process, result);
                return Vec::new();
            }
            Msg::Exported(done) => {
                self.exported(now, &done);
                return Vec::new();
            }
            _ => {}
        }
        let opened = self.model.saving.state == SavingState::Opening
            && matches!(msg, Msg::KeyLog(KeyLogMsg::Opened { .. }));
        let said = match &msg {
            Msg::Recording(msg) => self.said_of_recording(msg),
            _ => None,
        };
        let mut effects = self.model.update(now, msg);
        self.tell_of_saving(now, opened);
        if let Some(text) = said {
            self.tell(now, Level::Info, &text);
        }
        for effect in &effects {
            if let Effect::Warn(text) = effect {
                self.ui.images.warn(now, text);
                self.tell(now, Level::Warning, text);
            }
        }
        match self.model.saving.state {
            SavingState::On if self.ui.quit_once_saved && self.model.saving.pending() == 0 => {
                effects.push(Effect::Quit);
            }
            // The user was told why, and shall decide anew.
            SavingState::Off | SavingState::Failing(_) => self.ui.quit_once_saved = false,
            SavingState::On | SavingState::Opening => {}
        }
        effects
    }

    /// Carries out an action.
    pub fn act(&mut self, now: Time, action: Action) -> Vec<Effect> {
        let effects = self.act_in_context(now, action);
        if self.ui.view != View::Detail {
            self.ui.detail.leave();
        }
        effects
    }

    fn act_in_context(&mut self, now: Time, action: Action) -> Vec<Effect> {
        match self.context() {
            Context::Question => self.act_in_question(now, action),
            // Nobody sees what anything else would do.
            _ if self.ui.pages.too_small => match action {
                Action::Quit => self.quit(),
                // Else it would take the keys that quit.
                Action::Back if self.ui.prompt.is_some() => self.act_in_prompt(now, action),
                Action::Back if self.ui.lines.is_some() => self.act_in_lines(now, action),
                Action::Back if self.ui.help.is_some() => self.act_in_help(action),
                _ => Vec::new(),
            },
            Context::Help => self.act_in_help(action),
            Context::Prompt => self.act_in_prompt(now, action),
            Context::Lines => self.act_in_lines(now, action),
            Context::Sessions => self.act_in_sessions(now, action),
            Context::Detail => self.act_in_detail(now, action),
            Context::Picker => self.act_in_picker(now, action),
            Context::Images => self.act_in_images(now, action),
        }
    }

    /// What means the same in every view that fills the screen.
    fn act_in_every_view(&mut self, now: Time, action: Action) -> Vec<Effect> {
        match action {
            Action::Save => return self.toggle_saving(now),
            Action::Record => return self.toggle_recording(now),
            Action::Processes => {
                self.ui.view = View::Picker;
                self.ui.picker.enter();
                return vec![Effect::Rescan];
            }
            Action::Images => self.open_images(),
            Action::Help => self.ui.help = Some(0),
            Action::Quit => return self.quit(),
            _ => {}
        }
        Vec::new()
    }

    fn act_in_question(&mut self, now: Time, action: Action) -> Vec<Effect> {
        match (action, self.ui.question.take()) {
            (Action::Confirm, Some(Question::Quit { .. })) => vec![Effect::Quit],
            (Action::Save, question @ Some(Question::Quit { .. })) => {
                if let SavingState::Failing(reason) = &self.model.saving.state {
                    let text = format!("saving fails: {reason}");
                    self.tell(now, Level::Warning, &text);
                    self.ui.question = question;
                    return Vec::new();
                }
                if self.ask_path_before_quitting() {
                    return Vec::new();
                }
                self.ui.quit_once_saved = true;
                // Without effect where it is wanted already.
                self.receive(now, Msg::Save(true))
            }
            (Action::Back, _) => Vec::new(),
            (_, question) => {
                self.ui.question = question;
                Vec::new()
            }
        }
    }

    fn act_in_help(&mut self, action: Action) -> Vec<Effect> {
        let page = self.ui.pages.help.max(1);
        let end = self.ui.pages.help_lines.saturating_sub(page);
        let at = self.ui.help.unwrap_or_default();
        self.ui.help = match action {
            Action::Up => Some(at.saturating_sub(1)),
            Action::Down => Some((at + 1).min(end)),
            Action::PageUp => Some(at.saturating_sub(page)),
            Action::PageDown => Some((at + page).min(end)),
            Action::First => Some(0),
            Action::Last => Some(end),
            Action::Back | Action::Help => None,
            Action::Quit => return self.quit(),
            _ => Some(at),
        };
        Vec::new()
    }

    fn act_in_sessions(&mut self, now: Time, action: Action) -> Vec<Effect> {
        self.ui.list.sync(&mut self.model.sessions, &self.model.targets);
        let store = &self.model.sessions;
        let list = &mut self.ui.list;
        match action {
            Action::Up => list.up(store, 1),
            Action::Down => list.down(store, 1),
            Action::PageUp => list.up(store, self.ui.pages.sessions),
            Action::PageDown => list.down(store, self.ui.pages.sessions),
            Action::First => list.first(store),
            Action::Last => list.last(store),
            Action::Follow => {
                list.toggle_follow();
                let text = match list.follows() {
                    true => "following the newest session",
                    false => "not following: the selected session stays",
                };
                self.tell(now, Level::Info, text);
            }
            Action::Pause => list.toggle_pause(store),
            Action::NullFilter => {
                list.toggle_nulls();
                let word = if list.hides_nulls() { "hidden" } else { "shown" };
                let text = match list.null_sessions(store) {
                    1 => format!("1 null session {word}"),
                    count => format!("{count} null sessions {word}"),
                };
                self.tell(now, Level::Info, &text);
            }
            Action::CopyLine => return self.copy_line(now),
            Action::CopyLines => return self.copy_lines(now),
            Action::Export => self.ask_export(now),
            Action::CopyClientRandom => return self.copy_client_random(now),
            Action::Open => return self.open_detail(),
            Action::Filter => {
                let text = self.ui.list.filter_text().to_owned();
                self.open_prompt(Purpose::Filter, text);
            }
            Action::Back => list.set_filter(""),
            Action::Sort => {
                list.sort_by_next(self.ui.pages.columns);
                self.tell_order(now);
            }
            Action::ReverseSort => {
                let column = list.order().column;
                self.sort_by(now, column);
            }
            _ => return self.act_in_every_view(now, action),
        }
        Vec::new()
    }

    fn quit(&mut self) -> Vec<Effect> {
        let unsaved = match self.model.saving.state {
            SavingState::On => 0,
            _ if !self.ui.confirm_quit => 0,
            _ => self.unsaved_sessions(),
        };
        if unsaved == 0 {
            return vec![Effect::Quit];
        }
        self.ui.question = Some(Question::Quit { unsaved });
        Vec::new()
    }

    fn unsaved_sessions(&self) -> usize {
        let unsaved =
            |session: &&super::Session| session.entries.iter().any(super::Entry::wants_saving);
        self.model.sessions.newest_first().filter(unsaved).count()
    }

    /// Shows a text for a few seconds.
    pub fn tell(&mut self, now: Time, level: Level, text: &str) {
        self.ui.toast = Some(Toast::new(now, level, text));
    }

    /// Lets time go on; tells whether that changes what is shown.
    pub fn expire(&mut self, now: Time) -> bool {
        let masked = self.ui.detail.expire(now);
        self.ui.toast.take_if(|toast| toast.is_over(now)).is_some() || masked
    }

    /// Brings selections and scroll positions in line with the rows that are there, before a frame.
    pub fn settle(&mut self, pages: Pages) {
        self.ui.pages = pages;
        self.ui.list.sync(&mut self.model.sessions, &self.model.targets);
        self.ui.list.settle(&self.model.sessions, pages.sessions);
        self.ui.picker.settle(&self.model.targets, pages.picker);
        let detail = &mut self.ui.detail;
        detail.past = detail.past.min(pages.detail_past);
        let is_shown = self.ui.view == View::Images && !pages.too_small;
        self.ui.images.settle(&self.model.targets, pages.images, is_shown);
        if let Some(scroll) = &mut self.ui.help {
            *scroll = (*scroll).min(pages.help_lines.saturating_sub(pages.help));
        }
    }
}

#[cfg(test)]
mod list_tests;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod tests_detail;
