//! The rate of new sessions as a row of bars, one for a second.

/// Heights of a bar, from none to full.
const BARS: [char; 9] = [' ', '▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];

/// At most the last `columns` values, the highest of them as a full bar.
pub(super) fn sparkline(values: impl ExactSizeIterator<Item = u64>, columns: usize) -> String {
    let skip = values.len().saturating_sub(columns);
    let values: Vec<_> = values.skip(skip).collect();
    let highest = values.iter().copied().max().unwrap_or_default();
    let bar = |&value: &u64| {
        // Anything above zero is seen.
        let eighths = (value * 8).div_ceil(highest.max(1));
        BARS[usize::try_from(eighths).unwrap_or(8).min(8)]
    };
    values.iter().map(bar).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_highest_bar_is_full_and_the_lowest_is_seen() {
        assert_eq!(sparkline([0, 1, 50, 100].into_iter(), 4), " ▁▄█");
        assert_eq!(sparkline([9, 1, 0].into_iter(), 2), "█ ");
        assert_eq!(sparkline([3].into_iter(), 3), "█");
        assert_eq!(sparkline([].into_iter(), 2), "");
    }
}
