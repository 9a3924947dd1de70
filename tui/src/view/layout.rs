//! Where things are on the screen.

use ratatui::layout::{Constraint, Layout, Rect};

/// The smallest screen that is used.
pub(super) const SMALLEST: (u16, u16) = (60, 12);
/// From this height on there is a detail of several lines.
const TALL: u16 = 20;
/// Rule, heading, and the five secrets of a usual TLS 1.3 session.
const DETAIL_LINES: u16 = 7;
/// The same with secrets in full that take two lines each, for which the screen has to be higher.
const REVEALED_LINES: u16 = 12;
const TALL_REVEALED: u16 = 24;
/// From this width on the longest secret, of 48 bytes, takes one line.
const WIDE_REVEALED: u16 = super::detail::VALUE_COLUMN + 96;

/// The parts of the screen.
pub(super) struct Screen {
    /// Two lines on top.
    pub status: Rect,
    /// Everything between status and footer.
    pub wide: Rect,
    /// The sessions' part of that.
    pub list: Rect,
    /// What is below the sessions: one line, [`DETAIL_LINES`], or [`REVEALED_LINES`].
    pub detail: Rect,
    /// One line at the bottom.
    pub footer: Rect,
}

pub(super) fn is_too_small(area: Rect) -> bool {
    area.width < SMALLEST.0 || area.height < SMALLEST.1
}

pub(super) fn screen(area: Rect, reveal: bool) -> Screen {
    let [status, wide, footer] =
        Layout::vertical([Constraint::Length(2), Constraint::Fill(1), Constraint::Length(1)])
            .areas(area);
    let detail = match area.height {
        ..TALL => 1,
        TALL_REVEALED.. if reveal && area.width < WIDE_REVEALED => REVEALED_LINES,
        _ => DETAIL_LINES,
    };
    let [list, detail] =
        Layout::vertical([Constraint::Fill(1), Constraint::Length(detail)]).areas(wide);
    Screen { status, wide, list, detail, footer }
}

/// A box of this size in the middle of an area, as far as it fits.
pub(super) fn middle(area: Rect, width: u16, height: u16) -> Rect {
    area.centered(
        Constraint::Length(width.min(area.width)),
        Constraint::Length(height.min(area.height)),
    )
}
