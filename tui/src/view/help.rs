//! The help: every key of the view below it, from the one table, and what its symbols mean.

use ratatui::buffer::Buffer;
use ratatui::layout::{Margin, Rect};
use ratatui::style::Style;
use ratatui::widgets::{Block, Widget as _};

use super::Theme;
use super::layout::middle;
use super::legend::legend;
use super::paint::{clear, put, width};
use crate::model::ui::App;

/// Room for the longest line of the help.
const WIDTH: u16 = 80;
/// Less than this beside it is no margin, but looks like a mistake.
const MARGIN: u16 = 2;

/// Number of lines.
pub(super) fn lines(app: &App) -> usize {
    let context = app.main_context();
    app.keymap.bindings(context).count() + legend(context).count()
}

/// The part inside the frame, for a help of any length.
pub(super) fn inner(area: Rect) -> Rect {
    area.inner(Margin::new(0, 1))
}

pub(super) fn draw(buf: &mut Buffer, area: Rect, app: &App, theme: &Theme) {
    let context = app.main_context();
    let height = u16::try_from(lines(app)).unwrap_or(u16::MAX).saturating_add(2);
    let columns = if area.width < WIDTH + 2 * MARGIN { area.width } else { WIDTH };
    let area = middle(area, columns, height);
    clear(buf, area);
    Block::bordered().title(format!(" Help: {} ", context.title())).render(area, buf);
    let inside = area.inner(Margin::new(2, 1));
    let keys = app.keymap.bindings(context).map(|b| (b.key_list(), b.about, theme.key));
    let legend = legend(context).map(|(what, about)| match about {
        "" => (what.to_owned(), "", theme.heading),
        about => (what.to_owned(), about, Style::new()),
    });
    let lines: Vec<_> = keys.chain(legend).collect();
    let names = lines.iter().filter(|(_, about, _)| !about.is_empty());
    let indent = names.map(|(name, ..)| width(name)).max().unwrap_or(0) + 2;
    let scroll = app.ui.help.unwrap_or_default();
    for (y, (name, about, style)) in (0..inside.height).zip(lines.iter().skip(scroll)) {
        put(buf, inside, 0, y, name, *style);
        put(buf, inside, indent, y, about, Style::new());
    }
    let below = lines.len().saturating_sub(scroll + usize::from(inside.height));
    if below > 0 && area.height > 0 {
        let text = format!(" ↓ {below} more ");
        let x = area.width.saturating_sub(width(&text) + 1);
        put(buf, area, x, area.height - 1, &text, theme.key);
    }
}
