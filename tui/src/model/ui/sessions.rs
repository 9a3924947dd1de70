//! The table of sessions: which rows it shows, in which order, and which one is selected.
//!
//! Rows are remembered by their place, so that they stay where they are when others arrive above them.
//! Without a filter and with the newest on top nothing here walks through all sessions, as long as most
//! are shown; else the rows are kept in an index of their own.

use super::filter::Filter;
use super::index::{Index, Rule};
use super::order::{Column, Columns, Order, Place};
use super::{App, Level};
use crate::model::target::Targets;
use crate::model::{Session, Store, Time, Touched};

/// The rows above the first shown one are counted up to here.
const ABOVE_COUNTED: usize = 1000;

/// The selection, the scroll position, the filters and the order of the table.
#[derive(Clone, Debug)]
pub struct SessionList {
    selected: Option<Place>,
    /// The first row that is shown.
    top: Option<Place>,
    /// The newest session is the selected one.
    follow: bool,
    /// It was, until another order was asked for.
    followed: bool,
    /// Sessions with only null secrets are not shown.
    hide_nulls: bool,
    /// Sessions from this serial on are not shown.
    paused_at: Option<u64>,
    /// Which sessions are shown, as it was typed.
    text: String,
    filter: Filter,
    order: Order,
    /// The rows, where they are not simply the sessions that arrived.
    index: Option<Index>,
    /// The index is for another filter or order.
    stale: bool,
    /// The places are those of another order.
    reordered: bool,
    page: usize,
}

impl Default for SessionList {
    /// Follows the newest session, and hides those with only null secrets.
    fn default() -> Self {
        Self {
            selected: None,
            top: None,
            follow: true,
            followed: false,
            hide_nulls: true,
            paused_at: None,
            text: String::new(),
            filter: Filter::default(),
            order: Order::default(),
            index: None,
            stale: false,
            reordered: false,
            page: 0,
        }
    }
}

impl SessionList {
    /// The filter as it was typed; empty shows all.
    pub fn filter_text(&self) -> &str {
        &self.text
    }

    /// The filter as it was understood.
    pub fn filter(&self) -> &Filter {
        &self.filter
    }

    pub(super) fn set_filter(&mut self, text: &str) {
        text.clone_into(&mut self.text);
        let filter = Filter::parse(text);
        if filter != self.filter {
            self.filter = filter;
            self.stale = true;
        }
    }

    /// By which column the rows stand.
    pub fn order(&self) -> Order {
        self.order
    }

    /// Sorts by a column; the other way round when it is sorted by that already.
    pub(super) fn sort_by(&mut self, column: Column) {
        let order = Order::of(column);
        self.set_order(if self.order.column == column { self.order.reversed() } else { order });
    }

    /// Sorts by the next of the columns that are shown.
    pub(super) fn sort_by_next(&mut self, shown: Columns) {
        self.set_order(self.order.next(shown));
    }

    /// Who sorts wants to see what comes first, and not to be carried to the newest, until it is on top
    /// again. A row that was selected stays so.
    fn set_order(&mut self, order: Order) {
        if self.follow {
            (self.follow, self.followed, self.selected) = (false, true, None);
        }
        self.follow = self.followed && order == Order::default();
        self.order = order;
        (self.stale, self.reordered) = (true, true);
    }

    /// Whether to follow, and to hide null sessions, from the start.
    pub(super) fn start_with(&mut self, follow: bool, hide_nulls: bool) {
        (self.follow, self.hide_nulls) = (follow, hide_nulls);
    }

    /// Whether the newest session is kept selected.
    pub fn follows(&self) -> bool {
        self.follow
    }

    /// Whether sessions with only null secrets are hidden.
    pub fn hides_nulls(&self) -> bool {
        self.hide_nulls
    }

    /// The sessions with only null secrets that are hidden, or shown: not those that a pause holds back.
    pub fn null_sessions(&self, store: &Store) -> usize {
        let held_back = self.paused_at.map_or(0, |serial| store.null_sessions_from(serial));
        store.null_sessions() - held_back
    }

    /// The sessions that arrived while the view is paused; `None` when it is not.
    pub fn held_back(&self, store: &Store) -> Option<u64> {
        self.paused_at.map(|serial| store.next_serial() - serial)
    }

    /// The rows that there are, and those that there would be without a filter.
    pub fn counts(&self, store: &Store) -> (usize, usize) {
        let held_back = self.paused_at.map_or(0, |serial| store.sessions_from(serial));
        let nulls = if self.hide_nulls { self.null_sessions(store) } else { 0 };
        let all = (store.len() - held_back).saturating_sub(nulls);
        (self.index.as_ref().map_or(all, Index::len), all)
    }

