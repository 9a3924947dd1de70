//! The selected session's secrets, masked.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::Style;

use super::Look;
use super::paint::{put, width};
use super::session_row::local_time;
use crate::model::ui::App;
use crate::model::{Entry, Session};
use crate::tls::Label;

pub(super) fn draw(buf: &mut Buffer, area: Rect, app: &App, look: &Look) {
    let Some(session) = app.ui.list.selected(&app.model.sessions) else { return };
    match area.height {
        0 => {}
        1 => draw_line(buf, area, session, look),
        _ => draw_block(buf, area, session, look),
    }
}

/// All secrets in one line, with short names.
fn draw_line(buf: &mut Buffer, area: Rect, session: &Session, look: &Look) {
    let mut x = 0;
    for entry in &session.entries {
        let value = value(entry);
        if x + width(short(&entry.label)) + width(&value) + 1 > area.width {
            put(buf, area, x, 0, "…", look.theme.faint);
            return;
        }
        x = put(buf, area, x, 0, short(&entry.label), look.theme.faint);
        x = put(buf, area, x + 1, 0, &value, Style::new()) + 2;
    }
}

/// A heading, and a line for each secret.
fn draw_block(buf: &mut Buffer, area: Rect, session: &Session, look: &Look) {
    buf.set_string(area.x, area.y, "─".repeat(usize::from(area.width)), look.theme.faint);
    let heading = format!(
        "{} ({})  client random {}",
        session.process.comm, session.key.pid, session.key.client_random
    );
    put(buf, area, 0, 1, &heading, look.theme.heading);
    let room = usize::from(area.height - 2);
    let shown = match session.entries.len() {
        count if count > room => room - 1,
        count => count,
    };
    for (y, entry) in (2..).zip(&session.entries[..shown]) {
        draw_entry(buf, area, y, entry, look);
    }
    if shown < session.entries.len() {
        let more = format!("… and {} more", session.entries.len() - shown);
        put(buf, area, 2, area.height - 1, &more, look.theme.faint);
    }
}

fn draw_entry(buf: &mut Buffer, area: Rect, y: u16, entry: &Entry, look: &Look) {
    put(buf, area, 2, y, entry.label.as_str(), Style::new());
    put(buf, area, 34, y, &value(entry), Style::new());
    let (saved, style) = match entry {
        entry if entry.shadowed => ("! conflict", look.theme.caution),
        entry if entry.saved => ("● saved", look.theme.good),
        entry if entry.is_null() => ("", Style::new()),
        _ => ("– not saved", Style::new()),
    };
    put(buf, area, 44, y, saved, style);
    let source = format!("{} {}", entry.method.as_str(), local_time(entry.time, look));
    put(buf, area, 57, y, &source, look.theme.faint);
}

/// The masked secret, or `null`.
fn value(entry: &Entry) -> String {
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
