//! What the thread does that records packets: from the kernel's ring to the file.

use std::io::{self, Write as _};
use std::os::fd::AsFd as _;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::Receiver;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use tracing::warn;

use super::{Given, Plan, RecorderError, Shared};
use crate::clock::time_of_day;
use crate::keylog::Owner;
use crate::model::{PacketKey, Recorded, Time};
use crate::packets::blocks::Contents;
use crate::packets::file::PacketFile;
use crate::packets::interfaces::Interfaces;
use crate::packets::links::link;
use crate::packets::output::Output;
use crate::packets::recording::{Caught, Recording};
use crate::packets::ring::{Frame, RETIRE_MS, Size};
use crate::packets::socket::Socket;
use crate::text::sanitize;

/// 0.8 s at 50,000 packets of 1,500 bytes a second. A block holds the largest packet that the filter lets through.
const RING: Size = Size { blocks: 64, block: 1 << 20 };
/// Blocks that are taken before something is written.
const AT_ONCE: usize = 8;
/// How long what waits is left alone when nothing comes.
const LOOK: Duration = Duration::from_millis(20);
/// How often the kernel's count of dropped packets is read while packets come.
const COUNT: Duration = Duration::from_millis(250);
/// The ring is emptied for so long at the end.
const LONGEST_END: Duration = Duration::from_secs(1);
/// Warnings that wait to be told.
const WARNINGS: usize = 64;
/// Secrets that are taken before those that are due are written: fewer than are kept.
const PIECE: usize = 16_384;
/// How long a packet can be on its way when recording ends.
const LAST: Duration = Duration::from_millis(RETIRE_MS as u64 + 20);

/// What the thread has.
pub(super) struct Thread {
    socket: Socket,
    interfaces: Interfaces,
    output: Output,
    recording: Recording,
    inbox: Receiver<Given>,
    shared: Arc<Shared>,
    recorded: Recorded,
    counted_at: Option<Instant>,
    /// The file's path names it still.
    is_in_place: bool,
}

impl Thread {
    /// Opens the socket and the file, and says where that is.
    pub fn open(
        plan: Plan,
        owner: Owner,
        inbox: Receiver<Given>,
        shared: Arc<Shared>,
    ) -> Result<(Self, PathBuf), RecorderError> {
        let names = plan.interfaces.len();
        let interfaces = Interfaces::watch(plan.interfaces).map_err(RecorderError::Socket)?;
        let missing: Vec<String> = interfaces.missing().map(crate::text::sanitize).collect();
        if names > 0 && missing.len() == names {
            return Err(RecorderError::NoInterface(missing.join(", ")));
        }
        let chosen = interfaces.indexes();
        let socket = Socket::open(RING, chosen.as_deref()).map_err(RecorderError::Socket)?;
        // Last, since it replaces an earlier recording.
        let file = match plan.replaces {
            true => PacketFile::create(&plan.path, owner, plan.rotation)?,
            false => PacketFile::create_new(&plan.path, owner, plan.rotation)?,
        };
        let path = file.path().to_owned();
        let mut output = Output::new(file).map_err(RecorderError::Write)?;
        let described = output.describe(&interfaces.present(), |index| interfaces.name(index));
        described.map_err(RecorderError::Write)?;
        let thread = Self {
            socket,
            interfaces,
            output,
            recording: Recording::new(plan.terms),
            inbox,
            shared,
            recorded: Recorded::default(),
            counted_at: None,
            is_in_place: true,
        };
        for name in missing {
            thread.tell(format!(
                "there is no interface {name}: it is recorded as soon as there is one"
            ));
        }
        Ok((thread, path))
    }

    /// Until it is to end.
    pub fn run(&mut self) {
        let mut end = None;
        let mut last = time_of_day();
        loop {
            let is_ending = self.shared.is_ending.load(Ordering::Relaxed);
            if is_ending && end.is_none() {
                end = Some(Instant::now() + LAST);
                last = time_of_day();
            }
            self.wait(end);
            self.take_keys();
            let is_more = self.take_packets();
            self.write(false);
            self.count();
            let left = end.map(|end: Instant| end.saturating_duration_since(Instant::now()));
            // Where packets never end, those that came before the end have been taken by then.
            let is_over = end.is_some_and(|end| end.elapsed() > LONGEST_END);
            if left == Some(Duration::ZERO) && (!is_more || is_over) {
                if is_more {
                    self.recorded.dropped += self.count_rest(last);
                }
                break;
            }
        }
        self.take_keys();
        if self.shared.is_abandoned.load(Ordering::Relaxed) && self.output.file().has_earlier() {
            return;
        }
        self.output.file().replace_earlier();
        self.write(true);
        self.give_up();
        self.counted_at = None;
        self.count();
    }

    /// Until there is something to do.
    fn wait(&mut self, end: Option<Instant>) {
        let busy = self.recording.is_waiting() || self.output.file().is_failing();
        let left = end.map(|end| end.saturating_duration_since(Instant::now()));
        let limit = match (busy, left) {
            (true, left) => Some(left.unwrap_or(LOOK).min(LOOK)),
            (false, left) => left,
        };
        let limit = limit.and_then(|limit| Timespec::try_from(limit).ok());
        let mut ready = [
            PollFd::from_borrowed_fd(self.socket.as_fd(), PollFlags::IN),
            PollFd::from_borrowed_fd(self.interfaces.as_fd(), PollFlags::IN),
            PollFd::from_borrowed_fd(self.shared.bell.as_fd(), PollFlags::IN),
        ];
        match poll(&mut ready, limit.as_ref()) {
            Ok(_) => {}
            Err(Errno::INTR) => return,
            Err(error) => {
                warn!(%error, "waiting for packets");
                // It may not be over soon.
                std::thread::sleep(LOOK);
                return;
            }
        }
        let [_, interfaces, bell] = ready.map(|ready| !ready.revents().is_empty());
        if bell {
            self.shared.bell.hush();
        }
        if interfaces && self.interfaces.changed() {
            self.interfaces_changed();
        }
    }

