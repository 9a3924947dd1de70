//! Versions of libraries, in their order.

/// `1.1.1w`, `3.0.17`, `3.0.15+quic`, `v1.30.1`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Release {
    /// `+quic`: quictls' fork. First, because the two lines of versions have nothing to do with each other.
    pub quic: bool,
    /// Three numbers.
    pub numbers: [u32; 3],
    /// OpenSSL's patch letter, up to 1.1.1: empty, `a`, ... `za`.
    pub letter: String,
}

impl Release {
    /// Reads a version; `None` for one with a suffix that is not known (`-beta1`, a vendor's mark).
    pub fn parse(text: &str) -> Option<Self> {
        let text = text.strip_prefix('v').unwrap_or(text);
        let (text, quic) = match text.strip_suffix("+quic") {
            Some(text) => (text, true),
            None => (text, false),
        };
        let numbers_end = text.trim_end_matches(|c: char| c.is_ascii_lowercase()).len();
        let (numbers, letter) = text.split_at(numbers_end);
        let mut parts = numbers.split('.');
        let mut number = || parts.next()?.parse().ok();
        let numbers = [number()?, number()?, number()?];
        let whole = parts.next().is_none() && letter.len() <= 2;
        whole.then(|| Self { quic, numbers, letter: letter.to_owned() })
    }
}

/// The row for `wanted` among rows with their versions: the one that lists it, or else the one whose layout the next
/// older and the next newer listed version share. Both must be of the same branch (the first two numbers): 3.3.3 lies
/// between 3.3.2 and 3.4.0, which are the same, and is another.
pub fn choose<'r, R, L: PartialEq>(
    rows: impl Iterator<Item = (Release, &'r R)>,
    wanted: &Release,
    layout: impl Fn(&R) -> &L,
) -> Option<&'r R> {
    let mut older: Option<(Release, &R)> = None;
    let mut newer: Option<(Release, &R)> = None;
    let branch = |release: &Release| (release.quic, release.numbers[0], release.numbers[1]);
    for (release, row) in rows.filter(|(release, _)| branch(release) == branch(wanted)) {
        if release == *wanted {
            return Some(row);
        }
        if release < *wanted {
            if older.as_ref().is_none_or(|(best, _)| *best < release) {
                older = Some((release, row));
            }
        } else if newer.as_ref().is_none_or(|(best, _)| release < *best) {
            newer = Some((release, row));
        }
    }
    let ((_, older), (_, newer)) = (older?, newer?);
    (layout(older) == layout(newer)).then_some(older)
}

#[cfg(test)]
mod tests {
    use super::super::openssl::GROUPS;
    use super::*;
    use proptest::prelude::*;

    fn chosen(version: &str) -> Option<&'static str> {
        let wanted = Release::parse(version)?;
        let rows = GROUPS.iter().flat_map(|group| group.versions().map(move |v| (v, group)));
        choose(rows, &wanted, |group| &group.layout).map(|group| group.name)
    }

    #[test]
    fn versions_have_an_order() {
        let sorted =
            ["1.1.0i", "1.1.1", "1.1.1a", "1.1.1w", "1.1.1za", "3.0.2", "3.0.15", "3.10.0"];
        let parsed: Vec<_> = sorted.iter().map(|text| Release::parse(text).unwrap()).collect();
        assert!(parsed.windows(2).all(|pair| pair[0] < pair[1]));
        for text in
            ["", "3", "3.0", "3.0.x", "3.0.7-beta1", "3.0.7+fips", "1.2.3.4", "99999999999.0.0"]
        {
            assert_eq!(Release::parse(text), None, "{text}");
        }
    }

    #[test]
    fn a_version_has_the_row_that_lists_it_or_that_both_neighbours_share() {
        assert!(chosen("3.0.17").is_some_and(|name| name.contains("3.0.17,")));
        assert_eq!(chosen("3.0.12"), chosen("3.0.8"));
        assert_eq!(chosen("3.0.19"), chosen("3.1.0"));
        assert_eq!(chosen("3.5.3"), chosen("4.0.3"));
        assert_eq!(chosen("1.1.1r"), chosen("1.1.1w"));
        assert!(chosen("3.0.12+quic").is_some_and(|name| name.contains("+quic")));
        // Between two groups, after the last, before the first, of another library.
        for version in
            ["3.1.9", "3.2.4", "3.3.3", "3.4.3", "4.0.4", "4.1.0", "1.0.2u", "3.5.8+quic"]
        {
            assert_eq!(chosen(version), None, "{version}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_read_without_a_panic(text in "\\PC{0,20}|[0-9a-z.+v]{0,20}") {
            let _ = chosen(&text);
        }
    }
}
