//! The processes to choose from: marks are collected, and carried out together.

mod act;
mod cursor;
mod search;
mod tree;

use std::borrow::Cow;
use std::collections::BTreeMap;

use cursor::Cursor;
pub use search::Highlighter;
use search::Search;
pub(crate) use search::searched_letters;
use tree::tree;

use crate::model::Msg;
use crate::model::selection::Choice;
use crate::model::target::{Ancestor, Target, Targets, is_same_start};

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
    /// It is, because everything is, by its name or its container, or as a child.
    Implied,
    /// It is left out, whatever chooses it.
    Excluded,
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
struct Confirmed {
    /// What changes; nothing when all is chosen already.
    pub msgs: Vec<Msg>,
    /// Marked processes that have ended.
    pub ended: usize,
}

/// Why a row is not marked, or Enter does nothing.
type Refusal = Cow<'static, str>;

/// A line of the list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// What it shows.
    pub row: Row,
    /// In a tree, the lines that lead to it.
    pub guide: String,
}

impl Line {
    fn new(row: Row) -> Self {
        Self { row, guide: String::new() }
    }
}

/// Cursor, marks and scroll position.
#[derive(Clone, Debug)]
pub struct Picker {
    /// `None` while nothing matches the search.
    cursor: Option<Cursor>,
    /// Nobody put the cursor where it is: the row that it was on is gone.
    is_astray: bool,
    /// What was marked and unmarked since the last confirmation.
    marks: BTreeMap<Row, Pending>,
    /// Which processes are shown, as it was typed.
    search_text: String,
    search: Option<Search>,
    /// The search and the cursor before it was changed.
    before_search: (String, Option<Cursor>),
    /// Parents above their children.
    tree: bool,
    /// Everything, and the processes that are shown; made anew when something changed.
    lines: Vec<Line>,
    /// The look at the machine that they are of; `None` when something else changed.
    lines_of: Option<u64>,
    top: usize,
    page: usize,
}

impl Default for Picker {
    fn default() -> Self {
        Self {
            cursor: Some(Cursor::EVERYTHING),
            is_astray: false,
            marks: BTreeMap::new(),
            search_text: String::new(),
            search: None,
            before_search: (String::new(), Some(Cursor::EVERYTHING)),
            tree: false,
            lines: vec![Line::new(Row::Everything)],
            lines_of: None,
            top: 0,
            page: 0,
        }
    }
}

impl Picker {
    /// The search as it was typed; empty shows all.
    pub fn search_text(&self) -> &str {
        &self.search_text
    }

