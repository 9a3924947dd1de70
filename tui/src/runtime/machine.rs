//! The engine on a real machine: eBPF, `/proc`, the key log's file.

use std::io;
use std::time::Duration;

use rustix::process::{Rlimit, Signal};
use tokio::sync::mpsc::{Receiver, channel};
use tokio::time::{Interval, MissedTickBehavior, interval};
use tracing::{debug, warn};

use super::Engine;
use super::errands::Errands;
use super::recording::Recording;
use super::scanner::Scanner;
use super::wire::WireThread;
use super::writer::Writer;
use crate::capture::{CaptureError, Control, Counters, Events, Loaded, Rules};
use crate::clock::time_of_day;
use crate::command::{Child, Command, Streams};
use crate::harden;
use crate::model::target::Change;
use crate::model::{Effect, Ending, KeyLogMsg, Msg, Time, WireMsg};
use crate::packets::{Plan, Recorder, advice};
use crate::priority;
use crate::target::follow::first::First;
use crate::target::follow::watch::Watch;
use crate::target::registry::Registry;

/// Replies of the threads that can wait at a time.
const REPLIES: usize = 256;
/// Messages of the wire view that can wait; each has what one look at the ring brought.
const WIRE_MESSAGES: usize = 8;
/// How often counters are read and the key log's path is checked.
const TICK: Duration = Duration::from_millis(250);
/// How long the end waits for what the wire showed last.
const WIRE: Duration = Duration::from_secs(2);

/// Everything outside of the model.
pub struct Machine {
    events: Events,
    rules: Rules,
    counters: Counters,
    /// `None` once the probes are detached.
    control: Option<Control>,
    writer: Writer,
    recording: Recording,
    /// `None` where the wire is not looked at.
    wire: Option<WireThread>,
    wire_says: Receiver<WireMsg>,
    scanner: Scanner,
    exporter: Errands,
    /// Not the exporter: a disk that hangs must not hide the command lines, nor the other way round.
    looker: Errands,
    replies: Receiver<Msg>,
    /// What the writer has done: it need not wake the loop that is about to look into the ring.
    wrote: Receiver<Msg>,
    tick: Interval,
    /// What an effect answered at once.
    own: Vec<Msg>,
    /// What is run when everything is attached, and how.
    command: Option<(Command, Streams, Rlimit)>,
    child: Option<Child>,
}

impl Machine {
    /// Starts the threads, which look first at the processes for which the user waits; nothing is attached yet. To be called
    /// within a tokio runtime. With `only_named_images` those that are found later are not attached before it is decided
    /// on them.
    ///
    /// # Errors
    ///
    /// [`CaptureError::Wait`] when a thread cannot be started.
    pub fn start(
        mut loaded: Loaded,
        registry: Registry,
        watch: Watch,
        first: First,
        only_named_images: bool,
    ) -> Result<Self, CaptureError> {
        priority::raise();
        let (sender, replies) = channel(REPLIES);
        let (writes, wrote) = channel(REPLIES);
        let mut tick = interval(TICK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Skip);
        if watch.is_live() {
            loaded.events.watch(watch.clone());
        }
        let mut own = Vec::new();
        let (wire_sender, wire_says) = channel(WIRE_MESSAGES);
        let wire = loaded.wire.take().and_then(|wire| {
            let started = WireThread::start(wire, watch.clone(), wire_sender);
            let told = |error| {
                own.push(Msg::Warning(format!("no wire view: {error}{}", advice(&error))));
            };
            started.map_err(told).ok()
        });
        let control = Control::start(loaded.probes, registry.files())?;
        let ahead = (!only_named_images).then(|| control.orders());
        Ok(Self {
            events: loaded.events,
            rules: loaded.rules,
            counters: loaded.counters,
            control: Some(control),
            writer: Writer::start(writes)?,
            recording: Recording::new(sender.clone()),
            wire,
            wire_says,
            exporter: Errands::start("export", sender.clone())?,
            looker: Errands::start("look", sender.clone())?,
            scanner: Scanner::start(registry, watch, first, sender, ahead)?,
            replies,
            wrote,
            tick,
            own,
            command: None,
            child: None,
        })
    }

    /// Gives it the command that [`Effect::StartCommand`] starts, with these streams and this limit of open files.
    pub fn set_command(&mut self, command: Command, streams: Streams, files: Rlimit) {
        self.command = Some((command, streams, files));
    }

    /// Gives it the recorder that gets the secrets of [`Effect::Record`].
    pub fn set_recorder(&mut self, recorder: Recorder) {
        self.recording.set(recorder);
    }

