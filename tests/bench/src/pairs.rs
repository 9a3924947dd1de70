//! Work without a tool, with it, and without it again, each time beside a process that no tool looks at: what each tool
//! leaves of the rates, and who leaves more.

use std::collections::VecDeque;

use anyhow::Result;
use tlskeytop_tests::Lab;

use crate::effort::Effort;
use crate::row::{Goal, Row, Unit};
use crate::sample::Sample;
use crate::tool::Tool;
use crate::twins::Twins;
use crate::workload::{Program, Work};

/// What is compared, and what tlskeytop is to leave of each.
const WORKS: [(Work, f64); 6] = [
    (Work::handshakes("1.3"), 0.95),
    (Work::handshakes("1.2"), 0.98),
    (Work::Handshakes { version: "1.3", loopback: true, resumed: false, rate: 0 }, 0.95),
    (Work::Handshakes { version: "1.2", loopback: true, resumed: false, rate: 0 }, 0.98),
    (Work::Bulk(1024), 0.99),
    (Work::Bulk(16384), 0.99),
];

/// One figure for each of [`WORKS`].
type Each = [f64; WORKS.len()];

/// The target's rates through those of the process beside it, or ratios of that.
#[derive(Clone, Copy)]
struct Rates {
    /// By the clock on the wall.
    wall: Each,
    /// By their own time on a processor.
    own: Each,
    /// The target's own, in a second of the clock on the wall.
    rate: Each,
    /// The other's.
    beside: Each,
}

impl Rates {
    fn each(self, other: Self, of: fn(f64, f64) -> f64) -> Self {
        let each = |one: Each, other: Each| std::array::from_fn(|at| of(one[at], other[at]));
        Self {
            wall: each(self.wall, other.wall),
            own: each(self.own, other.own),
            rate: each(self.rate, other.rate),
            beside: each(self.beside, other.beside),
        }
    }
}

/// Attempts in a round; friTap breaks its target at times.
const ATTEMPTS: usize = 2;

/// What was measured of one tool.
struct Measured {
    tool: Tool,
    /// With it through without it, for each round in which that could be measured.
    ratios: Vec<(usize, Rates)>,
    /// Without it.
    rates: Vec<Rates>,
    /// Without it, after through before: what the machine alone makes of a ratio.
    drifts: Vec<Rates>,
    /// Attempts that failed.
    failed: usize,
}

/// All tools, measured round by round at the same work in the same processes.
pub struct Pairs(Vec<Measured>);

impl Pairs {
    /// In each round a new process works without a tool, with the first one, without it, with the next one..., and another
    /// one beside it. What fails is told, and tried once more.
    pub fn measure(lab: &Lab, program: &Program, tools: &[Tool], effort: &Effort) -> Self {
        let new = |&tool| Measured {
            tool,
            ratios: Vec::new(),
            rates: Vec::new(),
            drifts: Vec::new(),
            failed: 0,
        };
        let mut pairs = Self(tools.iter().map(new).collect());
        for round in 0..effort.pairs {
            let mut left = pairs.in_turn(round, effort.pairs);
            let mut attempts = 0;
            while let Some(&first) = left.front() {
                let taken = |tool, pair| pairs.note(tool, |measured| measured.take(round, pair));
                let Err(error) = chain(lab, program, &mut left, effort, taken) else { break };
                let Some(&tool) = left.front() else { break };
                eprintln!("bench: round {round} with {}: {error:#}", tool.name());
                pairs.note(tool, |measured| measured.failed += 1);
                attempts = if tool == first { attempts + 1 } else { 1 };
                if attempts == ATTEMPTS {
                    left.pop_front();
                    attempts = 0;
                }
            }
        }
        pairs
    }

    /// The tools of a round: each is first and last in turn, but what leaves something in a process comes last. One that
    /// fails more often than not is given up.
    fn in_turn(&self, round: usize, rounds: usize) -> VecDeque<Tool> {
        let tried = |measured: &&Measured| measured.failed <= rounds / 2 + 1;
        let mut tools: VecDeque<Tool> =
            self.0.iter().filter(tried).map(|measured| measured.tool).collect();
        if !tools.is_empty() {
            let first = round % tools.len();
            tools.rotate_left(first);
        }
        tools.make_contiguous().sort_by_key(|tool| !tool.detaches());
        tools
    }

    fn note(&mut self, tool: Tool, what: impl FnOnce(&mut Measured)) {
        if let Some(measured) = self.0.iter_mut().find(|measured| measured.tool == tool) {
            what(measured);
        }
    }

    fn ours(&self) -> Option<&Measured> {
        self.0.iter().find(|measured| measured.tool == Tool::Tlskeytop)
    }

