//! What is in the key log, what still has to go there, and how it is doing.

use std::collections::{HashSet, VecDeque};
use std::path::PathBuf;

use foldhash::fast::RandomState;

use super::Time;
use super::known_lines::KnownLines;
use super::store::{SessionRef, Store};
use crate::tls::{ClientRandom, KeyLine, Label, LineId, Secret, ValueTag, Version};

/// Lines that are remembered as being in the file, also after their sessions are gone: 26 MiB.
pub const LINES_REMEMBERED: usize = 1_000_000;
/// Lines handed to the writer at a time.
const BATCH: usize = 512;

/// Whether captured secrets go to the key log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SavingState {
    /// They don't.
    Off,
    /// The file is being opened.
    Opening,
    /// They do.
    On,
    /// They should, and the last attempt failed; it is tried again.
    Failing(String),
}

/// A line in the file: what it is, and which value it has.
pub type KnownLine = (LineId, ValueTag);

/// A line on its way to the file.
#[derive(Clone, Debug)]
pub struct PendingLine {
    /// The line.
    pub line: KeyLine,
    /// The version of its session, for the log.
    pub version: Option<Version>,
}

/// The key log as the model sees it.
#[derive(Debug)]
pub struct Saving {
    /// Where to.
    pub path: PathBuf,
    /// The path before, until it is known that there can be a file at this one.
    pub(super) path_before: Option<PathBuf>,
    /// On, off or failing.
    pub state: SavingState,
    /// Lines written since the start.
    pub lines: u64,
    known: KnownLines,
    queue: VecDeque<(SessionRef, Label)>,
    /// What is on its way, with what is remembered of it: hashed once, since that is most of what a line costs.
    in_flight: Vec<(PendingLine, KnownLine)>,
    retry_at: Time,
    /// Why the file could not be opened.
    pub(super) refusal: String,
    /// The file that lines are written to now.
    generation: u64,
    /// Entries of the queue at which those of dropped sessions are taken out.
    prune_at: usize,
    /// Whoever read our stdout is gone.
    reader_gone: bool,
    /// More is on its way to the queue.
    gathers: bool,
}

/// The queue is not looked through below this.
const PRUNE_FROM: usize = 4096;

/// What the file says of a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InFile {
    /// It is not there.
    No,
    /// It is there with this value.
    Same,
    /// It is there with another value.
    Different,
}

impl Saving {
    /// Off, for a key log at `path`.
    pub fn new(path: PathBuf) -> Self {
        Self {
            path,
            path_before: None,
            state: SavingState::Off,
            lines: 0,
            known: KnownLines::default(),
            queue: VecDeque::new(),
            in_flight: Vec::new(),
            retry_at: Time(0),
            refusal: String::new(),
            generation: 0,
            prune_at: PRUNE_FROM,
            reader_gone: false,
            gathers: false,
        }
    }

    /// Whether secrets should go to the file, even if that fails at the moment.
    pub fn is_wanted(&self) -> bool {
        self.state != SavingState::Off
    }

    /// Why the file could not be opened, when that was tried last.
    pub fn refusal(&self) -> &str {
        &self.refusal
    }

    /// Whether whoever read the key log from our stdout is gone.
    pub fn is_reader_gone(&self) -> bool {
        self.reader_gone
    }

    /// Whether any line is known to be in the file.
    pub fn has_lines(&self) -> bool {
        !self.known.is_empty()
    }

    /// Lines that are on their way to the disk.
    pub fn in_flight(&self) -> usize {
        self.in_flight.len()
    }

    /// Lines that are waiting to be written.
    pub fn pending(&self) -> usize {
        self.queue.len() + self.in_flight.len()
    }

    /// What the file has of a line.
    pub fn look_up(&self, label: &Label, random: &ClientRandom, secret: &Secret) -> InFile {
        match self.known.get(&LineId::new(label, random, secret)) {
            None => InFile::No,
            Some(tag) if tag == ValueTag::new(random, secret) => InFile::Same,
            Some(_) => InFile::Different,
        }
    }

    /// Remembers that a line is in the file.
    pub(super) fn remember(&mut self, line: KnownLine) {
        self.known.insert(line);
        if self.known.len() > LINES_REMEMBERED {
            self.known.forget_oldest();
        }
    }

    /// Starts over with a file that was opened, and the lines that are in it.
    pub(super) fn opened(&mut self, generation: u64, known: Vec<KnownLine>) {
        self.forget();
        self.generation = generation;
        for line in known {
            self.remember(line);
        }
        self.state = SavingState::On;
        self.path_before = None;
    }

    /// Nothing is known of the file any more.
    pub(super) fn forget(&mut self) {
        self.known.clear();
        self.queue.clear();
        self.in_flight.clear();
    }

