//! A thread for what the user asks for now and then: an export, a look at a process. Either can hang, on a disk or on a
//! process that does not answer, and must hold up neither the loop nor the key log.

use std::collections::HashSet;
use std::io;
use std::path::PathBuf;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::thread;
use std::time::Duration;

use tokio::sync::mpsc::Sender;

use crate::keylog::{KeyLog, Owner, Written};
use crate::model::ui::Exported;
use crate::model::{Msg, PendingLine};
use crate::target::process;

/// Orders that can wait: an export holds the lines of all sessions.
const QUEUE: usize = 2;

enum Order {
    Export { path: PathBuf, sessions: usize, lines: Vec<PendingLine> },
    LookAt { pid: u32, start_ticks: u64 },
}

/// The thread.
pub struct Errands {
    name: &'static str,
    orders: Option<SyncSender<Order>>,
    /// Nothing comes here; it is closed when the thread has ended.
    ended: Receiver<()>,
}

impl Errands {
    /// Starts the thread; what it has done it reports to `replies`.
    ///
    /// # Errors
    ///
    /// When the thread cannot be started.
    pub fn start(name: &'static str, replies: Sender<Msg>) -> io::Result<Self> {
        let (orders, inbox) = sync_channel(QUEUE);
        let (ends, ended) = sync_channel(1);
        thread::Builder::new().name(name.to_owned()).spawn(move || {
            let _ends: SyncSender<()> = ends;
            while let Ok(order) = inbox.recv() {
                let msg = match order {
                    Order::Export { path, sessions, lines } => {
                        Msg::Exported(export(path, sessions, &lines))
                    }
                    Order::LookAt { pid, start_ticks } => look_at(pid, start_ticks),
                };
                // At the end nobody listens any more, and what was ordered is still done.
                let _ = replies.blocking_send(msg);
            }
        })?;
        Ok(Self { name, orders: Some(orders), ended })
    }

    /// Writes lines to a file. An answer instead, when the thread is busy.
    pub fn export(&self, path: PathBuf, sessions: usize, lines: Vec<PendingLine>) -> Option<Msg> {
        match self.send(Order::Export { path: path.clone(), sessions, lines }) {
            true => None,
            false => {
                let error = Some("earlier exports are not done yet".to_owned());
                Some(Msg::Exported(Exported { path, sessions, written: 0, known: 0, error }))
            }
        }
    }

    /// Reads a command line. An answer instead, when the thread is busy.
    pub fn look_at(&self, pid: u32, start_ticks: u64) -> Option<Msg> {
        match self.send(Order::LookAt { pid, start_ticks }) {
            true => None,
            false => Some(Msg::CommandLine {
                process: (pid, start_ticks),
                result: Err("a process that was looked at before does not answer".to_owned()),
            }),
        }
    }

    /// Ends the thread when it has done what was ordered, but does not wait longer than `limit`.
    pub fn finish(&mut self, limit: Duration) {
        self.orders = None;
        if self.ended.recv_timeout(limit) == Err(RecvTimeoutError::Timeout) {
            tracing::warn!("the thread {} was not done at the end", self.name);
        }
    }

    fn send(&self, order: Order) -> bool {
        self.orders.as_ref().is_some_and(|orders| orders.try_send(order).is_ok())
    }
}

fn look_at(pid: u32, start_ticks: u64) -> Msg {
    let result = process::command_line(pid, start_ticks).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => "the process has ended".to_owned(),
        _ => error.to_string(),
    });
    Msg::CommandLine { process: (pid, start_ticks), result }
}

/// Appends the lines that are not in the file. Unlike the key log it may get two values of one line, from two
/// processes: the user chose the sessions.
fn export(path: PathBuf, sessions: usize, lines: &[PendingLine]) -> Exported {
    let mut done = Exported { path, sessions, written: 0, known: 0, error: None };
    let (mut keylog, known) = match KeyLog::open(&done.path, Owner::of_this_run()) {
        Ok(opened) => opened,
        Err(error) => return Exported { error: Some(error.to_string()), ..done },
    };
    let mut known: HashSet<_> = known.into_iter().collect();
    for pending in lines {
        if !known.insert(pending.line.name()) {
            done.known += 1;
            continue;
        }
        let error = match keylog.write(std::slice::from_ref(pending)) {
            Ok(Written::Lines { error: None, .. }) => {
                done.written += 1;
                continue;
            }
            Ok(Written::Lines { error: Some(error), .. }) => error.to_string(),
            Ok(Written::Replaced(_)) => "the file was replaced while it was written".to_owned(),
            Err(error) => error.to_string(),
        };
        done.error = Some(error);
        break;
    }
    done
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::MetadataExt as _;

    use super::*;
    use crate::tls::{ClientRandom, KeyLine, Label, Secret};

    fn line(random: u8, fill: u8) -> PendingLine {
        let secret = Secret::new(&Label::Exporter, &[fill; 32], 32).unwrap();
        let client_random = ClientRandom([random; 32]);
        PendingLine {
            line: KeyLine { label: Label::Exporter, client_random, secret },
            version: None,
        }
    }

    #[test]
    fn an_export_is_private_appended_and_without_duplicates() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("export");
        let first = export(path.clone(), 2, &[line(1, 1), line(2, 2), line(1, 1)]);
        assert_eq!((first.written, first.known, first.error), (2, 1, None));
        let again = export(path.clone(), 2, &[line(2, 2), line(2, 3)]);
        assert_eq!((again.written, again.known), (1, 1), "another value is another line");
        assert_eq!(fs::read_to_string(&path).unwrap().lines().count(), 3);
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o7777, 0o600);
    }

    #[test]
    fn what_cannot_be_written_to_is_told() {
        let done = export("/nonexistent/folder/x".into(), 1, &[line(1, 1)]);
        assert!(done.error.unwrap().contains("/nonexistent/folder/x"));
        let folder = tempfile::tempdir().unwrap();
        let link = folder.path().join("link");
        std::os::unix::fs::symlink("/dev/null", &link).unwrap();
        assert!(export(link, 1, &[line(1, 1)]).error.unwrap().contains("symbolic link"));
    }

    #[test]
    fn what_was_ordered_is_done_before_the_end() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("export");
        let (sender, _replies) = tokio::sync::mpsc::channel(4);
        let mut errands = Errands::start("test", sender).unwrap();
        assert!(errands.export(path.clone(), 1, vec![line(1, 1)]).is_none());
        errands.finish(Duration::from_secs(10));
        assert_eq!(fs::read_to_string(&path).unwrap().lines().count(), 1);
    }
}
