//! The one table from keys to actions. It is looked up both ways: input becomes actions, and the
//! footer, the help and the README's key list are made from it, so that they cannot drift.

mod name;
mod with;

use std::fmt::{self, Write as _};

use crossterm::event::{KeyCode, KeyEvent, KeyModifiers};
use tui_input::InputRequest;

pub use name::KeyError;
pub use with::{BindingError, Override};

use crate::action::{Action, Context};

/// A key, with Ctrl or without. Shift is part of the character.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Key {
    code: KeyCode,
    ctrl: bool,
}

const fn ch(c: char) -> Key {
    Key { code: KeyCode::Char(c), ctrl: false }
}

const fn ctrl(c: char) -> Key {
    Key { code: KeyCode::Char(c), ctrl: true }
}

const fn key(code: KeyCode) -> Key {
    Key { code, ctrl: false }
}

impl From<KeyEvent> for Key {
    fn from(event: KeyEvent) -> Self {
        Self { code: event.code, ctrl: event.modifiers.contains(KeyModifiers::CONTROL) }
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.ctrl {
            f.write_str("Ctrl-")?;
        }
        match self.code {
            KeyCode::Up => f.write_str("↑"),
            KeyCode::Down => f.write_str("↓"),
            KeyCode::PageUp => f.write_str("PgUp"),
            KeyCode::PageDown => f.write_str("PgDn"),
            KeyCode::Char(' ') => f.write_str("Space"),
            KeyCode::Char(c) if self.ctrl => write!(f, "{}", c.to_ascii_uppercase()),
            KeyCode::Char(c) => write!(f, "{c}"),
            KeyCode::F(n) => write!(f, "F{n}"),
            other => write!(f, "{other:?}"),
        }
    }
}

/// The keys of one action in some contexts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Binding {
    /// Where they mean this.
    pub contexts: Vec<Context>,
    /// The keys; the first one is what the footer shows.
    pub keys: Vec<Key>,
    /// What they do.
    pub action: Action,
    /// A word for the footer, for those that belong there.
    pub hint: Option<&'static str>,
    /// What it does, for the help and the key list.
    pub about: &'static str,
}

use Context::{Detail, Help, Images, Lines, Picker, Prompt, Question, Sessions};

/// Where there are rows and a cursor, or lines to scroll.
const LISTS: &[Context] = &[Sessions, Detail, Picker, Images, Lines, Help];
/// The views that fill the screen.
const VIEWS: &[Context] = &[Sessions, Detail, Picker, Images];

