//! The rows of a filter or of another order than that of arrival: found once for all sessions, then kept
//! in step with those that change.

use std::collections::BTreeMap;

use super::filter::Filter;
use super::order::{Order, Place};
use super::ranks::{Drafts, Ranks, Row};
use super::sieve::Sieve;
use crate::model::target::{Image, ImageId, Targets};
use crate::model::{Session, Store};

/// What decides whether a session has a row, and where.
#[derive(Clone, Debug)]
pub(super) struct Rule<'a> {
    pub filter: &'a Filter,
    pub order: Order,
    pub hide_nulls: bool,
    /// Sessions from this serial on have no row.
    pub end: u64,
}

impl Rule<'_> {
    fn may_show(&self, session: &Session) -> bool {
        session.serial < self.end && !(self.hide_nulls && session.is_null())
    }
}

/// All rows.
#[derive(Clone, Debug)]
pub(super) struct Index {
    /// From the top.
    rows: Vec<Row>,
    ranks: Ranks,
    libraries: Libraries,
}

/// Texts that no row has any more are kept up to as many as there are rows, and these.
const SPARE_TEXTS: usize = 1024;

impl Index {
    /// One pass over all sessions.
    pub fn build(store: &Store, targets: &Targets, rule: &Rule<'_>) -> Self {
        let libraries = Libraries::new(targets);
        let mut drafts = Drafts::new(rule.order);
        let mut sieve = Sieve::new(rule.filter);
        for session in store.newest_first().filter(|session| rule.may_show(session)) {
            let library = libraries.of(session.image);
            if sieve.lets_through(session, library) {
                drafts.add(session, library);
            }
        }
        let (ranks, rows) = drafts.finish();
        Self { rows, ranks, libraries }
    }

    /// Whether the libraries' names are still those that it was made with.
    pub fn knows(&self, targets: &Targets) -> bool {
        self.libraries.are_of(targets)
    }

    /// Brings the rows of some sessions in line. False when it should be made anew: it remembers too much.
    pub fn update(&mut self, store: &Store, rule: &Rule<'_>, mut touched: Vec<u64>) -> bool {
        touched.sort_unstable();
        touched.dedup();
        let (Some(&first), Some(&last)) = (touched.first(), touched.last()) else { return true };
        let is_touched = |row: &Row| {
            let serial = row.serial();
            (first..=last).contains(&serial) && touched.binary_search(&serial).is_ok()
        };
        self.rows.retain(|row| !is_touched(row));
        let sessions = touched.iter().filter_map(|serial| store.by_serial(*serial));
        let values = sessions.filter(|session| rule.may_show(session)).filter_map(|session| {
            let library = self.libraries.of(session.image);
            let is_shown = rule.filter.matches(session, library);
            is_shown.then(|| (rule.order.value(session, library), session.serial))
        });
        self.ranks.add(&mut self.rows, values.collect());
        self.ranks.texts() <= 2 * self.rows.len() + SPARE_TEXTS
    }

    /// The place of a session, also of one that has no row.
    pub fn place_of(&self, session: &Session, order: Order) -> Place {
        order.place(session, self.libraries.of(session.image))
    }

    /// Number of rows.
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// The newest session that has a row.
    pub fn newest(&self) -> Option<u64> {
        self.rows.iter().map(|row| row.serial()).max()
    }

    /// Sessions from a place downwards, itself included.
    pub fn down_from(&self, place: &Place) -> impl Iterator<Item = u64> + use<'_> {
        self.rows[self.first_at(place)..].iter().map(|row| row.serial())
    }

    /// Sessions from a place upwards, without itself.
    pub fn above(&self, place: &Place) -> impl Iterator<Item = u64> + use<'_> {
        self.rows[..self.first_at(place)].iter().rev().map(|row| row.serial())
    }

    fn first_at(&self, place: &Place) -> usize {
        let row = self.ranks.row_of(place);
        self.rows.partition_point(|other| *other < row)
    }

    /// The session of the lowest row.
    pub fn last(&self) -> Option<u64> {
        self.rows.last().map(|row| row.serial())
    }
}

/// The libraries' names by image, made once and not for each session.
#[derive(Clone, Debug)]
struct Libraries(BTreeMap<ImageId, Box<str>>);

impl Libraries {
    fn new(targets: &Targets) -> Self {
        let name = |image: &Image| image.library().to_lowercase().into();
        Self(targets.images.iter().map(|(id, image)| (*id, name(image))).collect())
    }

    fn of(&self, image: ImageId) -> &str {
        self.0.get(&image).map_or("", |name| name)
    }

    /// An image's id is never used for another file: the ids are enough.
    fn are_of(&self, targets: &Targets) -> bool {
        self.0.keys().eq(targets.images.keys())
    }
}