    fn interfaces_changed(&mut self) {
        self.output.interfaces_changed(Instant::now(), |index| self.interfaces.name(index));
        let chosen = self.interfaces.indexes();
        if chosen.is_some()
            && let Err(error) = self.socket.choose(chosen.as_deref())
        {
            self.tell(format!("interfaces cannot be chosen anew: {error}"));
        }
    }

    fn take_keys(&mut self) {
        while let Ok(given) = self.inbox.try_recv() {
            match given {
                Given::New(key) => self.recording.key(key),
                Given::Earlier(keys) => self.take_earlier(keys),
            }
        }
    }

    fn take_earlier(&mut self, keys: Vec<PacketKey>) {
        let mut keys = keys.into_iter();
        while keys.len() > 0 {
            keys.by_ref().take(PIECE).for_each(|key| self.recording.key(key));
            self.write(false);
        }
    }

    /// Takes some blocks; `true` when there may be more.
    fn take_packets(&mut self) -> bool {
        let mut room = Vec::new();
        for _ in 0..AT_ONCE {
            let Some(block) = self.socket.next_block() else { return false };
            for frame in block.frames() {
                if is_second(&frame) {
                    continue;
                }
                let interfaces = &self.interfaces;
                let place = self.output.place(&frame, |index| interfaces.name(index));
                let Some((interface, link)) = place else { continue };
                self.recording.packet(Caught {
                    time: frame.time,
                    interface,
                    link,
                    original_length: frame.whole_len(),
                    bytes: frame.whole(&mut room),
                });
            }
        }
        true
    }

    /// What is still in the ring, came by then and would be in the file: it is not recorded any more.
    fn count_rest(&mut self, last: Time) -> u64 {
        let mut rest = 0;
        for _ in 0..RING.blocks {
            let Some(block) = self.socket.next_block() else { break };
            let frames = block.frames().filter(|frame| frame.time <= last && !is_second(frame));
            let is_missed = |frame: &Frame<'_>| {
                link(frame.hardware).is_some_and(|link| self.recording.is_missed(link, frame.bytes))
            };
            rest += frames.filter(is_missed).count() as u64;
        }
        rest
    }

    fn write(&mut self, end: bool) {
        if !end && !self.output.file().is_ready() {
            return self.recording.drop_excess(time_of_day());
        }
        let written = self.release(end);
        let failing = written.err().map(|error| error.to_string());
        if failing != self.recorded.failing {
            self.tell(match &failing {
                Some(error) => format!("packets cannot be written: {error}; it is tried again"),
                None => "packets are written again".to_owned(),
            });
            self.recorded.failing = failing;
        }
        for warning in self.output.take_warnings() {
            self.tell(warning);
        }
    }

    fn release(&mut self, end: bool) -> io::Result<()> {
        if self.output.file().is_failing() {
            self.output.file().flush()?;
        }
        self.recording.release(time_of_day(), end, &mut self.output)?;
        self.output.file().flush()
    }

    fn count(&mut self) {
        let is_due = self.counted_at.is_none_or(|at| at.elapsed() >= COUNT);
        if is_due && let Ok(counted) = self.socket.statistics() {
            self.counted_at = Some(Instant::now());
            self.recorded.dropped += u64::from(counted.dropped);
            self.look_for_file();
        }
        let counts = self.recording.counts();
        // What is gathered is on the disk in a moment, unless that takes nothing.
        let unwritten = match self.recorded.failing {
            Some(_) => self.output.file().unwritten(),
            None => Contents::default(),
        };
        self.shared.told().recorded = Recorded {
            packets: counts.packets.saturating_sub(unwritten.packets),
            bytes: counts.bytes.saturating_sub(unwritten.bytes),
            secrets: counts.secrets.saturating_sub(unwritten.secrets),
            hurried: counts.hurried,
            lost: self.recorded.lost + counts.lost,
            dropped: self.recorded.dropped + counts.dropped,
            hellos: counts.hellos,
            ..self.recorded.clone()
        };
    }

    /// Packets go on to a file that was moved away or removed, which is told.
    fn look_for_file(&mut self) {
        let file = self.output.file();
        let is_in_place = file.is_in_place();
        let path = sanitize(&file.path().to_string_lossy());
        if std::mem::replace(&mut self.is_in_place, is_in_place) && !is_in_place {
            self.tell(format!(
                "{path} was moved or removed: packets go on to the file that it was"
            ));
        }
    }

    /// What could not be written will not be any more.
    fn give_up(&mut self) {
        self.recording.give_up();
        let unwritten = self.output.file().unwritten();
        self.recorded.dropped += unwritten.packets;
        self.recorded.lost += unwritten.secrets;
    }

    fn tell(&self, warning: String) {
        let mut told = self.shared.told();
        if told.warnings.len() < WARNINGS {
            told.warnings.push(warning);
        }
    }
}

/// Whether the loopback gives this packet a second time. The kernel's filter leaves it out, too.
fn is_second(frame: &Frame<'_>) -> bool {
    frame.is_outgoing && frame.hardware == libc::ARPHRD_LOOPBACK
}