/// In the order in which the footer and the help show them.
#[rustfmt::skip]
const DEFAULTS: &[Default] = &[
    bind(&[Picker], &[key(KeyCode::Enter)], Action::Confirm, "attach", "Attach to what is marked, or to the row under the cursor"),
    bind(&[Picker], &[ch(' ')], Action::Mark, "mark", "Mark or unmark a process, or everything, for Enter"),
    bind(&[Picker], &[ch('/')], Action::Search, "search", "Search among the processes; empty shows all"),
    bind(&[Picker], &[ch('t')], Action::Tree, "tree", "Show the processes as a tree, or by their ids"),
    bind(&[Picker], &[key(KeyCode::Tab), ch('p')], Action::Processes, "sessions", "Go to the sessions"),
    bind(&[Picker], &[key(KeyCode::F(5)), ch('R')], Action::Rescan, "", "Look at the machine again"),
    bind(&[Picker], &[key(KeyCode::Esc)], Action::Back, "", "Show all again; then forget the marks, and go to the sessions"),
    bind(&[Sessions], &[key(KeyCode::Enter)], Action::Open, "open", "Look at the session: each secret, and where it came from"),
    bind(&[Sessions, Detail], &[ch('p'), key(KeyCode::Tab)], Action::Processes, "processes", "Choose the processes to attach to"),
    bind(&[Sessions], &[ch('/')], Action::Filter, "filter", "Show some sessions only: text, or words like tls:1.2"),
    bind(VIEWS, &[ch('w')], Action::Save, "save", "Turn saving to the key log on or off"),
    bind(VIEWS, &[ch('P')], Action::Record, "", "Record packets with their secrets to a file, or end that"),
    bind(&[Sessions], &[ch('y')], Action::CopyLine, "copy", "Copy a key line of the session; of several, choose one"),
    bind(&[Detail], &[ch('y')], Action::CopyLine, "copy", "Copy the key line under the cursor"),
    bind(&[Sessions, Detail], &[ch('Y')], Action::CopyLines, "copy all", "Copy all key lines of the session"),
    bind(&[Sessions, Detail], &[ch('c')], Action::CopyClientRandom, "client random", "Copy the client random of the session"),
    bind(&[Detail], &[ch('r')], Action::Reveal, "reveal", "Show the secrets in full for a while, or mask them"),
    bind(&[Detail], &[key(KeyCode::Esc), key(KeyCode::Enter)], Action::Back, "back", "Back to the sessions"),
    bind(&[Sessions], &[ch('F')], Action::Follow, "follow", "Keep the newest session selected, or stop that"),
    bind(&[Sessions], &[ch(' ')], Action::Pause, "pause", "Keep new sessions out of the view; capture and saving go on"),
    bind(&[Sessions], &[ch('n')], Action::NullFilter, "nulls", "Hide or show sessions that have only null secrets"),
    bind(&[Sessions], &[ch('s')], Action::Sort, "sort", "Sort by the next column"),
    bind(&[Sessions], &[ch('S')], Action::ReverseSort, "", "Sort the other way round"),
    bind(&[Sessions], &[ch('e')], Action::Export, "", "Add the key lines of the sessions that are shown to a file"),
    bind(&[Sessions], &[key(KeyCode::Esc)], Action::Back, "", "Show all sessions: drop the filter"),
    bind(&[Sessions, Picker, Detail], &[ch('i')], Action::Images, "images", "Show what is attached where, and the last warnings"),
    bind(&[Images], &[key(KeyCode::Esc), ch('i')], Action::Back, "back", "Back"),
    bind(&[Lines], &[key(KeyCode::Enter), ch('y')], Action::Confirm, "copy", "Copy this key line"),
    bind(&[Lines], &[key(KeyCode::Esc), ch('q'), ctrl('c')], Action::Back, "back", "Copy nothing"),
    bind(&[Prompt], &[key(KeyCode::Enter)], Action::Confirm, "done", "Take the text"),
    bind(&[Prompt], &[key(KeyCode::Esc), ctrl('c')], Action::Back, "cancel", "As it was before"),
    bind(&[Help], &[key(KeyCode::Esc), ch('?'), key(KeyCode::F(1))], Action::Back, "close", "Close the help"),
    bind(&[Question], &[ch('y'), ctrl('c')], Action::Confirm, "yes", "Yes"),
    bind(&[Question], &[ch('w')], Action::Save, "save and quit", "Save to the key log, then quit"),
    bind(&[Question], &[ch('n'), key(KeyCode::Esc), ch('q')], Action::Back, "no", "No"),
    bind(LISTS, &[key(KeyCode::Up), ch('k')], Action::Up, "", "Up"),
    bind(LISTS, &[key(KeyCode::Down), ch('j')], Action::Down, "", "Down"),
    bind(LISTS, &[key(KeyCode::PageUp), ctrl('b')], Action::PageUp, "", "One page up"),
    bind(LISTS, &[key(KeyCode::PageDown), ctrl('f')], Action::PageDown, "", "One page down"),
    bind(LISTS, &[ch('g'), key(KeyCode::Home)], Action::First, "", "To the first row"),
    bind(LISTS, &[ch('G'), key(KeyCode::End)], Action::Last, "", "To the last row"),
    bind(VIEWS, &[ch('?'), key(KeyCode::F(1))], Action::Help, "help", "Show the keys of this view, and what its symbols mean"),
    bind(&[Sessions, Detail, Picker, Images, Help], &[ch('q'), ctrl('c')], Action::Quit, "quit", "Quit; asks first when secrets are not in the key log"),
    bind(&Context::ALL, &[ctrl('z')], Action::Suspend, "", "Back to the shell; fg resumes"),
    bind(&Context::ALL, &[ctrl('l')], Action::Redraw, "", "Draw the screen anew"),
];

/// A [`Binding`] as it is without a configuration.
#[derive(Clone, Copy, Debug)]
struct Default {
    contexts: &'static [Context],
    keys: &'static [Key],
    action: Action,
    hint: &'static str,
    about: &'static str,
}

const fn bind(
    contexts: &'static [Context],
    keys: &'static [Key],
    action: Action,
    hint: &'static str,
    about: &'static str,
) -> Default {
    Default { contexts, keys, action, hint, about }
}

/// What every key does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Keymap {
    bindings: Vec<Binding>,
}

impl std::default::Default for Keymap {
    fn default() -> Self {
        let bindings = DEFAULTS.iter().map(|default| Binding {
            contexts: default.contexts.to_vec(),
            keys: default.keys.to_vec(),
            action: default.action,
            hint: (!default.hint.is_empty()).then_some(default.hint),
            about: default.about,
        });
        Self { bindings: bindings.collect() }
    }
}

impl Keymap {
    /// The action of a key.
    pub fn action(&self, context: Context, key: impl Into<Key>) -> Option<Action> {
        let key = key.into();
        let binding = self.bindings(context).find(|binding| binding.keys.contains(&key));
        binding.map(|binding| binding.action)
    }