    /// A table of each tool, with its heading.
    pub fn tables(&self) -> Vec<(String, Vec<Row>)> {
        self.0.iter().map(|measured| (measured.heading(), measured.rows())).collect()
    }

    /// A line for each work: ours through the best of the tools that could be used in place of ours, round by round.
    pub fn ahead(&self) -> Vec<Row> {
        let Some(ours) = self.ours() else { return Vec::new() };
        let row = |at: usize| {
            let (work, goal) = (WORKS[at].0, Goal::AtLeast(1.0));
            let others = self.0.iter().filter(|measured| measured.tool.is_instead());
            let medians = others.filter_map(|other| Some((other, other.sample(at)?.median())));
            let best = medians.max_by(|a, b| a.1.total_cmp(&b.1));
            let Some((best, _)) = best else {
                let what = format!("{work}: tlskeytop / the best other tool");
                return Row::missing(what, Unit::Ratio, Goal::None, "none is installed");
            };
            let what = format!("{work}: tlskeytop / {}, the best other tool", best.tool.name());
            let of_best = |round| best.ratios.iter().find(|(other, _)| *other == round);
            let both = ours.ratios.iter().filter_map(|(round, rates)| {
                let (_, others) = of_best(*round)?;
                Some(rates.wall[at] / others.wall[at])
            });
            match Sample::of(both) {
                Some(sample) => Row::median(what, Unit::Ratio, goal, &sample),
                None => Row::missing(what, Unit::Ratio, goal, "never both in one round"),
            }
        };
        (0..WORKS.len()).map(row).collect()
    }

    /// The medians of all tools side by side, a line for each work.
    pub fn side_by_side(&self) -> String {
        let names: Vec<&str> = self.0.iter().map(|measured| measured.tool.name()).collect();
        let mut table = format!("| with / without | {} |\n|---|", names.join(" | "));
        table += &"---|".repeat(self.0.len());
        for (at, (work, _)) in WORKS.iter().enumerate() {
            let cell = |measured: &Measured| match measured.sample(at) {
                Some(sample) => format!("{:.3}", sample.median()),
                None => "none".to_owned(),
            };
            let cells: Vec<String> = self.0.iter().map(cell).collect();
            table += &format!("\n| {work} | {} |", cells.join(" | "));
        }
        table
    }
}

impl Measured {
    fn take(&mut self, round: usize, pair: Pair) {
        self.ratios.push((round, pair.with.each(pair.without, |with, without| with / without)));
        self.rates.push(pair.without);
        self.drifts.extend(pair.drift);
    }

    /// Its ratios at one of [`WORKS`].
    fn sample(&self, at: usize) -> Option<Sample> {
        Sample::of(self.ratios.iter().map(|(_, ratios)| ratios.wall[at]))
    }

    fn heading(&self) -> String {
        match self.tool {
            Tool::Tlskeytop => "What it leaves of its targets' rates".to_owned(),
            other => format!("The same with {}", other.name()),
        }
    }

    /// For tlskeytop with goals and the rates themselves.
    fn rows(&self) -> Vec<Row> {
        let is_ours = self.tool == Tool::Tlskeytop;
        let row = |what: String, unit, goal, sample: Option<Sample>| match sample {
            Some(sample) => Row::median(what, unit, goal, &sample),
            None => Row::missing(what, unit, goal, "every attempt failed"),
        };
        let mut rows = Vec::new();
        for (at, (work, least)) in WORKS.into_iter().enumerate() {
            if is_ours {
                let goal = Goal::AtLeast(least);
                let what = format!("{work}: attached / not attached");
                rows.push(row(what, Unit::Ratio, goal, self.sample(at)));
                let what = format!("{work}: the same by the target's time on a processor");
                let own = Sample::of(self.ratios.iter().map(|(_, ratios)| ratios.own[at]));
                rows.push(row(what, Unit::Ratio, Goal::None, own));
                let what = format!("{work}: not attached, after / before");
                let drift = Sample::of(self.drifts.iter().map(|drifts| drifts.wall[at]));
                rows.push(row(what, Unit::Ratio, Goal::None, drift));
                let what = format!("{work}: the process beside it, attached / not attached");
                let beside = Sample::of(self.ratios.iter().map(|(_, ratios)| ratios.beside[at]));
                rows.push(row(what, Unit::Ratio, Goal::None, beside));
                let of = if matches!(work, Work::Bulk(_)) { "records" } else { "rate" };
                let what = format!("{work}: the {of} itself, not attached");
                let rates = Sample::of(self.rates.iter().map(|rates| rates.rate[at]));
                rows.push(row(what, Unit::PerSecond, Goal::None, rates));
            } else {
                let what = format!("{work}: with {} / without", self.tool.name());
                rows.push(row(what, Unit::Ratio, Goal::None, self.sample(at)));
            }
        }
        if is_ours || self.failed > 0 {
            let goal = if is_ours { Goal::AtMost(0.0) } else { Goal::None };
            let what = format!("pairs with {} that failed", self.tool.name());
            rows.push(Row::one(what, Unit::Count, goal, self.failed as f64));
        }
        rows
    }
}