    /// The path cannot be written at the moment, or, without a reason, it can again.
    pub(super) fn checked(&mut self, error: Option<String>, retry_at: Time) {
        self.retry_at = retry_at;
        self.state = error.map_or(SavingState::On, SavingState::Failing);
    }

    pub(super) fn set_reader_gone(&mut self) {
        self.reader_gone = true;
        self.forget();
    }

    /// The clock was set back: the next try is no later than this.
    pub(super) fn retry_by(&mut self, latest: Time) {
        self.retry_at = self.retry_at.min(latest);
    }

    /// Tries again at once.
    pub(super) fn retry_now(&mut self) {
        self.retry_at = Time(0);
    }

    /// Wants a line to be written.
    pub(super) fn enqueue(&mut self, store: &Store, session: SessionRef, label: Label) {
        self.queue.push_back((session, label));
        // A disk that does not answer must not let the queue outgrow the sessions.
        if self.queue.len() >= self.prune_at {
            self.queue.retain(|(session, _)| store.get(*session).is_some());
            self.prune_at = PRUNE_FROM.max(2 * self.queue.len());
        }
    }

    /// Whether more messages are there already: then what they bring is written together, and the writer, which costs
    /// more to wake than a line to write, is woken once.
    pub fn gather(&mut self, gathers: bool) {
        self.gathers = gathers;
    }

    /// The next lines to write, and the file that they are for; none while others are on their way, a retry
    /// is not due, or more is gathered.
    pub(super) fn next_batch(
        &mut self,
        store: &Store,
        now: Time,
    ) -> Option<(u64, Vec<PendingLine>)> {
        let due = match &self.state {
            SavingState::On => true,
            SavingState::Failing(_) => now >= self.retry_at,
            SavingState::Off | SavingState::Opening => false,
        };
        if !due || self.gathers || !self.in_flight.is_empty() {
            return None;
        }
        // The names of lines are hashes with a key as they are.
        let mut in_batch: HashSet<LineId, RandomState> = HashSet::default();
        while self.in_flight.len() < BATCH {
            let Some((reference, label)) = self.queue.pop_front() else { break };
            let Some(session) = store.get(reference) else { continue };
            let unsaved = session.entries.iter().filter(|e| e.label == label && e.wants_saving());
            for entry in unsaved {
                let line = session.key_line(entry);
                let id = line.id();
                if self.known.get(&id).is_none() && in_batch.insert(id) {
                    let tag = ValueTag::new(&line.client_random, &line.secret);
                    let pending = PendingLine { line, version: session.facts.version };
                    self.in_flight.push((pending, (id, tag)));
                }
            }
        }
        let lines = || self.in_flight.iter().map(|(pending, _)| pending.clone()).collect();
        (!self.in_flight.is_empty()).then(|| (self.generation, lines()))
    }

    /// The writer has written the first `written` lines of what is on its way. What is left is tried
    /// again at `retry_at`. A batch of an earlier file is none of what is on its way.
    pub(super) fn wrote(
        &mut self,
        store: &mut Store,
        generation: u64,
        written: usize,
        error: Option<String>,
        retry_at: Time,
    ) {
        if generation != self.generation {
            return;
        }
        let mut sent = std::mem::take(&mut self.in_flight);
        let left = sent.split_off(written.min(sent.len()));
        for (PendingLine { line, .. }, known) in sent {
            store.mark_saved(&line);
            self.remember(known);
            self.lines += 1;
        }
        // What is left goes back by reference: its session still holds it, if it is still kept.
        for (PendingLine { line, .. }, _) in left.into_iter().rev() {
            for session in store.with_line(&line) {
                self.queue.push_front((session, line.label.clone()));
            }
        }
        self.state = match error {
            Some(error) => {
                self.retry_at = retry_at;
                SavingState::Failing(error)
            }
            None => SavingState::On,
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::fixture::{START, process, secret};

    #[test]
    fn what_comes_together_is_written_together() {
        let (mut saving, mut store) = (Saving::new(PathBuf::from("k")), Store::new(9));
        saving.opened(1, Vec::new());
        let mut lines = |random, gathers| {
            let label = Label::ClientRandom;
            let taken = store.take(secret(START, &process(7, "nginx"), random, label.clone(), 1));
            saving.enqueue(&store, taken.session, label);
            saving.gather(gathers);
            saving.next_batch(&store, START).map_or(0, |(_, lines)| lines.len())
        };
        assert_eq!((lines(1, true), lines(2, true), lines(3, false)), (0, 0, 3));
        assert_eq!(saving.in_flight(), 3);
    }
}
