//! Fuzzy search among the processes, with the matcher of the helix editor.

use nucleo_matcher::pattern::{Atom, AtomKind, CaseMatching, Normalization, Pattern};
use nucleo_matcher::{Config, Matcher, Utf32Str};

use crate::model::target::{Target, Targets};

/// A match in a name counts as much as one in a path that is better by so many points (a letter is worth 16).
const NAME_BONUS: u32 = 8;
/// Who types a whole process id means that process, whatever has its digits in a name or a path.
const PID_BONUS: u32 = 1 << 20;

/// What is searched: each word has to be found in one of the fields, a word that begins with `!` in none.
#[derive(Clone, Debug)]
pub(super) struct Search {
    words: Vec<Word>,
}

#[derive(Clone, Debug)]
struct Word {
    /// Letters in this order, with others between them.
    fuzzy: Atom,
    /// One piece: for numbers, of which the other way would find too many.
    whole: Atom,
}

impl Search {
    /// `None` when the text has no words.
    pub(super) fn new(text: &str) -> Option<Self> {
        let pattern = Pattern::parse(text, CaseMatching::Ignore, Normalization::Smart);
        let word = |fuzzy: Atom| {
            let mut whole = fuzzy.clone();
            if whole.kind == AtomKind::Fuzzy {
                whole.kind = AtomKind::Substring;
            }
            Word { fuzzy, whole }
        };
        let words: Vec<_> = pattern.atoms.into_iter().map(word).collect();
        (!words.is_empty()).then_some(Self { words })
    }

    /// The processes in which all words are found, the best first; equal ones by their ids.
    pub(super) fn find(&self, targets: &Targets) -> Vec<u32> {
        let mut matcher = matcher();
        let score = |(pid, target): (&u32, &Target)| {
            Some((self.score(&mut matcher, targets, target)?, *pid))
        };
        let mut found: Vec<(u32, u32)> = targets.processes.iter().filter_map(score).collect();
        found.sort_by_key(|(score, pid)| (std::cmp::Reverse(*score), *pid));
        found.into_iter().map(|(_, pid)| pid).collect()
    }

    fn score(&self, matcher: &mut Matcher, targets: &Targets, target: &Target) -> Option<u32> {
        let process = &target.process;
        let names = [process.comm.to_string()];
        let images = target.images.iter().filter_map(|id| targets.images.get(id));
        let libraries: Vec<_> = images.map(|image| image.library()).collect();
        let paths = process.exe.iter().map(ToString::to_string);
        let fuzzy: Vec<_> = names.into_iter().chain(libraries).chain(paths).collect();
        let whole = [
            process.pid.to_string(),
            target.command.as_ref().map_or_else(String::new, ToString::to_string),
            process.container.as_ref().map_or_else(String::new, ToString::to_string),
            process.inner_pid.map_or_else(String::new, |pid| pid.to_string()),
        ];
        let mut buffer = Vec::new();
        let mut sum = 0;
        for word in &self.words {
            let is_pid = word.whole.needle_text().chars().eq(whole[0].chars());
            sum += if is_pid && !word.whole.negative { PID_BONUS } else { 0 };
            let texts = fuzzy.iter().map(|text| (&word.fuzzy, text));
            let texts = texts.chain(whole.iter().map(|text| (&word.whole, text)));
            let mut best = None;
            for (index, (atom, text)) in texts.enumerate() {
                let found = atom.score(Utf32Str::new(text, &mut buffer), matcher);
                if atom.negative && found.is_none() {
                    return None;
                }
                let bonus = if index == 0 { NAME_BONUS } else { 0 };
                best = best.max(found.map(|score| u32::from(score) + bonus));
            }
            sum += best?;
        }
        Some(sum)
    }
}

fn matcher() -> Matcher {
    Matcher::new(Config::DEFAULT.match_paths())
}

/// Finds the letters of a search in the texts that are shown.
pub struct Highlighter<'a> {
    search: &'a Search,
    matcher: Matcher,
}

impl<'a> Highlighter<'a> {
    pub(super) fn new(search: &'a Search) -> Self {
        Self { search, matcher: matcher() }
    }

    /// Which characters of a text the search finds, in their order; in `whole` pieces only, for numbers.
    pub fn letters(&mut self, text: &str, whole: bool) -> Vec<u32> {
        let (mut buffer, mut letters) = (Vec::new(), Vec::new());
        let haystack = Utf32Str::new(text, &mut buffer);
        for word in &self.search.words {
            let atom = if whole { &word.whole } else { &word.fuzzy };
            // Of one that does not match, nothing is added.
            let _ = atom.indices(haystack, &mut self.matcher, &mut letters);
        }
        letters.sort_unstable();
        letters.dedup();
        letters
    }
}

/// The letters of a text that a search finds: see [`crate::doors`].
pub(crate) fn searched_letters(search: &str, text: &str) -> Option<[Vec<u32>; 2]> {
    let search = Search::new(search)?;
    let mut highlighter = Highlighter::new(&search);
    Some([false, true].map(|whole| highlighter.letters(text, whole)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::fixture::scan;
    use crate::model::target::{Process, Selection};

    fn found(text: &str) -> Vec<u32> {
        let mut targets = Targets::new(Selection::default());
        targets.merge(scan());
        Search::new(text).unwrap().find(&targets)
    }

    #[test]
    fn each_field_is_searched() {
        assert_eq!(found("ngx"), [7, 1203], "the hostile name is ng…x with its path, and worse");
        assert_eq!(found("NODE"), [901]);
        assert_eq!(found("gnutls"), [1203]);
        assert_eq!(found("120"), [1201, 1202, 1203]);
        assert_eq!(found("日語"), [1202]);
        assert_eq!(found("🦀"), [4_194_303]);
        assert_eq!(found("/usr/bin/ngi"), [7]);
        assert_eq!(found("nothing like this"), [] as [u32; 0]);
    }

    #[test]
    fn all_words_are_found_and_some_are_not_wanted() {
        assert_eq!(found("openssl node"), [901]);
        assert_eq!(found("boring !crab"), [1201]);
        assert!(Search::new("  ").is_none());
    }

    #[test]
    fn a_process_id_comes_before_its_digits_elsewhere() {
        let mut scan = scan();
        let named = &mut scan.targets[0].process;
        *named = std::sync::Arc::new(Process { comm: "run-1203".into(), ..(**named).clone() });
        let mut targets = Targets::new(Selection::default());
        targets.merge(scan);
        assert_eq!(Search::new("1203").unwrap().find(&targets), [1203, 7]);
    }

    #[test]
    fn a_number_is_one_piece() {
        assert_eq!(found("91"), [] as [u32; 0], "901 has both digits");
        assert_eq!(found("43"), [4_194_303]);
    }

    #[test]
    fn letters_are_counted_in_characters() {
        let search = Search::new("語p").unwrap();
        let mut highlighter = Highlighter::new(&search);
        assert_eq!(highlighter.letters("日本語 xp", false), [2, 5]);
        assert_eq!(highlighter.letters("日本語 xp", true), [] as [u32; 0]);
    }
}
