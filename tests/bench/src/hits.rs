//! What one hit of a probe costs, beside an empty probe at the same instruction, which is the least that it can.

use std::fs::File;
use std::path::Path;

use anyhow::{Context as _, Result, bail, ensure};
use tlskeytop::preflight::release;
use tlskeytop::target::image::plan_image;
use tlskeytop::target::plan::{Arguments, RandomPath};
use tlskeytop_tests::{LIBSSL, Lab};

use crate::bpf::{Link, Program as Bpf, Runs, Statistics};
use crate::effort::Effort;
use crate::row::{Goal, Row, Unit};
use crate::sample::Sample;
use crate::tool::{Attached, Tool};
use crate::workload::{Hits, Program, Work, Workload};

/// What is told with a hit: hardly anything, or version, cipher and server name, or the peer's address too.
const KINDS: [(Hits, &str); 3] = [
    (Hits { loopback: false, label: "SERVER_HANDSHAKE_TRAFFIC_SECRET" }, "a secret"),
    (Hits { loopback: false, label: "CLIENT_RANDOM" }, "a secret and the server's name"),
    (Hits { loopback: true, label: "CLIENT_RANDOM" }, "a secret, the server's name and the peer"),
];
const MOST: f64 = 1.5;

/// The first Linux that tells of the instructions of a multi-uprobe link: ours is found by them.
const SINCE: (u32, u32) = (6, 8);
/// What older ones have instead of figures.
const TOO_OLD: &str = "Linux before 6.8 does not tell of multi-uprobe links";

fn is_too_old() -> bool {
    release().is_none_or(|release| release < SINCE)
}

/// Microseconds of a hit in one alternation: no probe, an empty one, the least one that tells a secret, ours, and the other
/// way round.
#[derive(Clone, Copy)]
struct Cost {
    empty: f64,
    least: f64,
    ours: f64,
}

/// What is put at the instruction.
#[derive(Clone, Copy)]
enum Probing {
    Empty,
    Least,
    Ours,
}

/// Costs of a hit, from the processor's time for calls of a probed function, by a process that tlskeytop captures.
///
/// # Errors
/// When the kernel takes no such probe, or something fails.
pub fn costs(lab: &Lab, program: &Program, effort: &Effort) -> Result<Vec<Row>> {
    if is_too_old() {
        return Ok(vec![Row::missing("one hit", Unit::Ratio, Goal::None, TOO_OLD)]);
    }
    let mut workload = program.start(lab, "own")?;
    let (attached, link) = attach(lab, &mut workload)?;
    let mut stage = Stage {
        file: File::open(program.path())?,
        offset: workload.place()?,
        random: random()?,
        empty: Bpf::empty()?,
        ours: Bpf::by_id(link.program)?,
        cookie: link.probes.first().context("a link without probes")?.1,
        workload,
    };
    stage.prove()?;
    let mut rows = Vec::new();
    for (hits, what) in KINDS {
        let costs: Result<Vec<Cost>> =
            (0..effort.alternations).map(|_| stage.alternate(hits)).collect();
        rows.extend(rows_of(&format!("one hit, {what}"), &costs?)?);
    }
    // Only where nothing was lost had each hit all of its way to go.
    attached.detach(&mut stage.workload)?;
    Ok(rows)
}

fn rows_of(what: &str, costs: &[Cost]) -> Result<Vec<Row>> {
    let microseconds = |name: &str, of: fn(&Cost) -> f64| {
        let sample = Sample::of(costs.iter().map(of)).context("no alternation")?;
        let name = format!("{what}: {name}");
        Ok::<Row, anyhow::Error>(Row::median(name, Unit::Microseconds, Goal::None, &sample))
    };
    let measurable: Vec<&Cost> = costs.iter().filter(|cost| cost.empty > 0.0).collect();
    let ratio = |name: &str, goal, of: fn(&Cost) -> f64| {
        let ratios = Sample::of(measurable.iter().map(|cost| of(cost) / cost.empty));
        let name = format!("{what}: {name} / an empty probe there");
        match ratios.filter(|ratios| ratios.len() > costs.len() / 2) {
            Some(ratios) => Row::median(name, Unit::Ratio, goal, &ratios),
            None => Row::missing(name, Unit::Ratio, goal, "no cost of an empty probe can be told"),
        }
    };
    Ok(vec![
        ratio("ours", Goal::AtMost(MOST), |cost| cost.ours),
        ratio("the least that tells a secret", Goal::None, |cost| cost.least),
        microseconds("an empty probe there", |cost| cost.empty)?,
        microseconds("the least that tells a secret", |cost| cost.least)?,
        microseconds("ours", |cost| cost.ours)?,
    ])
}