    /// Gives it what is recorded when that is asked for, but for the file.
    pub fn set_plan(&mut self, plan: Plan) {
        self.recording.set_plan(plan);
    }

    /// Lets the recorder write what it has, and end.
    pub fn stop_recording(&mut self) {
        self.recording.stop();
    }

    /// Lets the recorder end without what it has, since the capture cannot begin.
    pub fn abandon_recording(&mut self) {
        self.recording.abandon();
    }

    /// Whether the wire is looked at.
    pub fn has_wire(&self) -> bool {
        self.wire.is_some()
    }

    /// Sends a signal to the command, if it runs.
    pub fn signal_command(&self, signal: Signal) {
        if let Some(child) = &self.child {
            child.signal(signal);
        }
    }

    fn start_command(&mut self) {
        let Some((command, streams, files)) = self.command.take() else { return };
        match command.start(streams, files) {
            Ok(child) => {
                self.child = Some(child);
                harden::forbid_calls();
            }
            Err(error) => {
                let (code, reason) = (error.exit_code(), error.to_string());
                self.own.push(Msg::CommandEnded(Ending::NotStarted { code, reason }));
            }
        }
    }

    /// Takes notice of what has ended of the command and its descendants.
    fn reap(&mut self, into: &mut Vec<Msg>) {
        if self.child.is_none() {
            return;
        }
        // First what they sent: of one that is reaped nobody can tell who it was.
        self.events.take_present(into);
        let ending = self.child.as_mut().and_then(Child::reap);
        into.extend(ending.map(Msg::CommandEnded));
    }

    /// Removes all probes, and appends what they delivered last.
    pub fn detach(&mut self, into: &mut Vec<Msg>) {
        self.control = None;
        self.events.drain(into);
        self.read_counters(into);
    }

    /// Ends to look at the wire, and appends what it showed last.
    pub fn stop_wire(&mut self, into: &mut Vec<Msg>) {
        let Some(wire) = &self.wire else { return };
        let last = wire.stop(WIRE);
        self.take_wire(last, into);
    }

    /// Appends whose the last handshakes are that were asked for.
    pub fn end_wire(&mut self, into: &mut Vec<Msg>) {
        let Some(wire) = self.wire.take() else { return };
        let last = wire.finish(WIRE);
        self.take_wire(last, into);
    }

    /// Appends what the wire view says last. What it has said before comes first.
    fn take_wire(&mut self, last: Vec<WireMsg>, into: &mut Vec<Msg>) {
        let before = std::iter::from_fn(|| self.wire_says.try_recv().ok());
        into.extend(before.chain(last).map(Msg::Wire));
    }

    /// Ends the writer, but does not wait longer than `limit` for its disk.
    pub fn end_writer(&mut self, limit: Duration) {
        if !self.writer.finish(limit) {
            warn!("the key log's disk did not answer at the end");
        }
        self.exporter.finish(limit);
    }

    /// Ends the recorder, but does not wait longer than `limit` for its disk, and tells what it has done.
    pub fn end_recorder(&mut self, limit: Duration, into: &mut Vec<Msg>) {
        let mut last = Vec::new();
        self.recording.end(limit, &mut last);
        // What it said itself comes first: that it has begun, for one.
        into.extend(std::iter::from_fn(|| self.replies.try_recv().ok()).take(REPLIES));
        into.append(&mut last);
    }

    /// Waits for what the threads have to say, but no longer than `limit`.
    pub async fn reply(&mut self, limit: Duration) -> Option<Msg> {
        if let Some(msg) = self.own.pop() {
            return Some(msg);
        }
        let reply = async {
            tokio::select! {
                Some(msg) = self.replies.recv() => Some(msg),
                Some(msg) = self.wrote.recv() => Some(msg),
                else => None,
            }
        };
        tokio::time::timeout(limit, reply).await.ok().flatten()
    }

    fn on_tick(&mut self, into: &mut Vec<Msg>) {
        self.writer.check();
        self.events.glance(into);
        self.reap(into);
        self.read_counters(into);
        self.recording.read(into);
        if self.recording.is_over() {
            // What it said itself comes first.
            into.extend(std::iter::from_fn(|| self.replies.try_recv().ok()).take(REPLIES));
            self.recording.reap(into);
        }
        into.push(Msg::Tick);
    }

    fn read_counters(&self, into: &mut Vec<Msg>) {
        match self.counters.read() {
            Ok(counters) => into.push(Msg::Counters(counters)),
            Err(error) => warn!(%error, "the counters cannot be read"),
        }
    }

