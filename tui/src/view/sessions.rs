//! The table of sessions.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;

use super::Look;
use super::columns::{Placed, place};
use super::paint::{clip, clip_start, line, put, width};
use super::session_row::{Field, chosen, name};
use crate::model::Session;
use crate::model::ui::App;

pub(super) fn draw(buf: &mut Buffer, area: Rect, app: &App, look: &Look) {
    let chosen = chosen(&app.ui.columns);
    let columns = place(&chosen, area);
    for placed in &columns {
        let x = placed.x + indent(placed, placed.column.title);
        put(buf, area, x, 0, &clip(placed.column.title, placed.width), look.theme.heading);
    }
    let selected = app.ui.list.selected(&app.model.sessions).map(|session| session.serial);
    for (y, session) in (1..area.height).zip(app.ui.list.rows(&app.model.sessions)) {
        for placed in &columns {
            draw_cell(buf, area, y, placed, session, app, look);
        }
        if selected == Some(session.serial) {
            // The whole row looks the same, so that it can be read on any background.
            buf.set_style(line(area, y), ratatui::style::Style::reset());
            buf.set_style(line(area, y), look.theme.selected);
        }
    }
}

/// The name of the column whose heading is there, or next to the right of it.
pub(super) fn header_at(app: &App, area: Rect, x: u16) -> Option<String> {
    let chosen = chosen(&app.ui.columns);
    let columns = place(&chosen, area);
    let at = x.checked_sub(area.x)?;
    let found = columns.iter().find(|placed| at <= placed.x + placed.width)?;
    Some(name(found.column))
}

fn draw_cell(
    buf: &mut Buffer,
    area: Rect,
    y: u16,
    placed: &Placed<'_, Field>,
    session: &Session,
    app: &App,
    look: &Look,
) {
    let field = placed.column.field;
    let text = field.text(session, &app.model.targets, look);
    let clipped = match field.is_path() {
        true => clip_start(&text, placed.width),
        false => clip(&text, placed.width),
    };
    let x = placed.x + indent(placed, &clipped);
    put(buf, area, x, y, &clipped, field.style(session, look));
}

/// How far a text is moved to stand at the right, where its column asks for that.
fn indent(placed: &Placed<'_, Field>, text: &str) -> u16 {
    match placed.column.field.is_number() {
        true => placed.width.saturating_sub(width(text)),
        false => 0,
    }
}
