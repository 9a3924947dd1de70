//! What one hit of a probe costs, beside an empty probe at the same instruction, which is the least that it can.

use std::fs::File;
use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use tlskeytop::preflight::release;
use tlskeytop::target::image::plan_image;
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

/// Microseconds of a hit in one alternation: no probe, an empty one, ours, ours, an empty one.
#[derive(Clone, Copy)]
struct Cost {
    empty: f64,
    ours: f64,
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
    let sample = |of: fn(&Cost) -> f64| Sample::of(costs.iter().map(of)).context("no alternation");
    let measurable: Vec<&Cost> = costs.iter().filter(|cost| cost.empty > 0.0).collect();
    let ratios = Sample::of(measurable.iter().map(|cost| cost.ours / cost.empty));
    let name = format!("{what}: ours / an empty probe there");
    let (unit, goal) = (Unit::Ratio, Goal::AtMost(MOST));
    let ratio = match ratios.filter(|ratios| ratios.len() > costs.len() / 2) {
        Some(ratios) => Row::median(name, unit, goal, &ratios),
        None => Row::missing(name, unit, goal, "no cost of an empty probe can be told"),
    };
    let row = |of: &str, sample: &Sample| {
        Row::median(format!("{what}: {of}"), Unit::Microseconds, Goal::None, sample)
    };
    let empty = row("an empty probe there", &sample(|cost| cost.empty)?);
    Ok(vec![ratio, empty, row("ours", &sample(|cost| cost.ours)?)])
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
        anyhow::bail!("tlskeytop is another tool");
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
    empty: Bpf,
    ours: Bpf,
    cookie: u64,
}

impl Stage {
    /// Each program runs once for each hit, which the kernel counts.
    fn prove(&mut self) -> Result<()> {
        let _statistics = Statistics::turn_on()?;
        for is_ours in [false, true] {
            let program = if is_ours { &self.ours } else { &self.empty };
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
        let call = self.workload.hit(hits)?.cost();
        let mut sums = [0.0; 2];
        for is_ours in [false, true, true, false] {
            let program = if is_ours { &self.ours } else { &self.empty };
            let _probe = program.attach(&self.file, self.offset, self.cookie)?;
            sums[usize::from(is_ours)] += self.workload.hit(hits)?.cost();
        }
        let [empty, ours] = sums.map(|sum| (sum / 2.0 - call) * 1e6);
        Ok(Cost { empty, ours })
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
        let section = workload.work(work, effort.section)?;
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
