//! One line of the table: what was measured, the figure, and what it should be.

use std::fmt;

use crate::sample::Sample;

/// What a figure counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// One rate through another.
    Ratio,
    /// Hundredths.
    Percent,
    /// 1e-6 s.
    Microseconds,
    /// 1e-3 s.
    Milliseconds,
    /// 2^20 bytes.
    Mebibytes,
    /// So many in a second.
    PerSecond,
    /// So many.
    Count,
}

/// What the figure should be.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Goal {
    /// This or more.
    AtLeast(f64),
    /// This or less.
    AtMost(f64),
    /// It is there to explain another one.
    None,
}

/// One line of the table.
#[derive(Clone, Debug)]
pub struct Row {
    what: String,
    unit: Unit,
    goal: Goal,
    figure: Result<f64, String>,
    spread: Option<(f64, f64)>,
    of: usize,
}

impl Row {
    /// The median of a sample, and its quartiles.
    pub fn median(what: impl Into<String>, unit: Unit, goal: Goal, sample: &Sample) -> Self {
        let spread = (sample.len() > 1).then(|| (sample.quantile(0.25), sample.quantile(0.75)));
        Self {
            figure: Ok(sample.median()),
            spread,
            ..Self::quantile(what, unit, goal, sample, 0.5)
        }
    }

    /// One quantile of a sample.
    pub fn quantile(
        what: impl Into<String>,
        unit: Unit,
        goal: Goal,
        sample: &Sample,
        share: f64,
    ) -> Self {
        Self { of: sample.len(), ..Self::one(what, unit, goal, sample.quantile(share)) }
    }

    /// One figure.
    pub fn one(what: impl Into<String>, unit: Unit, goal: Goal, figure: f64) -> Self {
        Self { what: what.into(), unit, goal, figure: Ok(figure), spread: None, of: 1 }
    }

    /// Without a figure, and why. A goal is missed so.
    pub fn missing(
        what: impl Into<String>,
        unit: Unit,
        goal: Goal,
        why: impl Into<String>,
    ) -> Self {
        Self { what: what.into(), unit, goal, figure: Err(why.into()), spread: None, of: 0 }
    }

    /// Whether the goal is met; None without one.
    pub fn is_met(&self) -> Option<bool> {
        let is_met = |met: fn(&f64, &f64) -> bool, goal| {
            self.figure.as_ref().is_ok_and(|figure| met(figure, &goal))
        };
        match self.goal {
            Goal::AtLeast(least) => Some(is_met(f64::ge, least)),
            Goal::AtMost(most) => Some(is_met(f64::le, most)),
            Goal::None => None,
        }
    }

    /// As a line of a table of [`HEADER`].
    pub fn markdown(&self) -> String {
        let unit = self.unit;
        let spread = match self.spread {
            Some((low, high)) => format!("{} – {}", unit.show(low), unit.show(high)),
            None => String::new(),
        };
        let goal = match self.goal {
            Goal::AtLeast(least) => format!("≥ {}", unit.show(least)),
            Goal::AtMost(most) => format!("≤ {}", unit.show(most)),
            Goal::None => String::new(),
        };
        let met = match self.is_met() {
            Some(true) => "yes",
            Some(false) => "**no**",
            None => "",
        };
        let (what, of) = (&self.what, self.of);
        let figure = match &self.figure {
            Ok(figure) => unit.show(*figure),
            Err(why) => format!("none: {why}"),
        };
        format!("| {what} | {figure} | {spread} | {of} | {goal} | {met} |")
    }
}

/// The head of a table of rows.
pub const HEADER: &str =
    "| what | median | quartiles | of | goal | met |\n|---|---|---|---|---|---|";

impl Unit {
    fn show(self, figure: f64) -> String {
        match self {
            Self::Ratio => format!("{figure:.3}"),
            Self::Percent => format!("{figure:.2} %"),
            Self::Microseconds => format!("{figure:.2} µs"),
            Self::Milliseconds if figure.abs() < 10.0 => format!("{figure:.2} ms"),
            Self::Milliseconds => format!("{figure:.0} ms"),
            Self::Mebibytes => format!("{figure:.1} MiB"),
            Self::PerSecond => format!("{} /s", Thousands(figure)),
            Self::Count => Thousands(figure).to_string(),
        }
    }
}

/// With commas between thousands; whole from 100 on.
struct Thousands(f64);

impl fmt::Display for Thousands {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.abs() < 100.0 {
            let text = format!("{:.2}", self.0);
            return f.write_str(text.trim_end_matches('0').trim_end_matches('.'));
        }
        let digits = format!("{:.0}", self.0);
        for (at, digit) in digits.chars().enumerate() {
            if at > 0 && (digits.len() - at) % 3 == 0 && digit.is_ascii_digit() {
                f.write_str(",")?;
            }
            write!(f, "{digit}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_says_whether_its_goal_is_met() {
        let sample = Sample::of([0.94, 0.96, 0.95]).unwrap();
        let row = |goal| Row::median("handshakes", Unit::Ratio, goal, &sample);
        assert_eq!(row(Goal::AtLeast(0.95)).is_met(), Some(true));
        assert_eq!(row(Goal::AtMost(0.9)).is_met(), Some(false));
        assert_eq!(row(Goal::None).is_met(), None);
        assert_eq!(
            row(Goal::AtLeast(0.97)).markdown(),
            "| handshakes | 0.950 | 0.945 – 0.955 | 3 | ≥ 0.970 | **no** |"
        );
    }

    #[test]
    fn a_row_without_a_figure_misses_its_goal() {
        let row = |goal| Row::missing("one hit", Unit::Ratio, goal, "too short");
        assert_eq!(row(Goal::AtMost(1.5)).is_met(), Some(false));
        assert_eq!(row(Goal::None).is_met(), None);
        assert_eq!(row(Goal::None).markdown(), "| one hit | none: too short |  | 0 |  |  |");
    }

    #[test]
    fn large_numbers_have_commas() {
        let show = |figure| Unit::Count.show(figure);
        assert_eq!(show(1_234_567.0), "1,234,567");
        assert_eq!(show(100.0), "100");
        assert_eq!((show(2.5), show(0.0), show(10.0)), ("2.5".into(), "0".into(), "10".into()));
    }
}
