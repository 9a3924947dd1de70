//! The text that is being typed, in the last line.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::{Modifier, Style};

use super::Theme;
use super::paint::{clip, clip_start, put, width};
use super::picker;
use super::status::grouped;
use crate::model::ui::{App, Prompt, Purpose};
use crate::text::sanitize;

pub(super) fn draw(buf: &mut Buffer, area: Rect, app: &App, prompt: &Prompt, theme: &Theme) {
    let area = match prompt.purpose {
        Purpose::Filter => draw_filter_side(buf, area, app, theme),
        Purpose::Search => draw_search_side(buf, area, app, theme),
        Purpose::SavePath | Purpose::ExportPath => area,
    };
    let title = match prompt.purpose {
        Purpose::Filter => "filter: ",
        Purpose::Search => "search: ",
        Purpose::SavePath => "save all to: ",
        Purpose::ExportPath => "export, adding to: ",
    };
    let x = put(buf, area, 0, 0, title, theme.key);
    let value = prompt.input.value();
    let split = value.char_indices().nth(prompt.input.cursor()).map_or(value.len(), |(at, _)| at);
    let (before, after) = (sanitize(&value[..split]), sanitize(&value[split..]));
    // The cursor has a column of its own behind what is before it.
    let before = clip_start(&before, area.width.saturating_sub(x + 1));
    let end = put(buf, area, x, 0, &before, Style::new());
    put(buf, area, end, 0, &after, Style::new());
    let cursor = area.x + end.min(area.width.saturating_sub(1));
    if let Some(cell) = buf.cell_mut((cursor, area.y)) {
        cell.set_style(Style::new().add_modifier(Modifier::REVERSED));
    }
}

/// At the right, how many processes match; the room left of that.
fn draw_search_side(buf: &mut Buffer, area: Rect, app: &App, theme: &Theme) -> Rect {
    let count = picker::matches(app);
    let left = area.width.saturating_sub(width(&count));
    put(buf, area, left, 0, &count, theme.faint);
    Rect { width: left.saturating_sub(2), ..area }
}

/// At the right, what is wrong with the filter, and how many sessions match; the room left of that.
fn draw_filter_side(buf: &mut Buffer, area: Rect, app: &App, theme: &Theme) -> Rect {
    let count = matches(app);
    let mut left = area.width.saturating_sub(width(&count));
    put(buf, area, left, 0, &count, Style::new());
    let room = left.saturating_sub(TYPED + 2);
    if let Some(error) = app.ui.list.filter().error().filter(|_| room > 2) {
        let error = format!("! {}", sanitize(error));
        let error = clip(&error, room);
        left -= width(&error) + 2;
        put(buf, area, left, 0, &error, theme.caution);
    }
    Rect { width: left.saturating_sub(2), ..area }
}

/// What is typed keeps this much of the line, its title included.
const TYPED: u16 = 24;

/// `37 of 1,204`.
pub(super) fn matches(app: &App) -> String {
    let (shown, all) = app.ui.list.counts(&app.model.sessions);
    format!("{} of {}", grouped(shown as u64), grouped(all as u64))
}
