//! What is attached where, and the last warnings.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;

use super::Look;
use super::paint::put;
use crate::model::ui::App;

pub(super) fn draw(buf: &mut Buffer, area: Rect, app: &App, look: &Look) {
    for (y, image) in (0..area.height).zip(app.model.targets.images.values()) {
        put(buf, area, 0, y, &image.path.to_string(), look.theme.faint);
    }
}
