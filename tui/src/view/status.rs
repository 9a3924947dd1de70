//! The two lines on top: what is attached, what was seen, what is saved, and what went wrong.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::Style;

use super::Theme;
use super::paint::{clip, clip_start, line, put, width};
use super::prompt::matches;
use super::sparkline::sparkline;
use crate::model::target::Image;
use crate::model::ui::{App, Order, View};
use crate::model::{RecordingState, Recordings, SavingState};
use crate::target::layout::How;
use crate::text::sanitize;

/// Between two parts.
const GAP: u16 = 2;
/// Seconds that the sparkline shows.
const SPARK_LONG: usize = 16;
const SPARK_SHORT: usize = 5;

/// One thing that is said, in a long and a short form.
pub(super) struct Part {
    long: String,
    short: String,
    style: Style,
    /// Where room is short, the lowest is shortened first, and dropped first.
    weight: u8,
}

pub(super) fn draw(buf: &mut Buffer, area: Rect, app: &App, theme: &Theme) {
    let name = part("tlskeytop".to_owned(), String::new(), theme.heading, 1);
    let mut capture = vec![name, attached(app), sessions(app), rate(app), lost(app, theme)];
    capture.extend(coverage(app, theme));
    capture.extend(position(app, theme));
    draw_parts(buf, line(area, 0), capture);
    let mut saving = vec![saving(app, theme)];
    saving.extend(recording(app, theme));
    saving.extend(filter(app, theme));
    saving.extend(forced(app, theme));
    saving.extend(paused(app, theme));
    saving.extend(warnings(app, theme));
    saving.extend(catching_up(app, theme));
    saving.extend(counts(app, theme));
    draw_parts(buf, line(area, 1), saving);
}

pub(super) fn part(long: String, short: String, style: Style, weight: u8) -> Part {
    Part { long, short, style, weight }
}

/// First the heaviest get their place in the short form, then, as far as there is room, the long one.
pub(super) fn draw_parts(buf: &mut Buffer, area: Rect, parts: Vec<Part>) {
    let mut order: Vec<usize> = (0..parts.len()).collect();
    order.sort_by_key(|&index| std::cmp::Reverse(parts[index].weight));
    let columns = |text: &str| if text.is_empty() { 0 } else { width(text).saturating_add(GAP) };
    // Behind the last one there is no gap.
    let mut room = area.width.saturating_add(GAP);
    let mut texts = vec![""; parts.len()];
    for is_long in [false, true] {
        for &index in &order {
            let part = &parts[index];
            let text = if is_long { &part.long } else { &part.short };
            let more = columns(text).saturating_sub(columns(texts[index]));
            if let Some(left) = room.checked_sub(more) {
                room = left;
                texts[index] = text.as_str();
            }
        }
    }
    let mut x = 0;
    for (part, text) in parts.iter().zip(texts).filter(|(_, text)| !text.is_empty()) {
        x = put(buf, area, x, 0, text, part.style) + GAP;
    }
}

fn attached(app: &App) -> Part {
    let targets = &app.model.targets;
    let (processes, images) = (targets.attached_processes(), targets.attached_images());
    let word = if targets.is_attaching() { "attaching…" } else { "attached:" };
    let processes_word = if processes == 1 { "process" } else { "processes" };
    let images_word = if images == 1 { "image" } else { "images" };
    let long = format!("{word} {processes} {processes_word}, {images} {images_word}");
    part(long, format!("{processes} proc, {images} img"), Style::new(), 7)
}

fn sessions(app: &App) -> Part {
    let text = match app.model.stats.sessions {
        1 => "1 session".to_owned(),
        count => format!("{} sessions", grouped(count)),
    };
    part(text.clone(), text, Style::new(), 6)
}

fn rate(app: &App) -> Part {
    let rate = &app.model.stats.rate;
    let form =
        |columns| format!("{:.1}/s {}", rate.recent(), sparkline(rate.per_second(), columns));
    part(form(SPARK_LONG), form(SPARK_SHORT), Style::new(), 4)
}

fn lost(app: &App, theme: &Theme) -> Part {
    match app.model.stats.lost() {
        0 => part("lost 0".to_owned(), "lost 0".to_owned(), Style::new(), 3),
        lost => {
            let text = format!("LOST {}", grouped(lost));
            part(text.clone(), text, theme.bad, 9)
        }
    }
}

