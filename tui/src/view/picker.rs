//! The processes to choose from.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::Style;

use super::Theme;
use super::columns::{Column, Placed, place};
use super::paint::{clip, line, put, put_letters, width};
use super::picker_capture::{capture, library};
use crate::model::container::Container;
use crate::model::target::Target;
use crate::model::ui::{App, Highlighter, Line, Mark, Row};
use crate::text::sanitize;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Field {
    Mark,
    Pid,
    Process,
    Library,
    Capture,
    Container,
    Command,
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

/// Columns in which process and library grow up to these widths; the rest is for what can be captured.
const fn columns(process: u16, library: u16) -> [Column<Field>; 5] {
    [
        column(Field::Mark, "", 3, 3, 0),
        column(Field::Pid, "PID", PID, PID, 0),
        column(Field::Process, "PROCESS", 13, process, 0),
        column(Field::Library, "LIBRARY", 14, library, 0),
        // `attached, 5 probes`
        column(Field::Capture, "CAPTURE", 18, 400, 0),
    ]
}

/// At 80 columns there is room for the reason why something cannot be captured.
const NARROW: [Column<Field>; 5] = columns(15, 16);
/// With what else the search looks at; on a machine without containers that column is left out.
const WIDE: [Column<Field>; 7] = [
    column(Field::Mark, "", 3, 3, 0),
    column(Field::Pid, "PID", PID, PID, 0),
    column(Field::Process, "PROCESS", 15, 16, 0),
    column(Field::Library, "LIBRARY", 14, 17, 0),
    // `attached: tap, 5 probes; catching up, 42 s`
    column(Field::Capture, "CAPTURE", 38, 44, 0),
    // `docker 0123456789ab`, `nginx.service`
    column(Field::Container, "CONTAINER, UNIT", 19, 24, 2),
    column(Field::Command, "COMMAND", 16, 200, 1),
];
/// The largest process id, 4194304.
const PID: u16 = 7;
/// The same with `(4194304 inside)`.
const PIDS: u16 = 24;
/// From this width on.
const WIDE_FROM: u16 = 100;

pub(super) fn draw(buf: &mut Buffer, area: Rect, app: &App, theme: &Theme) {
    let targets = &app.model.targets;
    let in_container = |target: &Target| target.process.container.is_some();
    let columns: Vec<Column<Field>> = match area.width < WIDE_FROM {
        true => NARROW.into(),
        false if targets.processes.values().any(in_container) => WIDE.into(),
        false => WIDE.into_iter().filter(|column| column.field != Field::Container).collect(),
    };
    let pids = targets.processes.values().map(|target| width(&target.process.pids()));
    let pids = pids.max().unwrap_or(0).clamp(PID, PIDS);
    let mut columns = columns;
    if area.width >= WIDE_FROM
        && let Some(column) = columns.iter_mut().find(|column| column.field == Field::Pid)
    {
        (column.width, column.widest) = (pids, pids);
    }
    let columns = place(&columns, area);
    for placed in &columns {
        let indent = indent(placed, placed.column.title);
        put(buf, area, placed.x + indent, 0, placed.column.title, theme.heading);
    }
    let mut highlighter = app.ui.picker.highlighter();
    for (y, (line, target)) in (1..area.height).zip(app.ui.picker.rows(targets)) {
        match target {
            None => draw_everything(buf, area, y, app, theme),
            Some(target) => {
                let row = DrawnRow { y, line, target };
                draw_row(buf, area, &row, &columns, app, theme, highlighter.as_mut());
            }
        }
    }
    if app.ui.picker.highlighter().is_some() && app.ui.picker.matches() == 0 {
        put(buf, area, 4, 2, "no process matches", theme.faint);
    }
}

fn draw_everything(buf: &mut Buffer, area: Rect, y: u16, app: &App, theme: &Theme) {
    let mark = mark(app.ui.picker.mark(&app.model.targets, Row::Everything));
    let x = put(buf, area, 0, y, mark, theme.key) + 1;
    let x = put(buf, area, x, y, "everything, now and in future", theme.heading) + 2;
    put(buf, area, x, y, &summary(app), theme.faint);
    select(buf, area, y, Row::Everything, app, theme);
}

/// A process, and the line of the screen that it is on.
struct DrawnRow<'a> {
    y: u16,
    line: &'a Line,
    target: &'a Target,
}

