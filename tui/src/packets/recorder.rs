//! The thread that records packets: from the kernel's ring to the file. It waits for nobody but the disk, and nobody waits
//! for it: what there is no room for is dropped and counted.

use std::io::{self, Write as _};
use std::os::fd::AsFd as _;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use tracing::warn;

use super::file::{FileError, PacketFile, Rotation};
use super::interfaces::Interfaces;
use super::output::Output;
use super::recording::{Caught, Recording, Terms};
use super::ring::{RETIRE_MS, Size};
use super::socket::Socket;
use crate::bell::Bell;
use crate::clock::time_of_day;
use crate::keylog::Owner;
use crate::model::{PacketKey, Recorded};

/// 0.8 s at 50,000 packets of 1,500 bytes a second. A block holds the largest packet, 512 KiB (BIG TCP).
const RING: Size = Size { blocks: 64, block: 1 << 20 };
/// Blocks that are taken before something is written.
const AT_ONCE: usize = 8;
/// Secrets that can wait: those of 3,000 handshakes.
const KEYS: usize = 16_384;
/// How long what waits is left alone when nothing comes.
const LOOK: Duration = Duration::from_millis(20);
/// How often the kernel's count of dropped packets is read while packets come.
const COUNT: Duration = Duration::from_millis(250);
/// The ring is emptied for so long at the end.
const LONGEST_END: Duration = Duration::from_secs(1);
/// Warnings that wait to be told.
const WARNINGS: usize = 64;
/// How long a packet can be on its way when recording ends.
const LAST: Duration = Duration::from_millis(RETIRE_MS as u64 + 20);

/// What is recorded where.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The file.
    pub path: PathBuf,
    /// Names of interfaces; none: all.
    pub interfaces: Vec<String>,
    /// Which packets, and how long they wait.
    pub terms: Terms,
    /// When another file follows.
    pub rotation: Rotation,
}