    /// Where there is a search, what finds its letters in a text.
    pub fn highlighter(&self) -> Option<Highlighter<'_>> {
        self.search.as_ref().map(Highlighter::new)
    }

    /// The processes that are shown, by the search.
    pub fn matches(&self) -> usize {
        self.lines.len() - 1
    }

    /// Whether parents are shown above their children. Not in a search, where the best match is first.
    pub fn is_tree(&self) -> bool {
        self.tree && self.search.is_none()
    }

    fn toggle_tree(&mut self) {
        self.tree = !self.tree;
        self.lines_of = None;
    }

    /// Remembers where the cursor is, for a search that is given up.
    fn begin_search(&mut self) {
        self.before_search = (self.search_text.clone(), self.cursor);
    }

    /// Shows what matches, with the cursor on the best.
    pub(super) fn set_search(&mut self, targets: &Targets, text: &str) {
        text.clone_into(&mut self.search_text);
        self.search = Search::new(text);
        self.lines_of = None;
        self.refresh(targets);
        if self.before_search.0 == text {
            self.cursor = self.before_search.1;
            // What was under it meanwhile counts no more; and it may be gone itself.
            (self.is_astray, self.lines_of) = (false, None);
            self.refresh(targets);
        } else if self.search.is_some() {
            self.go_to_best(targets);
        }
    }

    /// Whether there are marks that are not carried out yet.
    pub fn has_marks(&self) -> bool {
        !self.marks.is_empty()
    }

    /// The lines to show, with the process where the row is one.
    pub fn rows<'a>(
        &'a self,
        targets: &'a Targets,
    ) -> impl Iterator<Item = (&'a Line, Option<&'a Target>)> {
        let lines = self.lines.iter().skip(self.top).take(self.page);
        lines.filter_map(|line| match line.row {
            Row::Everything => Some((line, None)),
            Row::Process(pid) => Some((line, Some(targets.processes.get(&pid)?))),
        })
    }

    /// Whether a row is chosen or marked.
    pub fn mark(&self, targets: &Targets, row: Row) -> Mark {
        match self.pending(targets, row) {
            Some(true) => Mark::On,
            Some(false) => Mark::Off,
            None => self.mark_without_its_own(targets, row),
        }
    }

    /// The mark of a row that is not carried out yet.
    fn pending(&self, targets: &Targets, row: Row) -> Option<bool> {
        let pending = self.marks.get(&row).filter(|mark| !has_ended(targets, row, mark));
        pending.map(|mark| mark.on)
    }

    /// Whether a row is chosen, or will be by the marks of others.
    fn mark_without_its_own(&self, targets: &Targets, row: Row) -> Mark {
        let selection = &targets.selection;
        let Row::Process(pid) = row else {
            return if selection.all { Mark::On } else { Mark::Off };
        };
        let Some(target) = targets.processes.get(&pid) else {
            return if selection.pids.contains_key(&pid) { Mark::On } else { Mark::Off };
        };
        let process = &target.process;
        let choice = selection.choice(process);
        let is_on = |above: &Ancestor| {
            let above = self
                .marks
                .get(&Row::Process(above.pid))
                .filter(|mark| mark.on && mark.start_ticks == Some(above.start_ticks));
            selection.children && above.is_some()
        };
        match choice {
            Choice::Pid => Mark::On,
            _ if targets.obstacle(target).is_some() => Mark::Never,
            Choice::Excluded(_) => Mark::Excluded,
            Choice::Child(_) | Choice::Command | Choice::Name | Choice::Container => Mark::Implied,
            Choice::No | Choice::Everything => {
                let everything = self.mark(targets, Row::Everything) == Mark::On;
                match everything || process.ancestors.iter().any(is_on) {
                    true => Mark::Implied,
                    false => Mark::Off,
                }
            }
        }
    }

    fn toggle(&mut self, targets: &Targets) -> Result<(), Refusal> {
        let row = self.chosen_row()?;
        let on = match self.mark(targets, row) {
            Mark::Off | Mark::Excluded => true,
            // What is chosen by a rule is excluded from it.
            Mark::On | Mark::Implied => false,
            Mark::Never => return Err(refusal(targets, row)),
        };
        self.set(targets, row, on);
        Ok(())
    }

    fn set(&mut self, targets: &Targets, row: Row, on: bool) {
        let present = self.mark_without_its_own(targets, row);
        match on == matches!(present, Mark::On | Mark::Implied) {
            true => self.marks.remove(&row),
            false => self.marks.insert(row, Pending { on, start_ticks: start_ticks(targets, row) }),
        };
    }

    fn forget_marks(&mut self) {
        self.marks.clear();
    }

    /// What the marks ask for; without marks, what the row under the cursor does. Never that row instead
    /// of marked processes that have ended.
    fn confirm(&mut self, targets: &Targets) -> Result<Confirmed, Refusal> {
        if self.marks.is_empty() {
            let row = self.chosen_row()?;
            match self.mark(targets, row) {
                Mark::Off | Mark::Excluded => self.set(targets, row, true),
                Mark::Never => return Err(refusal(targets, row)),
                Mark::On | Mark::Implied => {}
            }
        }
        // Who is told that marked processes have ended looks at the list again.
        self.is_astray = false;
        let mut marks = std::mem::take(&mut self.marks);
        let count = marks.len();
        marks.retain(|row, mark| !(mark.on && has_ended(targets, *row, mark)));
        let ended = count - marks.len();
        // Everything first, so that it is known what else chooses the others; and a process before its children.
        let mut marks: Vec<_> = marks.into_iter().collect();
        marks.sort_by_key(|(row, mark)| (*row != Row::Everything, !mark.on));
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

    /// Makes the lines anew when processes or what is shown of them changed. The cursor stays on its row, or goes
    /// to the nearest that is still there.
    fn refresh(&mut self, targets: &Targets) {
        if self.lines_of == Some(targets.looks) {
            return;
        }
        self.lines_of = Some(targets.looks);
        let line = |pid: &u32| Line::new(Row::Process(*pid));
        let processes: Vec<Line> = match &self.search {
            Some(search) => search.find(targets).iter().map(line).collect(),
            None if self.tree => tree(targets)
                .into_iter()
                .map(|(pid, guide)| Line { row: Row::Process(pid), guide })
                .collect(),
            None => targets.processes.keys().map(line).collect(),
        };
        let lines = std::iter::once(Line::new(Row::Everything)).chain(processes).collect();
        let old = std::mem::replace(&mut self.lines, lines);
        self.keep_cursor(targets, &old);
    }

    /// Finds cursor and scroll position for a page of rows. Marks of processes that have ended stay, so that
    /// the confirmation can tell.
    pub(super) fn settle(&mut self, targets: &Targets, page: usize) {
        self.refresh(targets);
        self.page = page.max(1);
        let index = self.index();
        let lowest_top = self.lines.len().saturating_sub(self.page);
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
            let now = start_ticks(targets, row);
            !mark.start_ticks.zip(now).is_some_and(|(then, now)| is_same_start(then, now))
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

#[cfg(test)]
mod tests;
