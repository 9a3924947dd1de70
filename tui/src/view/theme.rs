//! Colours and emphasis. Only the terminal's own colours are used, so that they fit its background.

use std::ffi::OsStr;

use ratatui::style::{Color, Modifier, Style};

use crate::model::ui::Level;

/// A style for each role. Nothing is told by colour alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Theme {
    /// Headings of columns and views.
    pub heading: Style,
    /// What matters less.
    pub faint: Style,
    /// Keys in hints.
    pub key: Style,
    /// The row under the cursor.
    pub selected: Style,
    /// Complete, saved, attached.
    pub good: Style,
    /// Not complete yet, a conflict.
    pub caution: Style,
    /// Lost, failed.
    pub bad: Style,
    /// A short message.
    pub toast: Style,
    /// A short message about something that went wrong.
    pub warning: Style,
}

impl Theme {
    /// Colours that can be read on dark and on light backgrounds.
    pub const ANSI: Self = Self {
        heading: Style::new().add_modifier(Modifier::BOLD),
        faint: Style::new().add_modifier(Modifier::DIM),
        key: Style::new().fg(Color::Cyan).add_modifier(Modifier::BOLD),
        selected: Style::new().add_modifier(Modifier::REVERSED),
        good: Style::new().fg(Color::Green),
        caution: Style::new().fg(Color::Magenta),
        bad: Style::new().fg(Color::Red).add_modifier(Modifier::BOLD),
        toast: Style::new().fg(Color::Black).bg(Color::Cyan),
        warning: Style::new().fg(Color::Black).bg(Color::Yellow),
    };

    /// No colours.
    pub const MONOCHROME: Self = Self {
        heading: Style::new().add_modifier(Modifier::BOLD),
        faint: Style::new().add_modifier(Modifier::DIM),
        key: Style::new().add_modifier(Modifier::BOLD),
        selected: Style::new().add_modifier(Modifier::REVERSED),
        good: Style::new(),
        caution: Style::new(),
        bad: Style::new().add_modifier(Modifier::BOLD),
        toast: Style::new().add_modifier(Modifier::REVERSED),
        warning: Style::new().add_modifier(Modifier::REVERSED.union(Modifier::BOLD)),
    };

    /// By the values of `NO_COLOR` (no-color.org: set and not empty) and `TERM`.
    pub fn from_env(no_color: Option<&OsStr>, term: Option<&OsStr>) -> Self {
        let unwanted = no_color.is_some_and(|value| !value.is_empty());
        let dumb = term.is_none_or(|term| term == "dumb");
        if unwanted || dumb { Self::MONOCHROME } else { Self::ANSI }
    }

    /// The style of a toast.
    pub fn of_level(&self, level: Level) -> Style {
        match level {
            Level::Info => self.toast,
            Level::Warning => self.warning,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_color_is_honoured_when_it_is_not_empty() {
        let xterm = Some(OsStr::new("xterm-256color"));
        assert_eq!(Theme::from_env(None, xterm), Theme::ANSI);
        assert_eq!(Theme::from_env(Some(OsStr::new("")), xterm), Theme::ANSI);
        assert_eq!(Theme::from_env(Some(OsStr::new("1")), xterm), Theme::MONOCHROME);
        assert_eq!(Theme::from_env(None, Some(OsStr::new("dumb"))), Theme::MONOCHROME);
    }
}
