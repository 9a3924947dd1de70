//! The columns of the sessions, and what stands in them.

use std::borrow::Cow;

use ratatui::style::Style;
use time::OffsetDateTime;

use super::Look;
use super::columns::Column;
use crate::model::target::Targets;
use crate::model::{SecretState, Session, Time};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Field {
    Time,
    Pid,
    Process,
    Role,
    Library,
    Version,
    Cipher,
    Secrets,
    Saved,
    ClientRandom,
    Executable,
}

const fn column(
    field: Field,
    title: &'static str,
    width: u16,
    widest: u16,
    drop: u8,
) -> Column<Field> {
    Column { field, title, width, widest, drop }
}

/// As the screen narrows, they drop in this order: executable, client random, library, role, time, pid,
/// saved, cipher. Process, TLS version and secrets stay.
pub(super) const COLUMNS: [Column<Field>; 11] = [
    column(Field::Time, "TIME", 8, 8, 4),
    column(Field::Pid, "PID", 7, 7, 3),
    column(Field::Process, "PROCESS", 15, 24, 0),
    column(Field::Role, "ROLE", 6, 6, 5),
    column(Field::Library, "LIBRARY", 14, 20, 6),
    column(Field::Version, "TLS", 4, 4, 0),
    column(Field::Cipher, "CIPHER", 24, 37, 1),
    column(Field::Secrets, "SECRETS", 10, 10, 0),
    column(Field::Saved, "SAVED", 5, 5, 2),
    column(Field::ClientRandom, "RANDOM", 8, 8, 7),
    column(Field::Executable, "EXECUTABLE", 16, 200, 8),
];

/// Without these a row says nothing; they stay at every width.
pub const REQUIRED_COLUMNS: [&str; 4] = ["process", "tls", "cipher", "secrets"];

/// What the columns are called in a configuration, in their usual order: their headings, in lower case.
pub fn column_names() -> impl Iterator<Item = String> {
    COLUMNS.iter().map(name)
}

pub(super) fn name(column: &Column<Field>) -> String {
    column.title.to_lowercase().replace(' ', "-")
}

/// The columns of these names, in their order; without any, all of them.
pub(super) fn chosen(names: &[String]) -> Cow<'static, [Column<Field>]> {
    if names.is_empty() {
        return Cow::Borrowed(&COLUMNS);
    }
    let column = |wanted: &String| COLUMNS.iter().find(|column| name(column) == *wanted).copied();
    names.iter().filter_map(column).collect()
}

impl Field {
    /// Numbers are at the right of their column.
    pub(super) fn is_number(self) -> bool {
        self == Self::Pid
    }

    /// The end of a path says more than its start.
    pub(super) fn is_path(self) -> bool {
        self == Self::Executable
    }

    pub(super) fn text<'a>(
        self,
        session: &'a Session,
        targets: &Targets,
        look: &Look,
    ) -> Cow<'a, str> {
        match self {
            Self::Time => local_time(session.first_seen, look).into(),
            Self::Pid => session.key.pid.to_string().into(),
            Self::Process => session.process.comm.to_string().into(),
            Self::Library => match targets.images.get(&session.image) {
                Some(image) => image.library().into(),
                None => "?".into(),
            },
            Self::Version => session.facts.version.map_or("?", |version| version.short()).into(),
            Self::Role => session.facts.role.map_or("?", |role| role.as_str()).into(),
            Self::Cipher => match session.facts.cipher {
                // Every name begins so: what tells them apart is behind it.
                Some(cipher) => cipher.to_string().trim_start_matches("TLS_").to_owned().into(),
                None => "?".into(),
            },
            Self::Secrets => state(session.state()),
            Self::Saved => saved(session).into(),
            Self::ClientRandom => session.key.client_random.short().into(),
            Self::Executable => {
                session.process.exe.as_ref().map_or("?".into(), |e| e.to_string().into())
            }
        }
    }

    pub(super) fn style(self, session: &Session, look: &Look) -> Style {
        match self {
            Self::Secrets => match session.state() {
                SecretState::Complete => look.theme.good,
                SecretState::Partial { .. } => look.theme.caution,
                SecretState::Waiting | SecretState::Null => look.theme.faint,
            },
            Self::Saved if session.conflicts > 0 => look.theme.caution,
            Self::Saved if session.is_saved() => look.theme.good,
            Self::Time | Self::ClientRandom => look.theme.faint,
            _ => Style::new(),
        }
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
    }
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
