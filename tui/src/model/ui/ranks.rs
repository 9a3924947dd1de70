//! Rows as numbers: those of 100,000 sessions are sorted and kept far more quickly than what they stand for.

use std::borrow::Cow;
use std::cmp::Reverse;
use std::collections::HashMap;

use foldhash::fast::RandomState;

use super::order::{Column, Order, Place, Value};
use crate::model::Session;
use crate::model::target::Process;

/// A row, or a place between rows. What is above is less; of equal ranks the newer is above.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Row {
    rank: u64,
    serial: Reverse<u64>,
}

impl Row {
    /// Its session.
    pub fn serial(self) -> u64 {
        self.serial.0
    }
}

/// Which number each value of a column has.
#[derive(Clone, Debug)]
pub(super) struct Ranks {
    order: Order,
    /// Sorted, each once. The number of a text is twice its place here and one, so that there is one between two texts.
    texts: Vec<Box<str>>,
}

/// Of what is not known: below all that is.
const UNKNOWN: u64 = u64::MAX;

impl Ranks {
    /// The row of a place in this order.
    pub fn row_of(&self, place: &Place) -> Row {
        let serial = place.serial();
        let rank = match place.value() {
            Some(Some(value)) => self.of_value(value).unwrap_or_else(|between| between),
            Some(None) => UNKNOWN,
            None if self.order == Order::default() => self.directed(serial.min(Value::GREATEST)),
            // Of another order: above all.
            None => 0,
        };
        Row { rank, serial: Reverse(serial) }
    }

    /// As errors the ranks of texts that are not among these: between their neighbours.
    fn of_value(&self, value: &Value<'_>) -> Result<u64, u64> {
        match value {
            Value::Number(number) => Ok(self.directed(*number)),
            Value::Text(text) => match self.texts.binary_search_by(|known| (**known).cmp(text)) {
                Ok(at) => Ok(self.of_text(at)),
                Err(at) => Err(self.directed(2 * at as u64)),
            },
        }
    }

    fn of_text(&self, at: usize) -> u64 {
        self.directed(2 * at as u64 + 1)
    }

    /// From 1 on: 0 is above all.
    fn directed(&self, number: u64) -> u64 {
        match self.order.descending {
            false => 1 + number,
            true => UNKNOWN - 1 - number,
        }
    }

    /// The opposite of `of_text`.
    fn text_of(&self, rank: u64) -> usize {
        let number = if self.order.descending { UNKNOWN - 1 - rank } else { rank - 1 };
        (number / 2) as usize
    }

    /// Number of texts, also of those that no row has any more.
    pub fn texts(&self) -> usize {
        self.texts.len()
    }

    /// Adds the rows of some more values to those that are there.
    pub fn add(&mut self, rows: &mut Vec<Row>, values: Vec<(Option<Value<'_>>, u64)>) {
        let mut new: Vec<Box<str>> = Vec::new();
        for (value, _) in &values {
            if let Some(Value::Text(text)) = value
                && self.of_value(&Value::Text(Cow::Borrowed(text))).is_err()
            {
                new.push((**text).into());
            }
        }
        self.learn(rows, new);
        let known = rows.len();
        rows.extend(values.into_iter().map(|(value, serial)| {
            // All texts are known by now.
            let rank = |value| self.of_value(&value).unwrap_or_else(|between| between);
            Row { rank: value.map_or(UNKNOWN, rank), serial: Reverse(serial) }
        }));
        // Two sorted runs are merged, which is what a stable sort is good at.
        rows[known..].sort_unstable();
        rows.sort();
    }

    /// Takes up new texts, and numbers the rows anew.
    fn learn(&mut self, rows: &mut [Row], new: Vec<Box<str>>) {
        if new.is_empty() {
            return;
        }
        let mut all: Vec<(Box<str>, Option<usize>)> = Vec::new();
        let known = std::mem::take(&mut self.texts).into_iter().enumerate();
        all.extend(known.map(|(at, text)| (text, Some(at))));
        let olds = all.len();
        all.extend(new.into_iter().map(|text| (text, None)));
        all.sort();
        all.dedup_by(|a, b| a.0 == b.0);
        let mut moved = vec![0; olds];
        for (to, (_, from)) in all.iter().enumerate() {
            if let Some(from) = from {
                moved[*from] = to;
            }
        }
        self.texts = all.into_iter().map(|(text, _)| text).collect();
        for row in rows.iter_mut().filter(|row| row.rank != UNKNOWN) {
            if let Some(to) = moved.get(self.text_of(row.rank)) {
                row.rank = self.of_text(*to);
            }
        }
    }
}

/// Ranks in the making: texts have the numbers in which they come.
pub(super) struct Drafts {
    order: Order,
    rows: Vec<Row>,
    texts: HashMap<Box<str>, u64, RandomState>,
    /// What processes have in a column that tells of these alone.
    by_process: HashMap<*const Process, u64, RandomState>,
}

impl Drafts {
    /// For an order.
    pub fn new(order: Order) -> Self {
        let (texts, by_process) = (HashMap::default(), HashMap::default());
        Self { order, rows: Vec::new(), texts, by_process }
    }

    /// Adds a row. Newer sessions come before older ones.
    pub fn add(&mut self, session: &Session, library: &str) {
        let rank = match self.order.column {
            Column::Process | Column::Executable => {
                let process = &raw const *session.process;
                match self.by_process.get(&process) {
                    Some(known) => *known,
                    None => {
                        let rank = self.rank(session, library);
                        self.by_process.insert(process, rank);
                        rank
                    }
                }
            }
            _ => self.rank(session, library),
        };
        self.rows.push(Row { rank, serial: Reverse(session.serial) });
    }

    fn rank(&mut self, session: &Session, library: &str) -> u64 {
        match self.order.value(session, library) {
            None => UNKNOWN,
            Some(Value::Number(number)) => number,
            Some(Value::Text(text)) => match self.texts.get(&*text) {
                Some(known) => *known,
                None => {
                    let new = self.texts.len() as u64;
                    self.texts.insert(text.into(), new);
                    new
                }
            },
        }
    }

    /// All rows, from the top.
    pub fn finish(self) -> (Ranks, Vec<Row>) {
        let mut texts: Vec<(Box<str>, u64)> = self.texts.into_iter().collect();
        texts.sort_unstable();
        let mut places = vec![0; texts.len()];
        for (at, (_, draft)) in texts.iter().enumerate() {
            places[*draft as usize] = at;
        }
        let texts = texts.into_iter().map(|(text, _)| text).collect();
        let ranks = Ranks { order: self.order, texts };
        let mut rows = self.rows;
        for row in rows.iter_mut().filter(|row| row.rank != UNKNOWN) {
            row.rank = match places.get(row.rank as usize) {
                Some(at) => ranks.of_text(*at),
                // A column has numbers, or it has texts.
                None => ranks.directed(row.rank),
            };
        }
        // Stable: the newer ones are above already.
        rows.sort_by_key(|row| row.rank);
        (ranks, rows)
    }
}
