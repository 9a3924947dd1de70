//! What stands in the view of one session, line by line.

use std::ops::Range;

use ratatui::style::Style;
use time::OffsetDateTime;
use unicode_width::UnicodeWidthChar as _;
use zeroize::Zeroizing;

use super::Look;
use super::detail::{in_full, saved, value};
use super::paint::{clip, width};
use super::session_row::{local_time, pid};
use super::wire_lines::wire_fields;
use crate::action::{Action, Context};
use crate::model::ui::{App, CommandLine, Secrets, detail_rows};
use crate::model::{Entry, Method, Reason, Session, Time};
use crate::text::sanitize;

/// A text in a line. It may be a secret.
pub(super) struct Part {
    pub x: u16,
    pub text: Zeroizing<String>,
    pub style: Style,
}

/// All lines, and which of them belong to which label: [`detail_rows`].
pub(super) struct Content {
    pub lines: Vec<Vec<Part>>,
    pub rows: Vec<Range<usize>>,
}

/// The longest known label.
const LABEL: u16 = 31;
/// Below this width a state is its symbol alone, and method and time have no column.
const WIDE: u16 = 80;
/// Where the value of a field begins.
const VALUE: u16 = 16;

pub(super) fn content(session: &Session, app: &App, look: &Look, columns: u16) -> Content {
    let revealed = look.reveal || app.ui.detail.seconds_left(app.model.now).is_some();
    let mut page = Page { lines: Vec::new(), columns, look };
    page.table_heading();
    let rows = detail_rows(session);
    let mut places = Vec::new();
    for row in &rows {
        let start = page.lines.len();
        page.row(row, revealed);
        places.push(start..page.lines.len());
    }
    let cursor = app.ui.detail.cursor.min(rows.len().saturating_sub(1));
    if let Some(row) = rows.get(cursor) {
        page.key_line(session, row, revealed, app);
    }
    page.session(session);
    page.capture(session, app);
    page.process(session, app);
    Content { lines: page.lines, rows: places }
}

/// The lines so far.
struct Page<'a> {
    lines: Vec<Vec<Part>>,
    columns: u16,
    look: &'a Look,
}

