//! The processes to choose from: marks are collected, and carried out together.

use std::borrow::Cow;
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
    /// It cannot be: nothing of it can be captured.
    Never,
}

/// A mark that is not carried out yet.
#[derive(Clone, Copy, Debug)]
struct Pending {
    on: bool,
    /// When the process began: its id may be another's by now.
    start_ticks: Option<u64>,
}

/// What the marks ask for.
#[derive(Debug)]
pub(super) struct Confirmed {
    /// What changes; nothing when all is chosen already.
    pub msgs: Vec<Msg>,
    /// Marked processes that have ended.
    pub ended: usize,
}

/// Why a row is not marked, or Enter does nothing.
type Refusal = Cow<'static, str>;

/// Cursor, marks and scroll position.
#[derive(Clone, Debug)]
pub struct Picker {
    cursor: Row,
    /// What was marked and unmarked since the last confirmation.
    marks: BTreeMap<Row, Pending>,
    /// Which processes are shown, as it was typed.
    search: String,
    top: usize,
    page: usize,
}

impl Default for Picker {
    fn default() -> Self {
        Self {
            cursor: Row::Everything,
            marks: BTreeMap::new(),
            search: String::new(),
            top: 0,
            page: 0,
        }
    }
}

impl Picker {
    /// The search as it was typed; empty shows all.
    pub fn search_text(&self) -> &str {
        &self.search
    }

    pub(super) fn set_search(&mut self, text: &str) {
        text.clone_into(&mut self.search);
    }

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
        let pending = self.marks.get(&row).filter(|mark| !has_ended(targets, row, mark));
        let pending = pending.map(|mark| mark.on);
        match row {
            Row::Everything if pending.unwrap_or(selection.all) => Mark::On,
            Row::Everything => Mark::Off,
            Row::Process(pid) if pending.unwrap_or(selection.pids.contains_key(&pid)) => Mark::On,
            Row::Process(pid) => match targets.processes.get(&pid) {
                Some(target) if targets.obstacle(target).is_some() => Mark::Never,
                _ if self.mark(targets, Row::Everything) == Mark::On => Mark::Implied,
                Some(target) if selection.names_process(&target.process) => Mark::Implied,
                _ => Mark::Off,
            },
        }
    }

    pub(super) fn toggle(&mut self, targets: &Targets) -> Result<(), Refusal> {
        let row = self.cursor;
        let on = match self.mark(targets, row) {
            Mark::Off => true,
            Mark::On => false,
            Mark::Implied if self.mark(targets, Row::Everything) == Mark::On => {
                let why = "everything is chosen: unmark the first row to choose single processes";
                return Err(why.into());
            }
            Mark::Implied => return Err("this process is chosen by its name, with --name".into()),
            Mark::Never => return Err(refusal(targets, row)),
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
            false => self.marks.insert(row, Pending { on, start_ticks: start_ticks(targets, row) }),
        };
    }

    pub(super) fn forget_marks(&mut self) {
        self.marks.clear();
    }

    /// What the marks ask for; without marks, what the row under the cursor does. Never that row instead
    /// of marked processes that have ended.
    pub(super) fn confirm(&mut self, targets: &Targets) -> Result<Confirmed, Refusal> {
        let row = self.cursor;
        if self.marks.is_empty() {
            match self.mark(targets, row) {
                Mark::Off => self.set(targets, row, true),
                Mark::Never => return Err(refusal(targets, row)),
                Mark::On | Mark::Implied => {}
            }
        }
        let mut marks = std::mem::take(&mut self.marks);
        let count = marks.len();
        marks.retain(|row, mark| !(mark.on && has_ended(targets, *row, mark)));
        let ended = count - marks.len();
        let message = |(row, mark): (Row, Pending)| match row {
            Row::Everything => Msg::ChooseAll(mark.on),
            Row::Process(pid) => Msg::ChoosePid(pid, mark.on),
        };
        match (marks.is_empty(), ended) {
            (true, 1) => Err("the marked process has ended".into()),
            (true, 2..) => Err("the marked processes have ended".into()),
            _ => Ok(Confirmed { msgs: marks.into_iter().map(message).collect(), ended }),
        }
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

    /// Puts the cursor on a row that is shown.
    pub(super) fn point_at(&mut self, row: Row) {
        self.cursor = row;
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

    /// Finds cursor and scroll position for a page of rows. Marks of processes that have ended stay, so that
    /// the confirmation can tell.
    pub(super) fn settle(&mut self, targets: &Targets, page: usize) {
        self.page = page.max(1);
        let index = self.index(targets);
        self.go_to(targets, index);
        let index = self.index(targets);
        let lowest_top = (targets.processes.len() + 1).saturating_sub(self.page);
        self.top = self.top.clamp((index + 1).saturating_sub(self.page), index).min(lowest_top);
    }
}

/// When the process of a row began.
fn start_ticks(targets: &Targets, row: Row) -> Option<u64> {
    match row {
        Row::Everything => None,
        Row::Process(pid) => Some(targets.processes.get(&pid)?.process.start_ticks),
    }
}

fn has_ended(targets: &Targets, row: Row, mark: &Pending) -> bool {
    match row {
        Row::Everything => false,
        Row::Process(_) => {
            mark.start_ticks.is_none() || mark.start_ticks != start_ticks(targets, row)
        }
    }
}

/// Why the process of a row cannot be chosen.
fn refusal(targets: &Targets, row: Row) -> Refusal {
    let Row::Process(pid) = row else { return Refusal::default() };
    let Some(target) = targets.processes.get(&pid) else { return "the process has ended".into() };
    let why = targets.obstacle(target).unwrap_or_default();
    format!("{} ({pid}) cannot be captured: {why}", target.process.comm).into()
}
