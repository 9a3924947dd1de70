//! The selected session's secrets, masked, or in full with `--reveal`.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::Style;
use zeroize::Zeroizing;

use super::Look;
use super::paint::{clip, put, width};
use super::session_row::{local_time, pid};
use super::wire_lines::{reason, wire_fields};
use crate::model::target::Image;
use crate::model::ui::App;
use crate::model::{Entry, Session};
use crate::tls::Label;

/// Where a secret in full begins; all of its lines do.
pub(super) const VALUE_COLUMN: u16 = 13;

pub(super) fn draw(buf: &mut Buffer, area: Rect, app: &App, look: &Look) {
    let Some(session) = app.ui.list.selected(&app.model.sessions) else { return };
    match area.height {
        0 => {}
        1 => draw_line(buf, area, session, look),
        _ => draw_block(buf, area, app, session, look),
    }
}

/// All secrets in one line, with short names.
fn draw_line(buf: &mut Buffer, area: Rect, session: &Session, look: &Look) {
    if session.is_missing() {
        put(buf, area, 0, 0, &reason(session), look.theme.caution);
        return;
    }
    let mut x = 0;
    for entry in &session.entries {
        let value = match look.reveal {
            true => in_full(entry),
            false => value(entry).into(),
        };
        if x + width(short(&entry.label)) + width(&value) + 1 > area.width {
            put(buf, area, x, 0, "…", look.theme.faint);
            return;
        }
        x = put(buf, area, x, 0, short(&entry.label), look.theme.faint);
        x = put(buf, area, x + 1, 0, &value, Style::new()) + 2;
    }
}

/// A heading, and a line for each secret.
fn draw_block(buf: &mut Buffer, area: Rect, app: &App, session: &Session, look: &Look) {
    buf.set_string(area.x, area.y, "─".repeat(usize::from(area.width)), look.theme.faint);
    // Library and role have no column on a narrow screen.
    let image = app.model.targets.images.get(&session.image);
    let library = image.map_or_else(|| "unknown library".to_owned(), Image::library);
    let role = session.facts.role.map_or("", |role| role.as_str());
    let heading = format!(
        "{} ({})  {library}  {role}{}client random {}",
        session.process.comm,
        pid(session),
        if role.is_empty() { "" } else { "  " },
        session.key.client_random
    );
    put(buf, area, 0, 1, &heading, look.theme.heading);
    if session.is_missing() {
        draw_missing(buf, area, session, look);
        return;
    }
    if look.reveal {
        draw_revealed(buf, area, session, look);
        return;
    }
    let room = usize::from(area.height - 2);
    let shown = match session.entries.len() {
        count if count > room => room - 1,
        count => count,
    };
    for (y, entry) in (2..).zip(&session.entries[..shown]) {
        draw_entry(buf, area, y, entry, look);
    }
    draw_more(buf, area, area.height - 1, session.entries.len() - shown, look);
}

/// Why there is no secret, and what the wire showed.
fn draw_missing(buf: &mut Buffer, area: Rect, session: &Session, look: &Look) {
    put(buf, area, 2, 2, &reason(session), look.theme.caution);
    for (y, (name, value)) in (3..).zip(wire_fields(session)) {
        put(buf, area, 2, y, name, look.theme.faint);
        put(buf, area, VALUE_COLUMN + 3, y, &value, Style::new());
    }
}

fn draw_more(buf: &mut Buffer, area: Rect, y: u16, count: usize, look: &Look) {
    if count > 0 {
        put(buf, area, 2, y, &format!("… and {count} more"), look.theme.faint);
    }
}

/// The secrets in full, each on as many lines as it takes; one that does not fit whole is not begun.
fn draw_revealed(buf: &mut Buffer, area: Rect, session: &Session, look: &Look) {
    let columns = usize::from(area.width.saturating_sub(VALUE_COLUMN).max(1));
    let count = session.entries.len();
    let mut y = 2;
    for (index, entry) in session.entries.iter().enumerate() {
        let value = in_full(entry);
        let lines = value.chars().count().div_ceil(columns);
        let needed = lines + usize::from(index + 1 < count);
        if usize::from(y) + needed > usize::from(area.height) {
            draw_more(buf, area, y, count - index, look);
            return;
        }
        let (saved, style) = saved(entry, look);
        let mark: String = saved.chars().take(1).collect();
        put(buf, area, 0, y, &mark, style);
        put(buf, area, 2, y, &clip(short(&entry.label), VALUE_COLUMN - 3), look.theme.faint);
        let mut rest = value.as_str();
        while !rest.is_empty() {
            let end = rest.char_indices().nth(columns).map_or(rest.len(), |(at, _)| at);
            put(buf, area, VALUE_COLUMN, y, &rest[..end], Style::new());
            rest = &rest[end..];
            y += 1;
        }
    }
}

fn draw_entry(buf: &mut Buffer, area: Rect, y: u16, entry: &Entry, look: &Look) {
    put(buf, area, 2, y, entry.label.as_str(), Style::new());
    put(buf, area, 34, y, &value(entry), Style::new());
    let (saved, style) = saved(entry, look);
    put(buf, area, 44, y, saved, style);
    let source = format!("{} {}", entry.method.as_str(), local_time(entry.time, look));
    put(buf, area, 57, y, &source, look.theme.faint);
}

/// Whether it is in the key log: a mark and words.
pub(super) fn saved(entry: &Entry, look: &Look) -> (&'static str, Style) {
    match entry {
        entry if entry.shadowed => ("! conflict", look.theme.caution),
        entry if entry.saved => ("● saved", look.theme.good),
        entry if entry.is_null() => ("", Style::new()),
        _ => ("– not saved", Style::new()),
    }
}

/// The secret in hexadecimal, or `null`.
pub(super) fn in_full(entry: &Entry) -> Zeroizing<String> {
    match entry.is_null() {
        true => value(entry).into(),
        false => hex::encode(entry.secret.expose()).into(),
    }
}

/// The masked secret, or `null`.
pub(super) fn value(entry: &Entry) -> String {
    match entry.is_null() {
        true => "∅ null".to_owned(),
        false => entry.secret.masked(),
    }
}

/// A name for where there is little room.
fn short(label: &Label) -> &str {
    match label {
        Label::ClientRandom => "master",
        Label::ClientEarlyTraffic => "early",
        Label::EarlyExporter => "early-exp",
        Label::ClientHandshake => "hs-c",
        Label::ServerHandshake => "hs-s",
        Label::ClientTraffic0 => "app-c",
        Label::ServerTraffic0 => "app-s",
        Label::Exporter => "exp",
        Label::Other(text) => text,
    }
}
