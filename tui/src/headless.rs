//! The modes without a terminal interface: key log lines, or JSON.

use std::io::{self, Write as _};
use std::time::Duration;

use rustix::process::Signal as Which;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::{Instant, sleep_until};

use crate::cli::{CaptureTask, Mode};
use crate::json;
use crate::model::{
    CommandState, Coverage, Effect, Ending, Model, Msg, Recorded, SavingState, WireView,
};
use crate::runtime::{Engine as _, Machine, Printer, Unsaved, finish};
use crate::signals::{received, unless_ignored};
use crate::target::process::is_in_foreground;
use crate::text::sanitize;

/// How long changes of a session are gathered into one JSON line.
const COALESCE: Duration = Duration::from_millis(100);
/// Sessions that are printed at a time.
const CHUNK: usize = 1000;
/// How long the end waits for the reader of stdout.
const READER: Duration = Duration::from_secs(2);
/// Programs whose losses are told in the summary.
const MISSED: usize = 10;
/// Warnings shown in one second; the others are counted.
const WARNINGS: u32 = 10;

/// Why a run ended badly.
#[derive(Debug, thiserror::Error)]
pub enum HeadlessError {
    /// Signals or the ring buffer could not be waited for.
    #[error("waiting for events: {0}")]
    Wait(io::Error),
    /// The key log could not be opened.
    #[error("{0}")]
    KeyLog(String),
    /// Secrets were captured and could not be written.
    #[error(transparent)]
    Unsaved(Unsaved),
    /// The kernel permits no probe at all.
    #[error("the kernel permits no probe: {0}")]
    Refused(String),
    /// Packets were captured and could not be written.
    #[error("packets could not be written: {0}")]
    Packets(String),
    /// stdout could not be written.
    #[error("writing to stdout: {0}")]
    Stdout(io::Error),
}

/// Runs until a signal, `--duration`, `--count` or the end of the command ends it, and gives back the model for the summary.
///
/// The result is [`HeadlessError`] when it ended badly; what was captured until then was written as far as
/// possible.
pub async fn run(
    mut machine: Machine,
    model: Model,
    task: &CaptureTask,
) -> (Model, Result<(), HeadlessError>) {
    let printer = match (task.mode == Mode::Json).then(Printer::start).transpose() {
        Ok(printer) => printer,
        Err(error) => return (model, Err(HeadlessError::Stdout(error))),
    };
    let unprinted = String::new();
    let mut run = Run {
        model,
        warnings: Warnings::default(),
        closed: false,
        printer,
        unprinted,
        task,
        start: false,
    };
    if run.printer.is_some() {
        run.model.sessions.track_changes();
    }
    let ended = run.until_end(&mut machine).await;
    if matches!(ended, Err(HeadlessError::KeyLog(_) | HeadlessError::Refused(_))) {
        machine.abandon_recording();
    }
    // `--count` is exact: what comes while the probes are removed begins no further session.
    let counted = run.is_counted();
    let wanted = |model: &Model, msg: &Msg| !counted || !begins_session(model, msg);
    let finished = finish(&mut machine, &mut run.model, wanted).await;
    let finished = finished.map_err(HeadlessError::Unsaved);
    let printed = run.print_rest().await.map_err(HeadlessError::Stdout);
    let recorded = unrecorded(&run.model).map_or(Ok(()), Err);
    (run.model, ended.and(finished).and(recorded).and(printed))
}

struct Run<'t> {
    model: Model,
    warnings: Warnings,
    /// Whoever read our stdout is gone.
    closed: bool,
    /// Writes JSON.
    printer: Option<Printer>,
    /// What the printer did not take yet.
    unprinted: String,
    task: &'t CaptureTask,
    /// The command is to be started.
    start: bool,
}

