//! Whether every key is captured at the highest rate that the machine can make.

use anyhow::{Context as _, Result, ensure};
use tlskeytop_tests::{KeyLog, Lab, Summary, Tlskeytop};

use crate::effort::Effort;
use crate::row::{Goal, Row, Unit};
use crate::workload::{Log, Program, Section, Work, Workload};

/// A section is shorter than what the tests wait for an answer.
const AT_ONCE: u32 = 20;

/// Rows for whole handshakes, the same beside bulk I/O, and resumed handshakes, of which a machine makes the most.
///
/// # Errors
/// For each: when tlskeytop or a workload fails, or something is captured that is not true.
pub fn rows(lab: &Lab, program: &Program, effort: &Effort) -> Vec<Result<Vec<Row>>> {
    let full = Work::handshakes("1.3");
    let resumed = Work::Handshakes { version: "1.2", loopback: false, resumed: true, rate: 0 };
    [(full, 0, ""), (full, 2, " beside two processes with bulk I/O"), (resumed, 0, "")]
        .into_iter()
        .map(|(work, bulk, what)| {
            let what = format!("{work}, at the highest rate for {} s{what}", effort.load);
            Ok(run(lab, program, work, bulk, effort.load)?.rows(&what))
        })
        .collect()
}

/// What came of one load.
struct Outcome {
    handshakes: u64,
    rate: f64,
    made: usize,
    captured: usize,
    lost: u64,
}

impl Outcome {
    fn rows(&self, what: &str) -> Vec<Row> {
        let share = 100.0 * self.captured as f64 / self.made as f64;
        let row =
            |of: &str, unit, goal, figure| Row::one(format!("{what}: {of}"), unit, goal, figure);
        vec![
            row("key log lines captured", Unit::Percent, Goal::AtLeast(100.0), share),
            row("events lost", Unit::Count, Goal::AtMost(0.0), self.lost as f64),
            row("handshakes", Unit::Count, Goal::None, self.handshakes as f64),
            row("rate of all processes", Unit::PerSecond, Goal::None, self.rate),
        ]
    }
}

fn run(lab: &Lab, program: &Program, work: Work, bulk: usize, seconds: u32) -> Result<Outcome> {
    let folder = lab.path("load");
    // What one that failed has left.
    if folder.exists() {
        std::fs::remove_dir_all(&folder)?;
    }
    std::fs::create_dir(&folder)?;
    let start = |name: String| program.start(lab, &format!("load/{name}"));
    let processors = std::thread::available_parallelism()?.get();
    let mut makers: Vec<Workload> =
        (0..processors).map(|n| start(format!("own{n}"))).collect::<Result<_>>()?;
    let mut others: Vec<Workload> =
        (0..bulk).map(|n| start(format!("bulk{n}"))).collect::<Result<_>>()?;
    makers.iter_mut().try_for_each(|maker| maker.log(Log::Memory))?;
    let pids = makers.iter().chain(&others).flat_map(|one| ["--pid".into(), one.pid().to_string()]);
    let mut tlskeytop = Tlskeytop::keylog_to(lab, "load/captured", pids)?;
    let mut sections = Vec::new();
    let mut left = seconds;
    while left > 0 {
        let now = left.min(AT_ONCE);
        left -= now;
        makers.iter_mut().try_for_each(|maker| maker.begin(work, now.into()))?;
        others.iter_mut().try_for_each(|other| other.begin(Work::Bulk(1024), now.into()))?;
        let ends: Result<Vec<Section>> = makers.iter().map(Workload::end).collect();
        sections.extend(ends?);
        others.iter().try_for_each(|other| other.end().map(drop))?;
    }
    let ended = tlskeytop.interrupt()?;
    ensure!(ended.code() == Some(0), "tlskeytop: {}", ended.status);
    let summary = Summary::parse(&ended.stderr)?;
    ensure!(summary.conflicts == 0 && summary.rejected == 0, "{summary:?}");
    let captured = KeyLog::strict(tlskeytop.keylog_path())?;
    let mut truth = KeyLog::default();
    for maker in &mut makers {
        truth.merge(maker.truth()?)?;
    }
    let outcome = Outcome {
        handshakes: sections.iter().map(|section| section.count).sum(),
        rate: sections.iter().map(Section::rate).sum::<f64>() * processors as f64
            / sections.len() as f64,
        made: truth.lines(),
        captured: captured.lines_of(&truth).context("what was captured beside the truth")?,
        lost: summary.lost,
    };
    std::fs::remove_dir_all(&folder)?;
    Ok(outcome)
}
