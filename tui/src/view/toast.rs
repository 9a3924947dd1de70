//! A short message, over the right part of the footer while it is shown.

use ratatui::buffer::Buffer;
use ratatui::layout::{Constraint, Layout, Rect};

use super::Theme;
use super::paint::{clear, clip, put, width};
use crate::model::ui::App;

pub(super) fn draw(buf: &mut Buffer, area: Rect, app: &App, theme: &Theme) {
    let Some(toast) = &app.ui.toast else { return };
    let text = format!(" {} ", clip(&toast.text, area.width.saturating_sub(2)));
    let x = area.width.saturating_sub(width(&text));
    let [_, free] = Layout::horizontal([Constraint::Length(x), Constraint::Fill(1)]).areas(area);
    clear(buf, free);
    put(buf, area, x, 0, &text, theme.of_level(toast.level));
}
