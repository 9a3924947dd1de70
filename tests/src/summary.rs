//! The numbers that tlskeytop prints at its end.

use anyhow::{Context, Result};

/// The summary: `sessions 3, secrets 15, ...` or `3 sessions, 15 secrets, ...`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Summary {
    /// Sessions seen.
    pub sessions: u64,
    /// Secrets seen, each once.
    pub secrets: u64,
    /// Lines written.
    pub saved: u64,
    /// Secrets seen again with the same value.
    pub duplicates: u64,
    /// Secrets of zeros.
    pub nulls: u64,
    /// Secrets seen again with another value.
    pub conflicts: u64,
    /// Events lost.
    pub lost: u64,
    /// Events that could not be right; the summary has them only when there were some.
    pub rejected: u64,
    /// Secrets of processes that ended before it was known whose children they were; as above.
    pub unattributed: u64,
}

impl Summary {
    /// Finds the summary in what tlskeytop printed on standard error.
    ///
    /// # Errors
    /// When no line has all the numbers.
    pub fn parse(stderr: &str) -> Result<Self> {
        let line = stderr
            .lines()
            .rfind(|line| line.contains("session") && line.contains("lost"))
            .with_context(|| format!("no summary in:\n{stderr}"))?;
        let number = |name: &str| find(line, name).with_context(|| format!("{name} in {line:?}"));
        Ok(Self {
            sessions: number("session")?,
            secrets: number("secret")?,
            saved: number("saved")?,
            duplicates: number("duplicate")?,
            nulls: number("null")?,
            conflicts: number("conflict")?,
            lost: number("lost")?,
            rejected: find(line, "rejected").unwrap_or(0),
            unattributed: find(line, "unattributed").unwrap_or(0),
        })
    }
}

/// The number beside a word, singular or plural, on the side where this line has its numbers.
fn find(line: &str, name: &str) -> Option<u64> {
    let split = |c: char| !c.is_ascii_alphanumeric();
    let words: Vec<&str> = line.split(split).filter(|word| !word.is_empty()).collect();
    let number = |word: &&str| word.parse::<u64>().ok();
    let numbers_first = words.iter().position(|word| number(word).is_some())
        < words.iter().position(|word| word.starts_with("session"));
    let matches = |word: &&str| word.trim_end_matches('s') == name;
    let at = words.iter().position(matches)?;
    let at = if numbers_first { at.checked_sub(1)? } else { at + 1 };
    words.get(at).and_then(number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_on_either_side() {
        let after = "tlskeytop: sessions 1, secrets 5, saved 5, duplicates 0, nulls 2, conflicts 0, lost 7, \
             rejected 3";
        let before = "tlskeytop: 1 session, 5 secrets, 5 saved, 0 duplicates, 2 nulls, 0 conflicts, 7 lost, \
             3 rejected";
        let expected = Summary {
            sessions: 1,
            secrets: 5,
            saved: 5,
            duplicates: 0,
            nulls: 2,
            conflicts: 0,
            lost: 7,
            rejected: 3,
            unattributed: 0,
        };
        assert_eq!(Summary::parse(after).unwrap(), expected);
        assert_eq!(Summary::parse(before).unwrap(), expected);
    }

    #[test]
    fn no_summary_is_an_error() {
        assert!(Summary::parse("tlskeytop: ready, 3 targets\n").is_err());
    }
}
