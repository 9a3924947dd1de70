//! Server names, each once in memory: many sessions are of few servers, and whoever looks at the names of all sessions
//! finds few of them close together.

use std::collections::HashSet;

use crate::text::Foreign;

/// Names that are remembered; then it begins anew.
const REMEMBERED: usize = 4096;

/// Those that came last.
#[derive(Debug, Default)]
pub(super) struct Names(HashSet<Foreign>);

impl Names {
    /// Puts in the place of a name the same one that came before.
    pub fn share(&mut self, name: &mut Foreign) {
        if let Some(known) = self.0.get(name) {
            name.clone_from(known);
            return;
        }
        if self.0.len() >= REMEMBERED {
            self.0.clear();
        }
        self.0.insert(name.clone());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_came_before_is_shared_and_the_others_are_bounded() {
        let mut names = Names::default();
        let mut share = |text: &str| {
            let mut name = Foreign::from(text);
            names.share(&mut name);
            (name.raw().as_ptr(), names.0.len(), name)
        };
        let (first, again) = (share("example.org"), share("example.org"));
        assert_eq!(first, again);
        for n in 0..2 * REMEMBERED {
            assert!(share(&n.to_string()).1 <= REMEMBERED);
        }
        assert_eq!(share("example.org").2.raw(), "example.org");
    }
}
