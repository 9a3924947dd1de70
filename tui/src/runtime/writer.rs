//! The thread that writes the key log: a slow disk, or a pipe that nobody reads, must not hold up the loop.

use std::io::{self, Write as _};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::thread;
use std::time::Duration;

use tokio::sync::mpsc::Sender;
use tracing::{info, warn};

use crate::keylog::{KeyLog, Owner, Written};
use crate::model::{KeyLogMsg, Msg, PendingLine};

/// Orders that can wait: the model has one batch on its way at a time, and a check waits once.
const QUEUE: usize = 64;

enum Order {
    Open(PathBuf),
    Close,
    Write {
        generation: u64,
        lines: Vec<PendingLine>,
    },
    /// Make the file again if it was moved away.
    Check,
}

/// The writer. It is never waited for without a limit: its disk may not answer any more.
pub struct Writer {
    orders: Option<SyncSender<Order>>,
    /// A check is waiting or being done.
    checking: Arc<AtomicBool>,
    /// Nothing comes here; it is closed when the thread has ended.
    ended: Receiver<()>,
}

impl Writer {
    /// Starts the thread; what it has done it reports to `replies`.
    ///
    /// # Errors
    ///
    /// When the thread cannot be started.
    pub fn start(replies: Sender<Msg>) -> io::Result<Self> {
        let (orders, inbox) = sync_channel(QUEUE);
        let (ends, ended) = sync_channel(1);
        let checking = Arc::new(AtomicBool::new(false));
        let mut thread = Thread {
            output: None,
            generation: 0,
            path_failed: false,
            checking: Arc::clone(&checking),
        };
        thread::Builder::new().name("keylog".to_owned()).spawn(move || {
            let _ends: SyncSender<()> = ends;
            while let Ok(order) = inbox.recv() {
                if let Some(msg) = thread.carry_out(order)
                    && replies.blocking_send(Msg::KeyLog(msg)).is_err()
                {
                    return;
                }
            }
        })?;
        Ok(Self { orders: Some(orders), checking, ended })
    }

    /// Opens the file; `-` is stdout. `false`: the writer is stuck.
    pub fn open(&self, path: PathBuf) -> bool {
        self.send(Order::Open(path))
    }

    /// Closes it. `false`: the writer is stuck.
    pub fn close(&self) -> bool {
        self.send(Order::Close)
    }

    /// Writes a batch for the file of a generation. `false`: the writer is stuck.
    pub fn write(&self, generation: u64, lines: Vec<PendingLine>) -> bool {
        self.send(Order::Write { generation, lines })
    }

    /// Looks whether the path still names the file, unless that is being done.
    pub fn check(&self) {
        if !self.checking.swap(true, Ordering::Relaxed) && !self.send(Order::Check) {
            self.checking.store(false, Ordering::Relaxed);
        }
    }

    /// Ends the thread when it has done what was ordered; `false` when that took longer than `limit`.
    pub fn finish(&mut self, limit: Duration) -> bool {
        self.orders = None;
        self.ended.recv_timeout(limit) == Err(RecvTimeoutError::Disconnected)
    }

    fn send(&self, order: Order) -> bool {
        self.orders.as_ref().is_some_and(|orders| orders.try_send(order).is_ok())
    }
}

/// Where lines go.
enum Output {
    File(KeyLog),
    Stdout,
}

struct Thread {
    output: Option<Output>,
    /// Counts the files: a batch for an earlier one is not written.
    generation: u64,
    /// The last check could not make the file again.
    path_failed: bool,
    checking: Arc<AtomicBool>,
}

impl Thread {
    fn carry_out(&mut self, order: Order) -> Option<KeyLogMsg> {
        match order {
            Order::Open(path) => Some(self.open(PathBuf::as_path(&path))),
            Order::Close => {
                self.output = None;
                None
            }
            Order::Write { generation, .. } if generation != self.generation => None,
            Order::Write { lines, .. } => self.write(&lines),
            Order::Check => {
                let msg = self.check();
                self.checking.store(false, Ordering::Relaxed);
                msg
            }
        }
    }

    fn open(&mut self, path: &std::path::Path) -> KeyLogMsg {
        if path.as_os_str() == "-" {
            self.output = Some(Output::Stdout);
            return self.opened(Vec::new());
        }
        match KeyLog::open(path, Owner::of_this_run()) {
            Ok((keylog, known)) => {
                self.output = Some(Output::File(keylog));
                self.opened(known)
            }
            Err(error) => KeyLogMsg::Refused { reason: error.to_string() },
        }
    }

    fn opened(&mut self, known: Vec<crate::model::KnownLine>) -> KeyLogMsg {
        self.generation += 1;
        self.path_failed = false;
        KeyLogMsg::Opened { generation: self.generation, known }
    }

    fn check(&mut self) -> Option<KeyLogMsg> {
        let Some(Output::File(keylog)) = &mut self.output else { return None };
        match keylog.reopen_if_replaced() {
            Ok(Some(known)) => Some(self.opened(known)),
            Ok(None) if std::mem::take(&mut self.path_failed) => {
                Some(KeyLogMsg::Checked { error: None })
            }
            Ok(None) => None,
            Err(error) => {
                self.path_failed = true;
                Some(KeyLogMsg::Checked { error: Some(error.to_string()) })
            }
        }
    }

    fn write(&mut self, lines: &[PendingLine]) -> Option<KeyLogMsg> {
        let generation = self.generation;
        let wrote = |written, error| KeyLogMsg::Wrote { generation, written, error };
        let (name, written) = match self.output.as_mut()? {
            Output::Stdout => ("stdout".into(), Ok(write_stdout(lines))),
            Output::File(keylog) => (keylog.path(), keylog.write(lines)),
        };
        Some(match written {
            Ok(Written::Replaced(known)) => self.opened(known),
            Ok(Written::Lines { count, error: None }) => {
                lines[..count].iter().for_each(log_saved);
                wrote(count, None)
            }
            Ok(Written::Lines { error: Some(error), .. })
                if error.kind() == io::ErrorKind::BrokenPipe =>
            {
                KeyLogMsg::ReaderGone
            }
            Ok(Written::Lines { count, error: Some(error) }) => {
                lines[..count].iter().for_each(log_saved);
                warn!(%error, "a line could not be written to the key log");
                let advice = "the secrets are kept, and written when it takes them again";
                wrote(count, Some(format!("{name}: {error}; {advice}")))
            }
            Err(error) => {
                warn!(%error, "the key log cannot be written");
                wrote(0, Some(error.to_string()))
            }
        })
    }
}

fn write_stdout(lines: &[PendingLine]) -> Written {
    let mut stdout = io::stdout().lock();
    for (count, pending) in lines.iter().enumerate() {
        let text = pending.line.to_text();
        if let Err(error) = stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
            return Written::Lines { count, error: Some(error) };
        }
    }
    Written::Lines { count: lines.len(), error: None }
}

/// One line of the log for each saved secret; never the secret.
fn log_saved(pending: &PendingLine) {
    if !tracing::enabled!(tracing::Level::INFO) {
        return;
    }
    let version = pending.version.map_or_else(|| "unknown".to_owned(), |v| v.to_string());
    info!(
        label = %pending.line.label,
        %version,
        client_random = %pending.line.client_random,
        bytes = pending.line.secret.expose().len(),
        "secret saved"
    );
}