impl Page<'_> {
    fn line(&mut self, parts: impl IntoIterator<Item = (u16, String, Style)>) {
        let part = |(x, text, style)| Part { x, text: Zeroizing::new(text), style };
        self.lines.push(parts.into_iter().map(part).collect());
    }

    fn is_wide(&self) -> bool {
        self.columns >= WIDE
    }

    /// Where the columns of the table begin: label, secret, saved, method, time.
    fn columns(&self) -> [u16; 5] {
        let label = if self.is_wide() { 12 } else { 3 };
        let secret = label + LABEL + 1;
        [label, secret, secret + 9, secret + 21, secret + 26]
    }

    fn table_heading(&mut self) {
        let style = self.look.theme.heading;
        let [label, secret, saved, method, time] = self.columns();
        let mut titles = vec![(label, "LABEL"), (secret, "SECRET"), (saved, "SAVED")];
        if self.is_wide() {
            titles.extend([(1, "STATE"), (method, "BY"), (time, "TIME")]);
        }
        self.line(titles.into_iter().map(|(x, title)| (x, title.to_owned(), style)));
    }

    /// A label, and its secret in full below it where that is asked for.
    fn row(&mut self, row: &Secrets<'_>, revealed: bool) {
        let theme = &self.look.theme;
        let (symbol, word, style) = match row {
            Secrets::Missing(_) => ("·", "missing", theme.caution),
            Secrets::Held(entry) if entry.is_null() => ("∅", "null", theme.faint),
            Secrets::Held(_) => ("✓", "captured", theme.good),
        };
        let [label, secret, saved_at, method, time] = self.columns();
        let name = match row {
            Secrets::Missing(label) => label.as_str(),
            Secrets::Held(entry) => entry.label.as_str(),
        };
        let mut parts = vec![
            (1, symbol.to_owned(), style),
            (label, clip(name, LABEL).into_owned(), Style::new()),
        ];
        match (row, self.is_wide()) {
            (_, true) => parts.push((3, word.to_owned(), style)),
            (Secrets::Missing(_), false) => parts.push((secret, word.to_owned(), style)),
            _ => {}
        }
        if let Secrets::Held(entry) = row {
            parts.push((secret, value(entry), Style::new()));
            let (text, style) = saved(entry, self.look);
            parts.push((saved_at, text.to_owned(), style));
            if self.is_wide() {
                parts.push((method, entry.method.as_str().to_owned(), theme.faint));
                parts.push((time, local_time(entry.time, self.look), theme.faint));
            }
        }
        self.line(parts);
        if let Secrets::Held(entry) = row
            && revealed
            && !entry.is_null()
        {
            self.wrapped(label, &in_full(entry), Style::new());
        }
    }

    /// The key line of the label under the cursor, as it is copied and saved, and what became of it.
    fn key_line(&mut self, session: &Session, row: &Secrets<'_>, revealed: bool, app: &App) {
        let entry = match row {
            Secrets::Held(entry) if !entry.is_null() => entry,
            none => {
                let text = match none {
                    Secrets::Held(_) => "none: the secret was seen, and every byte of it is 0",
                    Secrets::Missing(_) => "none: the secret was not captured",
                };
                self.heading("KEY LINE", "");
                self.wrapped(1, text, Style::new());
                return;
            }
        };
        let key = app.keymap.key_name(Context::Detail, Action::CopyLine);
        self.heading("KEY LINE", &format!("{key} copies it in full"));
        let text = match revealed {
            true => {
                let mut text = session.key_line(entry).to_text();
                text.pop();
                text
            }
            false => {
                format!("{} {} {}", entry.label, session.key.client_random, entry.secret.masked())
                    .into()
            }
        };
        match width(&text) < self.columns {
            true => self.wrapped(1, &text, Style::new()),
            // Label, client random and secret each begin a line of their own.
            false => text.split(' ').for_each(|field| self.wrapped(1, field, Style::new())),
        }
        let (method, time) = (entry.method.as_str(), date_time(entry.time, self.look));
        let told = format!("captured by {method} at {time}, {}", story(entry));
        self.wrapped(1, &told, self.look.theme.faint);
        if entry.may_be_updated {
            let told = "the connection was open already, and a KeyUpdate may have replaced the first value";
            self.wrapped(1, told, self.look.theme.caution);
        }
    }

    fn session(&mut self, session: &Session) {
        let facts = session.facts;
        self.heading("SESSION", "");
        self.field("client random", &session.key.client_random.to_string());
        let known = |text: Option<String>| text.unwrap_or_else(|| "not known".to_owned());
        self.field("version", &known(facts.version.map(|version| version.to_string())));
        self.field(
            "cipher",
            &known(facts.cipher.map(|cipher| match cipher.name() {
                Some(name) => format!("{name} (0x{:04x})", cipher.0),
                None => format!("0x{:04x}, which has no name", cipher.0),
            })),
        );
        self.field("role", &known(facts.role.map(|role| role.as_str().to_owned())));
        let server_name = session.server_name.as_ref();
        self.field("server name", &known(server_name.map(ToString::to_string)));
        self.field("peer", &known(session.peer.map(|peer| peer.to_string())));
        let resumed = |resumed| match resumed {
            true => "resumed an earlier session".to_owned(),
            false => "full handshake, not resumed".to_owned(),
        };
        for (name, value) in wire_fields(session) {
            self.field(name, &value);
        }
        self.field("resumption", &known(facts.resumed.map(resumed)));
        self.field("first seen", &date_time(session.first_seen, self.look));
        if session.conflicts > 0 {
            let text = format!("{}: other values came, the first one stays", session.conflicts);
            self.styled_field("conflicts", &text, self.look.theme.caution);
        }
        if session.duplicates > 0 {
            self.field("duplicates", &session.duplicates.to_string());
        }
    }

    fn capture(&mut self, session: &Session, app: &App) {
        self.heading("CAPTURE", "");
        if session.is_missing() {
            let reason = session.reason.as_ref().map(Reason::text).unwrap_or_default();
            self.styled_field("no secret", &reason, self.look.theme.caution);
        }
        let Some(image) = app.model.targets.images.get(&session.image) else {
            let none = match session.is_missing() {
                true => "not known",
                false => "not on this machine any more",
            };
            self.field("image", none);
            return;
        };
        self.field("image", &image.path.to_string());
        self.field("library", &image.library());
        let used = |method| session.entries.iter().any(|entry| entry.method == method);
        if used(Method::Tap) {
            self.field("tap", &sanitize(&image.plan.reason));
        }
        if used(Method::Walk) {
            let why = match &*image.plan.hooks_reason {
                "" => "the library's structures were read",
                why => why,
            };
            self.field("walk", &sanitize(why));
        }
        let layout = match &image.plan.layout {
            Ok(layout) => format!("{}: {}", layout.group, layout.proof),
            Err(refusal) => format!("none: {}", refusal.0),
        };
        // The proof can be long; `scan` has all of it.
        let room = self.columns.saturating_sub(VALUE);
        self.field("layout", &clip(&sanitize(&layout), room));
    }

    /// The command line last: it may be long.
    fn process(&mut self, session: &Session, app: &App) {
        self.heading("PROCESS", "");
        let inside =
            session.process.inner_pid.map(|pid| format!(", {pid} inside of its namespace"));
        let inside = inside.unwrap_or_default();
        self.field("process", &format!("{} ({}{inside})", session.process.comm, pid(session)));
        let text = |text: &Option<crate::text::Foreign>, none: &str| {
            text.as_ref().map_or_else(|| none.to_owned(), ToString::to_string)
        };
        self.field("executable", &text(&session.process.exe, "not known"));
        match &session.process.container {
            None => self.field("container", "none"),
            Some(place) if place.id.is_some() || place.pod.is_some() => {
                self.field("container", &place.to_string());
            }
            Some(place) if place.unit.is_some() => self.field("unit", &place.to_string()),
            Some(place) => self.field("control group", &place.to_string()),
        }
        let command = match &app.ui.detail.command_line {
            CommandLine::Reading => "…".to_owned(),
            CommandLine::Known(text) if text.raw().is_empty() => "empty".to_owned(),
            CommandLine::Known(text) => text.to_string(),
            CommandLine::Unknown(why) => format!("not known: {}", sanitize(why)),
        };
        self.field("command line", &command);
    }

    fn heading(&mut self, title: &str, hint: &str) {
        self.line([]);
        let hint_at = width(title) + 3;
        let theme = &self.look.theme;
        self.line([(1, title.to_owned(), theme.heading), (hint_at, hint.to_owned(), theme.faint)]);
    }

    fn field(&mut self, name: &str, value: &str) {
        self.styled_field(name, value, Style::new());
    }

    fn styled_field(&mut self, name: &str, value: &str, style: Style) {
        let first = self.lines.len();
        self.wrapped(VALUE, value, style);
        let part =
            Part { x: 1, text: Zeroizing::new(name.to_owned()), style: self.look.theme.faint };
        if let Some(line) = self.lines.get_mut(first) {
            line.insert(0, part);
        }
    }

    /// A text on as many lines as it takes, one at least.
    fn wrapped(&mut self, x: u16, text: &str, style: Style) {
        let room = usize::from(self.columns.saturating_sub(x).max(2));
        let mut rest = text;
        loop {
            let (head, tail) = rest.split_at(break_at(rest, room));
            let text = Zeroizing::new(head.trim_end_matches(' ').to_owned());
            self.lines.push(vec![Part { x, text, style }]);
            rest = tail;
            if rest.is_empty() {
                return;
            }
        }
    }
}

