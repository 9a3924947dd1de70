//! The columns of the sessions, and the order in which these stand.

use std::borrow::Cow;
use std::cmp::Reverse;

use crate::model::{SecretState, Session, Store};

/// A column of the table of sessions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Column {
    /// When the session was first seen.
    Time,
    /// Process id.
    Pid,
    /// Name of the process.
    Process,
    /// Client or server.
    Role,
    /// Server name, or else the peer.
    Server,
    /// Library and its version.
    Library,
    /// TLS version.
    Version,
    /// Cipher suite.
    Cipher,
    /// How much of its secrets is there.
    State,
    /// Each secret by a letter.
    Labels,
    /// Whether it is in the key log.
    Saved,
    /// Start of the client random.
    ClientRandom,
    /// Path of the executable.
    Executable,
}

impl Column {
    /// All of them, as they stand in the table.
    pub const ALL: [Self; 13] = [
        Self::Time,
        Self::Pid,
        Self::Process,
        Self::Role,
        Self::Server,
        Self::Library,
        Self::Version,
        Self::Cipher,
        Self::State,
        Self::Labels,
        Self::Saved,
        Self::ClientRandom,
        Self::Executable,
    ];

    /// For messages.
    pub fn name(self) -> &'static str {
        match self {
            Self::Time => "time",
            Self::Pid => "pid",
            Self::Process => "process",
            Self::Role => "role",
            Self::Server => "server",
            Self::Library => "library",
            Self::Version => "TLS version",
            Self::Cipher => "cipher",
            Self::State => "state of the secrets",
            Self::Labels => "number of labels",
            Self::Saved => "saved",
            Self::ClientRandom => "client random",
            Self::Executable => "executable",
        }
    }
}

/// Some of the columns.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Columns(u16);

impl Columns {
    /// All of them.
    pub const ALL: Self = Self((1 << Column::ALL.len()) - 1);

    /// Whether the column is among them.
    pub fn contains(self, column: Column) -> bool {
        self.0 & (1 << column as u16) != 0
    }
}

impl FromIterator<Column> for Columns {
    fn from_iter<T: IntoIterator<Item = Column>>(columns: T) -> Self {
        Self(columns.into_iter().fold(0, |bits, column| bits | (1 << column as u16)))
    }
}

/// By which column the sessions stand, and in which direction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Order {
    /// The column.
    pub column: Column,
    /// The greatest on top.
    pub descending: bool,
}

impl Default for Order {
    /// The newest on top.
    fn default() -> Self {
        Self::of(Column::Time)
    }
}

impl Order {
    /// The order that a column has at first.
    pub fn of(column: Column) -> Self {
        Self { column, descending: column == Column::Time }
    }

    pub(super) fn reversed(self) -> Self {
        Self { descending: !self.descending, ..self }
    }

    /// The order by the next of the columns that are shown, from left to right and round again.
    pub(super) fn next(self, shown: Columns) -> Self {
        let at = Column::ALL.iter().position(|column| *column == self.column).unwrap_or_default();
        let mut round = Column::ALL.iter().cycle().skip(at + 1).take(Column::ALL.len());
        round.find(|column| shown.contains(**column)).map_or(self, |column| Self::of(*column))
    }

