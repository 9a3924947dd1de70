//! What stands where sessions will be, and where there is no room.

use ratatui::buffer::Buffer;
use ratatui::layout::{Constraint, Rect};
use ratatui::style::Style;

use super::layout::SMALLEST;
use super::paint::{put, width};
use super::status::grouped;
use super::{Theme, question};
use crate::action::{Action, Context};
use crate::model::ui::App;

pub(super) fn draw(buf: &mut Buffer, area: Rect, app: &App, theme: &Theme) {
    let key = |action| app.keymap.key_name(Context::Sessions, action);
    let nulls = app.model.sessions.null_sessions();
    let held_back = app.ui.list.held_back(&app.model.sessions).unwrap_or_default();
    let lines = if let (0, all @ 1..) = app.ui.list.counts(&app.model.sessions) {
        let sessions = if all == 1 { "session" } else { "sessions" };
        [
            format!("No match for the filter among {} {sessions}", grouped(all as u64)),
            format!("{} drops it", key(Action::Back)),
        ]
    } else if held_back > 0 {
        [
            format!("The view is paused, and holds {held_back} new back"),
            format!("{} lets them in", key(Action::Pause)),
        ]
    } else if app.ui.list.hides_nulls() && nulls > 0 && nulls == app.model.sessions.len() {
        [
            "Only sessions with null secrets so far".to_owned(),
            format!("they are hidden: {} shows them", key(Action::NullFilter)),
        ]
    } else if app.model.targets.selection.is_empty() {
        [
            "Nothing is attached".to_owned(),
            format!("{} chooses processes, or everything", key(Action::Processes)),
        ]
    } else if !app.model.is_ready() {
        ["Attaching…".to_owned(), "programs need no restart".to_owned()]
    } else if app.model.catching_up.progress(app.model.now).is_some() {
        [
            "Looking for open connections".to_owned(),
            "each shows up when it sends or receives something; new ones at once".to_owned(),
        ]
    } else {
        [
            "No handshakes yet".to_owned(),
            "let a program connect with TLS, for example: curl https://localhost".to_owned(),
        ]
    };
    draw_middle(buf, area, &lines, theme.heading);
}

pub(super) fn draw_too_small(buf: &mut Buffer, area: Rect, app: &App) {
    let lines = match &app.ui.question {
        // First what is asked: there may be room for one line.
        Some(question) => {
            let [what, ask] = question::lines(question, &app.keymap);
            [ask, what]
        }
        None => {
            let (width, height) = SMALLEST;
            let quit = app.keymap.key_name(app.main_context(), Action::Quit);
            [
                "tlskeytop needs more room".to_owned(),
                format!("{width}x{height}, here is {}x{}; {quit} quits", area.width, area.height),
            ]
        }
    };
    draw_middle(buf, area, &lines, Style::new());
}

fn draw_middle(buf: &mut Buffer, area: Rect, lines: &[String; 2], heading: Style) {
    let middle = area.centered_vertically(Constraint::Length(2));
    for (y, (text, style)) in (0..).zip(lines.iter().zip([heading, Style::new()])) {
        put(buf, middle, middle.width.saturating_sub(width(text)) / 2, y, text, style);
    }
}
