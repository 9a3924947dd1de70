//! The thread that writes the key log: a slow disk must not hold up the loop.

use std::path::PathBuf;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::{self, JoinHandle};

use std::io::{self, Write as _};
use tokio::sync::mpsc::Sender;
use tracing::{info, warn};

use crate::keylog::{KeyLog, Owner, Written};
use crate::model::{KeyLogMsg, Msg, PendingLine};

/// Orders that can wait: the model has one batch on its way at a time.
const QUEUE: usize = 16;

enum Order {
    Open(PathBuf),
    Close,
    Write(Vec<PendingLine>),
    /// Make the file again if it was moved away.
    Check,
}

/// The writer. Dropping it writes what was ordered and waits for that.
pub struct Writer {
    orders: Option<SyncSender<Order>>,
    thread: Option<JoinHandle<()>>,
}

impl Writer {
    /// Starts the thread; what it has done it reports to `replies`.
    ///
    /// # Errors
    ///
    /// When the thread cannot be started.
    pub fn start(replies: Sender<Msg>) -> io::Result<Self> {
        let (orders, inbox) = sync_channel(QUEUE);
        let thread = thread::Builder::new().name("keylog".to_owned()).spawn(move || {
            run(&inbox, |msg| replies.blocking_send(Msg::KeyLog(msg)).is_ok());
        })?;
        Ok(Self { orders: Some(orders), thread: Some(thread) })
    }

    /// Opens the file; `-` is stdout.
    pub fn open(&self, path: PathBuf) {
        self.send(Order::Open(path));
    }

    /// Closes it.
    pub fn close(&self) {
        self.send(Order::Close);
    }

    /// Writes a batch.
    pub fn write(&self, lines: Vec<PendingLine>) {
        self.send(Order::Write(lines));
    }

    /// Looks whether the path still names the file; skipped while the thread is busy.
    pub fn check(&self) {
        if let Some(orders) = &self.orders {
            let _ = orders.try_send(Order::Check);
        }
    }

    fn send(&self, order: Order) {
        if let Some(orders) = &self.orders {
            // It only fails when the thread has panicked, which the panic hook has told.
            let _ = orders.send(order);
        }
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.orders = None;
        if let Some(thread) = self.thread.take() {
            // A panic there was reported by the panic hook already.
            let _ = thread.join();
        }
    }
}

/// Where lines go.
enum Output {
    File(KeyLog),
    Stdout,
}

fn run(inbox: &Receiver<Order>, mut reply: impl FnMut(KeyLogMsg) -> bool) {
    let mut output = None;
    while let Ok(order) = inbox.recv() {
        let msg = match order {
            Order::Open(path) if path.as_os_str() == "-" => {
                output = Some(Output::Stdout);
                Some(KeyLogMsg::Opened { known: Vec::new() })
            }
            Order::Open(path) => match KeyLog::open(&path, Owner::of_this_run()) {
                Ok((keylog, known)) => {
                    output = Some(Output::File(keylog));
                    Some(KeyLogMsg::Opened { known })
                }
                Err(error) => Some(KeyLogMsg::Refused { reason: error.to_string() }),
            },
            Order::Close => {
                output = None;
                None
            }
            Order::Write(lines) => output.as_mut().map(|output| write(output, &lines)),
            Order::Check => match &mut output {
                Some(Output::File(keylog)) => check(keylog),
                _ => None,
            },
        };
        if let Some(msg) = msg
            && !reply(msg)
        {
            return;
        }
    }
}

fn check(keylog: &mut KeyLog) -> Option<KeyLogMsg> {
    match keylog.reopen_if_replaced() {
        Ok(known) => known.map(|known| KeyLogMsg::Replaced { known }),
        Err(error) => Some(KeyLogMsg::Wrote { written: 0, error: Some(error.to_string()) }),
    }
}

fn write(output: &mut Output, lines: &[PendingLine]) -> KeyLogMsg {
    let (name, written) = match output {
        Output::Stdout => ("stdout".into(), Ok(write_stdout(lines))),
        Output::File(keylog) => (keylog.path(), keylog.write(lines)),
    };
    match written {
        Ok(Written::Replaced(known)) => KeyLogMsg::Replaced { known },
        Ok(Written::Lines { count, error }) => {
            lines[..count].iter().for_each(log_saved);
            let error = error.map(|error| {
                warn!(%error, "a line could not be written to the key log");
                format!(
                    "{name}: {error}; the secrets are kept, and written when it takes them again"
                )
            });
            KeyLogMsg::Wrote { written: count, error }
        }
        Err(error) => {
            warn!(%error, "the key log cannot be written");
            KeyLogMsg::Wrote { written: 0, error: Some(error.to_string()) }
        }
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
    let version = pending.version.map_or_else(|| "unknown".to_owned(), |v| v.to_string());
    info!(
        label = %pending.line.label,
        %version,
        client_random = %pending.line.client_random,
        bytes = pending.line.secret.expose().len(),
        "secret saved"
    );
}
