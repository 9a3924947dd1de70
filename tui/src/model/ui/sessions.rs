//! The table of sessions: which rows it shows, and which one is selected.
//!
//! Rows are remembered by the serial of their session, so that they stay where they are when newer
//! sessions arrive above them. Nothing here walks through all sessions, as long as most are shown.

use crate::model::{Session, Store};

/// The newer rows above the first shown one are counted up to here.
const NEWER_COUNTED: usize = 1000;

/// The selection, the scroll position and the filters of the table.
#[derive(Clone, Debug)]
pub struct SessionList {
    selected: Option<u64>,
    /// The first row that is shown.
    top: Option<u64>,
    /// The newest session is the selected one.
    follow: bool,
    /// Sessions with only null secrets are not shown.
    hide_nulls: bool,
    /// Sessions from this serial on are not shown.
    paused_at: Option<u64>,
    /// Which sessions are shown, as it was typed.
    filter: String,
    page: usize,
}

impl Default for SessionList {
    /// Follows the newest session, and hides those with only null secrets.
    fn default() -> Self {
        Self {
            selected: None,
            top: None,
            follow: true,
            hide_nulls: true,
            paused_at: None,
            filter: String::new(),
            page: 0,
        }
    }
}

impl SessionList {
    /// The filter as it was typed; empty shows all.
    pub fn filter_text(&self) -> &str {
        &self.filter
    }

    pub(super) fn set_filter(&mut self, text: &str) {
        text.clone_into(&mut self.filter);
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

    /// The selected session.
    pub fn selected<'a>(&self, store: &'a Store) -> Option<&'a Session> {
        let serial = self.selected?;
        store.back_from(serial).next().filter(|session| session.serial == serial)
    }

    /// The rows to show, from the top.
    pub fn rows<'a>(&'a self, store: &'a Store) -> impl Iterator<Item = &'a Session> {
        self.back_from(store, self.top.unwrap_or(u64::MAX)).take(self.page)
    }

    /// Every session that the filters let through, newest first.
    pub fn shown<'a>(&'a self, store: &'a Store) -> impl Iterator<Item = &'a Session> {
        self.back_from(store, u64::MAX)
    }

    /// The rows above those that are shown, counted up to 1000.
    pub fn newer(&self, store: &Store) -> usize {
        let Some(top) = self.top else { return 0 };
        self.forward_from(store, top + 1).take(NEWER_COUNTED).count()
    }

    fn is_shown(&self, session: &Session) -> bool {
        !(self.hide_nulls && session.is_null())
            && self.paused_at.is_none_or(|serial| session.serial < serial)
    }

    /// The rows from `serial` downwards.
    fn back_from<'a>(&'a self, store: &'a Store, serial: u64) -> impl Iterator<Item = &'a Session> {
        let newest = self.paused_at.map_or(u64::MAX, |serial| serial.saturating_sub(1));
        store.back_from(serial.min(newest)).filter(|session| self.is_shown(session))
    }

    /// The rows from `serial` upwards.
    fn forward_from<'a>(
        &'a self,
        store: &'a Store,
        serial: u64,
    ) -> impl Iterator<Item = &'a Session> {
        let end = self.paused_at.unwrap_or(u64::MAX);
        store
            .forward_from(serial)
            .take_while(move |session| session.serial < end)
            .filter(|session| self.is_shown(session))
    }

    pub(super) fn up(&mut self, store: &Store, rows: usize) {
        let Some(selected) = self.selected else { return };
        let newer = self.forward_from(store, selected + 1).take(rows.max(1)).last();
        self.select(newer.map(|session| session.serial));
    }

    pub(super) fn down(&mut self, store: &Store, rows: usize) {
        let Some(selected) = self.selected.and_then(|serial| serial.checked_sub(1)) else { return };
        let older = self.back_from(store, selected).take(rows.max(1)).last();
        self.select(older.map(|session| session.serial));
    }

    pub(super) fn first(&mut self, store: &Store) {
        let newest = self.back_from(store, u64::MAX).next().map(|session| session.serial);
        self.select(newest);
    }

    pub(super) fn last(&mut self, store: &Store) {
        let oldest = self.forward_from(store, 0).next().map(|session| session.serial);
        self.select(oldest);
    }

    /// Selects a row, and stops following: the user wants to stay there.
    pub(super) fn select(&mut self, serial: Option<u64>) {
        if serial.is_some() {
            self.selected = serial;
            self.follow = false;
        }
    }

    pub(super) fn toggle_follow(&mut self) {
        self.follow = !self.follow;
    }

    pub(super) fn toggle_pause(&mut self, store: &Store) {
        self.paused_at = match self.paused_at {
            Some(_) => None,
            None => Some(store.next_serial()),
        };
    }

    pub(super) fn toggle_nulls(&mut self) {
        self.hide_nulls = !self.hide_nulls;
    }

    /// Finds the selection and the scroll position for a page of rows.
    pub(super) fn settle(&mut self, store: &Store, page: usize) {
        self.page = page.max(1);
        let newest = self.back_from(store, u64::MAX).next().map(|session| session.serial);
        if self.follow || self.selected.is_none() {
            self.selected = newest;
        }
        self.selected = self.selected.and_then(|serial| self.nearest(store, serial));
        self.top = self.selected.map(|selected| self.settled_top(store, selected));
    }

    /// The row itself, or the next older one, or the next newer one.
    fn nearest(&self, store: &Store, serial: u64) -> Option<u64> {
        let older = self.back_from(store, serial).next();
        let nearest = older.or_else(|| self.forward_from(store, serial).next());
        nearest.map(|session| session.serial)
    }

    fn settled_top(&self, store: &Store, selected: u64) -> u64 {
        let mut top = self.top.unwrap_or(selected).max(selected);
        let below_top = self.back_from(store, top).take(self.page);
        if !below_top.into_iter().any(|session| session.serial == selected) {
            top = self.rows_above(store, selected, self.page - 1);
        }
        // A page that is not full shows more of what is above.
        let shown = self.back_from(store, top).take(self.page).count();
        self.rows_above(store, top, self.page - shown)
    }

    /// The serial that is `rows` rows above `serial`, or the uppermost.
    fn rows_above(&self, store: &Store, serial: u64, rows: usize) -> u64 {
        let above = self.forward_from(store, serial.saturating_add(1)).take(rows).last();
        above.map_or(serial, |session| session.serial)
    }
}
