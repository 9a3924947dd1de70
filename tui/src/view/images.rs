//! What is attached where, and the last warnings.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::Style;

use super::columns::{Column, Placed, place};
use super::paint::{clip, clip_start, put, width};
use super::picker_capture::probes;
use super::session_row::local_time;
use super::status::{Part, draw_parts, grouped, part};
use super::{Look, Theme};
use crate::json::linkage;
use crate::model::target::{Image, ImageState};
use crate::model::ui::{App, ImageLine};
use crate::target::layout::How;
use crate::text::sanitize;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Field {
    State,
    Events,
    Processes,
    Library,
    Linkage,
    Layout,
    Path,
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

/// At 60 columns there is neither linkage nor layout.
const COLUMNS: [Column<Field>; 7] = [
    column(Field::State, "STATE", 11, 11, 0),
    column(Field::Events, "EVENTS", 6, 9, 0),
    column(Field::Processes, "PROCS", 5, 5, 0),
    column(Field::Library, "LIBRARY", 14, 20, 0),
    column(Field::Linkage, "LINKAGE", 7, 7, 2),
    column(Field::Layout, "LAYOUT", 8, 20, 1),
    column(Field::Path, "IMAGE", 20, 400, 0),
];

/// Where the reason below an image begins: under the word of its state.
const INDENT: u16 = 2;

pub(super) fn draw(buf: &mut Buffer, area: Rect, app: &App, look: &Look) {
    let (targets, images) = (&app.model.targets, &app.ui.images);
    let columns = place(&COLUMNS, area);
    for placed in &columns {
        let title = placed.column.title;
        put(buf, area, placed.x + indent(placed, title), 0, title, look.theme.heading);
    }
    draw_hidden(buf, area, 0, images.hidden_images(), &look.theme);
    let users = targets.users();
    let mut y = 1;
    for line in images.lines(targets) {
        match line {
            ImageLine::Image(image) => {
                let users = users.get(&image.id).copied().unwrap_or_default();
                draw_image(buf, area, y, &columns, image, users, app, &look.theme);
            }
            ImageLine::Why(image) => {
                let (text, style) = why(image, app, &look.theme);
                put(buf, area, INDENT, y, &text, style);
            }
        }
        y += 1;
    }
    let totals = Rect { y: area.y + y.min(area.height), height: 1, ..area }.intersection(area);
    draw_parts(buf, totals, hits(app, &look.theme));
    draw_warnings(buf, area, y + 1, app, look);
}

/// How much is above and below what is shown, at the right of a heading.
fn draw_hidden(buf: &mut Buffer, area: Rect, y: u16, hidden: (usize, usize), theme: &Theme) {
    let text = match hidden {
        (0, 0) => return,
        (0, below) => format!(" ↓ {below} more"),
        (above, 0) => format!(" ↑ {above} more"),
        (above, below) => format!(" ↑ {above} ↓ {below} more"),
    };
    put(buf, area, area.width.saturating_sub(width(&text)), y, &text, theme.key);
}

#[expect(clippy::too_many_arguments, reason = "a cell needs to know where, what and how")]
fn draw_image(
    buf: &mut Buffer,
    area: Rect,
    y: u16,
    columns: &[Placed<'_, Field>],
    image: &Image,
    users: usize,
    app: &App,
    theme: &Theme,
) {
    for placed in columns {
        let plain = |text: String| (text, Style::new());
        let (text, style) = match placed.column.field {
            Field::State => state(image, app, theme),
            Field::Events => {
                let events = app.model.stats.events.get(&image.id).copied();
                plain(events.map_or_else(|| "0".to_owned(), grouped))
            }
            Field::Processes => plain(users.to_string()),
            Field::Library => plain(image.library()),
            Field::Linkage => plain(linkage(image.plan.linkage).to_owned()),
            Field::Layout => match &image.plan.layout {
                Ok(layout) if layout.how == How::Forced => {
                    (format!("{} FORCED", sanitize(&layout.group)), theme.bad)
                }
                Ok(layout) => plain(sanitize(&layout.group)),
                Err(_) => ("–".to_owned(), theme.faint),
            },
            Field::Path => {
                (clip_start(&image.path.to_string(), placed.width).into_owned(), theme.faint)
            }
        };
        let text = clip(&text, placed.width);
        put(buf, area, placed.x + indent(placed, &text), y, &text, style);
    }
}

/// Numbers stand at the right of their column.
fn indent(placed: &Placed<'_, Field>, text: &str) -> u16 {
    match placed.column.field {
        Field::Events | Field::Processes => placed.width.saturating_sub(width(text)),
        _ => 0,
    }
}

/// Symbol and text.
fn state(image: &Image, app: &App, theme: &Theme) -> (String, Style) {
    match &image.state {
        ImageState::Failed(_) => ("! failed".to_owned(), theme.bad),
        ImageState::Attaching => ("… attaching".to_owned(), theme.caution),
        ImageState::Attached { probes: count } => (format!("● {}", probes(*count)), theme.good),
        ImageState::Idle if image.plan.is_captured(app.model.targets.selection.ways) => {
            ("○ idle".to_owned(), Style::new())
        }
        ImageState::Idle => ("– cannot".to_owned(), theme.faint),
    }
}

/// Why nothing is attached.
fn why(image: &Image, app: &App, theme: &Theme) -> (String, Style) {
    match &image.state {
        ImageState::Failed(reason) => {
            // The path is in the line above.
            let reason = sanitize(reason);
            let path = format!("{}: ", image.path);
            (reason.strip_prefix(&path).unwrap_or(&reason).to_owned(), theme.bad)
        }
        _ => (sanitize(&image.plan.obstacle(app.model.targets.selection.ways)), theme.faint),
    }
}

/// What the kernel counted, over all images.
fn hits(app: &App, theme: &Theme) -> Vec<Part> {
    let (stats, kernel) = (&app.model.stats, &app.model.stats.kernel);
    let mut parts = vec![
        part(
            format!("all images: {} probe hits", grouped(kernel.hits)),
            format!("{} probe hits", grouped(kernel.hits)),
            Style::new(),
            8,
        ),
        part(
            format!("{} from processes not chosen", grouped(kernel.filtered)),
            format!("{} filtered", grouped(kernel.filtered)),
            Style::new(),
            2,
        ),
    ];
    let reasons = [
        (kernel.ring_full, "ring full", "ring"),
        (kernel.random_unreadable, "client random unreadable", "random"),
        (kernel.secret_unreadable, "secret unreadable", "secret"),
        (stats.label_lost, "label unknown", "label"),
    ];
    match stats.lost() {
        0 => parts.push(part("lost 0".to_owned(), "lost 0".to_owned(), Style::new(), 7)),
        lost => {
            let lost = format!("LOST {}:", grouped(lost));
            parts.push(part(lost.clone(), lost, theme.bad, 9));
            for (count, long, short) in reasons.into_iter().filter(|(count, ..)| *count > 0) {
                let count = grouped(count);
                let (long, short) = (format!("{long} {count}"), format!("{short} {count}"));
                parts.push(part(long, short, theme.bad, 6));
            }
        }
    }
    if let Some(worst) = app.model.missed.sentences().into_iter().next() {
        let total = app.model.missed.total();
        let short =
            format!("{} missed", grouped(total.handshakes + total.processes + total.unread));
        parts.push(part(worst, short, theme.caution, 7));
    }
    parts
}

fn draw_warnings(buf: &mut Buffer, area: Rect, y: u16, app: &App, look: &Look) {
    let images = &app.ui.images;
    let heading = match images.warning_count() {
        0 => "NO WARNINGS".to_owned(),
        1 => "WARNINGS".to_owned(),
        _ => "WARNINGS, newest first".to_owned(),
    };
    let rule = "─".repeat(usize::from(area.width));
    put(buf, area, 0, y, &rule, look.theme.faint);
    put(buf, area, 0, y, &format!("{heading} "), look.theme.heading);
    draw_hidden(buf, area, y, images.hidden_warnings(), &look.theme);
    for (y, warning) in (y + 1..area.height).zip(images.warnings()) {
        let x = put(buf, area, 0, y, &local_time(warning.time, look), look.theme.faint) + 2;
        let x = match warning.count {
            1 => x,
            count => put(buf, area, x, y, &format!("{count}× "), look.theme.caution),
        };
        put(buf, area, x, y, &warning.text, Style::new());
    }
}
