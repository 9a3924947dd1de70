//! The rows of a filter or of another order than that of arrival: found once for all sessions, then kept
//! in step with those that change.

use std::collections::btree_set::Range;
use std::collections::{BTreeMap, BTreeSet};
use std::iter::Rev;
use std::sync::Arc;

use super::filter::Filter;
use super::order::{Order, Place, Texts};
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
    fn place(&self, session: &Session, libraries: &Libraries, texts: &mut Texts) -> Option<Place> {
        if session.serial >= self.end || (self.hide_nulls && session.is_null()) {
            return None;
        }
        let library = libraries.of(session.image);
        self.filter.matches(session, library).then(|| self.order.place(session, library, texts))
    }
}

/// All rows.
#[derive(Clone, Debug)]
pub(super) struct Index {
    /// From the top.
    rows: BTreeSet<Place>,
    /// Where each session's row is.
    places: BTreeMap<u64, Place>,
    libraries: Libraries,
}

impl Index {
    /// One pass over all sessions.
    pub fn build(store: &Store, targets: &Targets, rule: &Rule<'_>) -> Self {
        let libraries = Libraries::new(targets);
        let mut texts = Texts::default();
        let places: Vec<_> = store
            .newest_first()
            .rev()
            .filter_map(|session| rule.place(session, &libraries, &mut texts))
            .collect();
        let rows = texts.sort(places.clone());
        // Both sets are made at once from what is sorted, which is far quicker than row by row.
        Self {
            rows: rows.into_iter().collect(),
            places: places.into_iter().map(|place| (place.serial(), place)).collect(),
            libraries,
        }
    }

    /// Whether the libraries' names are still those that it was made with.
    pub fn knows(&self, targets: &Targets) -> bool {
        self.libraries.are_of(targets)
    }

    /// Brings the rows of some sessions in line.
    pub fn update(&mut self, store: &Store, rule: &Rule<'_>, touched: &[u64]) {
        // Not kept for the next time: it would grow with every process that ever was.
        let mut texts = Texts::default();
        for &serial in touched {
            let session = store.by_serial(serial);
            let place =
                session.and_then(|session| rule.place(session, &self.libraries, &mut texts));
            if self.places.get(&serial) == place.as_ref() {
                continue;
            }
            if let Some(old) = self.places.remove(&serial) {
                self.rows.remove(&old);
            }
            if let Some(place) = place {
                self.rows.insert(place.clone());
                self.places.insert(serial, place);
            }
        }
    }

    /// The place of a session, also of one that has no row.
    pub fn place_of(&self, session: &Session, order: Order) -> Place {
        match self.places.get(&session.serial) {
            Some(place) => place.clone(),
            None => order.place(session, self.libraries.of(session.image), &mut Texts::default()),
        }
    }

    /// Number of rows.
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// The place of the newest session that has a row.
    pub fn newest(&self) -> Option<&Place> {
        self.places.last_key_value().map(|(_, place)| place)
    }

    /// From a place downwards, itself included.
    pub fn down_from(&self, place: &Place) -> Range<'_, Place> {
        self.rows.range(place..)
    }

    /// From a place upwards, without itself.
    pub fn above(&self, place: &Place) -> Rev<Range<'_, Place>> {
        self.rows.range(..place).rev()
    }

    /// The lowest.
    pub fn last(&self) -> Option<&Place> {
        self.rows.last()
    }
}

/// The libraries' names by image, made once and not for each session.
#[derive(Clone, Debug)]
struct Libraries {
    names: BTreeMap<ImageId, Arc<str>>,
    unknown: Arc<str>,
}

impl Libraries {
    fn new(targets: &Targets) -> Self {
        let mut texts = Texts::default();
        let mut name = |image: &Image| texts.get(&image.library());
        let names = targets.images.iter().map(|(id, image)| (*id, name(image))).collect();
        Self { names, unknown: "".into() }
    }

    fn of(&self, image: ImageId) -> &Arc<str> {
        self.names.get(&image).unwrap_or(&self.unknown)
    }

    /// An image's id is never used for another file: the ids are enough.
    fn are_of(&self, targets: &Targets) -> bool {
        self.names.keys().eq(targets.images.keys())
    }
}
