//! Work without a tool, with it, and without it again: what it leaves of the rates.

use anyhow::{Context as _, Result};
use tlskeytop_tests::Lab;

use crate::effort::Effort;
use crate::row::{Goal, Row, Unit};
use crate::sample::Sample;
use crate::tool::Tool;
use crate::workload::{Program, Work, Workload};

/// What is compared, and what tlskeytop is to leave of each.
const WORKS: [(Work, f64); 6] = [
    (Work::handshakes("1.3"), 0.95),
    (Work::handshakes("1.2"), 0.98),
    (Work::Handshakes { version: "1.3", loopback: true, resumed: false, rate: 0 }, 0.95),
    (Work::Handshakes { version: "1.2", loopback: true, resumed: false, rate: 0 }, 0.98),
    (Work::Bulk(1024), 0.99),
    (Work::Bulk(16384), 0.99),
];

/// One rate for each of [`WORKS`].
type Rates = [f64; WORKS.len()];

/// Rates attached through rates not attached, for one tool.
pub struct Ratios {
    tool: Tool,
    samples: Vec<Sample>,
    /// Not attached.
    rates: Vec<Sample>,
}

impl Ratios {
    /// Measures pair after pair, each in a new process.
    ///
    /// # Errors
    /// When the tool or the workload fails.
    pub fn measure(lab: &Lab, program: &Program, tool: Tool, effort: &Effort) -> Result<Self> {
        let pairs = if tool == Tool::Tlskeytop { effort.pairs } else { effort.pairs_of_others };
        let mut ratios = WORKS.map(|_| Vec::new());
        let mut rates = WORKS.map(|_| Vec::new());
        for _ in 0..pairs {
            let (without, with) = pair(lab, program, tool, effort)?;
            for at in 0..WORKS.len() {
                ratios[at].push(with[at] / without[at]);
                rates[at].push(without[at]);
            }
        }
        let samples = |figures: [Vec<f64>; WORKS.len()]| -> Result<Vec<Sample>> {
            figures.into_iter().map(|figures| Sample::of(figures).context("no pairs")).collect()
        };
        Ok(Self { tool, samples: samples(ratios)?, rates: samples(rates)? })
    }

    /// The lines of the table, for tlskeytop with the rates themselves.
    pub fn rows(&self) -> Vec<Row> {
        let mut rows = Vec::new();
        for ((work, goal), (sample, rate)) in WORKS.iter().zip(self.samples.iter().zip(&self.rates))
        {
            if self.tool == Tool::Tlskeytop {
                let what = format!("{work}: attached / not attached");
                rows.push(Row::median(what, Unit::Ratio, Goal::AtLeast(*goal), sample));
                let unit = if matches!(work, Work::Bulk(_)) { "records" } else { "rate" };
                let what = format!("{work}: the {unit} itself, not attached");
                rows.push(Row::median(what, Unit::PerSecond, Goal::None, rate));
            } else {
                let what = format!("{work}: with {} / without", self.tool.name());
                rows.push(Row::median(what, Unit::Ratio, Goal::None, sample));
            }
        }
        rows
    }

    /// The medians of all tools side by side, a line for each work.
    pub fn side_by_side(all: &[Self]) -> String {
        let names: Vec<&str> = all.iter().map(|ratios| ratios.tool.name()).collect();
        let mut table = format!("| with / without | {} |\n|---|", names.join(" | "));
        table += &"---|".repeat(all.len());
        for (at, (work, _)) in WORKS.iter().enumerate() {
            let cell = |ratios: &Self| format!("{:.3}", ratios.samples[at].median());
            let cells: Vec<String> = all.iter().map(cell).collect();
            table += &format!("\n| {work} | {} |", cells.join(" | "));
        }
        table
    }
}

/// The rates without, before and after in the mean, and with.
fn pair(lab: &Lab, program: &Program, tool: Tool, effort: &Effort) -> Result<(Rates, Rates)> {
    let mut workload = program.start(lab, "own")?;
    // Its memory and caches, and the processor's clock.
    workload.work(Work::handshakes("1.3"), effort.section)?;
    let before = rates(&mut workload, effort)?;
    let attached = tool.attach(lab, &mut workload)?;
    let with = rates(&mut workload, effort)?;
    if !tool.detaches() {
        drop(attached);
        return Ok((before, with));
    }
    attached.detach(&mut workload)?;
    let after = rates(&mut workload, effort)?;
    let mut without = before;
    without.iter_mut().zip(after).for_each(|(before, after)| *before = (*before + after) / 2.0);
    Ok((without, with))
}

fn rates(workload: &mut Workload, effort: &Effort) -> Result<Rates> {
    let mut rates = [0.0; WORKS.len()];
    for (rate, (work, _)) in rates.iter_mut().zip(WORKS) {
        *rate = workload.work(work, effort.section)?.rate();
    }
    Ok(rates)
}