    /// `newest first`, `ascending`.
    pub(super) fn direction(self) -> &'static str {
        match (self.column, self.descending) {
            (Column::Time, true) => "newest first",
            (Column::Time, false) => "oldest first",
            (_, true) => "descending",
            (_, false) => "ascending",
        }
    }

    /// Where a session stands in this order, of which `library` made the secrets.
    pub(super) fn place(self, session: &Session, library: &str) -> Place {
        let key = match (self.value(session, library), self.descending) {
            _ if self == Self::default() => Key::Arrival,
            (None, _) => Key::Unknown,
            (Some(value), false) => Key::Up(value.into_owned()),
            (Some(value), true) => Key::Down(Reverse(value.into_owned())),
        };
        Place { key, serial: Reverse(session.serial) }
    }

    /// What this order compares; `None` where it is not known.
    pub(super) fn value<'a>(self, session: &'a Session, library: &'a str) -> Option<Value<'a>> {
        let number = |number: u64| Some(Value::Number(number));
        match self.column {
            // In the order of arrival, which a clock that is set back does not change.
            Column::Time => number(session.serial),
            Column::Pid => number(session.pid()?.into()),
            Column::Process => Some(Value::text(session.process.comm.shown())),
            Column::Role => number(session.facts.role? as u64),
            Column::Server => Some(Value::text(session.server()?)),
            Column::Library => Some(Value::text(library.into())),
            Column::Version => number(session.facts.version? as u64),
            Column::Cipher => {
                let cipher = session.facts.cipher?;
                // Those without a name are below the others: `~` stands behind all letters.
                Some(Value::Text(
                    cipher.name().map_or_else(|| format!("~{cipher}").into(), Cow::from),
                ))
            }
            Column::State => number(match session.state() {
                SecretState::Waiting => 0,
                SecretState::Partial { have, .. } => 1 + u64::from(have),
                SecretState::Complete => 1 << 8,
                SecretState::Null => 1 << 9,
                SecretState::Missing => 1 << 10,
            }),
            Column::Labels => number(session.labels().into()),
            Column::Saved => {
                number(u64::from(session.is_saved()) * 2 + u64::from(session.conflicts > 0))
            }
            Column::ClientRandom => {
                let random = &session.key.client_random.0;
                let first = random.iter().take(8).fold(0, |sum, byte| sum << 8 | u64::from(*byte));
                number(first >> 2)
            }
            Column::Executable => Some(Value::text(session.process.exe.as_ref()?.shown())),
        }
    }
}

/// What an order compares.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Value<'a> {
    /// At most `GREATEST`.
    Number(u64),
    /// In lower case, but for the names of ciphers.
    Text(Cow<'a, str>),
}

impl<'a> Value<'a> {
    /// The greatest number.
    pub const GREATEST: u64 = u64::MAX >> 2;

    fn text(text: Cow<'a, str>) -> Self {
        let is_lower =
            text.bytes().fold(true, |lower, b| lower & b.is_ascii() & !b.is_ascii_uppercase());
        Self::Text(if is_lower { text } else { text.to_lowercase().into() })
    }

    fn into_owned(self) -> Value<'static> {
        match self {
            Self::Number(number) => Value::Number(number),
            Self::Text(text) => Value::Text(text.into_owned().into()),
        }
    }
}

/// A place among the rows: those that come first are less. Of equal ones the newer is above.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place {
    key: Key,
    serial: Reverse<u64>,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Key {
    /// The serial alone decides.
    Arrival,
    Up(Value<'static>),
    Down(Reverse<Value<'static>>),
    /// Below all that are known, in both directions.
    Unknown,
}

impl Place {
    /// Above all rows.
    pub const TOP: Self = Self { key: Key::Arrival, serial: Reverse(u64::MAX) };

    /// The place in the order of arrival.
    pub fn of_arrival(serial: u64) -> Self {
        Self { key: Key::Arrival, serial: Reverse(serial) }
    }

    /// The session that is, or was, there.
    pub fn serial(&self) -> u64 {
        self.serial.0
    }

    /// The session.
    pub fn session<'a>(&self, store: &'a Store) -> Option<&'a Session> {
        store.by_serial(self.serial())
    }

    /// What it stands by: a value, `Some(None)` where that is not known; `None` in the order of arrival.
    pub fn value(&self) -> Option<Option<&Value<'static>>> {
        match &self.key {
            Key::Arrival => None,
            Key::Up(value) | Key::Down(Reverse(value)) => Some(Some(value)),
            Key::Unknown => Some(None),
        }
    }
}
