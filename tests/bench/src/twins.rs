//! Two processes with the same work in turn, of which one is looked at: what befalls the machine befalls both.

use anyhow::{Context as _, Result};
use tlskeytop_tests::Lab;

use crate::effort::Effort;
use crate::workload::{Program, Section, Work, Workload};

/// Seconds that each works before it is measured.
const WARM: f64 = 0.3;

/// One is the target of tools. The other one has no probe, since it has another libssl, and is in a network namespace of its
/// own, so that its packets are not seen (before Linux 6.15 the kernel shows them to nobody, but only after copying them).
pub struct Twins {
    /// The target.
    pub target: Workload,
    other: Workload,
}

/// How the target and the other one did in some turns.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Compared {
    /// The target's rate through the other's, in a second of the clock on the wall.
    pub wall: f64,
    /// In a second of their own on a processor: others may have had it meanwhile.
    pub own: f64,
    /// The target's, of the clock on the wall.
    pub rate: f64,
    /// The other's, of the clock on the wall.
    pub beside: f64,
}

impl Twins {
    /// Starts both.
    ///
    /// # Errors
    /// When they do not come up.
    pub fn start(lab: &Lab, program: &Program) -> Result<Self> {
        let (target, other) = (program.start(lab, "own")?, program.start_apart(lab, "other")?);
        let mut twins = Self { target, other };
        // Their memory and caches, and the processor's clock.
        for workload in [&mut twins.target, &mut twins.other] {
            workload.work(Work::handshakes("1.3"), WARM).context("warming up")?;
        }
        Ok(twins)
    }

    /// Lets both work in turn, first the one and then the other first.
    ///
    /// # Errors
    /// When one fails.
    pub fn compare(&mut self, work: Work, effort: &Effort) -> Result<Compared> {
        let mut turns = Vec::new();
        for turn in 0..effort.turns {
            let mut target = || self.target.work(work, effort.section);
            let mut other = || self.other.work(work, effort.section);
            turns.push(if turn % 2 == 0 {
                (target()?, other()?)
            } else {
                let other = other()?;
                (target()?, other)
            });
        }
        Ok(Compared::of(&turns))
    }
}

impl Compared {
    /// Of the target's and the other's section in each turn.
    fn of(turns: &[(Section, Section)]) -> Self {
        let whole = |side: fn(&(Section, Section)) -> Section| {
            let sections = turns.iter().map(side);
            sections.reduce(Section::and).unwrap_or(Section::NONE)
        };
        let (target, other) = (whole(|turn| turn.0), whole(|turn| turn.1));
        Self {
            wall: target.rate() / other.rate(),
            own: other.cost() / target.cost(),
            rate: target.rate(),
            beside: other.rate(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_targets_rate_is_divided_by_the_others() {
        let section = |count, seconds, cpu| Section { count, seconds, cpu };
        // Half as many, in 100 and 50 a second; three times the processor's time for each.
        let turns = [
            (section(10, 0.1, 0.3), section(20, 0.1, 0.2)),
            (section(10, 0.3, 0.3), section(20, 0.3, 0.2)),
        ];
        let compared = Compared::of(&turns);
        let expected = Compared { wall: 0.5, own: 1.0 / 3.0, rate: 50.0, beside: 100.0 };
        for (found, expected) in [
            (compared.wall, expected.wall),
            (compared.own, expected.own),
            (compared.rate, expected.rate),
            (compared.beside, expected.beside),
        ] {
            assert!((found - expected).abs() < 1e-9, "{compared:?}");
        }
    }
}