    /// The selected session.
    pub fn selected<'a>(&self, store: &'a Store) -> Option<&'a Session> {
        self.selected.as_ref()?.session(store)
    }

    /// The rows to show, from the top.
    pub fn rows<'a>(&'a self, store: &'a Store) -> impl Iterator<Item = &'a Session> {
        self.down_from(store, self.top.as_ref().unwrap_or(&Place::TOP)).take(self.page)
    }

    /// All sessions that have a row, also those that the screen has no room for, in their order.
    pub fn shown<'a>(&'a self, store: &'a Store) -> impl Iterator<Item = &'a Session> {
        self.down_from(store, &Place::TOP)
    }

    /// The rows above those that are shown, counted up to 1000.
    pub fn rows_hidden_above(&self, store: &Store) -> usize {
        let Some(top) = &self.top else { return 0 };
        self.above(store, top).take(ABOVE_COUNTED).count()
    }

    fn is_shown(&self, session: &Session) -> bool {
        !(self.hide_nulls && session.is_null()) && session.serial < self.end()
    }

    /// Sessions from this serial on are not shown.
    fn end(&self) -> u64 {
        self.paused_at.unwrap_or(u64::MAX)
    }

    /// The rows from a place downwards, itself included.
    fn down_from<'a>(
        &'a self,
        store: &'a Store,
        place: &Place,
    ) -> Box<dyn Iterator<Item = &'a Session> + 'a> {
        match &self.index {
            Some(index) => {
                Box::new(index.down_from(place).filter_map(|serial| store.by_serial(serial)))
            }
            None => {
                let serial = place.serial().min(self.end().saturating_sub(1));
                Box::new(store.back_from(serial).filter(|session| self.is_shown(session)))
            }
        }
    }

    /// The rows from a place upwards, without itself.
    fn above<'a>(
        &'a self,
        store: &'a Store,
        place: &Place,
    ) -> Box<dyn Iterator<Item = &'a Session> + 'a> {
        match &self.index {
            Some(index) => {
                Box::new(index.above(place).filter_map(|serial| store.by_serial(serial)))
            }
            None => {
                let sessions = store.forward_from(place.serial().saturating_add(1));
                let sessions = sessions.take_while(|session| session.serial < self.end());
                Box::new(sessions.filter(|session| self.is_shown(session)))
            }
        }
    }

    fn place_of(&self, session: &Session) -> Place {
        match &self.index {
            Some(index) => index.place_of(session, self.order),
            None => Place::of_arrival(session.serial),
        }
    }

    pub(super) fn up(&mut self, store: &Store, rows: usize) {
        let Some(selected) = &self.selected else { return };
        let above = self.above(store, selected).take(rows.max(1)).last();
        self.select(above.map(|session| self.place_of(session)));
    }

    pub(super) fn down(&mut self, store: &Store, rows: usize) {
        let Some(selected) = &self.selected else { return };
        let below = self.down_from(store, selected).filter(|row| row.serial != selected.serial());
        let below = below.take(rows.max(1)).last();
        self.select(below.map(|session| self.place_of(session)));
    }

    pub(super) fn first(&mut self, store: &Store) {
        let first = self.down_from(store, &Place::TOP).next();
        self.select(first.map(|session| self.place_of(session)));
    }

    pub(super) fn last(&mut self, store: &Store) {
        let last = match &self.index {
            Some(index) => index.last().and_then(|serial| store.by_serial(serial)),
            None => store.forward_from(0).find(|session| self.is_shown(session)),
        };
        self.select(last.map(|session| self.place_of(session)));
    }

    /// Selects the `row`th of the rows that are shown, and gives its session's serial.
    pub(super) fn select_row(&mut self, store: &Store, row: usize) -> Option<u64> {
        let session = self.rows(store).nth(row)?;
        let (place, serial) = (self.place_of(session), session.serial);
        self.select(Some(place));
        Some(serial)
    }

    /// Selects a row, and stops following: the user wants to stay there.
    fn select(&mut self, place: Option<Place>) {
        if place.is_some() {
            self.selected = place;
            (self.follow, self.followed) = (false, false);
        }
    }

    pub(super) fn toggle_follow(&mut self) {
        (self.follow, self.followed) = (!self.follow, false);
    }

    pub(super) fn toggle_pause(&mut self, store: &Store) {
        self.paused_at = match self.paused_at {
            Some(_) => None,
            None => Some(store.next_serial()),
        };
        self.stale = true;
    }

    pub(super) fn toggle_nulls(&mut self) {
        self.hide_nulls = !self.hide_nulls;
        self.stale = true;
    }

    /// Brings the rows in line with the sessions: those that changed, or all after another filter or order.
    pub(super) fn sync(&mut self, store: &mut Store, targets: &Targets) {
        let rule = Rule {
            filter: &self.filter,
            order: self.order,
            // Where there are none nobody needs to look for them.
            hide_nulls: self.hide_nulls && store.null_sessions() > 0,
            end: self.end(),
        };
        let index = self.index.take();
        if rule.filter.is_empty() && rule.order == Order::default() {
            if index.is_some() {
                store.watch(false);
            }
        } else {
            let current = index.filter(|index| !self.stale && index.knows(targets));
            let current = current.and_then(|mut index| match store.take_touched() {
                Touched::Some(serials) => index.update(store, &rule, serials).then_some(index),
                Touched::All => None,
            });
            self.index = Some(current.unwrap_or_else(|| {
                store.watch(true);
                Index::build(store, targets, &rule)
            }));
        }
        self.stale = false;
        // Its row may be at another place by now.
        if let Some(session) = self.selected(store) {
            self.selected = Some(self.place_of(session));
        } else if self.reordered {
            self.selected = None;
        }
        if std::mem::take(&mut self.reordered) {
            self.top = Some(Place::TOP);
        }
    }

    /// Makes the next sync look at all sessions.
    #[cfg(test)]
    pub(super) fn forget_index(&mut self) {
        self.stale = true;
    }

    /// The rows as they are found without an index: each session by itself, and all of them sorted.
    #[cfg(test)]
    pub(super) fn plainly(&self, store: &Store, targets: &Targets) -> Vec<u64> {
        let mut rows: Vec<(Place, u64)> = store
            .newest_first()
            .filter(|session| self.is_shown(session))
            .filter_map(|session| {
                let image = targets.images.get(&session.image);
                let library = image.map_or(String::new(), |image| image.library().to_lowercase());
                let is_shown = self.filter.matches(session, &library);
                is_shown.then(|| (self.order.place(session, &library), session.serial))
            })
            .collect();
        rows.sort();
        rows.into_iter().map(|(_, serial)| serial).collect()
    }

    /// Finds the selection and the scroll position for a page of rows.
    pub(super) fn settle(&mut self, store: &Store, page: usize) {
        self.page = page.max(1);
        self.selected = match self.selected.take().filter(|_| !self.follow) {
            Some(place) => self.nearest(store, &place),
            None if self.follow => self.newest(store),
            None => self.nearest(store, &Place::TOP),
        };
        self.top = self.selected.as_ref().map(|selected| self.settled_top(store, selected));
    }

    fn newest(&self, store: &Store) -> Option<Place> {
        match &self.index {
            Some(index) => {
                let newest = index.newest().and_then(|serial| store.by_serial(serial));
                newest.map(|session| self.place_of(session))
            }
            None => self.nearest(store, &Place::TOP),
        }
    }

    /// The row itself, or the next one below, or the next one above.
    fn nearest(&self, store: &Store, place: &Place) -> Option<Place> {
        let below = self.down_from(store, place).next();
        let nearest = below.or_else(|| self.above(store, place).next());
        nearest.map(|session| self.place_of(session))
    }

    fn settled_top(&self, store: &Store, selected: &Place) -> Place {
        let top = self.top.as_ref().unwrap_or(selected).min(selected);
        let mut below_top = self.down_from(store, top).take(self.page);
        let first = below_top.next();
        let is_selected = |session: &Session| session.serial == selected.serial();
        let top = match first {
            Some(first) if is_selected(first) || below_top.any(is_selected) => self.place_of(first),
            _ => self.rows_above(store, selected, self.page - 1),
        };
        // A page that is not full shows more of what is above.
        let shown = self.down_from(store, &top).take(self.page).count();
        self.rows_above(store, &top, self.page - shown)
    }

    /// The place that is `rows` rows above another, or the uppermost.
    fn rows_above(&self, store: &Store, place: &Place, rows: usize) -> Place {
        let above = self.above(store, place).take(rows).last();
        above.map_or_else(|| place.clone(), |session| self.place_of(session))
    }
}

impl App {
    /// Sorts the sessions by a column; the other way round when they are sorted by that already.
    pub fn sort_by(&mut self, now: Time, column: Column) {
        self.ui.list.sort_by(column);
        self.tell_order(now);
    }

    pub(super) fn tell_order(&mut self, now: Time) {
        let order = self.ui.list.order();
        let text = format!("sorted by {}, {}", order.column.name(), order.direction());
        self.tell(now, Level::Info, &text);
    }
}