/// Rates without a tool, before and after in the mean, and with it.
struct Pair {
    without: Rates,
    with: Rates,
    /// After through before, where both could be measured.
    drift: Option<Rates>,
}

/// Measures the tools that are left, one after the other in one process; one that fails is the first of those that are
/// left then.
fn chain(
    lab: &Lab,
    program: &Program,
    left: &mut VecDeque<Tool>,
    effort: &Effort,
    mut taken: impl FnMut(Tool, Pair),
) -> Result<()> {
    let mut twins = Twins::start(lab, program)?;
    let mut before = rates(&mut twins, effort)?;
    while let Some(&tool) = left.front() {
        let attached = tool.attach(lab, &mut twins.target)?;
        let with = rates(&mut twins, effort)?;
        if !tool.detaches() {
            drop(attached);
            taken(tool, Pair { without: before, with, drift: None });
            left.pop_front();
            return match left.is_empty() {
                true => Ok(()),
                false => chain(lab, program, left, effort, taken),
            };
        }
        attached.detach(&mut twins.target)?;
        let after = rates(&mut twins, effort)?;
        let without = before.each(after, f64::midpoint);
        let drift = Some(after.each(before, |after, before| after / before));
        taken(tool, Pair { without, with, drift });
        left.pop_front();
        before = after;
    }
    Ok(())
}

fn rates(twins: &mut Twins, effort: &Effort) -> Result<Rates> {
    let none = [0.0; WORKS.len()];
    let mut rates = Rates { wall: none, own: none, rate: none, beside: none };
    for (at, (work, _)) in WORKS.into_iter().enumerate() {
        let compared = twins.compare(work, effort)?;
        (rates.wall[at], rates.own[at]) = (compared.wall, compared.own);
        (rates.rate[at], rates.beside[at]) = (compared.rate, compared.beside);
    }
    Ok(rates)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn measured(tool: Tool, ratios: &[f64], failed: usize) -> Measured {
        let each = |ratio: &f64| [*ratio; WORKS.len()];
        let ratios = ratios.iter().map(each).map(|each| Rates {
            wall: each,
            own: each,
            rate: each,
            beside: each,
        });
        let ratios = ratios.enumerate().collect();
        Measured { tool, ratios, rates: Vec::new(), drifts: Vec::new(), failed }
    }

    #[test]
    fn ours_is_judged_beside_the_best_of_the_others_in_the_same_rounds() {
        let ours = measured(Tool::Tlskeytop, &[0.9, 0.8, 0.9], 0);
        let own = measured(Tool::OwnLog, &[1.0, 1.0, 1.0], 0);
        let slow = measured(Tool::FriTap, &[0.5], 3);
        let behind = Pairs(vec![ours, own, slow]).ahead();
        assert_eq!(behind[0].is_met(), Some(true));
        let ours = measured(Tool::Tlskeytop, &[0.9, 0.8, 0.9], 0);
        let fast = measured(Tool::Bpftrace, &[0.95, 0.95], 0);
        let slow = measured(Tool::FriTap, &[0.5, 0.5, 0.5], 0);
        let behind = Pairs(vec![ours, fast, slow]).ahead();
        assert!(behind.iter().all(|row| row.is_met() == Some(false)));
        assert!(behind[0].markdown().contains("tlskeytop / bpftrace, the best other tool | 0.895"));
    }

    #[test]
    fn who_leaves_something_comes_last_and_who_fails_too_often_is_given_up() {
        let pairs = |failed| {
            let tools = [(Tool::Tlskeytop, 0), (Tool::FriTap, failed), (Tool::OwnLog, 0)];
            Pairs(tools.into_iter().map(|(tool, failed)| measured(tool, &[], failed)).collect())
        };
        let turn = |failed, round| Vec::from(pairs(failed).in_turn(round, 10));
        assert_eq!(turn(0, 0), [Tool::Tlskeytop, Tool::OwnLog, Tool::FriTap]);
        assert_eq!(turn(6, 2), [Tool::OwnLog, Tool::Tlskeytop, Tool::FriTap]);
        assert_eq!(turn(7, 0), [Tool::Tlskeytop, Tool::OwnLog]);
    }
}
