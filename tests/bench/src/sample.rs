//! Several measurements of one thing.

/// What was measured, in order of size.
#[derive(Clone, Debug)]
pub struct Sample(Vec<f64>);

impl Sample {
    /// Of these; None when there are none, or one is not a number.
    pub fn of(figures: impl IntoIterator<Item = f64>) -> Option<Self> {
        let mut figures: Vec<f64> = figures.into_iter().collect();
        let usable = !figures.is_empty() && figures.iter().all(|figure| figure.is_finite());
        figures.sort_by(f64::total_cmp);
        usable.then_some(Self(figures))
    }

    /// How many.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// The one below which this share of them is, 0 to 1; between two of them, in proportion.
    pub fn quantile(&self, share: f64) -> f64 {
        let at = share.clamp(0.0, 1.0) * (self.0.len() - 1) as f64;
        let (below, above) = (self.0[at.floor() as usize], self.0[at.ceil() as usize]);
        below + (above - below) * at.fract()
    }

    /// The middle one.
    pub fn median(&self) -> f64 {
        self.quantile(0.5)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_between_the_figures() {
        let sample = Sample::of([4.0, 1.0, 3.0, 2.0]).unwrap();
        assert_eq!((sample.median(), sample.quantile(0.0), sample.quantile(1.0)), (2.5, 1.0, 4.0));
        assert_eq!(Sample::of([7.0]).unwrap().quantile(0.99), 7.0);
    }

    #[test]
    fn nothing_and_no_number_are_no_sample() {
        assert!(Sample::of([]).is_none());
        assert!(Sample::of([1.0, f64::NAN]).is_none());
    }
}
