//! What one hit of a probe costs, beside an empty probe at the same instruction, which is the least that it can.

use std::fs::File;
use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use tlskeytop::target::image::plan_image;
use tlskeytop_tests::{LIBSSL, Lab};

use crate::bpf::{EmptyProbes, Runs, Statistics};
use crate::effort::Effort;
use crate::row::{Goal, Row, Unit};
use crate::sample::Sample;
use crate::tool::{Attached, Tool};
use crate::workload::{Program, Work, Workload};

/// Work with one hit on each of its two ends, and hardly anything else.
const WORKS: [(Work, &str); 2] = [
    (Work::Updates, "a secret"),
    (
        Work::Handshakes { version: "1.2", loopback: false, resumed: true, rate: 0 },
        "a secret and the server's name",
    ),
];
const ENDS: f64 = 2.0;

/// Microseconds of a hit in one round.
#[derive(Clone, Copy)]
struct Cost {
    empty: f64,
    ours: f64,
}

/// Costs of a hit, from the processors' time for each piece of work.
///
/// # Errors
/// When the kernel takes no empty probe, or something fails.
pub fn costs(lab: &Lab, program: &Program, effort: &Effort) -> Result<Vec<Row>> {
    let file = File::open(LIBSSL).context(LIBSSL)?;
    let plan = plan_image(&file, Path::new(LIBSSL))?;
    let sites = plan.taps.iter().flat_map(|tap| &tap.sites).map(|site| site.file_offset);
    let sites: Vec<u64> = sites.collect();
    ensure!(!sites.is_empty(), "{LIBSSL} has no tap: {}", plan.reason);
    let mut rounds: [Vec<Cost>; WORKS.len()] = Default::default();
    for _ in 0..effort.rounds {
        let round = round(lab, program, &file, &sites, effort)?;
        rounds.iter_mut().zip(round).for_each(|(rounds, cost)| rounds.push(cost));
    }
    let mut rows = Vec::new();
    for ((_, what), costs) in WORKS.iter().zip(rounds) {
        let sample = |of: fn(&Cost) -> f64| Sample::of(costs.iter().map(of)).context("no round");
        let (empty, ours) = (sample(|cost| cost.empty)?, sample(|cost| cost.ours)?);
        let what = format!("one hit, {what}");
        // Of the medians: in a single round the difference of two times may be anything.
        if empty.median() > 0.0 {
            let ratio = ours.median() / empty.median();
            let what = format!("{what}: ours / an empty probe there");
            rows.push(Row::one(what, Unit::Ratio, Goal::AtMost(1.5), ratio));
        } else {
            eprintln!("bench: {what}: too short to tell the cost of an empty probe");
        }
        let empty_row = format!("{what}: an empty probe there");
        rows.push(Row::median(empty_row, Unit::Microseconds, Goal::None, &empty));
        rows.push(Row::median(format!("{what}: ours"), Unit::Microseconds, Goal::None, &ours));
    }
    Ok(rows)
}

/// An empty probe and ours, each between two times of nothing, in one process.
fn round(
    lab: &Lab,
    program: &Program,
    file: &File,
    sites: &[u64],
    effort: &Effort,
) -> Result<[Cost; WORKS.len()]> {
    let mut workload = program.start(lab, "own")?;
    // Its memory and caches.
    now(&mut workload, effort)?;
    let first = now(&mut workload, effort)?;
    let probes = EmptyProbes::attach(file, sites)?;
    let empty = now(&mut workload, effort)?;
    drop(probes);
    let second = now(&mut workload, effort)?;
    let attached = Tool::Tlskeytop.attach(lab, &mut workload)?;
    let ours = now(&mut workload, effort)?;
    attached.detach(&mut workload)?;
    let third = now(&mut workload, effort)?;
    Ok(std::array::from_fn(|at| Cost {
        empty: empty[at] - (first[at] + second[at]) / 2.0,
        ours: ours[at] - (second[at] + third[at]) / 2.0,
    }))
}

/// Microseconds of a processor for one end of each work.
fn now(workload: &mut Workload, effort: &Effort) -> Result<[f64; WORKS.len()]> {
    let mut costs = [0.0; WORKS.len()];
    for (cost, (work, _)) in costs.iter_mut().zip(WORKS) {
        *cost = workload.work(work, effort.section)?.cost() * 1e6 / ENDS;
    }
    Ok(costs)
}

/// How often our programs run for each piece of work, by the kernel's own count.
///
/// # Errors
/// When the kernel does not count, or something fails.
pub fn counts(lab: &Lab, program: &Program, effort: &Effort) -> Result<Vec<Row>> {
    let _statistics = Statistics::turn_on()?;
    let mut workload = program.start(lab, "own")?;
    let attached = Tool::Tlskeytop.attach(lab, &mut workload)?;
    let Attached::Tlskeytop(tlskeytop) = &attached else {
        anyhow::bail!("tlskeytop is another tool");
    };
    let pid = tlskeytop.process.pid();
    let mut rows = Vec::new();
    let loopback = Work::Handshakes { version: "1.2", loopback: true, resumed: false, rate: 0 };
    let works = [Work::handshakes("1.3"), Work::handshakes("1.2"), loopback, Work::Bulk(1024)];
    for work in works {
        let before = Runs::of(pid)?;
        let section = workload.work(work, effort.section)?;
        let runs = Runs::of(pid)?.since(before);
        let each = runs.count as f64 / section.count as f64;
        rows.push(Row::one(format!("{work}: hits for each"), Unit::Count, Goal::None, each));
        if !matches!(work, Work::Bulk(_)) && runs.count > 0 {
            let microseconds = runs.nanoseconds as f64 / 1e3 / runs.count as f64;
            let what = format!("{work}: our program itself, each hit (the kernel's count)");
            rows.push(Row::one(what, Unit::Microseconds, Goal::None, microseconds));
        }
    }
    attached.detach(&mut workload)?;
    Ok(rows)
}
