//! Columns that drop when the screen is narrow, and share what is left when it is wide.

use ratatui::layout::Rect;

/// Between two columns.
const GAP: u16 = 1;

/// One column of a table.
#[derive(Clone, Copy)]
pub(super) struct Column<T> {
    /// What it shows.
    pub field: T,
    /// Its heading.
    pub title: &'static str,
    /// The width that it needs.
    pub width: u16,
    /// The most it can use.
    pub widest: u16,
    /// The column with the highest number drops first; 0 never does.
    pub drop: u8,
}

/// A column that has its place.
pub(super) struct Placed<'a, T> {
    /// The column.
    pub column: &'a Column<T>,
    /// First column on the screen, from the left of the area.
    pub x: u16,
    /// Its width.
    pub width: u16,
}

/// Drops what has no room, and shares out what is left.
pub(super) fn place<T>(columns: &[Column<T>], area: Rect) -> Vec<Placed<'_, T>> {
    let mut kept: Vec<_> = columns.iter().collect();
    while needed(&kept) > area.width {
        let Some(last) = kept.iter().map(|column| column.drop).filter(|&drop| drop > 0).max()
        else {
            break;
        };
        kept.retain(|column| column.drop != last);
    }
    let mut left = area.width.saturating_sub(needed(&kept));
    let mut x = 0;
    let mut placed = Vec::with_capacity(kept.len());
    for column in kept {
        let more = left.min(column.widest - column.width);
        left -= more;
        placed.push(Placed { column, x, width: column.width + more });
        x += column.width + more + GAP;
    }
    placed
}

fn needed<T>(columns: &[&Column<T>]) -> u16 {
    columns.iter().map(|column| column.width + GAP).sum::<u16>().saturating_sub(GAP)
}
