//! One session in a view of its own: each secret, and where it came from. The title stays; the rest scrolls.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::{Modifier, Style};

use super::Look;
use super::paint::{clip, line, put, width};
use super::session_lines::{Content, content};
use super::session_row::{pid, state};
use super::wire_lines::library;
use crate::action::{Action, Context};
use crate::model::Session;
use crate::model::ui::App;

/// How many lines there are below those that are shown when the cursor is on the last label.
pub(super) fn past(app: &App, area: Rect, look: &Look) -> usize {
    let Some(session) = app.detail_session() else { return 0 };
    let content = content(session, app, look, area.width);
    let last = content.rows.last().map_or(0, |row| row.end);
    let page = page(area, content.lines.len());
    content.lines.len().saturating_sub(last.max(page))
}

pub(super) fn draw(buf: &mut Buffer, area: Rect, app: &App, look: &Look) {
    let Some(session) = app.detail_session() else {
        put(buf, area, 0, 0, "This session is not kept any more", look.theme.heading);
        let back = app.keymap.key_name(Context::Detail, Action::Back);
        let text = format!("it was dropped to make room for newer ones; {back} goes back");
        put(buf, area, 0, 1, &text, Style::new());
        return;
    };
    draw_title(buf, area, session, app, look);
    let body = Rect { y: area.y + 1, height: area.height.saturating_sub(1), ..area };
    let Content { lines, rows } = content(session, app, look, area.width);
    let page = page(area, lines.len());
    let cursor = app.ui.detail.cursor.min(rows.len().saturating_sub(1));
    let end = rows.get(cursor).map_or(0, |row| row.end);
    let top = end.saturating_sub(page) + app.ui.detail.past;
    let top = top.min(lines.len().saturating_sub(page));
    for (y, (index, parts)) in (0..).zip(lines.iter().enumerate().skip(top).take(page)) {
        for part in parts {
            put(buf, body, part.x, y, &part.text, part.style);
        }
        if rows.get(cursor).is_some_and(|row| row.start == index) {
            // The whole row looks the same, so that it can be read on any background.
            buf.set_style(line(body, y), Style::reset());
            buf.set_style(line(body, y), look.theme.selected);
            put(buf, body, 0, y, "▸", look.theme.selected);
        }
    }
    if page < lines.len() {
        draw_more(buf, body, top, lines.len() - top - page, look);
    }
}

/// Lines of the content that are shown at a time: without the title, and the line that tells of what is not shown.
fn page(area: Rect, lines: usize) -> usize {
    let page = usize::from(area.height.saturating_sub(1));
    if lines > page { page.saturating_sub(1) } else { page }
}

fn draw_more(buf: &mut Buffer, body: Rect, above: usize, below: usize, look: &Look) {
    let text = match (above, below) {
        (0, below) => format!("  ↓ {below} more"),
        (above, 0) => format!("  ↑ {above} more"),
        (above, below) => format!("  ↑ {above} more  ↓ {below} more"),
    };
    put(buf, body, 0, body.height.saturating_sub(1), &text, look.theme.faint);
}

/// Who, and whether secrets can be seen: that stays in sight.
fn draw_title(buf: &mut Buffer, area: Rect, session: &Session, app: &App, look: &Look) {
    let secrets = match (look.reveal, app.ui.detail.seconds_left(app.model.now)) {
        (true, _) => " secrets in full: --reveal ".to_owned(),
        (false, Some(left)) => format!(" secrets in full, for {left} s "),
        (false, None) => {
            format!("masked, {} reveals", app.keymap.key_name(Context::Detail, Action::Reveal))
        }
    };
    let is_masked = secrets.starts_with("masked");
    let style = match is_masked {
        true => look.theme.faint,
        false => look.theme.caution.add_modifier(Modifier::REVERSED),
    };
    let x = area.width.saturating_sub(width(&secrets));
    put(buf, area, x, 0, &secrets, style);
    let image = app.model.targets.images.get(&session.image);
    let title = format!(
        "{} ({})  {}  {}",
        session.process.comm,
        pid(session),
        library(session, image).unwrap_or_else(|| "unknown library".to_owned()),
        state(session.state()),
    );
    put(buf, area, 0, 0, &clip(&title, x.saturating_sub(2)), look.theme.heading);
}
