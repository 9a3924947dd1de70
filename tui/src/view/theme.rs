//! Colours and emphasis, for dark and for light backgrounds, and for terminals with few colours or none.

mod choice;
mod depth;

pub use choice::{Background, Choice, Override, Role, Surroundings, parse_style};
pub use depth::Depth;
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
    /// For dark backgrounds. Each colour is one of xterm's 256, for terminals that have no others.
    pub const DARK: Self = Self {
        heading: Style::new().add_modifier(Modifier::BOLD),
        faint: Style::new().fg(Color::Rgb(0x94, 0x94, 0x94)),
        key: Style::new().fg(Color::Rgb(0x5f, 0xd7, 0xff)).add_modifier(Modifier::BOLD),
        selected: Style::new().fg(Color::Rgb(0x87, 0xd7, 0xff)).add_modifier(Modifier::REVERSED),
        good: Style::new().fg(Color::Rgb(0x87, 0xd7, 0x87)),
        caution: Style::new().fg(Color::Rgb(0xff, 0xaf, 0x5f)),
        bad: Style::new().fg(Color::Rgb(0xff, 0x5f, 0x5f)).add_modifier(Modifier::BOLD),
        toast: Style::new().fg(Color::Rgb(0, 0, 0)).bg(Color::Rgb(0x87, 0xd7, 0xff)),
        warning: Style::new().fg(Color::Rgb(0, 0, 0)).bg(Color::Rgb(0xff, 0xd7, 0x5f)),
    };

    /// For light backgrounds.
    pub const LIGHT: Self = Self {
        heading: Style::new().add_modifier(Modifier::BOLD),
        faint: Style::new().fg(Color::Rgb(0x62, 0x62, 0x62)),
        key: Style::new().fg(Color::Rgb(0x00, 0x5f, 0xaf)).add_modifier(Modifier::BOLD),
        selected: Style::new().fg(Color::Rgb(0x00, 0x5f, 0xaf)).add_modifier(Modifier::REVERSED),
        good: Style::new().fg(Color::Rgb(0x00, 0x5f, 0x00)),
        caution: Style::new().fg(Color::Rgb(0x87, 0x5f, 0x00)),
        bad: Style::new().fg(Color::Rgb(0xaf, 0x00, 0x00)).add_modifier(Modifier::BOLD),
        toast: Style::new().fg(Color::Rgb(0xff, 0xff, 0xff)).bg(Color::Rgb(0x00, 0x5f, 0xaf)),
        warning: Style::new().fg(Color::Rgb(0, 0, 0)).bg(Color::Rgb(0xff, 0xd7, 0x5f)),
    };

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

    /// The relative luminance of WCAG 2.2.
    fn luminance(color: Color) -> f64 {
        let Color::Rgb(r, g, b) = color else { panic!("{color}") };
        let [r, g, b] = [r, g, b].map(|part| {
            let part = f64::from(part) / 255.0;
            if part <= 0.04045 { part / 12.92 } else { ((part + 0.055) / 1.055).powf(2.4) }
        });
        0.2126 * r + 0.7152 * g + 0.0722 * b
    }

    fn contrast(a: Color, b: Color) -> f64 {
        let (a, b) = (luminance(a) + 0.05, luminance(b) + 0.05);
        a.max(b) / a.min(b)
    }

    /// 4.5 is what WCAG 2.2 asks of text (success criterion 1.4.3).
    #[test]
    fn everything_can_be_read() {
        let dark =
            [Color::Rgb(0, 0, 0), Color::Rgb(0x28, 0x2c, 0x34), Color::Rgb(0x30, 0x0a, 0x24)];
        let light = [Color::Rgb(0xff, 0xff, 0xff), Color::Rgb(0xfd, 0xf6, 0xe3)];
        for (theme, backgrounds) in [(Theme::DARK, &dark[..]), (Theme::LIGHT, &light)] {
            for style in
                [theme.faint, theme.key, theme.selected, theme.good, theme.caution, theme.bad]
            {
                for background in backgrounds {
                    let found = contrast(style.fg.unwrap(), *background);
                    assert!(found >= 4.5, "{style:?} on {background}: {found}");
                }
            }
            for style in [theme.toast, theme.warning] {
                assert!(contrast(style.fg.unwrap(), style.bg.unwrap()) >= 4.5, "{style:?}");
            }
        }
    }
}
