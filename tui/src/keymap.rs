//! The one table from keys to actions. It is looked up both ways: input becomes actions, and the
//! footer, the help and the README's key list are made from it, so that they cannot drift.

use std::fmt::{self, Write as _};

use crossterm::event::{KeyCode, KeyEvent, KeyModifiers};

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
#[derive(Clone, Copy, Debug)]
pub struct Binding {
    /// Where they mean this.
    pub contexts: &'static [Context],
    /// The keys; the first one is what the footer shows.
    pub keys: &'static [Key],
    /// What they do.
    pub action: Action,
    /// A word for the footer, for those that belong there.
    pub hint: Option<&'static str>,
    /// What it does, for the help and the key list.
    pub about: &'static str,
}

use Context::{Help, Picker, Question, Sessions};

const LISTS: &[Context] = &[Sessions, Picker, Help];

/// In the order in which the footer and the help show them.
#[rustfmt::skip]
const BINDINGS: &[Binding] = &[
    bind(&[Picker], &[key(KeyCode::Enter)], Action::Confirm, "attach", "Attach to what is marked, or to the row under the cursor"),
    bind(&[Picker], &[ch(' ')], Action::Mark, "mark", "Mark or unmark a process, or everything"),
    bind(&[Picker], &[key(KeyCode::Tab), ch('p')], Action::Processes, "sessions", "Go to the sessions"),
    bind(&[Picker], &[key(KeyCode::F(5)), ch('R')], Action::Rescan, "", "Look at the machine again"),
    bind(&[Picker], &[key(KeyCode::Esc)], Action::Back, "", "Go to the sessions, and forget the marks"),
    bind(&[Sessions], &[ch('p'), key(KeyCode::Tab)], Action::Processes, "processes", "Choose the processes to attach to"),
    bind(&[Sessions], &[ch('w')], Action::Save, "save", "Turn saving to the key log on or off"),
    bind(&[Sessions], &[ch('y')], Action::CopyLines, "copy", "Copy the key line, or all key lines, of the session"),
    bind(&[Sessions], &[ch('c')], Action::CopyClientRandom, "client random", "Copy the client random of the session"),
    bind(&[Sessions], &[ch('F')], Action::Follow, "follow", "Keep the newest session selected, or stop that"),
    bind(&[Sessions], &[ch(' ')], Action::Pause, "pause", "Keep new sessions out of the view; capture and saving go on"),
    bind(&[Sessions], &[ch('n')], Action::NullFilter, "nulls", "Hide or show sessions that have only null secrets"),
    bind(&[Help], &[key(KeyCode::Esc), ch('?'), key(KeyCode::F(1))], Action::Back, "close", "Close the help"),
    bind(&[Question], &[ch('y'), ctrl('c')], Action::Confirm, "yes", "Yes"),
    bind(&[Question], &[ch('w')], Action::Save, "save and quit", "Save to the key log, then quit"),
    bind(&[Question], &[ch('n'), key(KeyCode::Esc), ch('q')], Action::Back, "no", "No"),
    bind(LISTS, &[key(KeyCode::Up), ch('k')], Action::Up, "", "Up"),
    bind(LISTS, &[key(KeyCode::Down), ch('j')], Action::Down, "", "Down"),
    bind(LISTS, &[key(KeyCode::PageUp), ctrl('b')], Action::PageUp, "", "One page up"),
    bind(LISTS, &[key(KeyCode::PageDown), ctrl('f')], Action::PageDown, "", "One page down"),
    bind(LISTS, &[ch('g'), key(KeyCode::Home)], Action::First, "first", "To the first row"),
    bind(LISTS, &[ch('G'), key(KeyCode::End)], Action::Last, "last", "To the last row"),
    bind(&[Sessions, Picker], &[ch('?'), key(KeyCode::F(1))], Action::Help, "help", "Show the keys of this view, and what its symbols mean"),
    bind(LISTS, &[ch('q'), ctrl('c')], Action::Quit, "quit", "Quit; asks first when secrets are in no file"),
    bind(&Context::ALL, &[ctrl('z')], Action::Suspend, "shell", "Back to the shell; fg resumes"),
    bind(&Context::ALL, &[ctrl('l')], Action::Redraw, "", "Draw the screen anew"),
];

const fn bind(
    contexts: &'static [Context],
    keys: &'static [Key],
    action: Action,
    hint: &'static str,
    about: &'static str,
) -> Binding {
    let hint = if hint.is_empty() { None } else { Some(hint) };
    Binding { contexts, keys, action, hint, about }
}

/// The action of a key.
pub fn action(context: Context, key: impl Into<Key>) -> Option<Action> {
    let key = key.into();
    bindings(context).find(|binding| binding.keys.contains(&key)).map(|binding| binding.action)
}

/// The keys of an action, the one to show first.
pub fn keys(context: Context, action: Action) -> &'static [Key] {
    bindings(context).find(|binding| binding.action == action).map_or(&[], |binding| binding.keys)
}

/// The first key of an action as text, for messages that name it.
pub fn key_name(context: Context, action: Action) -> String {
    keys(context, action).first().map_or_else(String::new, Key::to_string)
}

/// Everything that keys do in a context, in the order of the help.
pub fn bindings(context: Context) -> impl Iterator<Item = &'static Binding> {
    BINDINGS.iter().filter(move |binding| binding.contexts.contains(&context))
}

impl Binding {
    /// All its keys: `↑ k`.
    pub fn key_list(&self) -> String {
        self.keys.iter().map(Key::to_string).collect::<Vec<_>>().join(" ")
    }
}

/// The key list as the README shows it.
pub fn markdown_table() -> String {
    let mut table = String::from("| Where | Keys | What they do |\n|---|---|---|\n");
    for context in Context::ALL {
        for binding in bindings(context).filter(|b| b.contexts.first() == Some(&context)) {
            let places: Vec<_> = binding.contexts.iter().map(|context| context.title()).collect();
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_key_has_two_meanings_in_one_context() {
        for context in Context::ALL {
            let mut seen = Vec::new();
            for binding in bindings(context) {
                for key in binding.keys {
                    assert!(!seen.contains(key), "{key} in {context:?}");
                    seen.push(*key);
                }
            }
        }
    }

    #[test]
    fn every_context_has_one_binding_for_an_action() {
        for context in Context::ALL {
            let mut actions: Vec<_> = bindings(context).map(|binding| binding.action).collect();
            let count = actions.len();
            actions.sort_by_key(|action| format!("{action:?}"));
            actions.dedup();
            assert_eq!(actions.len(), count, "{context:?}");
        }
    }

    #[test]
    fn a_key_is_looked_up_both_ways() {
        let event = KeyEvent::new(KeyCode::Char('G'), KeyModifiers::SHIFT);
        assert_eq!(action(Context::Sessions, event), Some(Action::Last));
        assert_eq!(key_name(Context::Sessions, Action::Last), "G");
        assert_eq!(action(Context::Question, event), None);
        let event = KeyEvent::new(KeyCode::Char('c'), KeyModifiers::CONTROL);
        assert_eq!(action(Context::Picker, event), Some(Action::Quit));
    }

    #[test]
    fn the_key_list() {
        insta::assert_snapshot!(markdown_table());
    }
}
