//! Looking at the machine takes milliseconds, and a file on a dead mount takes forever: a thread of its own.

use std::io;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::thread;

use tokio::sync::mpsc::Sender;

use crate::model::Msg;
use crate::target::registry::Registry;

/// The thread that scans. It is not waited for at the end: it may hang on a dead mount, and holds nothing
/// that has to be given back.
pub struct Scanner {
    requests: SyncSender<()>,
}

impl Scanner {
    /// Starts the thread; what it finds it reports to `replies`.
    ///
    /// # Errors
    ///
    /// When the thread cannot be started.
    pub fn start(mut registry: Registry, replies: Sender<Msg>) -> io::Result<Self> {
        // One request waits at the most: two looks at the same moment would find the same.
        let (requests, inbox) = sync_channel(1);
        thread::Builder::new().name("scan".to_owned()).spawn(move || {
            while inbox.recv().is_ok() {
                if replies.blocking_send(Msg::Scanned(registry.scan())).is_err() {
                    return;
                }
            }
        })?;
        Ok(Self { requests })
    }

    /// Asks for a scan, unless one is waiting already.
    pub fn request(&self) {
        let _ = self.requests.try_send(());
    }
}
