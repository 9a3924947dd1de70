//! What the wire view takes: tlskeytop with it and without it in turn, beside traffic over the loopback.

use anyhow::{Context as _, Result, ensure};
use tlskeytop_tests::{Lab, Tlskeytop};

use crate::effort::Effort;
use crate::own::processor;
use crate::row::{Goal, Row, Unit};
use crate::sample::Sample;
use crate::workload::{Program, Section, Work, Workload};

/// Resumed, so that one process makes as many.
const HANDSHAKES: Work =
    Work::Handshakes { version: "1.2", loopback: true, resumed: true, rate: 1000 };
const STREAM: Work = Work::Stream(16384);

/// What one of them left of the stream's rate, and took for itself at the handshakes.
#[derive(Clone, Copy)]
struct Taken {
    stream: f64,
    handshakes: f64,
    /// Hundredths of a processor.
    share: f64,
}

/// Throughput, and its share of a processor at 1,000 handshakes a second.
///
/// # Errors
/// When tlskeytop does not come up, or does not see all handshakes on the wire.
pub fn rows(lab: &Lab, program: &Program, effort: &Effort) -> Result<Vec<Row>> {
    let mut workload = program.start(lab, "own")?;
    let (mut ratios, mut shares, mut rates) = (Vec::new(), Vec::new(), Vec::new());
    for round in 0..effort.pairs {
        // Each is the first in turn.
        let first = round % 2 == 0;
        let one = measure(lab, &mut workload, first, effort)?;
        let other = measure(lab, &mut workload, !first, effort)?;
        let (with, without) = if first { (one, other) } else { (other, one) };
        ratios.push(with.stream / without.stream);
        shares.push(with.share - without.share);
        rates.push(with.handshakes);
    }
    let sample = |figures: Vec<f64>| Sample::of(figures).context("no rounds");
    let rate = sample(rates)?.median();
    let ratio = format!("{STREAM}: with the wire view / without");
    let share = format!("the wire view's share of a processor at {rate:.0} handshakes/s");
    Ok(vec![
        Row::median(ratio, Unit::Ratio, Goal::AtLeast(0.97), &sample(ratios)?),
        Row::median(share, Unit::Percent, Goal::AtMost(2.0), &sample(shares)?),
    ])
}

fn measure(lab: &Lab, workload: &mut Workload, is_on: bool, effort: &Effort) -> Result<Taken> {
    let wire = if is_on { &[][..] } else { &["--no-wire"] };
    let mut tlskeytop = Tlskeytop::keylog_to(lab, "wire", ["--all"].iter().chain(wire))?;
    let stream = workload.work(STREAM, effort.section)?;
    let before = processor(tlskeytop.process.pid())?;
    let handshakes = workload.work(HANDSHAKES, effort.sample)?;
    let busy = processor(tlskeytop.process.pid())? - before;
    let ended = tlskeytop.interrupt()?;
    ensure!(ended.code() == Some(0), "tlskeytop: {}", ended.stderr);
    std::fs::remove_file(tlskeytop.keylog_path())?;
    if is_on {
        prove(&ended.stderr, &handshakes)?;
    }
    Ok(Taken {
        stream: stream.rate(),
        handshakes: handshakes.rate(),
        share: 100.0 * busy / handshakes.seconds,
    })
}

/// Only what looked at each handshake can be measured.
fn prove(said: &str, made: &Section) -> Result<()> {
    let (_, rest) = said.rsplit_once("secrets for ").context("no coverage in the summary")?;
    let (covered, rest) = rest.split_once(" of ").context("no coverage")?;
    let seen = rest.split(' ').next().unwrap_or_default();
    let (covered, seen): (u64, u64) = (covered.parse()?, seen.parse()?);
    ensure!(seen >= made.count && covered >= made.count, "{} were made: {said}", made.count);
    Ok(())
}
