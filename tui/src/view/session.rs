//! One session in a view of its own: each secret, and where it came from.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;

use super::{Look, detail};
use crate::model::ui::App;

pub(super) fn draw(buf: &mut Buffer, area: Rect, app: &App, look: &Look) {
    detail::draw(buf, area, app, look);
}