/// For how many of the handshakes on the wire there is a secret, and how much of the wire was not seen.
fn coverage(app: &App, theme: &Theme) -> Option<Part> {
    let coverage = &app.model.wire.coverage;
    let lost = coverage.unseen();
    if coverage.seen() == 0 && lost == 0 {
        return None;
    }
    let text = format!("keys {}/{}", grouped(coverage.covered), grouped(coverage.seen()));
    if lost > 0 {
        let lost = grouped(lost);
        return Some(part(
            format!("{text}, {lost} lost"),
            format!("{text}, -{lost}"),
            theme.caution,
            5,
        ));
    }
    let style = if coverage.missing == 0 { theme.good } else { theme.caution };
    Some(part(text.clone(), text, style, 5))
}

fn saving(app: &App, theme: &Theme) -> Part {
    let saving = &app.model.saving;
    let path = sanitize(&saving.path.to_string_lossy());
    let lines = grouped(saving.lines);
    let form = |sign, word, columns| {
        let path = clip_start(&path, columns);
        format!("{sign} {word}{path}, {lines} lines")
    };
    match &saving.state {
        SavingState::Off => {
            part(form("○", "saving off: ", 40), form("○", "off: ", 12), theme.faint, 8)
        }
        SavingState::Opening => part(form("…", "opening ", 40), form("…", "", 12), Style::new(), 8),
        SavingState::On => part(form("●", "saving to ", 40), form("●", "", 14), theme.good, 8),
        SavingState::Failing(reason) => {
            let waiting = grouped(saving.pending() as u64);
            let short = format!("! FAILING {}, {waiting} waiting", clip_start(&path, 9));
            let reason = sanitize(reason);
            let long =
                format!("! SAVING FAILS, {lines} lines, {waiting} waiting: {}", clip(&reason, 50));
            part(long, short, theme.bad, 8)
        }
    }
}

/// Packets that are being recorded, and what is missing of them.
fn recording(app: &App, theme: &Theme) -> Option<Part> {
    let Recordings { state, current, .. } = &app.model.recording;
    match state {
        RecordingState::Off => return None,
        RecordingState::Starting => {
            let long = "… recording starts".to_owned();
            return Some(part(long, "… rec".to_owned(), Style::new(), 6));
        }
        RecordingState::On => {}
    }
    if let Some(reason) = &current.failing {
        let long = format!("! RECORDING FAILS: {}", clip(&sanitize(reason), 40));
        return Some(part(long, "! REC FAILS".to_owned(), theme.bad, 8));
    }
    let packets = grouped(current.packets);
    let mut long = format!("● recording {packets} packets");
    let mut short = format!("● rec {packets}");
    let missing = [(current.dropped, "dropped"), (current.lost, "secrets lost")];
    for (count, what) in missing.into_iter().filter(|(count, _)| *count > 0) {
        long.push_str(&format!(", {} {what}", grouped(count)));
    }
    let missing = current.dropped + current.lost;
    if missing > 0 {
        short.push_str(&format!(", -{}", grouped(missing)));
    }
    let style = if missing == 0 { theme.good } else { theme.caution };
    Some(part(long, short, style, 6))
}

/// What the user says in place of a proof stays in sight.
fn forced(app: &App, theme: &Theme) -> Option<Part> {
    let is_forced =
        |image: &Image| image.plan.layout.as_ref().is_ok_and(|layout| layout.how == How::Forced);
    let text = || "LAYOUT FORCED".to_owned();
    let any = app.model.targets.images.values().any(is_forced);
    any.then(|| part(text(), text(), theme.bad, 7))
}

/// Which sessions are shown, and how many of how many.
fn filter(app: &App, theme: &Theme) -> Option<Part> {
    let text = app.ui.list.filter_text().trim();
    if text.is_empty() {
        return None;
    }
    let (text, count) = (sanitize(text), matches(app));
    let (sign, style) = match app.ui.list.filter().error() {
        Some(_) => ("! ", theme.caution),
        None => ("", theme.key),
    };
    let form = |columns| format!("{sign}filter: {}  {count}", clip(&text, columns));
    Some(part(form(30), form(12), style, 7))
}

fn paused(app: &App, theme: &Theme) -> Option<Part> {
    let new = app.ui.list.held_back(&app.model.sessions)?;
    let text = format!("PAUSED +{} new", grouped(new));
    Some(part(text.clone(), text, theme.caution, 7))
}