impl Run<'_> {
    async fn until_end(&mut self, machine: &mut Machine) -> Result<(), HeadlessError> {
        let mut signals =
            Signals::new(self.model.command.is_some()).map_err(HeadlessError::Wait)?;
        let mut inbox = Vec::new();
        let mut ready = false;
        let mut end = None;
        let mut flush_at = None;
        loop {
            tokio::select! {
                read = machine.next(&mut inbox) => read.map_err(HeadlessError::Wait)?,
                signal = signals.any() => if self.take_signal(machine, signal) {
                    return Ok(());
                },
                () = at(end) => return Ok(()),
                () = at(flush_at) => {
                    flush_at = None;
                    self.print_changed().map_err(HeadlessError::Stdout)?;
                }
            }
            let mut left = inbox.len();
            for msg in inbox.drain(..) {
                left -= 1;
                self.model.saving.gather(left > 0);
                self.update(machine, msg);
            }
            if self.closed {
                return Ok(());
            }
            if let Some(refusal) = self.refusal() {
                return Err(refusal);
            }
            // There is nothing else to do for it.
            if self.task.mode == Mode::Pcap
                && !self.model.recording.is_on()
                && let Some(error) = unrecorded(&self.model)
            {
                return Err(error);
            }
            if !ready && self.model.is_ready() && self.model.saving.state != SavingState::Opening {
                ready = true;
                if let Some(why) = self.model.targets.refusal() {
                    return Err(HeadlessError::Refused(sanitize(why)));
                }
                end = self.task.duration.map(|duration| Instant::now() + duration);
                let targets = self.model.targets.attached_processes();
                if self.model.saving.is_wanted() {
                    let path = self.model.saving.path.display();
                    say(&sanitize(&format!("saving to {path}")));
                }
                if let Some(plan) = &self.task.packets.first {
                    say(&sanitize(&format!("recording to {}", plan.path.display())));
                }
                self.tell_what_is_not_captured();
                if let Some((count, limit)) = self.model.catching_up.progress(self.model.now) {
                    let limit = limit.as_secs();
                    say(&format!(
                        "open connections of {count} processes are looked for, {limit} s at the most each"
                    ));
                }
                say(&match targets {
                    0 => "ready, 0 targets so far".to_owned(),
                    1 => "ready, 1 target".to_owned(),
                    targets => format!("ready, {targets} targets"),
                });
            }
            // After the line that says that nothing is missed.
            if ready && std::mem::take(&mut self.start) {
                machine.perform(Effect::StartCommand);
            }
            if let Some(CommandState::Ended(ending)) = &self.model.command {
                if matches!(ending, Ending::Killed(_) | Ending::NotStarted { .. }) {
                    say(&sanitize(&ending.to_string()));
                }
                return Ok(());
            }
            if self.task.mode == Mode::Json && flush_at.is_none() {
                flush_at = Some(Instant::now() + COALESCE);
            }
            if self.is_counted() {
                return Ok(());
            }
        }
    }

    fn update(&mut self, machine: &mut Machine, msg: Msg) {
        // `--count` is exact: what comes in the same moment begins no further session.
        if self.is_counted() && begins_session(&self.model, &msg) {
            return;
        }
        let now = machine.now();
        for effect in self.model.update(now, msg) {
            if let Effect::Warn(text) = &effect {
                self.warnings.show(text);
            }
            if matches!(effect, Effect::StartCommand) {
                self.start = true;
                continue;
            }
            machine.perform(effect);
        }
        self.closed |= self.model.saving.is_reader_gone();
    }

    /// What a signal does; `true`: it ends the run. With a command we end when that has ended, so that nothing is
    /// missed; it gets the signals that the terminal does not send to it as well.
    fn take_signal(&mut self, machine: &Machine, signal: Which) -> bool {
        if self.start || self.model.command == Some(CommandState::Waiting) {
            let number = u8::try_from(signal.as_raw()).unwrap_or(0);
            self.model.command = Some(CommandState::Ended(Ending::Killed(number)));
            return true;
        }
        let from_terminal = matches!(signal, Which::INT | Which::QUIT) && is_in_foreground();
        if self.model.command.is_some() && !from_terminal {
            machine.signal_command(signal);
        }
        self.model.command.is_none()
    }

    /// Whether as many sessions are complete as were asked for.
    fn is_counted(&self) -> bool {
        self.task.count.is_some_and(|count| self.model.stats.complete >= count)
    }

    /// Tells which of the named processes cannot be captured, and why.
    fn tell_what_is_not_captured(&self) {
        for (process, reason) in self.model.targets.not_capturable() {
            say(&format!(
                "warning: {} ({}) cannot be captured: {reason}",
                process.comm, process.pid
            ));
        }
    }

    /// The key log that was asked for cannot be had at all.
    fn refusal(&self) -> Option<HeadlessError> {
        let refused = self.task.save && self.model.saving.state == SavingState::Off;
        refused.then(|| HeadlessError::KeyLog(self.model.saving.refusal().to_owned()))
    }

    /// Hands changed sessions to the printer, as many as it takes now.
    fn print_changed(&mut self) -> io::Result<()> {
        let Some(printer) = &self.printer else { return Ok(()) };
        loop {
            if self.unprinted.is_empty() {
                for session in self.model.sessions.take_changed(CHUNK) {
                    let Some(session) = self.model.sessions.get(session) else { continue };
                    let line = json::session(session, &self.model.targets, self.task.reveal);
                    self.unprinted.push_str(&line);
                }
            }
            let is_all = self.unprinted.is_empty();
            match printer.print(std::mem::take(&mut self.unprinted)) {
                Ok(None) if is_all => return Ok(()),
                Ok(None) => {}
                Ok(Some(text)) => {
                    self.unprinted = text;
                    return Ok(());
                }
                Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {
                    self.printer = None;
                    self.closed = true;
                    return Ok(());
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// Prints the rest, but does not wait long for a reader that stalls.
    async fn print_rest(&mut self) -> io::Result<()> {
        let end = Instant::now() + READER;
        loop {
            self.print_changed()?;
            let Some(printer) = &mut self.printer else { return Ok(()) };
            let left = end.saturating_duration_since(Instant::now());
            if self.unprinted.is_empty() || left.is_zero() {
                return match printer.finish(left) {
                    Ok(true) => Ok(()),
                    Ok(false) => {
                        say("the reader of stdout stalls; the last lines are not printed");
                        Ok(())
                    }
                    Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
                    Err(error) => Err(error),
                };
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}

/// Whether a message is the first secret of a session.
fn begins_session(model: &Model, msg: &Msg) -> bool {
    matches!(msg, Msg::Secret(event) if model.sessions.find(&event.session_key()).is_none())
}

/// Tells the user something on stderr, which may be gone.
pub fn say(text: &str) {
    let _ = writeln!(io::stderr(), "tlskeytop: {text}");
}

/// Why packets were not recorded, or not to the end.
fn unrecorded(model: &Model) -> Option<HeadlessError> {
    model.recording.total()?.failing.map(HeadlessError::Packets)
}

/// The last line: what was counted.
pub fn summary(model: &Model) -> String {
    let stats = &model.stats;
    let mut text = format!(
        "{} sessions, {} secrets, {} saved, {} duplicates, {} nulls, {} conflicts, {} lost",
        stats.sessions,
        stats.secrets,
        model.saving.lines,
        stats.duplicates,
        stats.nulls,
        stats.conflicts,
        stats.lost()
    );
    let seldom = [
        (stats.rejected, "rejected"),
        (stats.unattributed, "unattributed"),
        (stats.evicted.unsaved, "sessions dropped unsaved"),
    ];
    for (count, what) in seldom.into_iter().filter(|(count, _)| *count > 0) {
        text.push_str(&format!(", {count} {what}"));
    }
    if let Some(recorded) = model.recording.total() {
        let Recorded { packets, secrets, .. } = recorded;
        text.push_str(&format!("; {packets} packets recorded with {secrets} secrets"));
        // The first of them is always told.
        for (index, (count, what)) in recorded.shortfalls().into_iter().enumerate() {
            if index == 0 || count > 0 {
                text.push_str(&format!(", {count} {what}"));
            }
        }
        if let Some(reason) = &recorded.failing {
            text.push_str(&format!(" ({reason})"));
        }
    }
    if model.wire.view != WireView::Off {
        text.push_str(&coverage(&model.wire.coverage));
    }
    for sentence in model.missed.sentences().into_iter().take(MISSED) {
        text.push_str(&format!("; {sentence}"));
    }
    text
}

/// `; secrets for 98 of 100 handshakes seen on the wire`.
fn coverage(coverage: &Coverage) -> String {
    let Coverage { covered, others, forgotten, lost, .. } = coverage;
    let mut text =
        format!("; secrets for {covered} of {} handshakes seen on the wire", coverage.seen());
    let seldom = [
        (*others, "others of processes that are not chosen"),
        (*forgotten, "forgotten"),
        (lost.packets, "packets with hellos dropped"),
        (lost.hellos, "hellos not read"),
    ];
    for (count, what) in seldom.into_iter().filter(|(count, _)| *count > 0) {
        text.push_str(&format!(", {count} {what}"));
    }
    text
}

async fn at(time: Option<Instant>) {
    match time {
        Some(time) => sleep_until(time).await,
        None => std::future::pending().await,
    }
}

/// The signals that end a run, or its command.
struct Signals {
    interrupt: Signal,
    terminate: Signal,
    /// Not under `nohup`.
    hangup: Option<Signal>,
    /// Only with a command: it ends that, and must not end us before.
    quit: Option<Signal>,
}

impl Signals {
    fn new(with_command: bool) -> io::Result<Self> {
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
            hangup: unless_ignored(SignalKind::hangup())?,
            quit: with_command.then(|| signal(SignalKind::quit())).transpose()?,
        })
    }

    async fn any(&mut self) -> Which {
        tokio::select! {
            _ = self.interrupt.recv() => Which::INT,
            _ = self.terminate.recv() => Which::TERM,
            _ = received(&mut self.hangup) => Which::HUP,
            _ = received(&mut self.quit) => Which::QUIT,
        }
    }
}

/// Shows warnings, but not a flood of them: a hostile process can cause as many as it likes.
#[derive(Default)]
struct Warnings {
    second: Option<std::time::Instant>,
    shown: u32,
    hidden: u64,
}

impl Warnings {
    fn show(&mut self, text: &str) {
        let now = std::time::Instant::now();
        if self.second.is_none_or(|start| now.duration_since(start) > Duration::from_secs(1)) {
            if self.hidden > 0 {
                say(&format!("warning: {} more warnings in the last second", self.hidden));
            }
            *self = Self { second: Some(now), ..Self::default() };
        }
        if self.shown < WARNINGS {
            self.shown += 1;
            say(&format!("warning: {}", sanitize(text)));
        } else {
            self.hidden += 1;
        }
    }
}
