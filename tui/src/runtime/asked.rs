//! The thread that is asked whose connections are. It is not the one that reads hellos: to look for a server's process can
//! take long, and meanwhile the kernel would drop packets.

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::thread;
use std::time::Duration;

use tokio::sync::mpsc::Sender;
use tokio::sync::mpsc::error::TrySendError;

use super::owners::Finder;
use crate::model::WireMsg;
use crate::tls::ClientRandom;

/// Questions that can wait, and answers.
const QUESTIONS: usize = 4096;
/// Questions that are answered before the model is told.
const ROUND: usize = 64;
/// How long it waits until the model is offered the answers again.
const AGAIN: Duration = Duration::from_millis(2);

/// Whose a connection is, is asked.
struct Question {
    client_random: ClientRandom,
    client: SocketAddr,
    server: SocketAddr,
}

/// The thread's other end.
pub(super) struct Asked {
    questions: SyncSender<Question>,
    /// What was left when it ended.
    rest: Receiver<Vec<WireMsg>>,
}

impl Asked {
    /// Starts it.
    ///
    /// # Errors
    ///
    /// When the kernel gives no thread.
    pub fn start(finder: Finder, model: Sender<WireMsg>) -> io::Result<Self> {
        let (questions, inbox) = sync_channel(QUESTIONS);
        let (rests, rest) = sync_channel(1);
        let mut thread = Thread { finder, inbox, model, found: VecDeque::new() };
        thread::Builder::new().name("owners".to_owned()).spawn(move || {
            thread.answer();
            let _ = rests.send(thread.found.into());
        })?;
        Ok(Self { questions, rest })
    }

    /// Asks whose a connection is. What there is no room for gets no answer.
    pub fn find(&self, client_random: ClientRandom, client: SocketAddr, server: SocketAddr) {
        let _ = self.questions.try_send(Question { client_random, client, server });
    }

    /// Takes the answers that are still to come.
    pub fn finish(self, limit: Duration) -> Vec<WireMsg> {
        drop(self.questions);
        self.rest.recv_timeout(limit).unwrap_or_default()
    }
}

struct Thread {
    finder: Finder,
    inbox: Receiver<Question>,
    model: Sender<WireMsg>,
    /// What the model was not told yet.
    found: VecDeque<WireMsg>,
}

impl Thread {
    /// Until the last question is answered.
    fn answer(&mut self) {
        loop {
            let question = match self.found.is_empty() {
                true => self.inbox.recv().map_err(|_| RecvTimeoutError::Disconnected),
                false => self.inbox.recv_timeout(AGAIN),
            };
            match question {
                Ok(first) => self.find(first),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return,
            }
            for _ in 1..ROUND {
                let Ok(next) = self.inbox.try_recv() else { break };
                self.find(next);
            }
            tell(&self.model, &mut self.found);
        }
    }

    fn find(&mut self, question: Question) {
        if self.found.len() < QUESTIONS {
            let owners = self.finder.owners(question.client, question.server);
            self.found.push_back(WireMsg::Owners(question.client_random, owners));
        }
    }
}

/// Gives the model what it has room for, the oldest first.
pub(super) fn tell(model: &Sender<WireMsg>, messages: &mut VecDeque<WireMsg>) {
    while let Some(message) = messages.pop_front() {
        if let Err(TrySendError::Full(message)) = model.try_send(message) {
            messages.push_front(message);
            return;
        }
    }
}