/// How many bytes of a text fit: to the last space, if there is one in the second half, else to the last character.
fn break_at(text: &str, room: usize) -> usize {
    let (mut columns, mut space) = (0, None);
    for (at, c) in text.char_indices() {
        columns += c.width().unwrap_or(0);
        if columns > room {
            // One that is wider than the whole line is not broken.
            let end = if at == 0 { c.len_utf8() } else { at };
            return space.filter(|space| *space > at / 2).unwrap_or(end);
        }
        if c == ' ' {
            space = Some(at + 1);
        }
    }
    text.len()
}

/// What became of an entry, in words.
fn story(entry: &Entry) -> &'static str {
    match entry {
        entry if entry.shadowed => "kept out of the key log, which has another value of this line",
        entry if entry.saved => "saved to the key log",
        _ => "not saved",
    }
}

/// `2026-01-02 03:04:05`, in the local time zone.
fn date_time(time: Time, look: &Look) -> String {
    const FORMAT: &[time::format_description::BorrowedFormatItem<'_>] = time::macros::format_description!(
        "[year]-[month]-[day] [hour]:[minute]:[second].[subsecond digits:3]"
    );
    OffsetDateTime::from_unix_timestamp_nanos(i128::from(time.0))
        .ok()
        .and_then(|time| time.to_offset(look.offset).format(FORMAT).ok())
        .unwrap_or_else(|| "?".to_owned())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn lines_break_at_spaces_where_that_is_not_too_early() {
        assert_eq!(break_at("one two three", 8), 8);
        assert_eq!(break_at("one two three", 7), 4);
        assert_eq!(break_at("a bcdefghij", 8), 8);
        assert_eq!(break_at("日本語", 4), 6);
        assert_eq!(break_at("", 4), 0);
    }

    proptest! {
        #[test]
        fn a_break_is_between_characters_and_moves_on(text in "\\PC{1,60}", room in 2usize..20) {
            let at = break_at(&text, room);
            prop_assert!(at > 0 && text.is_char_boundary(at));
        }
    }
}