/// Bytes from the library's connection to its client random.
fn random() -> Result<u32> {
    let plan = plan_image(&File::open(LIBSSL).context(LIBSSL)?, Path::new(LIBSSL))?;
    let path = plan.taps.first().map(|tap| &tap.arguments);
    match path {
        Some(Arguments::Connection(RandomPath { deref: None, offset })) => Ok(*offset),
        _ => bail!("{LIBSSL} has its client random elsewhere"),
    }
}

/// tlskeytop on the workload, and its link to the library's tap.
fn attach(lab: &Lab, workload: &mut Workload) -> Result<(Attached, Link)> {
    let file = File::open(LIBSSL).context(LIBSSL)?;
    let plan = plan_image(&file, Path::new(LIBSSL))?;
    let sites = plan.taps.iter().flat_map(|tap| &tap.sites).map(|site| site.file_offset);
    let mut sites: Vec<u64> = sites.collect();
    ensure!(!sites.is_empty(), "{LIBSSL} has no tap: {}", plan.reason);
    sites.sort_unstable();
    let attached = Tool::Tlskeytop.attach(lab, workload)?;
    let Attached::Tlskeytop(tlskeytop) = &attached else {
        bail!("tlskeytop is another tool");
    };
    let is_tap = |link: &Link| {
        let mut offsets: Vec<u64> = link.probes.iter().map(|(offset, _)| *offset).collect();
        offsets.sort_unstable();
        offsets == sites
    };
    let link = Link::of(tlskeytop.process.pid())?.into_iter().find(is_tap);
    let link = link.context("no multi-uprobe link to the tap")?;
    Ok((attached, link))
}

/// An instruction of the workload's, and the two programs that are put there in turn. Ours takes it for a site of the
/// library's tap.
struct Stage {
    workload: Workload,
    file: File,
    offset: u64,
    random: u32,
    empty: Bpf,
    ours: Bpf,
    cookie: u64,
}

impl Stage {
    /// Each program runs once for each hit, which the kernel counts.
    fn prove(&mut self) -> Result<()> {
        let _statistics = Statistics::turn_on()?;
        let least = Bpf::least(self.random)?;
        for program in [&self.empty, &least, &self.ours] {
            let before = program.runs()?;
            let probe = program.attach(&self.file, self.offset, self.cookie)?;
            let section = self.workload.hit(KINDS[0].0)?;
            drop(probe);
            let runs = program.runs()?.since(before).count;
            ensure!(runs >= section.count, "{runs} runs for {} hits", section.count);
        }
        Ok(())
    }

    fn alternate(&mut self, hits: Hits) -> Result<Cost> {
        const ORDER: [Probing; 3] = [Probing::Empty, Probing::Least, Probing::Ours];
        // A new one: its ring is empty.
        let least = Bpf::least(self.random)?;
        let call = self.workload.hit(hits)?.cost();
        let mut sums = [0.0; ORDER.len()];
        for probing in ORDER.into_iter().chain(ORDER.into_iter().rev()) {
            let program = match probing {
                Probing::Empty => &self.empty,
                Probing::Least => &least,
                Probing::Ours => &self.ours,
            };
            let _probe = program.attach(&self.file, self.offset, self.cookie)?;
            sums[probing as usize] += self.workload.hit(hits)?.cost();
        }
        let [empty, least, ours] = sums.map(|sum| (sum / 2.0 - call) * 1e6);
        Ok(Cost { empty, least, ours })
    }
}

/// How often the tap's program runs for each piece of work, by the kernel's own count.
///
/// # Errors
/// When the kernel does not count, or something fails.
pub fn counts(lab: &Lab, program: &Program, effort: &Effort) -> Result<Vec<Row>> {
    if is_too_old() {
        return Ok(vec![Row::missing("hits", Unit::Count, Goal::None, TOO_OLD)]);
    }
    let _statistics = Statistics::turn_on()?;
    let mut workload = program.start(lab, "own")?;
    let (attached, link) = attach(lab, &mut workload)?;
    let ours = Bpf::by_id(link.program)?;
    let mut rows = Vec::new();
    let loopback = Work::Handshakes { version: "1.2", loopback: true, resumed: false, rate: 0 };
    let works = [Work::handshakes("1.3"), Work::handshakes("1.2"), loopback, Work::Bulk(1024)];
    for work in works {
        let before = ours.runs()?;
        let section = workload.work(work, effort.sample)?;
        let Runs { count, nanoseconds } = ours.runs()?.since(before);
        let each = count as f64 / section.count as f64;
        rows.push(Row::one(format!("{work}: hits for each"), Unit::Count, Goal::None, each));
        if !matches!(work, Work::Bulk(_)) && count > 0 {
            let microseconds = nanoseconds as f64 / 1e3 / count as f64;
            let what = format!("{work}: our program itself, each hit (the kernel's count)");
            rows.push(Row::one(what, Unit::Microseconds, Goal::None, microseconds));
        }
    }
    attached.detach(&mut workload)?;
    Ok(rows)
}