/// Why nothing can be recorded.
#[derive(Debug, thiserror::Error)]
pub enum RecorderError {
    /// The file cannot be had.
    #[error(transparent)]
    File(#[from] FileError),
    /// The kernel gives no packets.
    #[error("packets cannot be received: {0}")]
    Socket(#[source] io::Error),
    /// None of the interfaces is there.
    #[error("there is no interface of these names: {0}")]
    NoInterface(String),
    /// The file cannot be written.
    #[error("{0}")]
    Write(#[source] io::Error),
    /// The thread cannot be started.
    #[error("starting to record: {0}")]
    Thread(#[source] io::Error),
}

/// The thread's other end.
pub struct Recorder {
    keys: Option<SyncSender<Box<PacketKey>>>,
    shared: Arc<Shared>,
    /// Nothing comes here; it is closed when the thread has ended.
    ended: Receiver<()>,
    /// Secrets that the thread had no room for.
    lost: u64,
}

struct Shared {
    told: Mutex<Told>,
    is_ending: AtomicBool,
    /// Something for the thread to look at.
    bell: Bell,
}

/// What the thread has to say.
#[derive(Default)]
struct Told {
    recorded: Recorded,
    warnings: Vec<String>,
}

impl Shared {
    fn told(&self) -> MutexGuard<'_, Told> {
        self.told.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Recorder {
    /// Opens the file and the socket, and records from now on.
    ///
    /// # Errors
    ///
    /// [`RecorderError`] when there is nothing to record, or no place for it.
    pub fn start(plan: Plan, owner: Owner) -> Result<Self, RecorderError> {
        let names = plan.interfaces.len();
        let interfaces = Interfaces::watch(plan.interfaces).map_err(RecorderError::Socket)?;
        let missing: Vec<String> = interfaces.missing().map(crate::text::sanitize).collect();
        if names > 0 && missing.len() == names {
            return Err(RecorderError::NoInterface(missing.join(", ")));
        }
        let warnings = missing.iter().map(|name| {
            format!("there is no interface {name}: it is recorded as soon as there is one")
        });
        let told = Told { recorded: Recorded::default(), warnings: warnings.collect() };
        let file = PacketFile::create(&plan.path, owner, plan.rotation)?;
        let mut output = Output::new(file).map_err(RecorderError::Write)?;
        let described = output.describe(&interfaces.present(), |index| interfaces.name(index));
        described.map_err(RecorderError::Write)?;
        let chosen = interfaces.indexes();
        let socket = Socket::open(RING, chosen.as_deref()).map_err(RecorderError::Socket)?;
        let shared = Arc::new(Shared {
            told: Mutex::new(told),
            is_ending: AtomicBool::new(false),
            bell: Bell::new().map_err(RecorderError::Thread)?,
        });
        let (keys, inbox) = sync_channel(KEYS);
        let (ends, ended) = sync_channel(1);
        let mut thread = Thread {
            socket,
            interfaces,
            output,
            recording: Recording::new(plan.terms),
            inbox,
            shared: Arc::clone(&shared),
            recorded: Recorded::default(),
            counted_at: None,
        };
        thread::Builder::new()
            .name("packets".to_owned())
            .spawn(move || {
                let _ends: SyncSender<()> = ends;
                thread.run();
            })
            .map_err(RecorderError::Thread)?;
        Ok(Self { keys: Some(keys), shared, ended, lost: 0 })
    }

    /// Gives it a secret.
    pub fn key(&mut self, key: Box<PacketKey>) {
        let taken = self.keys.as_ref().is_some_and(|keys| keys.try_send(key).is_ok());
        self.lost += u64::from(!taken);
        self.shared.bell.ring();
    }

    /// What it has done.
    pub fn recorded(&self) -> Recorded {
        Recorded { lost: self.lost, ..self.shared.told().recorded.clone() }
    }

    /// What the user should know, and was not told yet.
    pub fn take_warnings(&self) -> Vec<String> {
        std::mem::take(&mut self.shared.told().warnings)
    }

    /// Writes what is still on its way, and ends; `false` when that took longer than `limit`.
    pub fn finish(&mut self, limit: Duration) -> bool {
        self.keys = None;
        self.shared.is_ending.store(true, Ordering::Relaxed);
        self.shared.bell.ring();
        self.ended.recv_timeout(limit) == Err(RecvTimeoutError::Disconnected)
    }
}

struct Thread {
    socket: Socket,
    interfaces: Interfaces,
    output: Output,
    recording: Recording,
    inbox: Receiver<Box<PacketKey>>,
    shared: Arc<Shared>,
    recorded: Recorded,
    counted_at: Option<Instant>,
}

impl Thread {
    fn run(&mut self) {
        let mut end = None;
        loop {
            let is_ending = self.shared.is_ending.load(Ordering::Relaxed);
            if is_ending && end.is_none() {
                end = Some(Instant::now() + LAST);
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
                break;
            }
        }
        self.take_keys();
        self.write(true);
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
        if let Err(error) = poll(&mut ready, limit.as_ref()) {
            warn!(%error, "waiting for packets");
            return;
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
        self.output.forget_renamed(|index| self.interfaces.name(index));
        let chosen = self.interfaces.indexes();
        if chosen.is_some()
            && let Err(error) = self.socket.choose(chosen.as_deref())
        {
            self.tell(format!("interfaces cannot be chosen anew: {error}"));
        }
    }

    fn take_keys(&mut self) {
        while let Ok(key) = self.inbox.try_recv() {
            self.recording.key(*key);
        }
    }

    /// Takes some blocks; `true` when there may be more.
    fn take_packets(&mut self) -> bool {
        let mut room = Vec::new();
        for _ in 0..AT_ONCE {
            let Some(block) = self.socket.next_block() else { return false };
            for frame in block.frames() {
                // The kernel's filter does this too.
                if frame.is_outgoing && frame.hardware == libc::ARPHRD_LOOPBACK {
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

    fn write(&mut self, end: bool) {
        if !end && !self.output.file().is_ready() {
            return self.recording.drop_excess();
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
        }
        let counts = self.recording.counts();
        self.shared.told().recorded = Recorded {
            packets: counts.packets,
            bytes: counts.bytes,
            secrets: counts.secrets,
            hurried: counts.hurried,
            dropped: self.recorded.dropped + counts.dropped,
            ..self.recorded.clone()
        };
    }

    fn tell(&self, warning: String) {
        let mut told = self.shared.told();
        if told.warnings.len() < WARNINGS {
            told.warnings.push(warning);
        }
    }
}
