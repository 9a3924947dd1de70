//! The processes to choose from.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::Style;

use super::Theme;
use super::columns::{Column, place};
use super::paint::{clip, line, put, width};
use crate::model::target::{Image, ImageState, Target, Targets};
use crate::model::ui::{App, Mark, Row};
use crate::text::sanitize;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Field {
    Mark,
    Pid,
    Process,
    Library,
    Capture,
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
        column(Field::Pid, "PID", 7, 7, 0),
        column(Field::Process, "PROCESS", 13, process, 0),
        column(Field::Library, "LIBRARY", 14, library, 0),
        // `attached, 5 probes`
        column(Field::Capture, "CAPTURE", 18, 400, 0),
    ]
}

/// At 80 columns there is room for the reason why something cannot be captured.
const NARROW: [Column<Field>; 5] = columns(15, 16);
const WIDE: [Column<Field>; 5] = columns(24, 20);
/// From this width on.
const WIDE_FROM: u16 = 100;

pub(super) fn draw(buf: &mut Buffer, area: Rect, app: &App, theme: &Theme) {
    let columns = place(if area.width < WIDE_FROM { &NARROW } else { &WIDE }, area);
    for placed in &columns {
        put(buf, area, placed.x, 0, placed.column.title, theme.heading);
    }
    let targets = &app.model.targets;
    for (y, (row, target)) in (1..area.height).zip(app.ui.picker.rows(targets)) {
        let mark = mark(app.ui.picker.mark(targets, row));
        let Some(target) = target else {
            let x = put(buf, area, 0, y, mark, theme.key) + 1;
            let x = put(buf, area, x, y, "everything, now and in future", theme.heading) + 2;
            put(buf, area, x, y, &summary(app), theme.faint);
            select(buf, area, y, row, app, theme);
            continue;
        };
        let (capture, style) = capture(target, targets, theme);
        for placed in &columns {
            let (text, style) = match placed.column.field {
                Field::Mark => (mark.to_owned(), theme.key),
                Field::Pid => (target.process.pid.to_string(), Style::new()),
                Field::Process => (target.process.comm.to_string(), Style::new()),
                Field::Library => (library(target, targets), Style::new()),
                Field::Capture => (capture.clone(), style),
            };
            let text = clip(&text, placed.width);
            let right = placed.column.field == Field::Pid;
            let indent = if right { placed.width - width(&text) } else { 0 };
            put(buf, area, placed.x + indent, y, &text, style);
        }
        select(buf, area, y, row, app, theme);
    }
}

fn select(buf: &mut Buffer, area: Rect, y: u16, row: Row, app: &App, theme: &Theme) {
    if app.ui.picker.cursor() == row {
        buf.set_style(line(area, y), Style::reset());
        buf.set_style(line(area, y), theme.selected);
    }
}

fn mark(mark: Mark) -> &'static str {
    match mark {
        Mark::Off => "[ ]",
        Mark::On => "[x]",
        Mark::Implied => "[*]",
        Mark::Never => " – ",
    }
}

fn summary(app: &App) -> String {
    let targets = &app.model.targets;
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

/// The images of a process, those that matter most first.
fn images<'a>(target: &Target, targets: &'a Targets) -> Vec<&'a Image> {
    let mut images: Vec<_> = target.images.iter().filter_map(|id| targets.images.get(id)).collect();
    images.sort_by_key(|image| match (&image.state, image.plan.taps.is_empty()) {
        (ImageState::Failed(_), _) => 0,
        (_, false) => 1,
        (_, true) => 2,
    });
    images
}

/// `OpenSSL 3.0.17`, `OpenSSL 3.0.17 +1`.
fn library(target: &Target, targets: &Targets) -> String {
    match images(target, targets).as_slice() {
        [] => "?".to_owned(),
        [image] => image.library(),
        [image, others @ ..] => format!("{} +{}", image.library(), others.len()),
    }
}

/// What is or would be done to capture, or why nothing can be.
fn capture(target: &Target, targets: &Targets, theme: &Theme) -> (String, Style) {
    let images = images(target, targets);
    let Some(image) = images.first() else { return (String::new(), Style::new()) };
    let chosen = targets.selection.chooses(&target.process);
    match &image.state {
        ImageState::Attached { probes: 1 } if chosen => {
            ("attached, 1 probe".to_owned(), theme.good)
        }
        ImageState::Attached { probes } if chosen => {
            (format!("attached, {probes} probes"), theme.good)
        }
        ImageState::Attaching if chosen => ("attaching…".to_owned(), theme.caution),
        ImageState::Failed(reason) => (format!("failed: {}", sanitize(reason)), theme.bad),
        _ => match targets.obstacle(target) {
            Some(why) => (format!("cannot: {}", sanitize(&why)), theme.faint),
            None => ("can be captured".to_owned(), Style::new()),
        },
    }
}