fn draw_row(
    buf: &mut Buffer,
    area: Rect,
    row: &DrawnRow<'_>,
    columns: &[Placed<'_, Field>],
    app: &App,
    theme: &Theme,
    mut highlighter: Option<&mut Highlighter<'_>>,
) {
    let (targets, process) = (&app.model.targets, &row.target.process);
    let mut found = Vec::new();
    for placed in columns {
        let field = placed.column.field;
        let (mut x, mut room) = (placed.x, placed.width);
        if field == Field::Process {
            let guide = clip(&row.line.guide, room / 2);
            x = put(buf, area, x, row.y, &guide, theme.faint);
            room -= width(&guide);
        }
        let (text, style) = match field {
            Field::Mark => (mark(app.ui.picker.mark(targets, row.line.row)).to_owned(), theme.key),
            Field::Pid if room > PID => (process.pids(), Style::new()),
            Field::Pid => (process.pid.to_string(), Style::new()),
            Field::Process => (process.comm.to_string(), Style::new()),
            Field::Library => (library(row.target, targets), Style::new()),
            Field::Capture => capture(row.target, app, room, theme),
            Field::Container => {
                let place = process.container.as_ref().map(Container::short);
                (place.unwrap_or_default(), theme.faint)
            }
            Field::Command => {
                let command = row.target.command.as_ref().filter(|text| !text.raw().is_empty());
                let command = command.or(process.exe.as_ref());
                let text = command.map_or_else(|| "?".to_owned(), ToString::to_string);
                (without_folder(&text).to_owned(), theme.faint)
            }
        };
        x += indent(placed, &text);
        put(buf, area, x, row.y, &clip(&text, room), style);
        if let Some(highlighter) = &mut highlighter
            && !matches!(field, Field::Mark | Field::Capture)
        {
            let whole = matches!(field, Field::Pid | Field::Container | Field::Command);
            found.push((x, room, highlighter.letters(&text, whole), text));
        }
    }
    select(buf, area, row.y, row.line.row, app, theme);
    for (x, room, letters, text) in &found {
        put_letters(buf, area, *x, row.y, text, *room, letters);
    }
}

/// Numbers stand at the right of their column.
fn indent(placed: &Placed<'_, Field>, text: &str) -> u16 {
    match placed.column.field {
        Field::Pid => placed.width.saturating_sub(width(text)),
        _ => 0,
    }
}

/// A command line without the folder of the program: what tells processes apart is behind it.
fn without_folder(command: &str) -> &str {
    let program = command.split(' ').next().unwrap_or_default();
    match program.rfind('/') {
        Some(at) if program.starts_with('/') => &command[at + 1..],
        _ => command,
    }
}

fn select(buf: &mut Buffer, area: Rect, y: u16, row: Row, app: &App, theme: &Theme) {
    if app.ui.picker.cursor() == Some(row) {
        buf.set_style(line(area, y), Style::reset());
        buf.set_style(line(area, y), theme.selected);
    }
}

fn mark(mark: Mark) -> &'static str {
    match mark {
        Mark::Off => "[ ]",
        Mark::On => "[x]",
        Mark::Implied => "[*]",
        Mark::Excluded => "[-]",
        Mark::Never => " – ",
    }
}

/// `2 of 6 processes`: what the search shows, for its prompt.
pub(super) fn matches(app: &App) -> String {
    format!("{} of {} processes", app.ui.picker.matches(), app.model.targets.processes.len())
}

fn summary(app: &App) -> String {
    let targets = &app.model.targets;
    if app.ui.picker.highlighter().is_some() {
        return format!("{} match “{}”", matches(app), sanitize(app.ui.picker.search_text()));
    }
    let can = |target: &&Target| targets.obstacle(target).is_none();
    match (app.model.scanned, targets.processes.len()) {
        (false, _) => "looking at the processes…".to_owned(),
        (true, 1) => "1 process".to_owned(),
        (true, count) => match targets.processes.values().filter(can).count() {
            able if able == count => format!("{count} processes"),
            able => format!("{able} of {count} processes"),
        },
    }
}
