//! What is drawn at a place of the screen: the way back from a click.

use ratatui::layout::{Position, Rect, Size};

use super::{Look, layout};
use crate::model::ui::{App, Hit, View};

/// Columns of the mark in a row of the picker.
const MARK: u16 = 3;

/// What can be clicked there. Nothing while something lies over the view.
pub fn hit(app: &App, size: Size, look: &Look, at: Position) -> Option<Hit> {
    let area = Rect::from((Position::ORIGIN, size));
    if layout::is_too_small(area) || app.context() != app.main_context() {
        return None;
    }
    let screen = layout::screen(area, look.reveal);
    let list = match app.ui.view {
        View::Sessions => screen.list,
        View::Picker => screen.wide,
        View::Detail | View::Images => return None,
    };
    if !list.contains(at) {
        return None;
    }
    let row = usize::from(at.y - list.y).checked_sub(1);
    match (app.ui.view, row) {
        (View::Sessions, Some(row)) => Some(Hit::Session(row)),
        (View::Sessions, None) => super::header_column_at(app, size, look, at).map(Hit::Header),
        (_, Some(row)) => Some(Hit::Process { row, on_mark: at.x < list.x + MARK }),
        (_, None) => None,
    }
}
