//! The cursor of the picker. It stands on a process, not on a number of a row: what keys do is about the process that the
//! user saw under it, or about none.

use std::collections::BTreeSet;

use super::{Line, Picker, Refusal, Row, start_ticks};
use crate::model::target::{Targets, is_same_start};

/// The row under the cursor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Cursor {
    row: Row,
    /// When its process began: its id may be another's by now.
    start_ticks: Option<u64>,
}

impl Cursor {
    pub(super) const EVERYTHING: Self = Self { row: Row::Everything, start_ticks: None };

    fn on(targets: &Targets, row: Row) -> Self {
        Self { row, start_ticks: start_ticks(targets, row) }
    }

    /// Whether its row is about another process now.
    fn is_another(self, targets: &Targets) -> bool {
        match (self.start_ticks, start_ticks(targets, self.row)) {
            (Some(before), Some(now)) => !is_same_start(before, now),
            (before, now) => before != now,
        }
    }
}

impl Picker {
    /// The row under the cursor; none while nothing matches the search.
    pub fn cursor(&self) -> Option<Row> {
        self.cursor.map(|cursor| cursor.row)
    }

    /// The row that a key is about.
    ///
    /// # Errors
    ///
    /// When there is none; and once when the cursor is on another one than the user put it on.
    pub(super) fn chosen_row(&mut self) -> Result<Row, Refusal> {
        match (self.cursor, std::mem::take(&mut self.is_astray)) {
            (None, _) => Err("no process matches the search".into()),
            (Some(_), true) => {
                Err("what was under the cursor is gone: it is on another row".into())
            }
            (Some(cursor), false) => Ok(cursor.row),
        }
    }

    /// Before a key is carried out: what changed since the last frame, the user has not seen.
    pub(super) fn refresh_unseen(&mut self, targets: &Targets) {
        let before = self.cursor;
        self.refresh(targets);
        self.is_astray |= before != self.cursor;
    }

    /// The user comes to look at the list.
    pub(in crate::model::ui) fn enter(&mut self) {
        self.is_astray = false;
    }

    /// After the lines were made anew: the cursor stays on its row, or goes to the nearest that is still there.
    pub(super) fn keep_cursor(&mut self, targets: &Targets, old: &[Line]) {
        let Some(cursor) = self.cursor else { return self.go_to_best(targets) };
        let there: BTreeSet<Row> = self.lines.iter().map(|line| line.row).collect();
        if there.contains(&cursor.row) {
            self.is_astray |= cursor.is_another(targets);
            self.cursor = Some(Cursor::on(targets, cursor.row));
            return;
        }
        let at = old.iter().position(|line| line.row == cursor.row).unwrap_or_default();
        let below = old[at..].iter().enumerate().find(|(_, line)| there.contains(&line.row));
        // The first row is always there, but is no process: only when there is no other.
        let above = old[..at].iter().rev().filter(|line| line.row != Row::Everything);
        let above = above.enumerate().find(|(_, line)| there.contains(&line.row));
        let nearest = match (below, above) {
            (Some((down, _)), Some((up, line))) if up + 1 < down => Some(line.row),
            (Some((_, line)), _) | (None, Some((_, line))) => Some(line.row),
            (None, None) => None,
        };
        match nearest {
            Some(row) => self.cursor = Some(Cursor::on(targets, row)),
            None => self.go_to_best(targets),
        }
        self.is_astray = true;
    }

    /// Puts the cursor on the best match, where there is a search; never on everything instead of one.
    pub(super) fn go_to_best(&mut self, targets: &Targets) {
        let best = match self.search {
            Some(_) => self.lines.get(1),
            None => self.lines.first(),
        };
        self.cursor = best.map(|line| Cursor::on(targets, line.row));
        self.is_astray = false;
        self.top = 0;
    }

    /// Puts the cursor on a row that is shown.
    pub(in crate::model::ui) fn point_at(&mut self, targets: &Targets, row: Row) {
        self.cursor = Some(Cursor::on(targets, row));
        self.is_astray = false;
    }

    pub(super) fn go_to(&mut self, targets: &Targets, index: usize) {
        if let Some(line) = self.lines.get(index).or(self.lines.last()) {
            self.point_at(targets, line.row);
        }
    }

    pub(super) fn up(&mut self, targets: &Targets, rows: usize) {
        self.go_to(targets, self.index().saturating_sub(rows.max(1)));
    }

    pub(super) fn down(&mut self, targets: &Targets, rows: usize) {
        self.go_to(targets, self.index() + rows.max(1));
    }

    /// The line that the cursor is on; the first when it is on none.
    pub(super) fn index(&self) -> usize {
        let is_it = |line: &Line| Some(line.row) == self.cursor();
        self.lines.iter().position(is_it).unwrap_or_default()
    }
}
