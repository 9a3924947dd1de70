//! The table of sessions.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;

use super::Look;
use super::columns::{Placed, place};
use super::paint::{clip, clip_start, line, put, width};
use super::session_row::{columns, is_number, is_path, style, text};
use crate::model::Session;
use crate::model::ui::{App, Column, Columns};

pub(super) fn draw(buf: &mut Buffer, area: Rect, app: &App, look: &Look) {
    let slots = columns(app);
    let placed = place(&slots, area);
    for column in &placed {
        draw_title(buf, area, column, app, look);
    }
    let selected = app.ui.list.selected(&app.model.sessions).map(|session| session.serial);
    for (y, session) in (1..area.height).zip(app.ui.list.rows(&app.model.sessions)) {
        for column in &placed {
            draw_cell(buf, area, y, column, session, app, look);
        }
        if selected == Some(session.serial) {
            // The whole row looks the same, so that it can be read on any background.
            buf.set_style(line(area, y), ratatui::style::Style::reset());
            buf.set_style(line(area, y), look.theme.selected);
        }
    }
}

/// The columns that have a place.
pub(super) fn shown(app: &App, area: Rect) -> Columns {
    place(&columns(app), area).iter().map(|placed| placed.column.field).collect()
}

/// The column whose heading is at `x` from the left of the area; a heading reaches up to the next one.
pub(super) fn header_column_at(app: &App, area: Rect, x: u16) -> Option<Column> {
    let slots = columns(app);
    let placed = place(&slots, area);
    let at = placed.iter().rfind(|column| column.x <= x).filter(|_| x < area.width);
    at.map(|placed| placed.column.field)
}

/// The title; that of the column by which the rows are sorted with an arrow behind it, which may stand
/// in the gap to the next column.
fn draw_title(buf: &mut Buffer, area: Rect, placed: &Placed<'_, Column>, app: &App, look: &Look) {
    let order = app.ui.list.order();
    let title = placed.column.title;
    if order.column != placed.column.field {
        let x = placed.x + indent(placed, title);
        put(buf, area, x, 0, &clip(title, placed.width), look.theme.heading);
        return;
    }
    let arrow = if order.descending { "▼" } else { "▲" };
    let room = placed.width.min(area.width.saturating_sub(placed.x + 1));
    let title: String = title.chars().take(usize::from(room)).collect();
    let x = placed.x + indent(placed, &title);
    let end = put(buf, area, x, 0, &title, look.theme.heading);
    put(buf, area, end, 0, arrow, look.theme.key);
}

fn draw_cell(
    buf: &mut Buffer,
    area: Rect,
    y: u16,
    placed: &Placed<'_, Column>,
    session: &Session,
    app: &App,
    look: &Look,
) {
    let column = placed.column.field;
    let text = text(column, session, &app.model.targets, look);
    let clipped = match is_path(column) {
        true => clip_start(&text, placed.width),
        false => clip(&text, placed.width),
    };
    let x = placed.x + indent(placed, &clipped);
    put(buf, area, x, y, &clipped, style(column, session, look));
}

/// How far a text is moved to stand at the right, where its column asks for that.
fn indent(placed: &Placed<'_, Column>, text: &str) -> u16 {
    match is_number(placed.column.field) {
        true => placed.width.saturating_sub(width(text)),
        false => 0,
    }
}
