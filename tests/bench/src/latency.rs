//! How long it takes from the library's giving a secret to its own key log, to the line in our file. Both ends are in one
//! process, and the line comes with the first of their two hits: so the earlier of the two moments counts.

use std::collections::HashMap;
use std::fs::File;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use anyhow::{Context as _, Result, anyhow};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::inotify;
use rustix::time::{ClockId, clock_gettime};
use tlskeytop_tests::{Lab, until};

use crate::effort::Effort;
use crate::row::{Goal, Row, Unit};
use crate::sample::Sample;
use crate::tool::{Attached, Tool};
use crate::workload::{Log, Program, Work};

/// Handshakes a second: a busy server, and not a full queue.
const RATE: u32 = 100;

/// The median and the 99th percentile of all lines.
///
/// # Errors
/// When a line is missing, or something fails.
pub fn rows(lab: &Lab, program: &Program, effort: &Effort) -> Result<Vec<Row>> {
    let mut workload = program.start(lab, "latency")?;
    workload.log(Log::Both)?;
    let attached = Tool::Tlskeytop.attach(lab, &mut workload)?;
    let Attached::Tlskeytop(tlskeytop) = &attached else {
        return Err(anyhow!("tlskeytop is another tool"));
    };
    let path = tlskeytop.keylog_path().to_owned();
    let growth = Growth::watch(&path)?;
    let work = Work::Handshakes { version: "1.3", loopback: false, resumed: false, rate: RATE };
    workload.work(work, effort.steady.into())?;
    let mut moments: HashMap<String, u64> = HashMap::new();
    for (line, made) in workload.moments()? {
        moments.entry(line).and_modify(|first| *first = made.min(*first)).or_insert(made);
    }
    let wanted: usize = moments.keys().map(|line| line.len() + 1).sum();
    until("all lines in the file", || Ok((path.metadata()?.len() >= wanted as u64).then_some(())))?;
    let written = growth.lines(&path)?;
    attached.detach(&mut workload)?;
    let latencies: Result<Vec<f64>> = moments
        .iter()
        .map(|(line, made)| {
            let seen = written.get(line).with_context(|| "a line was not captured")?;
            // The library's own moment may be the later one: the target waited between hit and callback.
            Ok((*seen as f64 - *made as f64) / 1e6)
        })
        .collect();
    let sample = Sample::of(latencies?).context("no lines")?;
    let what = format!("from secret to line in the file, {RATE} handshakes/s");
    Ok(vec![
        Row::median(format!("{what}: p50"), Unit::Milliseconds, Goal::AtMost(5.0), &sample),
        Row::quantile(
            format!("{what}: p99"),
            Unit::Milliseconds,
            Goal::AtMost(50.0),
            &sample,
            0.99,
        ),
        Row::quantile(format!("{what}: the last"), Unit::Milliseconds, Goal::None, &sample, 1.0),
    ])
}

/// The sizes of a growing file, and when each was seen first.
struct Growth {
    thread: thread::JoinHandle<Result<Vec<(u64, u64)>>>,
    done: Arc<AtomicBool>,
}

impl Growth {
    fn watch(path: &Path) -> Result<Self> {
        let file = File::open(path)?;
        let events = inotify::init(inotify::CreateFlags::NONBLOCK | inotify::CreateFlags::CLOEXEC)?;
        inotify::add_watch(&events, path, inotify::WatchFlags::MODIFY)?;
        let done = Arc::new(AtomicBool::new(false));
        let is_done = Arc::clone(&done);
        let thread = thread::spawn(move || {
            let mut sizes = Vec::new();
            let mut buffer = [std::mem::MaybeUninit::uninit(); 4096];
            let mut wakes = [PollFd::new(&events, PollFlags::IN)];
            // Looked at once more after it is done.
            let mut is_last = false;
            while !is_last {
                is_last = is_done.load(Ordering::Acquire);
                poll(&mut wakes, Some(&Timespec { tv_sec: 0, tv_nsec: 50_000_000 }))?;
                let mut reader = inotify::Reader::new(&events, &mut buffer);
                while reader.next().is_ok() {}
                // A line that is there by now was there no later than a moment after.
                let size = file.metadata()?.len();
                sizes.push((now(), size));
            }
            Ok(sizes)
        });
        Ok(Self { thread, done })
    }

    /// When each line was there.
    fn lines(self, path: &Path) -> Result<HashMap<String, u64>> {
        self.done.store(true, Ordering::Release);
        let sizes = self.thread.join().map_err(|_| anyhow!("the watching thread"))??;
        let mut end = 0;
        let text = std::fs::read_to_string(path)?;
        let seen = |line: &str| {
            end += line.len() as u64;
            let first = sizes.partition_point(|(_, size)| *size < end);
            let (time, _) = sizes.get(first).context("a line that was never seen")?;
            Ok((line.trim_end().to_owned(), *time))
        };
        text.split_inclusive('\n').map(seen).collect()
    }
}

/// Nanoseconds of `CLOCK_MONOTONIC`.
fn now() -> u64 {
    let time = clock_gettime(ClockId::Monotonic);
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}
