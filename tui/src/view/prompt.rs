//! The text that is being typed, in the last line.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::{Modifier, Style};

use super::Theme;
use super::paint::{put, width};
use super::picker;
use crate::model::ui::{App, Prompt, Purpose};
use crate::text::sanitize;

pub(super) fn draw(buf: &mut Buffer, area: Rect, app: &App, prompt: &Prompt, theme: &Theme) {
    let title = match prompt.purpose {
        Purpose::Filter => "filter: ",
        Purpose::Search => "search: ",
        Purpose::SavePath => "save to: ",
        Purpose::ExportPath => "export to: ",
    };
    let x = put(buf, area, 0, 0, title, theme.key);
    let matches = matches(app, prompt);
    let area = match width(&matches) {
        0 => area,
        columns => {
            let start = area.width.saturating_sub(columns);
            put(buf, area, start, 0, &matches, theme.faint);
            Rect { width: start.saturating_sub(1), ..area }
        }
    };
    let room = usize::from(area.width.saturating_sub(x + 1));
    let scroll = prompt.input.visual_scroll(room);
    let text: String = prompt.input.value().chars().skip(scroll).collect();
    put(buf, area, x, 0, &sanitize(&text), Style::new());
    let before: String = prompt.input.value().chars().take(prompt.input.cursor()).collect();
    let before: String = before.chars().skip(scroll).collect();
    let cursor = area.x + (x + width(&sanitize(&before))).min(area.width.saturating_sub(1));
    if let Some(cell) = buf.cell_mut((cursor, area.y)) {
        cell.set_style(Style::new().add_modifier(Modifier::REVERSED));
    }
}

/// How much a text that holds while it is typed finds, for the right end of the line.
fn matches(app: &App, prompt: &Prompt) -> String {
    match prompt.purpose {
        Purpose::Search => picker::matches(app),
        Purpose::Filter | Purpose::SavePath | Purpose::ExportPath => String::new(),
    }
}
