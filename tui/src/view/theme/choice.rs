//! Which theme: what the user says, what the terminal can, and how its background is.

use std::ffi::OsStr;

use ratatui::style::{Color, Modifier, Style};
use serde::{Deserialize, Serialize};

use super::Theme;
use super::depth::Depth;

/// What the user says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Choice {
    /// What fits the terminal.
    #[default]
    Auto,
    /// For dark backgrounds.
    Dark,
    /// For light backgrounds.
    Light,
    /// The terminal's own 16 colours.
    Ansi,
    /// No colours.
    None,
}

/// How the terminal's background is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Background {
    /// Darker than its text.
    Dark,
    /// Lighter than its text.
    Light,
}

/// What the environment says of the terminal.
#[derive(Clone, Copy, Debug, Default)]
pub struct Surroundings<'a> {
    /// `NO_COLOR` (no-color.org): set and not empty.
    pub no_color: Option<&'a OsStr>,
    /// `TERM`.
    pub term: Option<&'a OsStr>,
    /// `COLORTERM`.
    pub colorterm: Option<&'a OsStr>,
}

impl Surroundings<'_> {
    fn is_dumb(&self) -> bool {
        self.term.is_none_or(|term| term.is_empty() || term == "dumb")
    }

    fn depth(&self) -> Depth {
        Depth::of(self.term, self.colorterm)
    }

    /// Whether the theme depends on the background, so that the terminal is to be asked.
    pub fn needs_background(&self, choice: Choice) -> bool {
        let unwanted = self.no_color.is_some_and(|value| !value.is_empty());
        choice == Choice::Auto && !unwanted && !self.is_dumb() && self.depth() > Depth::Ansi
    }
}

/// A role of which the user chose the style.
pub type Override = (Role, Style);

/// The parts of a [`Theme`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Role {
    /// Headings of columns and views.
    Heading,
    /// What matters less.
    Faint,
    /// Keys in hints.
    Key,
    /// The row under the cursor.
    Selected,
    /// Complete, saved, attached.
    Good,
    /// Not complete yet, a conflict.
    Caution,
    /// Lost, failed.
    Bad,
    /// A short message.
    Toast,
    /// A short message about something that went wrong.
    Warning,
}

impl Theme {
    /// The theme of a choice. Where nothing is known of the background, it can be read on both.
    ///
    /// What the user wrote down counts more than `NO_COLOR` (as no-color.org has it), but not more than a
    /// terminal that has no colours.
    pub fn choose(
        choice: Choice,
        overrides: &[Override],
        surroundings: &Surroundings<'_>,
        background: Option<Background>,
    ) -> Self {
        let unwanted = surroundings.no_color.is_some_and(|value| !value.is_empty());
        let none = surroundings.is_dumb() || choice == Choice::None;
        if none || choice == Choice::Auto && unwanted {
            return Self::MONOCHROME;
        }
        let depth = surroundings.depth();
        let mut theme = match (choice, background) {
            // The terminal's own colours were chosen for its background.
            _ if depth == Depth::Ansi => Self::ANSI,
            (Choice::Dark, _) | (Choice::Auto, Some(Background::Dark)) => Self::DARK,
            (Choice::Light, _) | (Choice::Auto, Some(Background::Light)) => Self::LIGHT,
            _ => Self::ANSI,
        };
        for (role, style) in overrides {
            *theme.role(*role) = *style;
        }
        theme.map(|style| depth.adapt(style))
    }

    fn role(&mut self, role: Role) -> &mut Style {
        match role {
            Role::Heading => &mut self.heading,
            Role::Faint => &mut self.faint,
            Role::Key => &mut self.key,
            Role::Selected => &mut self.selected,
            Role::Good => &mut self.good,
            Role::Caution => &mut self.caution,
            Role::Bad => &mut self.bad,
            Role::Toast => &mut self.toast,
            Role::Warning => &mut self.warning,
        }
    }

    fn map(mut self, change: impl Fn(Style) -> Style) -> Self {
        for role in Role::ALL {
            let style = self.role(role);
            *style = change(*style);
        }
        self
    }
}

impl Role {
    /// All of them.
    pub const ALL: [Self; 9] = [
        Self::Heading,
        Self::Faint,
        Self::Key,
        Self::Selected,
        Self::Good,
        Self::Caution,
        Self::Bad,
        Self::Toast,
        Self::Warning,
    ];
}