/// Whether the newest session is followed, or how many rows are above those that are shown.
fn position(app: &App, theme: &Theme) -> Option<Part> {
    if app.model.sessions.is_empty() || app.ui.view != View::Sessions {
        return None;
    }
    if app.ui.list.follows() {
        return Some(part("following".to_owned(), String::new(), theme.faint, 1));
    }
    // Those above are newer in the order of arrival only.
    let word = if app.ui.list.order() == Order::default() { "newer" } else { "above" };
    let text = match app.ui.list.rows_hidden_above(&app.model.sessions) {
        0 => return None,
        1000.. => format!("↑ 1000+ {word}"),
        count => format!("↑ {count} {word}"),
    };
    Some(part(text.clone(), text, theme.key, 2))
}

/// Until the view that shows them was looked at.
fn warnings(app: &App, theme: &Theme) -> Option<Part> {
    let long = match app.ui.images.unseen() {
        0 => return None,
        1 => "! 1 warning".to_owned(),
        count => format!("! {count} warnings"),
    };
    Some(part(long.clone(), long, theme.caution, 5))
}

/// Whose open connections are looked for, and how long at the most.
fn catching_up(app: &App, theme: &Theme) -> Option<Part> {
    let (count, left) = app.model.catching_up.progress(app.model.now)?;
    let processes = if count == 1 { "process" } else { "processes" };
    let left = left.as_secs();
    let long = format!("open connections: looking in {count} {processes}, ≤{left} s");
    Some(part(long, format!("open conns: {count}, ≤{left} s"), theme.key, 4))
}

fn counts(app: &App, theme: &Theme) -> Vec<Part> {
    let stats = &app.model.stats;
    let count = |value: u64, long: &str, short: &str, weight, style| {
        let value = grouped(value);
        part(format!("{long} {value}"), format!("{short} {value}"), style, weight)
    };
    // What is 0 goes before what is not.
    let weight = |value, weight| if value == 0 { 1 } else { weight };
    let trouble = |value| if value == 0 { Style::new() } else { theme.caution };
    let nulls = app.ui.list.null_sessions(&app.model.sessions) as u64;
    let nulls_word = if app.ui.list.hides_nulls() { "nulls hidden" } else { "nulls shown" };
    let (duplicates, conflicts) = (stats.duplicates, stats.conflicts);
    let mut parts = vec![
        count(nulls, nulls_word, "nulls", weight(nulls, 3), Style::new()),
        count(duplicates, "duplicates", "dup", weight(duplicates, 2), Style::new()),
        count(conflicts, "conflicts", "conflicts", weight(conflicts, 6).max(2), trouble(conflicts)),
    ];
    if stats.rejected > 0 {
        parts.push(count(stats.rejected, "rejected", "rejected", 5, theme.caution));
    }
    if stats.evicted.unsaved > 0 {
        parts.push(count(stats.evicted.unsaved, "dropped unsaved", "dropped", 6, theme.caution));
    }
    parts
}

/// `1,234,567`.
pub(super) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::fixture::{app, at, everything};
    use crate::model::{Msg, Recorded, RecordingMsg};

    #[test]
    fn what_a_recording_does_and_lacks_is_told() {
        let mut app = app(everything());
        let theme = Theme::MONOCHROME;
        let texts = |app: &App| recording(app, &theme).map(|part| (part.long, part.short));
        let told = |long: &str, short: &str| Some((long.to_owned(), short.to_owned()));
        assert_eq!(texts(&app), None);
        app.receive(at(1), Msg::Recording(RecordingMsg::Starting));
        assert_eq!(texts(&app), told("… recording starts", "… rec"));
        app.receive(at(1), Msg::Recording(RecordingMsg::Began("x".into())));
        let mut recorded = Recorded { packets: 1234, ..Recorded::default() };
        app.receive(at(1), Msg::Recorded(recorded.clone()));
        assert_eq!(texts(&app), told("● recording 1,234 packets", "● rec 1,234"));
        (recorded.dropped, recorded.lost) = (2, 3);
        app.receive(at(1), Msg::Recorded(recorded));
        let long = "● recording 1,234 packets, 2 dropped, 3 secrets lost";
        assert_eq!(texts(&app), told(long, "● rec 1,234, -5"));
    }

    #[test]
    fn digits_are_grouped() {
        assert_eq!(grouped(0), "0");
        assert_eq!(grouped(999), "999");
        assert_eq!(grouped(1_000), "1,000");
        assert_eq!(grouped(12_345_678), "12,345,678");
    }
}
