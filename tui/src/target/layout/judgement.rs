//! What the code shows, beside what a layout says.

use std::collections::BTreeSet;

use super::Layout;
use super::field::{At, Evidence, Field, Shown};

/// Fields that must be confirmed before a row is believed that no version proposed.
const ENOUGH: usize = 4;

/// What the evidence says of one layout.
#[derive(Debug, Default)]
pub(super) struct Judgement<'e> {
    pub confirmed: BTreeSet<Field>,
    by: Vec<&'static str>,
    /// What the layout says, and what was shown instead.
    pub contradicted: Vec<(At, &'e Shown)>,
}

/// Compares one layout with everything that the code shows.
pub(super) fn judge<'e>(
    evidence: &'e Evidence,
    place: impl Fn(Field) -> Option<At>,
) -> Judgement<'e> {
    let mut judgement = Judgement::default();
    for shown in &evidence.shown {
        let Some(at) = place(shown.field) else { continue };
        if shown.places.contains(&at) {
            judgement.confirmed.insert(shown.field);
            if !judgement.by.contains(&shown.by) {
                judgement.by.push(shown.by);
            }
        } else {
            judgement.contradicted.push((at, shown));
        }
    }
    judgement
}

impl Judgement<'_> {
    pub fn agrees(&self) -> bool {
        self.contradicted.is_empty()
    }

    pub fn has(&self, field: Field) -> bool {
        self.confirmed.contains(&field)
    }

    pub fn has_session(&self) -> bool {
        self.has(Field::Session) || self.has(Field::SessionPointer)
    }

    /// Enough for a row that no version proposed: the connection's fields, and both ends of what lies between them.
    pub fn suffices(&self, layout: &Layout) -> bool {
        let secrets = match layout {
            Layout::OpenSsl(layout) if layout.tls13.is_some() => {
                self.has(Field::Hit) || self.has(Field::Exporter)
            }
            _ => true,
        };
        let ends = self.has(Field::ClientRandom) && self.has_session();
        ends && secrets && self.confirmed.len() >= ENOUGH
    }

    pub fn confirmation(&self) -> String {
        let mut fields: Vec<String> = self.confirmed.iter().map(ToString::to_string).collect();
        fields.dedup();
        let mut by: Vec<&str> = Vec::new();
        for source in &self.by {
            let source = if source.starts_with("SSL_") { "the accessors" } else { source };
            if !by.contains(&source) {
                by.push(source);
            }
        }
        format!("confirmed by {} ({})", by.join(", "), fields.join(", "))
    }

    pub fn contradiction(&self) -> String {
        match self.contradicted.first() {
            Some((at, shown)) => {
                let places: Vec<String> = shown.places.iter().map(ToString::to_string).collect();
                format!("{} shows {} at {}, not {at}", shown.by, shown.field, places.join(" or "))
            }
            None => "nothing contradicts it".to_owned(),
        }
    }
}
