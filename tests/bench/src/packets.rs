//! Whether packets are recorded as fast as they come.

use std::net::UdpSocket;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use tlskeytop_tests::{Lab, Recording, cpu_time};

use crate::effort::Effort;
use crate::row::{Goal, Row, Unit};

/// Packets in a second.
const RATE: u64 = 50_000;
/// Bytes of a packet of 1,500 without the headers of Ethernet, IPv4 and UDP.
const PAYLOAD: usize = 1500 - 14 - 20 - 8;
/// So often some are sent.
const STEP: Duration = Duration::from_millis(1);

/// 50,000 packets of 1,500 bytes a second to the disk.
///
/// # Errors
/// When it does not come up, or ends badly.
pub fn rows(lab: &Lab, effort: &Effort) -> Result<Vec<Row>> {
    let args = ["-i", "lo", "--name", "nobody at all"];
    let (mut tlskeytop, recording) = Recording::start(lab, args)?;
    let pid = tlskeytop.process.pid();
    let before = cpu_time(pid)?;
    let start = Instant::now();
    let sent = send(Duration::from_secs(effort.steady.into()))?;
    let took = start.elapsed().as_secs_f64();
    let busy = (cpu_time(pid)? - before).as_secs_f64();
    let ended = tlskeytop.interrupt()?;
    ensure!(ended.code() == Some(0), "tlskeytop: {}", ended.stderr);
    let summary = ended.stderr.lines().last().context("no summary")?;
    let number = |before: &str| {
        let (numbers, _) = summary.split_once(before).context(before.to_owned())?;
        Ok::<f64, anyhow::Error>(numbers.rsplit(' ').next().unwrap_or_default().parse()?)
    };
    let (recorded, dropped) = (number(" packets recorded")?, number(" packets dropped")?);
    ensure!(recorded + dropped >= sent as f64, "{sent} were sent: {summary}");
    std::fs::remove_file(recording.path())?;
    let rate = sent as f64 / took;
    let what = "packets of 1,500 bytes recorded";
    Ok(vec![
        Row::one(format!("{what}, a second"), Unit::PerSecond, Goal::AtLeast(49_500.0), rate),
        Row::one(format!("{what}: dropped"), Unit::Count, Goal::AtMost(0.0), dropped),
        Row::one(format!("{what}: of a processor"), Unit::Percent, Goal::None, 100.0 * busy / took),
    ])
}

/// Sends for so long, evenly; the number of packets.
fn send(duration: Duration) -> Result<u64> {
    let receiver = UdpSocket::bind("127.0.0.1:0")?;
    let sender = UdpSocket::bind("127.0.0.1:0")?;
    sender.connect(receiver.local_addr()?)?;
    let start = Instant::now();
    let mut sent = 0;
    while start.elapsed() < duration {
        let due = start.elapsed().as_micros() as u64 * RATE / 1_000_000;
        while sent < due {
            sender.send(&[0x5a; PAYLOAD])?;
            sent += 1;
        }
        thread::sleep(STEP);
    }
    Ok(sent)
}
