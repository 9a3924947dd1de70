//! The mouse: which actions it stands for. What is under it is asked of the view, what it does of the model.

use crossterm::event::{MouseButton, MouseEvent, MouseEventKind};
use ratatui::layout::{Position, Size};

use crate::action::Action;
use crate::model::ui::App;
use crate::model::{Effect, Time};
use crate::view::{self, Look};

/// Rows of one step of the wheel, as in most terminals.
const STEP: usize = 3;

/// Carries out what was done with the mouse on a screen of this size.
pub(super) fn act(
    app: &mut App,
    now: Time,
    event: MouseEvent,
    size: Size,
    look: &Look,
) -> Vec<Effect> {
    let wheel = |app: &mut App, action| (0..STEP).flat_map(|_| app.act(now, action)).collect();
    match event.kind {
        MouseEventKind::ScrollUp => wheel(app, Action::Up),
        MouseEventKind::ScrollDown => wheel(app, Action::Down),
        MouseEventKind::Down(MouseButton::Left) => {
            match view::hit(app, size, look, Position::new(event.column, event.row)) {
                Some(hit) => app.click(now, hit),
                None => Vec::new(),
            }
        }
        _ => Vec::new(),
    }
}
