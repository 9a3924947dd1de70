//! The thread that records packets: from the kernel's ring to the file. It waits for nobody but the disk, and nobody waits
//! for it: what there is no room for is dropped and counted.

mod thread;

use std::io;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use self::thread::Thread;
use super::file::{FileError, Rotation};
use super::recording::Terms;
use super::socket::advice;
use crate::bell::Bell;
use crate::keylog::Owner;
use crate::model::{PacketKey, Recorded};

/// Secrets that can wait: those of 3,000 handshakes.
const KEYS: usize = 16_384;

/// What is recorded where.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The file.
    pub path: PathBuf,
    /// An earlier capture in it is replaced; otherwise another name is taken.
    pub replaces: bool,
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
    #[error("packets cannot be received: {error}{advice}", error = .0, advice = advice(.0))]
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
    keys: Option<SyncSender<Given>>,
    shared: Arc<Shared>,
    /// Nothing comes here; it is closed when the thread has ended.
    ended: Receiver<()>,
    /// Secrets that the thread had no room for.
    lost: u64,
}

/// What the thread is given.
enum Given {
    New(PacketKey),
    /// What was there before it began, all at one time.
    Earlier(Vec<PacketKey>),
}

struct Shared {
    told: Mutex<Told>,
    is_ending: AtomicBool,
    /// The thread has come to its end, and did not break off.
    is_done: AtomicBool,
    /// Nothing is to be recorded after all.
    is_abandoned: AtomicBool,
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
        let (tell, told) = sync_channel(1);
        let recorder = Self::spawn(plan, owner, move |begun| {
            let _ = tell.send(begun);
        })?;
        let unknown = |_| Err(RecorderError::Thread(io::ErrorKind::BrokenPipe.into()));
        told.recv().unwrap_or_else(unknown).map(|_| recorder)
    }

    /// The same without waiting for the disk: `told` is told the file, or why nothing is recorded, by the recorder's thread.
    ///
    /// # Errors
    ///
    /// [`RecorderError::Thread`].
    pub fn spawn(
        plan: Plan,
        owner: Owner,
        told: impl FnOnce(Result<PathBuf, RecorderError>) + Send + 'static,
    ) -> Result<Self, RecorderError> {
        let shared = Arc::new(Shared {
            told: Mutex::default(),
            is_ending: AtomicBool::new(false),
            is_done: AtomicBool::new(false),
            is_abandoned: AtomicBool::new(false),
            bell: Bell::new().map_err(RecorderError::Thread)?,
        });
        let (keys, inbox) = sync_channel(KEYS);
        let (ends, ended) = sync_channel(1);
        let recorder = Self { keys: Some(keys), shared: Arc::clone(&shared), ended, lost: 0 };
        let run = move || {
            let _ends: SyncSender<()> = ends;
            match Thread::open(plan, owner, inbox, Arc::clone(&shared)) {
                Ok((mut thread, path)) => {
                    told(Ok(path));
                    thread.run();
                }
                Err(error) => told(Err(error)),
            }
            shared.is_done.store(true, Ordering::Relaxed);
        };
        let started = std::thread::Builder::new().name("packets".to_owned()).spawn(run);
        started.map(|_| recorder).map_err(RecorderError::Thread)
    }

    /// Gives it a secret.
    pub fn key(&mut self, key: PacketKey) {
        self.give(Given::New(key), 1);
    }

    /// Gives it the secrets that were there before it began, but for these many.
    pub fn earlier(&mut self, keys: Vec<PacketKey>, left_out: u64) {
        self.lost += left_out;
        let count = keys.len() as u64;
        self.give(Given::Earlier(keys), count);
    }

    fn give(&mut self, given: Given, count: u64) {
        // What comes after the end is not recorded.
        let Some(keys) = &self.keys else { return };
        if keys.try_send(given).is_err() {
            self.lost += count;
        }
        self.shared.bell.ring();
    }

    /// What it has done.
    pub fn recorded(&self) -> Recorded {
        let mut recorded = self.shared.told().recorded.clone();
        recorded.lost += self.lost;
        recorded
    }

    /// What the user should know, and was not told yet.
    pub fn take_warnings(&self) -> Vec<String> {
        std::mem::take(&mut self.shared.told().warnings)
    }

    /// Lets it write what is still on its way, and end.
    pub fn stop(&mut self) {
        self.keys = None;
        self.shared.is_ending.store(true, Ordering::Relaxed);
        self.shared.bell.ring();
    }

    /// Whether its thread has broken off: it has ended, but neither since it was told to nor since there is nothing to record.
    pub fn has_broken_off(&self) -> bool {
        self.ends_within(Duration::ZERO) && !self.shared.is_done.load(Ordering::Relaxed)
    }

    /// Lets it end, since the capture cannot begin: an earlier recording that nothing was written over stays.
    pub fn abandon(&mut self) {
        self.shared.is_abandoned.store(true, Ordering::Relaxed);
        self.stop();
    }

    /// Whether it has ended, or does so within `limit`.
    pub fn ends_within(&self, limit: Duration) -> bool {
        self.ended.recv_timeout(limit) == Err(RecvTimeoutError::Disconnected)
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use super::*;
    use crate::packets::fixture::{key, plan};
    use crate::tls::{Label, Role};

    const LONG: Duration = Duration::from_secs(10);

    fn spawn(path: &Path, replaces: bool) -> (Recorder, Result<PathBuf, RecorderError>) {
        let (tell, told) = sync_channel(1);
        let told_once = move |begun| tell.send(begun).unwrap();
        let recorder =
            Recorder::spawn(Plan { replaces, ..plan(path) }, Owner::of_this_run(), told_once)
                .unwrap();
        (recorder, told.recv_timeout(LONG).unwrap())
    }

    /// More than the recording remembers of those without packets, and than its inbox has places for.
    #[test]
    fn all_secrets_that_were_there_before_are_recorded() {
        const MANY: u32 = 60_000;
        if !rustix::process::geteuid().is_root() {
            return eprintln!("skipped: not root");
        }
        let folder = tempfile::tempdir().unwrap();
        let mut plan = plan(&folder.path().join("p.pcapng"));
        plan.terms.all_secrets = true;
        let mut recorder = Recorder::start(plan, Owner::of_this_run()).unwrap();
        let keys = (0..MANY).map(|number| {
            let mut key = key(&Label::ClientRandom, 0, 1, 7, Role::Client);
            key.line.client_random.0[..4].copy_from_slice(&number.to_be_bytes());
            key
        });
        recorder.earlier(keys.collect(), 3);
        recorder.key(key(&Label::ClientRandom, 0xff, 1, 7, Role::Client));
        recorder.stop();
        assert!(recorder.ends_within(LONG) && !recorder.has_broken_off());
        let recorded = recorder.recorded();
        assert_eq!((recorded.secrets, recorded.lost), (u64::from(MANY) + 1, 3));
    }

    #[test]
    fn its_thread_opens_the_file_and_ends_when_it_is_told() {
        if !rustix::process::geteuid().is_root() {
            return eprintln!("skipped: not root");
        }
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("p.pcapng");
        let (mut first, began) = spawn(&path, false);
        assert_eq!(began.unwrap(), path);
        assert!(!first.ends_within(Duration::ZERO));
        let (mut second, began) = spawn(&path, false);
        assert_eq!(began.unwrap(), folder.path().join("p-2.pcapng"));
        for recorder in [&mut first, &mut second] {
            recorder.stop();
            assert!(recorder.ends_within(LONG));
        }
        assert!(fs::metadata(&path).unwrap().len() > 0);

        let (refused, began) = spawn(Path::new("/nonexistent/p.pcapng"), false);
        assert!(matches!(began, Err(RecorderError::File(_))));
        assert!(refused.ends_within(LONG) && !refused.has_broken_off());
    }

    #[test]
    fn an_earlier_recording_is_replaced_at_the_end_and_stays_when_nothing_begins() {
        if !rustix::process::geteuid().is_root() {
            return eprintln!("skipped: not root");
        }
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("p.pcapng");
        let (mut recorder, _) = spawn(&path, false);
        recorder.stop();
        assert!(recorder.ends_within(LONG));
        drop(recorder);
        let file = fs::OpenOptions::new().append(true).open(&path).unwrap();
        let earlier = file.metadata().unwrap().len() + 100;
        file.set_len(earlier).unwrap();
        for stays in [true, false] {
            let (mut recorder, began) = spawn(&path, true);
            assert_eq!(began.unwrap(), path);
            if stays {
                recorder.abandon();
            } else {
                recorder.stop();
            }
            assert!(recorder.ends_within(LONG));
            assert_eq!(fs::metadata(&path).unwrap().len() == earlier, stays);
        }
    }
}
