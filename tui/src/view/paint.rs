//! Text in cells: clipped by its width on the screen, counted in the terminal's columns.

use std::borrow::Cow;

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::{Modifier, Style};
use ratatui::widgets::{Clear, Widget as _};
use unicode_width::{UnicodeWidthChar as _, UnicodeWidthStr as _};

/// Columns that a text takes.
pub(super) fn width(text: &str) -> u16 {
    u16::try_from(text.width()).unwrap_or(u16::MAX)
}

/// The text, or as much of its start as fits with an ellipsis behind it.
pub(super) fn clip(text: &str, columns: u16) -> Cow<'_, str> {
    if width(text) <= columns {
        return Cow::Borrowed(text);
    }
    let mut room = usize::from(columns).saturating_sub(1);
    let mut end = 0;
    for (index, c) in text.char_indices() {
        let Some(left) = room.checked_sub(c.width().unwrap_or(0)) else { break };
        room = left;
        end = index + c.len_utf8();
    }
    let ellipsis = if columns > 0 { "…" } else { "" };
    Cow::Owned(format!("{}{ellipsis}", &text[..end]))
}

/// The text, or as much of its end as fits with an ellipsis before it: for paths.
pub(super) fn clip_start(text: &str, columns: u16) -> Cow<'_, str> {
    if width(text) <= columns {
        return Cow::Borrowed(text);
    }
    let mut room = usize::from(columns).saturating_sub(1);
    let mut start = text.len();
    for (index, c) in text.char_indices().rev() {
        let Some(left) = room.checked_sub(c.width().unwrap_or(0)) else { break };
        room = left;
        start = index;
    }
    let ellipsis = if columns > 0 { "…" } else { "" };
    Cow::Owned(format!("{ellipsis}{}", &text[start..]))
}

/// Writes a text from column `x` of `area`'s line `y`, clipped; the column behind it.
pub(super) fn put(buf: &mut Buffer, area: Rect, x: u16, y: u16, text: &str, style: Style) -> u16 {
    if y >= area.height || x >= area.width {
        return x;
    }
    let room = area.width - x;
    let clipped = clip(text, room);
    let (end, _) = buf.set_stringn(area.x + x, area.y + y, &clipped, usize::from(room), style);
    end - area.x
}

/// Marks letters of a text that was put there, clipped to `room` columns. Underlined, so that it is seen in any colours.
pub(super) fn put_letters(
    buf: &mut Buffer,
    area: Rect,
    x: u16,
    y: u16,
    text: &str,
    room: u16,
    letters: &[u32],
) {
    // The last column is the ellipsis's.
    let room = if width(text) > room { room.saturating_sub(1) } else { room };
    let mut at = 0;
    for (index, c) in (0u32..).zip(text.chars()) {
        let columns = u16::try_from(c.width().unwrap_or(0)).unwrap_or(0);
        if at + columns > room {
            return;
        }
        if letters.binary_search(&index).is_ok() {
            let place = Rect { x: area.x + x + at, y: area.y + y, width: columns, height: 1 };
            let style = Style::new().add_modifier(Modifier::BOLD.union(Modifier::UNDERLINED));
            buf.set_style(place.intersection(area), style);
        }
        at += columns;
    }
}

/// Empties an area for something that lies over what was drawn. A wide character that reaches into it
/// from the left goes too, or the terminal would draw it over the area's first column.
pub(super) fn clear(buf: &mut Buffer, area: Rect) {
    for y in area.top()..area.bottom() {
        if let Some(cell) = area.x.checked_sub(1).and_then(|x| buf.cell_mut((x, y)))
            && width(cell.symbol()) > 1
        {
            cell.set_symbol(" ");
        }
    }
    Clear.render(area, buf);
}

/// Line `y` of an area.
pub(super) fn line(area: Rect, y: u16) -> Rect {
    Rect { y: area.y + y.min(area.height), height: u16::from(y < area.height), ..area }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn wide_characters_are_not_cut_in_half() {
        assert_eq!(clip("日本語", 6), "日本語");
        assert_eq!(clip("日本語", 5), "日本…");
        assert_eq!(clip("日本語", 4), "日…");
        assert_eq!(clip("abc", 0), "");
        assert_eq!(clip_start("/tmp/日本/keys", 8), "…本/keys");
    }

    proptest! {
        #[test]
        fn what_is_clipped_fits(text in "\\PC{0,40}", columns in 0u16..30) {
            prop_assert!(width(&clip(&text, columns)) <= columns);
            prop_assert!(width(&clip_start(&text, columns)) <= columns);
        }
    }
}
