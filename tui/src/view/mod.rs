//! Drawing: reads the model and the state of the user interface, and changes neither.

#![forbid(unsafe_code)]

mod columns;
mod detail;
mod empty;
mod footer;
mod help;
mod hit;
mod images;
mod layout;
mod legend;
mod lines;
mod paint;
mod picker;
mod picker_capture;
mod prompt;
mod question;
mod session;
mod session_lines;
mod session_row;
mod sessions;
mod sparkline;
mod status;
mod theme;
mod toast;
mod wire_lines;

#[cfg(test)]
mod tests;
#[cfg(test)]
mod tests_detail;
#[cfg(test)]
mod tests_picker;
#[cfg(test)]
mod tests_sessions;
#[cfg(test)]
mod tests_styles;
#[cfg(test)]
mod tests_wire;

use ratatui::Frame;
use ratatui::layout::{Position, Rect, Size};
use time::UtcOffset;

pub use hit::hit;
pub use session_row::{REQUIRED_COLUMNS, column_names};
pub use theme::{Background, Choice, Depth, Override, Role, Surroundings, Theme, parse_style};

use crate::model::ui::{App, Column, Pages, View};

/// How things are shown, apart from what is shown.
#[derive(Clone, Copy, Debug)]
pub struct Look {
    /// Colours and emphasis.
    pub theme: Theme,
    /// The local time zone's.
    pub offset: UtcOffset,
    /// Show secrets in full.
    pub reveal: bool,
}

/// The rows that each list has on a screen of this size: what [`App::settle`] needs before a frame.
pub fn pages(app: &App, size: Size, look: &Look) -> Pages {
    let area = Rect::from((Position::ORIGIN, size));
    let screen = layout::screen(area, look.reveal);
    Pages {
        sessions: usize::from(screen.list.height.saturating_sub(1)),
        picker: usize::from(screen.wide.height.saturating_sub(1)),
        detail: usize::from(screen.wide.height),
        detail_past: match app.ui.view {
            View::Detail => session::past(app, screen.wide, look),
            _ => 0,
        },
        images: usize::from(screen.wide.height),
        help: usize::from(help::inner(screen.wide).height),
        help_lines: help::lines(app),
        columns: sessions::shown(app, screen.list),
        too_small: layout::is_too_small(area),
    }
}

/// The column of the sessions whose heading is at this place of the screen: for a click.
pub fn header_column_at(app: &App, size: Size, look: &Look, at: Position) -> Option<Column> {
    let area = Rect::from((Position::ORIGIN, size));
    let list = layout::screen(area, look.reveal).list;
    let is_header = app.ui.view == View::Sessions && !layout::is_too_small(area) && at.y == list.y;
    is_header.then(|| sessions::header_column_at(app, list, at.x.checked_sub(list.x)?)).flatten()
}

/// Draws everything.
pub fn draw(frame: &mut Frame<'_>, app: &App, look: &Look) {
    let area = frame.area();
    let buf = frame.buffer_mut();
    if layout::is_too_small(area) {
        empty::draw_too_small(buf, area, app);
        return;
    }
    let screen = layout::screen(area, look.reveal);
    status::draw(buf, screen.status, app, &look.theme);
    match app.ui.view {
        View::Sessions if app.ui.list.rows(&app.model.sessions).next().is_none() => {
            empty::draw(buf, screen.wide, app, &look.theme);
        }
        View::Sessions => {
            sessions::draw(buf, screen.list, app, look);
            detail::draw(buf, screen.detail, app, look);
        }
        View::Detail => session::draw(buf, screen.wide, app, look),
        View::Picker => picker::draw(buf, screen.wide, app, &look.theme),
        View::Images => images::draw(buf, screen.wide, app, look),
    }
    if app.ui.help.is_some() {
        help::draw(buf, screen.wide, app, &look.theme);
    }
    if let Some(question) = &app.ui.question {
        question::draw(buf, screen.wide, question, &app.keymap, &look.theme);
    }
    if let Some(list) = &app.ui.lines {
        lines::draw(buf, screen.wide, app, list, look);
    }
    match (&app.ui.prompt, &app.ui.toast) {
        (Some(text), _) => prompt::draw(buf, screen.footer, app, text, &look.theme),
        (None, Some(toast)) => toast::draw(buf, screen.footer, toast, &look.theme),
        (None, None) => footer::draw(buf, screen.footer, app, &look.theme),
    }
}