    fn change(&mut self, change: Change) {
        debug!(?change, "capture");
        if let (Change::ReportUnknown(is_wanted), Some(control)) = (&change, &self.control) {
            control.set_ahead(*is_wanted);
        }
        let done = match (&change, &self.control) {
            (Change::Attach(image), Some(control)) => control.attach(*image),
            (Change::Detach(image), Some(control)) => control.detach(*image),
            (Change::CatchUp { pid, image }, Some(control)) => control.catch_up(*pid, *image),
            (Change::CaughtUp { pid, image }, Some(control)) => control.caught_up(*pid, *image),
            (rule, _) => match self.rules.apply(rule) {
                Ok(()) => true,
                Err(error) => {
                    warn!(?rule, %error, "a rule could not be set; user space decides alone");
                    true
                }
            },
        };
        if !done {
            warn!(?change, "too many orders are waiting");
            if let Change::Attach(image) = change {
                let result = Err("too many orders are waiting".to_owned());
                self.own.push(Msg::Attached { image, result });
            } else if let Change::CatchUp { pid, image } = change {
                let result = Err("too many orders are waiting".to_owned());
                self.own.push(Msg::CatchingUp { pid, image, result });
            }
        }
    }
}

/// What the thread that attaches has to say.
async fn attached(control: &mut Option<Control>) -> Option<Msg> {
    match control {
        Some(control) => control.reply().await,
        None => None,
    }
}

/// The end of the command.
async fn ended(child: &Option<Child>) {
    match child {
        Some(child) => child.ended().await,
        None => std::future::pending().await,
    }
}

impl Engine for Machine {
    async fn next(&mut self, into: &mut Vec<Msg>) -> io::Result<()> {
        if !self.own.is_empty() {
            into.append(&mut self.own);
            return Ok(());
        }
        tokio::select! {
            read = self.events.next(into) => {
                read?;
                // An image may be attached before the loop knows of it: first what was told before its first event.
                let told = std::iter::from_fn(|| self.replies.try_recv().ok()).take(REPLIES);
                let wrote = std::iter::from_fn(|| self.wrote.try_recv().ok()).take(REPLIES);
                into.splice(0..0, told.chain(wrote));
            }
            Some(msg) = self.replies.recv() => into.push(msg),
            Some(msg) = self.wrote.recv(), if !self.events.are_looked_for() => into.push(msg),
            Some(msg) = self.wire_says.recv() => into.push(Msg::Wire(msg)),
            Some(msg) = attached(&mut self.control) => {
                // The next picture is the first that says who began with the probes in place.
                if matches!(msg, Msg::Attached { .. }) {
                    self.scanner.report();
                }
                into.push(msg);
            }
            () = ended(&self.child) => self.reap(into),
            _ = self.tick.tick() => self.on_tick(into),
        }
        Ok(())
    }

    fn perform(&mut self, effect: Effect) {
        match effect {
            Effect::Capture(change) => self.change(change),
            Effect::OpenKeyLog(path) => {
                if !self.writer.open(path) {
                    let reason = "the key log's disk does not answer".to_owned();
                    self.own.push(Msg::KeyLog(KeyLogMsg::Refused { reason }));
                }
            }
            Effect::CloseKeyLog => {
                if !self.writer.close() {
                    warn!("the key log could not be closed: its disk does not answer");
                }
            }
            Effect::WriteLines { generation, lines } => {
                if !self.writer.write(generation, lines) {
                    let error = Some("the key log's disk does not answer".to_owned());
                    self.own.push(Msg::KeyLog(KeyLogMsg::Wrote { generation, written: 0, error }));
                }
            }
            Effect::StartRecording(path) => self.own.extend(self.recording.start(path)),
            Effect::StopRecording => self.own.extend(self.recording.stop()),
            Effect::Record(key) => self.recording.key(key),
            Effect::RecordEarlier { keys, left_out } => self.recording.earlier(keys, left_out),
            Effect::FindOwners { client_random, client, server } => {
                if let Some(wire) = &self.wire {
                    wire.find(client_random, client, server);
                }
            }
            Effect::Warn(text) => warn!("{text}"),
            Effect::StartCommand => self.start_command(),
            Effect::Rescan => self.scanner.request(),
            Effect::Report => self.scanner.report(),
            Effect::LookAt { pid, start_ticks } => {
                self.own.extend(self.looker.look_at(pid, start_ticks));
            }
            Effect::Export { path, sessions, lines } => {
                self.own.extend(self.exporter.export(path, sessions, lines));
            }
            Effect::Copy { .. } | Effect::Quit => {}
        }
    }

    fn now(&self) -> Time {
        time_of_day()
    }
}
