//! The columns of the sessions, and what stands in them.

use std::borrow::Cow;

use ratatui::style::Style;
use time::OffsetDateTime;

use super::Look;
use super::columns::Column as Slot;
use super::wire_lines::library;
use crate::model::target::Targets;
use crate::model::ui::{App, Column};
use crate::model::{Entry, SecretState, Session, Time};
use crate::text::Foreign;
use crate::tls::{Label, Version};

const fn column(
    field: Column,
    title: &'static str,
    width: u16,
    widest: u16,
    drop: u8,
) -> Slot<Column> {
    Slot { field, title, width, widest, drop }
}

/// As the screen narrows, they drop in this order: executable, client random, library, saved, server name
/// or peer, time, pid, role. Process, TLS version, cipher, state and labels stay. All that are not
/// dropped there take 80 columns.
#[rustfmt::skip]
const COLUMNS: [Slot<Column>; 13] = [
    column(Column::Time, "TIME", 8, 8, 3),
    column(Column::Pid, "PID", 7, 7, 2),
    column(Column::Process, "PROCESS", 15, 16, 0),
    column(Column::Role, "ROLE", 6, 6, 1),
    column(Column::Server, "SERVER", 16, 32, 4),
    column(Column::Library, "LIBRARY", 14, 16, 6),
    column(Column::Version, "TLS", 4, 4, 0),
    column(Column::Cipher, "CIPHER", 17, 37, 0),
    column(Column::State, "SECRETS", 10, 10, 0),
    column(Column::Labels, "LABELS", 6, 6, 0),
    column(Column::Saved, "SAVED", 5, 5, 5),
    column(Column::ClientRandom, "RANDOM", 8, 8, 7),
    column(Column::Executable, "EXECUTABLE", 16, 200, 8),
];

/// Without these a row says nothing; they stay at every width.
pub const REQUIRED_COLUMNS: [&str; 4] = ["process", "tls", "cipher", "secrets"];

/// What the columns are called in a configuration, in their usual order: their headings, in lower case.
pub fn column_names() -> impl Iterator<Item = String> {
    COLUMNS.iter().map(name)
}

fn name(slot: &Slot<Column>) -> String {
    slot.title.to_lowercase().replace(' ', "-")
}

/// The columns of these names, in their order; without any, all of them.
fn chosen(names: &[String]) -> Vec<Slot<Column>> {
    if names.is_empty() {
        return COLUMNS.to_vec();
    }
    let slot = |wanted: &String| COLUMNS.iter().find(|slot| name(slot) == *wanted).copied();
    names.iter().filter_map(slot).collect()
}

/// The columns that were chosen and have something to say, before any drops.
pub(super) fn columns(app: &App) -> Vec<Slot<Column>> {
    let says = |slot: &Slot<Column>| {
        slot.field != Column::Server || app.model.sessions.named_sessions() > 0
    };
    chosen(&app.ui.columns).into_iter().filter(says).collect()
}

/// Numbers are at the right of their column.
pub(super) fn is_number(column: Column) -> bool {
    column == Column::Pid
}

/// The end of a path says more than its start.
pub(super) fn is_path(column: Column) -> bool {
    column == Column::Executable
}

pub(super) fn text<'a>(
    column: Column,
    session: &'a Session,
    targets: &Targets,
    look: &Look,
) -> Cow<'a, str> {
    match column {
        Column::Time => local_time(session.first_seen, look).into(),
        Column::Pid => pid(session).into(),
        Column::Process => session.process.comm.shown(),
        Column::Role => session.facts.role.map_or("?", |role| role.as_str()).into(),
        Column::Server => session.server().unwrap_or("?".into()),
        Column::Library => {
            let image = targets.images.get(&session.image);
            library(session, image).map_or("?".into(), Cow::Owned)
        }
        Column::Version => session.facts.version.map_or("?", |version| version.short()).into(),
        Column::Cipher => match session.facts.cipher {
            // Every name begins so: what tells them apart is behind it.
            Some(cipher) => cipher.to_string().trim_start_matches("TLS_").to_owned().into(),
            None => "?".into(),
        },
        Column::State => state(session.state()),
        Column::Labels => labels(session).into(),
        Column::Saved => saved(session).into(),
        Column::ClientRandom => session.key.client_random.short().into(),
        Column::Executable => session.process.exe.as_ref().map_or("?".into(), Foreign::shown),
    }
}

pub(super) fn style(column: Column, session: &Session, look: &Look) -> Style {
    match column {
        Column::State => match session.state() {
            SecretState::Complete => look.theme.good,
            SecretState::Partial { .. } => look.theme.caution,
            SecretState::Waiting | SecretState::Null => look.theme.faint,
            SecretState::Missing => look.theme.bad,
        },
        Column::Saved if session.conflicts > 0 => look.theme.caution,
        Column::Saved if session.is_saved() => look.theme.good,
        Column::Time | Column::ClientRandom => look.theme.faint,
        _ => Style::new(),
    }
}

/// The letters of TLS 1.3's labels, in the order in which a handshake makes them.
const LETTERS: [(Label, char); 6] = [
    (Label::ClientEarlyTraffic, 'E'),
    (Label::ClientHandshake, 'H'),
    (Label::ServerHandshake, 'h'),
    (Label::ClientTraffic0, 'A'),
    (Label::ServerTraffic0, 'a'),
    (Label::Exporter, 'X'),
];

/// `-HhAaX`: a letter for each that was captured, `∅` for a null one, `-` for one that is missing.
/// TLS 1.2 has its master secret alone: `M`.
fn labels(session: &Session) -> String {
    let mark = |label: &Label, letter| {
        let of_label = |entry: &&Entry| entry.label == *label;
        match session.entries.iter().filter(of_label).map(Entry::is_null).reduce(|a, b| a && b) {
            None => '-',
            Some(true) => '∅',
            Some(false) => letter,
        }
    };
    let traffic = session.facts.version.is_some_and(Version::has_traffic_secrets);
    match traffic || LETTERS.iter().any(|(label, letter)| mark(label, *letter) != '-') {
        true => LETTERS.iter().map(|(label, letter)| mark(label, *letter)).collect(),
        false => mark(&Label::ClientRandom, 'M').into(),
    }
}

/// `14:03:59`, in the local time zone.
pub(super) fn local_time(time: Time, look: &Look) -> String {
    const FORMAT: &[time::format_description::BorrowedFormatItem<'_>] =
        time::macros::format_description!("[hour]:[minute]:[second]");
    OffsetDateTime::from_unix_timestamp_nanos(i128::from(time.0))
        .ok()
        .and_then(|time| time.to_offset(look.offset).format(FORMAT).ok())
        .unwrap_or_else(|| "?".to_owned())
}

/// Symbol and text.
pub(super) fn state(state: SecretState) -> Cow<'static, str> {
    match state {
        SecretState::Waiting => "… waiting".into(),
        SecretState::Partial { have, need } => format!("◐ {have}/{need}").into(),
        SecretState::Complete => "✓ complete".into(),
        SecretState::Null => "∅ null".into(),
        SecretState::Missing => "✗ missing".into(),
    }
}

/// `?` where it is not known whose the handshake is.
pub(super) fn pid(session: &Session) -> String {
    session.pid().map_or_else(|| "?".to_owned(), |pid| pid.to_string())
}

/// `●` saved, `–` not, with `!` where values are in conflict.
fn saved(session: &Session) -> &'static str {
    match (session.is_saved(), session.conflicts > 0) {
        (true, false) => "●",
        (false, false) => "–",
        (true, true) => "● !",
        (false, true) => "– !",
    }
}
