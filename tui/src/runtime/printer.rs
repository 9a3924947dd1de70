//! The thread that writes JSON to stdout: a reader that stalls must not hold up capture or saving.

use std::io::{self, Write as _};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

/// Texts that can wait; each is bounded by who makes it.
const QUEUE: usize = 2;

/// Writes texts to stdout, one after the other.
pub struct Printer {
    texts: Option<SyncSender<String>>,
    error: Arc<Mutex<Option<io::Error>>>,
    /// Nothing comes here; it is closed when the thread has ended.
    ended: Receiver<()>,
}

impl Printer {
    /// Starts the thread.
    ///
    /// # Errors
    ///
    /// When the thread cannot be started.
    pub fn start() -> io::Result<Self> {
        let (texts, inbox) = sync_channel::<String>(QUEUE);
        let (ends, ended) = sync_channel(1);
        let error = Arc::new(Mutex::new(None));
        let failed = Arc::clone(&error);
        thread::Builder::new().name("stdout".to_owned()).spawn(move || {
            let _ends: SyncSender<()> = ends;
            while let Ok(text) = inbox.recv() {
                let mut stdout = io::stdout().lock();
                if let Err(error) = stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush())
                {
                    *failed.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
                    return;
                }
            }
        })?;
        Ok(Self { texts: Some(texts), error, ended })
    }

    /// Hands a text over; gives it back when the reader is too slow to take it now. An empty one asks whether the thread
    /// still writes: a reader may go away after the last line.
    ///
    /// # Errors
    ///
    /// The error that ended the thread; a broken pipe says that the reader is gone.
    pub fn print(&self, text: String) -> io::Result<Option<String>> {
        let Some(texts) = &self.texts else { return Ok(Some(text)) };
        if text.is_empty() {
            return self.take_error().map_or(Ok(None), Err);
        }
        match texts.try_send(text) {
            Ok(()) => Ok(None),
            Err(TrySendError::Full(text)) => Ok(Some(text)),
            Err(TrySendError::Disconnected(_)) => {
                Err(self.take_error().unwrap_or_else(|| io::ErrorKind::BrokenPipe.into()))
            }
        }
    }

    /// Ends the thread when everything is written; `false` when that took longer than `limit`.
    ///
    /// # Errors
    ///
    /// The error that ended the thread; a broken pipe says that the reader is gone.
    pub fn finish(&mut self, limit: Duration) -> io::Result<bool> {
        self.texts = None;
        let ended = self.ended.recv_timeout(limit) == Err(RecvTimeoutError::Disconnected);
        self.take_error().map_or(Ok(ended), Err)
    }

    fn take_error(&self) -> Option<io::Error> {
        self.error.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}
