//! The last line: the keys of the present view, from the one table.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::Style;

use super::Theme;
use super::paint::{put, width};
use crate::action::Action;
use crate::keymap::{self, Binding};
use crate::model::ui::App;

/// Between two hints.
const GAP: u16 = 2;

pub(super) fn draw(buf: &mut Buffer, area: Rect, app: &App, theme: &Theme) {
    let mut hints: Vec<_> =
        keymap::bindings(app.context()).filter_map(|b| Some((b, hint(b)?))).collect();
    // What leads to all the others stays longest.
    let stays = |binding: &Binding| matches!(binding.action, Action::Help | Action::Quit);
    while hints.iter().map(|(_, (key, word))| columns(key, word)).sum::<u16>() > area.width + GAP {
        let Some(last) = hints.iter().rposition(|(binding, _)| !stays(binding)) else { break };
        hints.remove(last);
    }
    let mut x = 0;
    for (_, (key, word)) in &hints {
        x = put(buf, area, x, 0, key, theme.key);
        x = put(buf, area, x + 1, 0, word, Style::new()) + GAP;
    }
}

fn hint(binding: &Binding) -> Option<(String, &'static str)> {
    Some((binding.keys.first()?.to_string(), binding.hint?))
}

fn columns(key: &str, word: &str) -> u16 {
    width(key) + 1 + width(word) + GAP
}
