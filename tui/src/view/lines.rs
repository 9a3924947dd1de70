//! The key lines of a session, to copy one of them. Masked, whatever is copied.

use ratatui::buffer::Buffer;
use ratatui::layout::{Margin, Rect};
use ratatui::style::Style;
use ratatui::widgets::{Block, Widget as _};

use super::Look;
use super::detail::{saved, value};
use super::layout::middle;
use super::paint::{clear, clip, line, put, width};
use crate::model::ui::{App, Lines};

/// Columns of a label: the longest known one.
const LABEL: u16 = 31;
/// Columns of everything in a row.
const ROW: u16 = LABEL + 1 + 8 + 2 + 11;

pub(super) fn draw(buf: &mut Buffer, area: Rect, app: &App, lines: &Lines, look: &Look) {
    let session = app.model.sessions.get(lines.session);
    let entries = session.map_or(&[][..], |session| &session.entries);
    let height = u16::try_from(entries.len().max(1)).unwrap_or(u16::MAX).saturating_add(2);
    let area = middle(area, ROW + 4, height);
    clear(buf, area);
    Block::bordered().border_style(look.theme.key).render(area, buf);
    let title = match session {
        Some(session) => format!(" copy a line of {} ({}) ", session.process.comm, session.key.pid),
        None => " copy a line ".to_owned(),
    };
    put(buf, area, 1, 0, &clip(&title, area.width.saturating_sub(2)), look.theme.heading);
    let inside = area.inner(Margin::new(2, 1));
    if session.is_none() {
        put(buf, inside, 0, 0, "the session was dropped to make room", look.theme.caution);
        return;
    }
    let page = usize::from(inside.height);
    let top = (lines.cursor + 1).saturating_sub(page);
    for (y, (index, entry)) in (0..inside.height).zip(entries.iter().enumerate().skip(top)) {
        put(buf, inside, 0, y, &clip(entry.label.as_str(), LABEL), Style::new());
        put(buf, inside, LABEL + 1, y, &value(entry), Style::new());
        let (text, style) = saved(entry, look);
        put(buf, inside, LABEL + 11, y, text, style);
        if index == lines.cursor {
            let row = line(area.inner(Margin::new(1, 1)), y);
            buf.set_style(row, Style::reset());
            buf.set_style(row, look.theme.selected);
            put(buf, area, 1, y + 1, "▸", look.theme.selected);
        }
    }
    let below = entries.len().saturating_sub(top + page);
    if top > 0 || below > 0 {
        let text = format!(" {}/{} ", lines.cursor + 1, entries.len());
        let x = area.width.saturating_sub(width(&text) + 1);
        put(buf, area, x, area.height.saturating_sub(1), &text, look.theme.faint);
    }
}
