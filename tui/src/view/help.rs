//! The help: every key of the view below it, from the one table.

use ratatui::buffer::Buffer;
use ratatui::layout::{Margin, Rect};
use ratatui::style::Style;
use ratatui::widgets::{Block, Widget as _};

use super::Theme;
use super::layout::middle;
use super::paint::{clear, put, width};
use crate::keymap;
use crate::model::ui::App;

/// Room for the longest line of the help.
const WIDTH: u16 = 78;

/// Number of lines.
pub(super) fn lines(app: &App) -> usize {
    keymap::bindings(app.main_context()).count()
}

/// The part inside the frame, for a help of any length.
pub(super) fn inner(area: Rect) -> Rect {
    area.inner(Margin::new(0, 1))
}

pub(super) fn draw(buf: &mut Buffer, area: Rect, app: &App, theme: &Theme) {
    let context = app.main_context();
    let height = u16::try_from(lines(app)).unwrap_or(u16::MAX).saturating_add(2);
    let area = middle(area, WIDTH, height);
    clear(buf, area);
    Block::bordered().title(format!(" Keys: {} ", context.title())).render(area, buf);
    let inside = area.inner(Margin::new(2, 1));
    let keys = keymap::bindings(context).map(|b| width(&b.key_list())).max().unwrap_or(0);
    let scroll = app.ui.help.unwrap_or_default();
    for (y, binding) in (0..inside.height).zip(keymap::bindings(context).skip(scroll)) {
        put(buf, inside, 0, y, &binding.key_list(), theme.key);
        put(buf, inside, keys + 2, y, binding.about, Style::new());
    }
    let below = lines(app).saturating_sub(scroll + usize::from(inside.height));
    if below > 0 && area.height > 0 {
        let text = format!(" ↓ {below} more ");
        let x = area.width.saturating_sub(width(&text) + 1);
        put(buf, area, x, area.height - 1, &text, theme.key);
    }
}
