//! The command lines of processes, read by a thread of its own: the kernel reads them from the process's memory, and a
//! process can make that wait for ever. Then there are no more of them; the scan goes on.

use std::collections::HashMap;
use std::io;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

use super::process;
use crate::model::target::Target;
use crate::text::Foreign;

/// Command lines that can be waited for at a time.
const QUEUE: usize = 1024;

/// A process, by its id, its start and its name: an exec gives it another.
type Key = (u32, u64, String);

/// Command lines that were read, each once.
#[derive(Debug)]
pub struct Commands {
    requests: SyncSender<Key>,
    answers: Receiver<(Key, Option<Foreign>)>,
    /// `None` while it is being read, and where it could not be.
    known: HashMap<Key, Option<Foreign>>,
    waiting: usize,
}

impl Commands {
    /// Starts the thread.
    ///
    /// # Errors
    ///
    /// When it cannot be started.
    pub fn start() -> io::Result<Self> {
        Self::reading(|(pid, start, _)| process::command_line(*pid, *start).ok())
    }

    fn reading(read: impl Fn(&Key) -> Option<Foreign> + Send + 'static) -> io::Result<Self> {
        let (requests, inbox) = sync_channel::<Key>(QUEUE);
        let (answer, answers) = sync_channel(QUEUE);
        thread::Builder::new().name("commands".to_owned()).spawn(move || {
            while let Ok(key) = inbox.recv() {
                let text = read(&key);
                if answer.send((key, text)).is_err() {
                    return;
                }
            }
        })?;
        Ok(Self { requests, answers, known: HashMap::new(), waiting: 0 })
    }

    /// Gives targets their command lines, as far as these are known within a moment. Whether some are being read.
    pub fn fill_in(&mut self, targets: &mut [Target], patience: Duration) -> bool {
        let key = |target: &Target| {
            let process = &target.process;
            (process.pid, process.start_ticks, process.comm.raw().to_owned())
        };
        let keys: Vec<Key> = targets.iter().map(key).collect();
        for (target, command) in targets.iter_mut().zip(self.of(&keys, patience)) {
            target.command = command;
        }
        self.waiting > 0
    }

    /// The command lines of these processes, as far as they are known within a moment. Those of others are forgotten.
    fn of(&mut self, processes: &[Key], patience: Duration) -> Vec<Option<Foreign>> {
        let mut known = HashMap::with_capacity(processes.len());
        for key in processes {
            let text = match self.known.remove(key) {
                Some(text) => text,
                None if self.requests.try_send(key.clone()).is_ok() => {
                    self.waiting += 1;
                    None
                }
                // Too many wait: at the next look.
                None => continue,
            };
            known.insert(key.clone(), text);
        }
        self.known = known;
        self.take_answers(patience);
        processes.iter().map(|key| self.known.get(key).cloned().flatten()).collect()
    }

    fn take_answers(&mut self, patience: Duration) {
        let end = Instant::now() + patience;
        while self.waiting > 0 {
            match self.answers.recv_timeout(end.saturating_duration_since(Instant::now())) {
                Ok((key, text)) => {
                    self.waiting -= 1;
                    if let Some(known) = self.known.get_mut(&key) {
                        *known = text;
                    }
                }
                Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => return,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    const PATIENCE: Duration = Duration::from_millis(50);

    fn key(pid: u32, name: &str) -> Key {
        (pid, 7, name.to_owned())
    }

    #[test]
    fn each_is_read_once_until_it_is_another_program() {
        let reads = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&reads);
        let mut commands = Commands::reading(move |(pid, _, name)| {
            count.fetch_add(1, Ordering::SeqCst);
            Some(format!("{name} {pid}").as_str().into())
        })
        .unwrap();
        let of = |commands: &mut Commands, name| commands.of(&[key(1, name)], PATIENCE)[0].clone();
        for _ in 0..3 {
            assert_eq!(of(&mut commands, "sh").unwrap().raw(), "sh 1");
        }
        assert_eq!(reads.load(Ordering::SeqCst), 1);
        assert_eq!(of(&mut commands, "curl").unwrap().raw(), "curl 1");
        assert_eq!(commands.known.len(), 1);
    }

    #[test]
    fn one_that_never_answers_holds_up_nothing() {
        let mut commands = Commands::reading(|_| {
            loop {
                thread::park();
            }
        })
        .unwrap();
        for round in 0..3 {
            let keys: Vec<Key> = (0..5000).map(|pid| key(pid, "x")).collect();
            let start = Instant::now();
            assert!(commands.of(&keys, PATIENCE).iter().all(Option::is_none), "{round}");
            assert!(start.elapsed() < Duration::from_secs(10));
        }
    }
}
