//! A short message, in the place of the footer while it is shown.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;

use super::Theme;
use super::paint::{clip, put};
use crate::model::ui::Toast;

pub(super) fn draw(buf: &mut Buffer, area: Rect, toast: &Toast, theme: &Theme) {
    let style = theme.of_level(toast.level);
    buf.set_style(area, style);
    // A column stays free at both ends.
    put(buf, area, 1, 0, &clip(&toast.text, area.width.saturating_sub(2)), style);
}
