//! How many colours a terminal has, and the nearest of them.

use std::ffi::OsStr;

use ratatui::style::{Color, Style};

/// How many colours a terminal has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Depth {
    /// The terminal's own 16, of which nobody knows how they look.
    Ansi,
    /// xterm's 256.
    Indexed,
    /// Any.
    True,
}

/// Steps of the cube of 6x6x6 colours from 16 on (xterm's `256colres.pl`).
const STEPS: [u8; 6] = [0, 95, 135, 175, 215, 255];

impl Depth {
    /// Any colour only when `COLORTERM` says so (there is no terminfo for it); 256 when `TERM` does.
    pub(super) fn of(term: Option<&OsStr>, colorterm: Option<&OsStr>) -> Self {
        if colorterm.is_some_and(|value| value == "truecolor" || value == "24bit") {
            return Self::True;
        }
        let term = term.unwrap_or_default().to_string_lossy();
        if term.contains("256color") { Self::Indexed } else { Self::Ansi }
    }

    /// The style in colours that the terminal has.
    pub(super) fn adapt(self, mut style: Style) -> Style {
        style.fg = style.fg.map(|color| self.nearest(color));
        style.bg = style.bg.map(|color| self.nearest(color));
        style
    }

    fn nearest(self, color: Color) -> Color {
        match (color, self) {
            (Color::Rgb(r, g, b), Self::Indexed) => Color::Indexed(nearest_indexed([r, g, b])),
            (Color::Rgb(r, g, b), Self::Ansi) => nearest_ansi([r, g, b]),
            (Color::Indexed(index @ 16..), Self::Ansi) => nearest_ansi(rgb(index)),
            _ => color,
        }
    }
}

/// What xterm shows for an index from 16 on.
fn rgb(index: u8) -> [u8; 3] {
    match index.saturating_sub(16) {
        cube @ ..=215 => [cube / 36, cube / 6 % 6, cube % 6].map(|n| STEPS[usize::from(n)]),
        grey => [8 + 10 * (grey - 216); 3],
    }
}

fn distance(a: [u8; 3], b: [u8; 3]) -> u32 {
    a.iter().zip(b).map(|(a, b)| u32::from(a.abs_diff(b)).pow(2)).sum()
}

fn nearest_indexed(color: [u8; 3]) -> u8 {
    (16..=255).min_by_key(|index| distance(color, rgb(*index))).unwrap_or(16)
}

/// By hue alone: how bright the terminal's own are is its user's choice. Greys are the usual colour.
fn nearest_ansi(color: [u8; 3]) -> Color {
    let (most, least) =
        (color.into_iter().max().unwrap_or(0), color.into_iter().min().unwrap_or(0));
    if most - least < 48 {
        return Color::Reset;
    }
    let middle = least + (most - least) / 2;
    match color.map(|part| part > middle) {
        [true, false, false] => Color::Red,
        [false, true, false] => Color::Green,
        [true, true, false] => Color::Yellow,
        [false, false, true] => Color::Blue,
        [true, false, true] => Color::Magenta,
        [false, true, true] => Color::Cyan,
        _ => Color::Reset,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_terminal_says_how_many() {
        let of = |term: &str, colorterm: Option<&str>| {
            Depth::of(Some(OsStr::new(term)), colorterm.map(OsStr::new))
        };
        assert_eq!(of("xterm-256color", Some("truecolor")), Depth::True);
        assert_eq!(of("xterm-256color", None), Depth::Indexed);
        assert_eq!(of("tmux-256color", Some("yes")), Depth::Indexed);
        assert_eq!(of("xterm", None), Depth::Ansi);
        assert_eq!(Depth::of(None, None), Depth::Ansi);
    }

    #[test]
    fn the_nearest_colour_is_taken() {
        let nearest = |depth: Depth, color| depth.adapt(Style::new().fg(color)).fg.unwrap();
        assert_eq!(nearest(Depth::True, Color::Rgb(1, 2, 3)), Color::Rgb(1, 2, 3));
        assert_eq!(nearest(Depth::Indexed, Color::Rgb(0xff, 0x5f, 0x5f)), Color::Indexed(203));
        assert_eq!(nearest(Depth::Indexed, Color::Rgb(0x8a, 0x8a, 0x8a)), Color::Indexed(245));
        assert_eq!(nearest(Depth::Ansi, Color::Rgb(0xff, 0x5f, 0x5f)), Color::Red);
        assert_eq!(nearest(Depth::Ansi, Color::Indexed(81)), Color::Cyan);
        assert_eq!(nearest(Depth::Ansi, Color::Rgb(200, 200, 210)), Color::Reset);
        assert_eq!(nearest(Depth::Ansi, Color::Cyan), Color::Cyan);
    }

    proptest! {
        #[test]
        fn an_indexed_colour_is_its_own_nearest(index in 16u8..=255) {
            prop_assert_eq!(rgb(nearest_indexed(rgb(index))), rgb(index));
        }
    }
}