    /// The keys of an action, the one to show first.
    pub fn keys(&self, context: Context, action: Action) -> &[Key] {
        let binding = self.bindings(context).find(|binding| binding.action == action);
        binding.map_or(&[], |binding| &binding.keys)
    }

    /// The first key of an action as text, for messages that name it.
    pub fn key_name(&self, context: Context, action: Action) -> String {
        let key = self.keys(context, action).first();
        key.map_or_else(|| "(no key)".to_owned(), Key::to_string)
    }

    /// Everything that keys do in a context, in the order of the help.
    pub fn bindings(&self, context: Context) -> impl Iterator<Item = &Binding> {
        self.bindings.iter().filter(move |binding| binding.contexts.contains(&context))
    }

    /// The key list as the README shows it.
    pub fn markdown_table(&self) -> String {
        let mut table = String::from("| Where | Keys | What they do |\n|---|---|---|\n");
        for context in Context::ALL {
            for binding in self.bindings(context).filter(|b| b.contexts.first() == Some(&context)) {
                let places: Vec<_> = binding.contexts.iter().map(|c| c.title()).collect();
                let places = match places.len() {
                    n if n == Context::ALL.len() => "everywhere".to_owned(),
                    _ => places.join(", "),
                };
                let keys: Vec<_> = binding.keys.iter().map(|key| format!("`{key}`")).collect();
                // Writing to a String cannot fail.
                let _ = writeln!(table, "| {places} | {} | {} |", keys.join(" "), binding.about);
            }
        }
        table
    }
}

impl Binding {
    /// All its keys: `↑ k`.
    pub fn key_list(&self) -> String {
        self.keys.iter().map(Key::to_string).collect::<Vec<_>>().join(" ")
    }
}

/// What a key does to a line of text that is being edited.
pub fn edit(key: KeyEvent) -> Option<InputRequest> {
    let ctrl = key.modifiers.contains(KeyModifiers::CONTROL);
    let alt = key.modifiers.contains(KeyModifiers::ALT);
    Some(match key.code {
        KeyCode::Char(c) if !ctrl && !alt => InputRequest::InsertChar(c),
        KeyCode::Backspace if alt => InputRequest::DeletePrevWord,
        KeyCode::Backspace => InputRequest::DeletePrevChar,
        KeyCode::Char('h') if ctrl => InputRequest::DeletePrevChar,
        KeyCode::Delete => InputRequest::DeleteNextChar,
        KeyCode::Left if ctrl => InputRequest::GoToPrevWord,
        KeyCode::Right if ctrl => InputRequest::GoToNextWord,
        KeyCode::Left => InputRequest::GoToPrevChar,
        KeyCode::Right => InputRequest::GoToNextChar,
        KeyCode::Home => InputRequest::GoToStart,
        KeyCode::End => InputRequest::GoToEnd,
        KeyCode::Char('a') if ctrl => InputRequest::GoToStart,
        KeyCode::Char('e') if ctrl => InputRequest::GoToEnd,
        KeyCode::Char('w') if ctrl => InputRequest::DeletePrevWord,
        KeyCode::Char('k') if ctrl => InputRequest::DeleteTillEnd,
        KeyCode::Char('u') if ctrl => InputRequest::DeleteLine,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_key_has_two_meanings_in_one_context() {
        let keymap = Keymap::default();
        for context in Context::ALL {
            let mut seen = Vec::new();
            for binding in keymap.bindings(context) {
                for key in &binding.keys {
                    assert!(!seen.contains(key), "{key} in {context:?}");
                    seen.push(*key);
                }
            }
        }
    }

    #[test]
    fn every_context_has_one_binding_for_an_action() {
        let keymap = Keymap::default();
        for context in Context::ALL {
            let mut actions: Vec<_> =
                keymap.bindings(context).map(|binding| binding.action).collect();
            let count = actions.len();
            actions.sort_by_key(|action| format!("{action:?}"));
            actions.dedup();
            assert_eq!(actions.len(), count, "{context:?}");
        }
    }

    #[test]
    fn a_key_is_looked_up_both_ways() {
        let keymap = Keymap::default();
        let event = KeyEvent::new(KeyCode::Char('G'), KeyModifiers::SHIFT);
        assert_eq!(keymap.action(Context::Sessions, event), Some(Action::Last));
        assert_eq!(keymap.key_name(Context::Sessions, Action::Last), "G");
        assert_eq!(keymap.action(Context::Question, event), None);
        let event = KeyEvent::new(KeyCode::Char('c'), KeyModifiers::CONTROL);
        assert_eq!(keymap.action(Context::Picker, event), Some(Action::Quit));
    }

    #[test]
    fn the_key_list() {
        insta::assert_snapshot!(Keymap::default().markdown_table());
    }
}
