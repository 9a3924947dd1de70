//! What the wire view takes: tlskeytop with it and without it in turn, beside traffic over the loopback; and what a packet
//! socket takes that takes no packet, which is the least.

use anyhow::{Context as _, Result, ensure};
use tlskeytop::packets::{Size, Socket};
use tlskeytop_tests::{Lab, Tlskeytop};

use crate::effort::Effort;
use crate::own::{processor, quiet};
use crate::row::{Goal, Row, Unit};
use crate::sample::Sample;
use crate::twins::Twins;
use crate::workload::{Program, Section, Work};

/// Resumed, so that one process makes as many.
const HANDSHAKES: Work =
    Work::Handshakes { version: "1.2", loopback: true, resumed: true, rate: 1000 };
const STREAM: Work = Work::Stream(16384);
/// A ring that gets no packet.
const SMALL: Size = Size { blocks: 1, block: 256 << 10 };

/// How tlskeytop runs.
#[derive(Clone, Copy, PartialEq)]
enum Way {
    /// With a secret for each handshake.
    Secrets,
    /// Without one, so that each becomes a row for which it is asked whose it is.
    Rows,
}

/// What one of them left of the stream's rate, through that of another process, and took for itself at the handshakes.
#[derive(Clone, Copy)]
struct Taken {
    /// Not measured without secrets.
    stream: Option<f64>,
    handshakes: f64,
    /// Hundredths of a processor.
    share: f64,
}

/// Throughput, and its share of a processor at 1,000 handshakes a second.
///
/// # Errors
/// When tlskeytop does not come up, or does not see all handshakes on the wire.
pub fn rows(lab: &Lab, program: &Program, effort: &Effort) -> Result<Vec<Row>> {
    let (mut ratios, mut shares, mut rates) = (Vec::new(), Vec::new(), Vec::new());
    let (mut row_shares, mut least) = (Vec::new(), Vec::new());
    for round in 0..effort.pairs {
        let mut twins = Twins::start(lab, program)?;
        // Each is the first in turn.
        let first = round % 2 == 0;
        let mut pair = |way| -> Result<[Taken; 2]> {
            let one = measure(lab, &mut twins, way, first, effort)?;
            let other = measure(lab, &mut twins, way, !first, effort)?;
            Ok(if first { [one, other] } else { [other, one] })
        };
        let [with, without] = pair(Way::Rows)?;
        row_shares.push(with.share - without.share);
        let [with, without] = pair(Way::Secrets)?;
        let streams = with.stream.zip(without.stream);
        ratios.extend(streams.map(|(with, without)| with / without));
        shares.push(with.share - without.share);
        rates.push(with.handshakes);
        let before = twins.compare(STREAM, effort)?.wall;
        let nothing = Socket::open(SMALL, Some(&[])).context("a packet socket")?;
        let beside = twins.compare(STREAM, effort)?.wall;
        drop(nothing);
        least.push(beside / f64::midpoint(before, twins.compare(STREAM, effort)?.wall));
    }
    let sample = |figures: Vec<f64>| Sample::of(figures).context("no rounds");
    let rate = sample(rates)?.median();
    let ratio = format!("{STREAM}: with the wire view / without");
    let share = format!("the wire view's share of a processor at {rate:.0} handshakes/s");
    let socket = format!("{STREAM}: with a packet socket that takes nothing / without");
    let row_share = format!("{share} without a secret, with their rows in JSON");
    Ok(vec![
        Row::median(ratio, Unit::Ratio, Goal::AtLeast(0.97), &sample(ratios)?),
        Row::median(socket, Unit::Ratio, Goal::None, &sample(least)?),
        Row::median(share, Unit::Percent, Goal::AtMost(2.0), &sample(shares)?),
        Row::median(row_share, Unit::Percent, Goal::None, &sample(row_shares)?),
    ])
}

fn measure(lab: &Lab, twins: &mut Twins, way: Way, is_on: bool, effort: &Effort) -> Result<Taken> {
    let wire = if is_on { &[][..] } else { &["--no-wire"] };
    let pid = twins.target.pid().to_string();
    let mut tlskeytop = match way {
        Way::Secrets => Tlskeytop::keylog_to(lab, "wire", ["--all"].iter().chain(wire))?,
        Way::Rows => {
            let chosen = ["--all", "--exclude-pid", &pid];
            Tlskeytop::json(lab, chosen.iter().chain(wire))?
        }
    };
    quiet(tlskeytop.process.pid())?;
    let stream = match way {
        Way::Secrets => Some(twins.compare(STREAM, effort)?.wall),
        Way::Rows => None,
    };
    let before = processor(tlskeytop.process.pid())?;
    let handshakes = twins.target.work(HANDSHAKES, effort.sample)?;
    let busy = processor(tlskeytop.process.pid())? - before;
    let ended = tlskeytop.interrupt()?;
    ensure!(ended.code() == Some(0), "tlskeytop: {}", ended.stderr);
    if way == Way::Secrets {
        std::fs::remove_file(tlskeytop.keylog_path())?;
    }
    if is_on {
        prove(&ended.stderr, &handshakes, way)?;
    }
    Ok(Taken { stream, handshakes: handshakes.rate(), share: 100.0 * busy / handshakes.seconds })
}

/// Only what looked at each handshake can be measured.
fn prove(said: &str, made: &Section, way: Way) -> Result<()> {
    let (_, rest) = said.rsplit_once("secrets for ").context("no coverage in the summary")?;
    let (covered, rest) = rest.split_once(" of ").context("no coverage")?;
    let seen = rest.split(' ').next().unwrap_or_default();
    let (covered, seen): (u64, u64) = (covered.parse()?, seen.parse()?);
    let least = if way == Way::Secrets { made.count } else { 0 };
    ensure!(seen >= made.count && covered >= least, "{} were made: {said}", made.count);
    Ok(())
}