/// Reads a style: colours and emphasis in words, as `cyan bold`, `#d70000`, `black on yellow`, `245`.
///
/// # Errors
///
/// The word that is none of these.
pub fn parse_style(text: &str) -> Result<Style, String> {
    let mut style = Style::new();
    let mut behind = false;
    for word in text.split_whitespace() {
        style = match word {
            "on" if !behind => {
                behind = true;
                continue;
            }
            "bold" => style.add_modifier(Modifier::BOLD),
            "dim" => style.add_modifier(Modifier::DIM),
            "italic" => style.add_modifier(Modifier::ITALIC),
            "underlined" => style.add_modifier(Modifier::UNDERLINED),
            "reversed" => style.add_modifier(Modifier::REVERSED),
            _ => match word.parse::<Color>() {
                Ok(color) if behind => style.bg(color),
                Ok(color) => style.fg(color),
                Err(_) => return Err(word.to_owned()),
            },
        };
    }
    if behind && style.bg.is_none() {
        return Err("on".to_owned());
    }
    Ok(style)
}

#[cfg(test)]
mod tests {
    use super::*;

    const XTERM: Surroundings<'_> = Surroundings { no_color: None, term: None, colorterm: None };

    fn surroundings<'a>(no_color: &'a str, term: &'a str, colorterm: &'a str) -> Surroundings<'a> {
        Surroundings {
            no_color: Some(OsStr::new(no_color)),
            term: Some(OsStr::new(term)),
            colorterm: Some(OsStr::new(colorterm)),
        }
    }

    #[test]
    fn what_the_user_says_the_terminal_can_and_its_background() {
        let full = surroundings("", "xterm-256color", "truecolor");
        let choose =
            |choice, at: &Surroundings<'_>, background| Theme::choose(choice, &[], at, background);
        assert_eq!(choose(Choice::Auto, &full, Some(Background::Dark)), Theme::DARK);
        assert_eq!(choose(Choice::Auto, &full, Some(Background::Light)), Theme::LIGHT);
        assert_eq!(choose(Choice::Auto, &full, None), Theme::ANSI);
        assert_eq!(choose(Choice::Light, &full, Some(Background::Dark)), Theme::LIGHT);
        assert_eq!(choose(Choice::None, &full, Some(Background::Dark)), Theme::MONOCHROME);
        let few = surroundings("", "xterm", "");
        assert_eq!(choose(Choice::Auto, &few, Some(Background::Dark)), Theme::ANSI);
        assert_eq!(choose(Choice::Dark, &few, None), Theme::ANSI);
        assert_eq!(choose(Choice::Dark, &XTERM, None), Theme::MONOCHROME, "no TERM");
        let indexed = choose(Choice::Dark, &surroundings("", "screen-256color", ""), None);
        assert_eq!(indexed.bad.fg, Some(Color::Indexed(203)));
    }

    #[test]
    fn no_color_is_honoured_unless_the_user_wrote_a_theme_down() {
        let choose = |choice, at: &Surroundings<'_>| Theme::choose(choice, &[], at, None);
        let unwanted = surroundings("1", "xterm-256color", "");
        assert_eq!(choose(Choice::Auto, &unwanted), Theme::MONOCHROME);
        assert_ne!(choose(Choice::Dark, &unwanted), Theme::MONOCHROME);
        assert!(!unwanted.needs_background(Choice::Auto));
        let dumb = surroundings("", "dumb", "truecolor");
        assert_eq!(choose(Choice::Dark, &dumb), Theme::MONOCHROME);
        assert!(!dumb.needs_background(Choice::Auto));
        assert!(surroundings("", "xterm-256color", "").needs_background(Choice::Auto));
        assert!(!surroundings("", "xterm-256color", "").needs_background(Choice::Light));
    }

    #[test]
    fn styles_are_words() {
        let style = parse_style("black on #ffd700 bold").unwrap();
        let wanted = Style::new().fg(Color::Black).bg(Color::Rgb(255, 215, 0));
        assert_eq!(style, wanted.add_modifier(Modifier::BOLD));
        assert_eq!(parse_style("245").unwrap(), Style::new().fg(Color::Indexed(245)));
        assert_eq!(parse_style("").unwrap(), Style::new());
        for (text, word) in
            [("blinking", "blinking"), ("red on", "on"), ("red on on", "on"), ("#12", "#12")]
        {
            assert_eq!(parse_style(text).unwrap_err(), word);
        }
        let overrides = [(Role::Bad, style)];
        let theme = Theme::choose(Choice::Dark, &overrides, &surroundings("", "xterm", ""), None);
        assert_eq!(theme.bad.bg, Some(Color::Yellow), "as far as the terminal has it");
    }
}
