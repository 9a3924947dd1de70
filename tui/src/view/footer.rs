//! The last line: the keys of the present view, from the one table.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::Style;

use super::Theme;
use super::paint::{put, width};
use crate::action::Action;
use crate::keymap::Binding;
use crate::model::ui::App;

/// Between two hints.
const GAP: u16 = 2;

pub(super) fn draw(buf: &mut Buffer, area: Rect, app: &App, theme: &Theme) {
    let mut hints: Vec<_> =
        app.keymap.bindings(app.context()).filter_map(|b| Some((b, hint(b)?))).collect();
    while hints.iter().map(|(_, (key, word))| columns(key, word)).sum::<u16>() > area.width + GAP {
        // Of those that matter least, the last.
        let least = hints.iter().rev().min_by_key(|(binding, _)| weight(binding)).map(|(b, _)| *b);
        let Some(least) = least.filter(|binding| weight(binding) < KEPT) else { break };
        hints.retain(|(binding, _)| !std::ptr::eq(*binding, least));
    }
    let mut x = 0;
    for (_, (key, word)) in &hints {
        x = put(buf, area, x, 0, key, theme.key);
        x = put(buf, area, x + 1, 0, word, Style::new()) + GAP;
    }
}

/// What leads to all the others.
const KEPT: u8 = 2;

/// The lowest drop first where room is short.
fn weight(binding: &Binding) -> u8 {
    match binding.action {
        Action::Help | Action::Quit => KEPT,
        Action::CopyClientRandom | Action::First | Action::Last | Action::Suspend => 0,
        _ => 1,
    }
}

fn hint(binding: &Binding) -> Option<(String, &'static str)> {
    Some((binding.keys.first()?.to_string(), binding.hint?))
}

fn columns(key: &str, word: &str) -> u16 {
    width(key) + 1 + width(word) + GAP
}
