//! Which sessions are not as they were, for views that keep them in an order of their own.
//!
//! Apart from the store's `track_changes`, which reports a session once until it is taken, and says
//! nothing of what was saved or dropped.

/// More than this, and one pass over all sessions takes less time than one look-up for each.
const MOST: usize = 16_384;

/// What is not as it was.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Touched {
    /// The sessions with these serials; some may be gone, some named twice.
    Some(Vec<u64>),
    /// So many that all sessions should be looked at.
    All,
}

/// Collects it while somebody wants to know; bounded, also when nobody asks for long.
#[derive(Debug, Default)]
pub(super) struct Watch {
    touched: Option<Touched>,
}

impl Watch {
    pub fn set(&mut self, on: bool) {
        self.touched = on.then_some(Touched::Some(Vec::new()));
    }

    pub fn touch(&mut self, serial: u64) {
        match &mut self.touched {
            Some(Touched::Some(serials)) if serials.len() < MOST => serials.push(serial),
            Some(Touched::Some(_)) => self.touch_all(),
            Some(Touched::All) | None => {}
        }
    }

    pub fn touch_all(&mut self) {
        if let Some(touched) = &mut self.touched {
            *touched = Touched::All;
        }
    }

    /// All, when nothing was collected: the caller knows nothing yet.
    pub fn take(&mut self) -> Touched {
        match &mut self.touched {
            Some(touched) => std::mem::replace(touched, Touched::Some(Vec::new())),
            None => Touched::All,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn too_many_become_all() {
        let mut watch = Watch::default();
        watch.touch(1);
        assert_eq!(watch.take(), Touched::All);
        watch.set(true);
        watch.touch(1);
        watch.touch(1);
        assert_eq!(watch.take(), Touched::Some(vec![1, 1]));
        assert_eq!(watch.take(), Touched::Some(vec![]));
        (0..=MOST as u64).for_each(|serial| watch.touch(serial));
        assert_eq!(watch.take(), Touched::All);
        assert_eq!(watch.take(), Touched::Some(vec![]));
    }
}
