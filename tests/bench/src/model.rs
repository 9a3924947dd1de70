//! The model alone, with saving and without: the memory of its sessions, and how fast it takes events.

use std::process::Command;
use std::time::Instant;

use anyhow::{Context as _, Result, ensure};
use tlskeytop::model::ui::App;
use tlskeytop::model::{Captured, Effect, KeyLogMsg, Msg, Time};
use tlskeytop_tests::Process;

use crate::effort::Effort;
use crate::made_up::MadeUp;
use crate::own::resident;
use crate::row::{Goal, Row, Unit};
use crate::sample::Sample;

/// Whether all goes to a key log, and how the rows say so.
const KINDS: [(bool, &str); 2] = [(false, ""), (true, ", all of them saved")];

/// The memory that so many sessions take, told by a process that has nothing else.
///
/// # Errors
/// When that process fails.
pub fn memory(effort: &Effort) -> Result<Vec<Row>> {
    let sessions = effort.sessions;
    let row = |(is_saved, kind): (bool, &str)| {
        let mut child = Command::new(std::env::current_exe()?);
        child.args(["--memory-of", &sessions.to_string()]).args(is_saved.then_some("--saved"));
        let ended = Process::run_ok(&mut child)?;
        let mebibytes = ended.stdout.trim().parse().context("the memory of the sessions")?;
        let what = format!("memory of {sessions} sessions in the model{kind}");
        Ok(Row::one(what, Unit::Mebibytes, Goal::AtMost(64.0), mebibytes))
    };
    KINDS.into_iter().map(row).collect()
}

/// What that process prints.
///
/// # Errors
/// When its memory cannot be read, or not all is kept.
pub fn print_memory(sessions: usize, is_saved: bool) -> Result<()> {
    let mut made_up = MadeUp::new();
    let mut taker = Taker::new(made_up.app(sessions), is_saved);
    let before = resident(std::process::id())?;
    for _ in 0..sessions {
        made_up.session().for_each(|event| taker.take(event));
    }
    taker.finish()?;
    println!("{}", resident(std::process::id())? - before);
    let kept = taker.app.model.sessions.len();
    ensure!(kept == sessions, "{kept} sessions");
    Ok(())
}

/// Events a second that the model takes on one processor: while it fills, and when each session replaces another.
///
/// # Errors
/// When it does not keep them.
pub fn ingest(effort: &Effort) -> Result<Vec<Row>> {
    const TIMES: usize = 5;
    let mut rows = Vec::new();
    for (is_saved, kind) in KINDS {
        let (mut filling, mut replacing) = (Vec::new(), Vec::new());
        for _ in 0..TIMES {
            let mut made_up = MadeUp::new();
            let mut taker = Taker::new(made_up.app(effort.sessions), is_saved);
            filling.push(taker.events_per_second(&mut made_up, effort.sessions));
            replacing.push(taker.events_per_second(&mut made_up, effort.sessions));
            taker.finish()?;
            // Some go at a time, so that there are not always as many as may be.
            let kept = taker.app.model.sessions.len();
            ensure!(kept <= effort.sessions && kept > effort.sessions / 10 * 9, "{kept} are kept");
        }
        for (what, figures) in [
            ("events into the model, up to its limit", filling),
            ("events into the model, each session in place of an older one", replacing),
        ] {
            let (unit, goal) = (Unit::PerSecond, Goal::AtLeast(500_000.0));
            let sample = Sample::of(figures).context("no times")?;
            rows.push(Row::median(format!("{what}{kind}"), unit, goal, &sample));
        }
    }
    Ok(rows)
}

/// The model, and a writer that needs for a line as long as the model for an event: a batch is told as written when so
/// many more events were taken.
struct Taker {
    app: App,
    is_saved: bool,
    taken: usize,
    /// Generation and lines of what is on its way, and how many events are taken when it is written.
    batch: Option<(u64, usize, usize)>,
}

/// Before the first session.
const BEFORE: Time = Time(1_767_323_000_000_000_000);

impl Taker {
    fn new(app: App, is_saved: bool) -> Self {
        let mut taker = Self { app, is_saved, taken: 0, batch: None };
        if is_saved {
            taker.receive(BEFORE, Msg::Save(true));
            let opened = KeyLogMsg::Opened { generation: 1, known: Vec::new() };
            taker.receive(BEFORE, Msg::KeyLog(opened));
        }
        taker
    }

    fn take(&mut self, event: Captured) {
        let time = event.time;
        self.taken += 1;
        self.receive(time, Msg::Secret(event));
        if self.batch.is_some_and(|(_, _, due)| self.taken >= due) {
            self.written(time);
        }
    }

    fn receive(&mut self, time: Time, msg: Msg) {
        for effect in self.app.receive(time, msg) {
            if let Effect::WriteLines { generation, lines } = effect {
                self.batch = Some((generation, lines.len(), self.taken + lines.len()));
            }
        }
    }

    fn written(&mut self, time: Time) {
        if let Some((generation, written, _)) = self.batch.take() {
            let wrote = KeyLogMsg::Wrote { generation, written, error: None };
            self.receive(time, Msg::KeyLog(wrote));
        }
    }

    /// Writes what is left: every event has made a line.
    fn finish(&mut self) -> Result<()> {
        while self.batch.is_some() {
            self.written(self.app.model.now);
        }
        let lines = usize::try_from(self.app.model.saving.lines)?;
        ensure!(!self.is_saved || lines == self.taken, "{lines} lines of {}", self.taken);
        Ok(())
    }

    fn events_per_second(&mut self, made_up: &mut MadeUp, sessions: usize) -> f64 {
        let events: Vec<Captured> = (0..sessions).flat_map(|_| made_up.session()).collect();
        let count = events.len() as f64;
        let start = Instant::now();
        for event in events {
            self.take(event);
        }
        count / start.elapsed().as_secs_f64()
    }
}
