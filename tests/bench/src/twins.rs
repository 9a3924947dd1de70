//! Two processes with the same work in turn, of which one is looked at: what befalls the machine befalls both.

use anyhow::{Context as _, Result};
use tlskeytop_tests::Lab;

use crate::effort::Effort;
use crate::sample::Sample;
use crate::workload::{Program, Work, Workload};

/// One is the target of tools. The other one is not, and is in a network namespace of its own, where nobody sees its packets.
pub struct Twins {
    /// The target.
    pub target: Workload,
    other: Workload,
}

/// The target's rates through the other's, and the other's rate.
#[derive(Clone, Copy)]
pub struct Compared {
    /// In a second of the clock on the wall.
    pub wall: f64,
    /// In a second of their own on a processor: others may have had it meanwhile.
    pub own: f64,
    /// The other's, of the clock on the wall.
    pub rate: f64,
}

impl Twins {
    /// Starts both.
    ///
    /// # Errors
    /// When they do not come up.
    pub fn start(lab: &Lab, program: &Program) -> Result<Self> {
        Ok(Self { target: program.start(lab, "own")?, other: program.start_apart(lab, "other")? })
    }

    /// Lets both work in turn, first the one and then the other first; the medians of all turns.
    ///
    /// # Errors
    /// When one fails.
    pub fn compare(&mut self, work: Work, effort: &Effort) -> Result<Compared> {
        let (mut wall, mut own, mut rates) = (Vec::new(), Vec::new(), Vec::new());
        for turn in 0..effort.turns {
            let mut target = || self.target.work(work, effort.section);
            let mut other = || self.other.work(work, effort.section);
            let (target, other) = if turn % 2 == 0 {
                (target()?, other()?)
            } else {
                let other = other()?;
                (target()?, other)
            };
            wall.push(target.rate() / other.rate());
            own.push(other.cost() / target.cost());
            rates.push(other.rate());
        }
        let median = |figures| Some(Sample::of(figures)?.median());
        let figures = (median(wall), median(own), median(rates));
        let (Some(wall), Some(own), Some(rate)) = figures else {
            anyhow::bail!("no turns, or a section without time");
        };
        Ok(Compared { wall, own, rate })
    }

    /// Brings the memory and caches of both, and the processor's clock, to what they are at work.
    ///
    /// # Errors
    /// When one fails.
    pub fn warm_up(&mut self) -> Result<()> {
        for workload in [&mut self.target, &mut self.other] {
            workload.work(Work::handshakes("1.3"), WARM).context("warming up")?;
        }
        Ok(())
    }
}

/// Seconds.
const WARM: f64 = 0.3;
