//! The key lines of a session, to copy one of them.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;

use super::Look;
use crate::model::ui::{App, Lines};

pub(super) fn draw(_buf: &mut Buffer, _area: Rect, _app: &App, _lines: &Lines, _look: &Look) {}
