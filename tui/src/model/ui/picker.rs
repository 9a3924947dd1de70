//! The processes to choose from: marks are collected, and carried out together.

use std::collections::BTreeMap;

use crate::model::Msg;
use crate::model::target::{Target, Targets};

/// A row of the picker.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Row {
    /// Everything, now and in future.
    Everything,
    /// One process, by its id.
    Process(u32),
}

/// Whether a row is chosen, the marks that are not carried out yet included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mark {
    /// It is not.
    Off,
    /// It is.
    On,
    /// It is, because everything is, or by its name.
    Implied,
}

/// Cursor, marks and scroll position.
#[derive(Clone, Debug)]
pub struct Picker {
    cursor: Row,
    /// What was marked and unmarked since the last confirmation.
    marks: BTreeMap<Row, bool>,
    top: usize,
    page: usize,
}

impl Default for Picker {
    fn default() -> Self {
        Self { cursor: Row::Everything, marks: BTreeMap::new(), top: 0, page: 0 }
    }
}

impl Picker {
    /// The row under the cursor.
    pub fn cursor(&self) -> Row {
        self.cursor
    }

    /// Whether there are marks that are not carried out yet.
    pub fn has_marks(&self) -> bool {
        !self.marks.is_empty()
    }

    /// The rows to show, with the process where the row is one.
    pub fn rows<'a>(
        &self,
        targets: &'a Targets,
    ) -> impl Iterator<Item = (Row, Option<&'a Target>)> {
        let processes = targets.processes.iter().map(|(pid, t)| (Row::Process(*pid), Some(t)));
        std::iter::once((Row::Everything, None)).chain(processes).skip(self.top).take(self.page)
    }

    /// Whether a row is chosen or marked.
    pub fn mark(&self, targets: &Targets, row: Row) -> Mark {
        let selection = &targets.selection;
        let pending = self.marks.get(&row).copied();
        match row {
            Row::Everything if pending.unwrap_or(selection.all) => Mark::On,
            Row::Everything => Mark::Off,
            Row::Process(pid) if pending.unwrap_or(selection.pids.contains_key(&pid)) => Mark::On,
            Row::Process(_) if self.mark(targets, Row::Everything) == Mark::On => Mark::Implied,
            Row::Process(pid) => match targets.processes.get(&pid) {
                Some(target) if selection.names_process(&target.process) => Mark::Implied,
                _ => Mark::Off,
            },
        }
    }

    pub(super) fn toggle(&mut self, targets: &Targets) -> Result<(), &'static str> {
        let row = self.cursor;
        let on = match self.mark(targets, row) {
            Mark::Off => true,
            Mark::On => false,
            Mark::Implied if self.mark(targets, Row::Everything) == Mark::On => {
                return Err(
                    "everything is chosen: unmark the first row to choose single processes",
                );
            }
            Mark::Implied => return Err("this process is chosen by its name, with --name"),
        };
        self.set(targets, row, on);
        Ok(())
    }

    fn set(&mut self, targets: &Targets, row: Row, on: bool) {
        let present = match row {
            Row::Everything => targets.selection.all,
            Row::Process(pid) => targets.selection.pids.contains_key(&pid),
        };
        match on == present {
            true => self.marks.remove(&row),
            false => self.marks.insert(row, on),
        };
    }

    pub(super) fn forget_marks(&mut self) {
        self.marks.clear();
    }

    /// What the marks ask for; without marks, what the row under the cursor does.
    pub(super) fn confirm(&mut self, targets: &Targets) -> Vec<Msg> {
        if self.marks.is_empty() && self.mark(targets, self.cursor) == Mark::Off {
            self.marks.insert(self.cursor, true);
        }
        let message = |(row, on)| match row {
            Row::Everything => Msg::ChooseAll(on),
            Row::Process(pid) => Msg::ChoosePid(pid, on),
        };
        std::mem::take(&mut self.marks).into_iter().map(message).collect()
    }

    fn index(&self, targets: &Targets) -> usize {
        match self.cursor {
            Row::Everything => 0,
            Row::Process(pid) => 1 + targets.processes.range(..pid).count(),
        }
    }

    fn go_to(&mut self, targets: &Targets, index: usize) {
        let index = index.min(targets.processes.len());
        let pid = index.checked_sub(1).and_then(|n| targets.processes.keys().nth(n));
        self.cursor = pid.map_or(Row::Everything, |pid| Row::Process(*pid));
    }

    pub(super) fn up(&mut self, targets: &Targets, rows: usize) {
        self.go_to(targets, self.index(targets).saturating_sub(rows.max(1)));
    }

    pub(super) fn down(&mut self, targets: &Targets, rows: usize) {
        self.go_to(targets, self.index(targets) + rows.max(1));
    }

    pub(super) fn first(&mut self) {
        self.cursor = Row::Everything;
    }

    pub(super) fn last(&mut self, targets: &Targets) {
        self.go_to(targets, targets.processes.len());
    }

    /// Finds cursor and scroll position for a page of rows; forgets marks of processes that ended.
    pub(super) fn settle(&mut self, targets: &Targets, page: usize) {
        self.page = page.max(1);
        self.marks.retain(|row, on| match row {
            Row::Everything => true,
            Row::Process(pid) => !*on || targets.processes.contains_key(pid),
        });
        let index = self.index(targets);
        self.go_to(targets, index);
        let index = self.index(targets);
        let lowest_top = (targets.processes.len() + 1).saturating_sub(self.page);
        self.top = self.top.clamp((index + 1).saturating_sub(self.page), index).min(lowest_top);
    }
}
