//! The recorder of packets as the loop has it: begun and ended when that is asked for, and looked after.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc::Sender;
use tokio::time::Instant;
use tracing::warn;

use crate::keylog::Owner;
use crate::model::{Msg, PacketKey, Recorded, RecordingMsg};
use crate::packets::{Plan, Recorder, RecorderError};

/// How long a recording that ends waits for its disk; nothing else waits for it.
const LIMIT: Duration = Duration::from_secs(5);

/// The one recorder, if there is one.
pub(super) struct Recording {
    recorder: Option<Recorder>,
    /// It is to end, by this time at the latest.
    ends: Option<Instant>,
    /// What is recorded, but to another file, when it is asked for.
    plan: Option<Plan>,
    replies: Sender<Msg>,
    /// Whose recorder is ours: one that was given up has nothing to say any more.
    ours: Arc<()>,
}

impl Recording {
    /// None yet; it answers there.
    pub fn new(replies: Sender<Msg>) -> Self {
        Self { recorder: None, ends: None, plan: None, replies, ours: Arc::new(()) }
    }

    /// Takes one that has begun.
    pub fn set(&mut self, recorder: Recorder) {
        self.recorder = Some(recorder);
    }

    /// Says what is recorded when it is asked for, but for the file.
    pub fn set_plan(&mut self, plan: Plan) {
        self.plan = Some(plan);
    }

    /// Begins to record to this file; what becomes of that is a reply. `Some`: it is known at once.
    pub fn start(&mut self, path: PathBuf) -> Option<Msg> {
        // One that was refused, which nobody has noticed yet.
        if self.recorder.as_ref().is_some_and(|recorder| recorder.ends_within(Duration::ZERO)) {
            self.forget();
        }
        let Some(plan) = self.plan.clone().filter(|_| self.recorder.is_none()) else {
            return Some(refused("the disk of another recording does not answer".to_owned()));
        };
        let replies = self.replies.clone();
        let ours = Arc::downgrade(&self.ours);
        let told = move |begun: Result<_, RecorderError>| {
            let began = |path| Msg::Recording(RecordingMsg::Began(path));
            let msg = begun.map_or_else(|error| refused(error.to_string()), began);
            if ours.strong_count() > 0 {
                // At the end nobody listens any more.
                let _ = replies.blocking_send(msg);
            }
        };
        match Recorder::spawn(Plan { path, ..plan }, Owner::of_this_run(), told) {
            Ok(recorder) => self.recorder = Some(recorder),
            Err(error) => return Some(refused(error.to_string())),
        }
        None
    }

    /// Lets the recorder end without what it has.
    pub fn abandon(&mut self) {
        if let Some(recorder) = &mut self.recorder {
            recorder.abandon();
        }
    }

    /// Lets the recorder write what it has, and end. `Some`: there is none.
    pub fn stop(&mut self) -> Option<Msg> {
        let Some(recorder) = &mut self.recorder else {
            return Some(Msg::Recording(RecordingMsg::Ended));
        };
        recorder.stop();
        self.ends.get_or_insert_with(|| Instant::now() + LIMIT);
        None
    }

    /// Gives it a secret.
    pub fn key(&mut self, key: PacketKey) {
        if let Some(recorder) = &mut self.recorder {
            recorder.key(key);
        }
    }

    /// Gives it the secrets that were there before it, but for these many.
    pub fn earlier(&mut self, keys: Vec<PacketKey>, left_out: u64) {
        if let Some(recorder) = &mut self.recorder {
            recorder.earlier(keys, left_out);
        }
    }

    /// Tells what it has done.
    pub fn read(&self, into: &mut Vec<Msg>) {
        if let Some(recorder) = &self.recorder {
            into.extend(recorder.take_warnings().into_iter().map(Msg::Warning));
            into.push(Msg::Recorded(recorder.recorded()));
        }
    }

    /// Whether it has ended, or its disk does not answer.
    pub fn is_over(&self) -> bool {
        let has_ended = |recorder: &Recorder| recorder.ends_within(Duration::ZERO);
        self.recorder.as_ref().is_some_and(has_ended)
            || self.ends.is_some_and(|at| Instant::now() >= at)
    }

    /// Takes notice of that.
    pub fn reap(&mut self, into: &mut Vec<Msg>) {
        self.end(Duration::ZERO, into);
        into.push(Msg::Recording(RecordingMsg::Ended));
    }

    /// Ends it, but does not wait longer than `limit` for its disk, and tells what it has done.
    pub fn end(&mut self, limit: Duration, into: &mut Vec<Msg>) {
        self.stop();
        let has_ended = self.recorder.as_ref().is_none_or(|recorder| recorder.ends_within(limit));
        self.read(into);
        let Some(recorder) = &self.recorder else { return };
        let failing = match has_ended {
            false => Some("the packets' disk did not answer at the end"),
            true => recorder.has_broken_off().then_some("recording packets broke off"),
        };
        if let Some(failing) = failing {
            warn!("{failing}");
            let failing = Some(failing.to_owned());
            into.push(Msg::Recorded(Recorded { failing, ..recorder.recorded() }));
        }
        self.forget();
    }

    fn forget(&mut self) {
        (self.recorder, self.ends, self.ours) = (None, None, Arc::new(()));
    }
}

fn refused(reason: String) -> Msg {
    Msg::Recording(RecordingMsg::Refused(reason))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use tokio::sync::mpsc::{Receiver, channel};

    use super::*;
    use crate::packets::plan;

    const LONG: Duration = Duration::from_secs(10);

    fn recording(path: &Path) -> (Recording, Receiver<Msg>) {
        let (replies, told) = channel(8);
        let mut recording = Recording::new(replies);
        recording.set_plan(plan(path));
        (recording, told)
    }

    /// What is told when it is over.
    fn reaped(recording: &mut Recording) -> Vec<Msg> {
        assert!(recording.recorder.as_ref().unwrap().ends_within(LONG) && recording.is_over());
        let mut into = Vec::new();
        recording.reap(&mut into);
        assert!(recording.recorder.is_none());
        into
    }

    #[test]
    fn one_that_breaks_off_is_told_as_a_failure() {
        if !rustix::process::geteuid().is_root() {
            return eprintln!("skipped: not root");
        }
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("p.pcapng");
        let (mut recording, _told) = recording(&path);
        let breaks = |_| panic!("as a defect would");
        recording.set(Recorder::spawn(plan(&path), Owner::of_this_run(), breaks).unwrap());
        let told = reaped(&mut recording);
        let [_, Msg::Recorded(recorded), Msg::Recording(RecordingMsg::Ended)] = &told[..] else {
            panic!("{told:?}")
        };
        assert_eq!(recorded.failing.as_deref(), Some("recording packets broke off"));
    }

    #[test]
    fn one_that_is_stopped_before_it_has_begun_ends() {
        if !rustix::process::geteuid().is_root() {
            return eprintln!("skipped: not root");
        }
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("p.pcapng");
        let (mut recording, mut told) = recording(&path);
        for _ in 0..2 {
            assert!(recording.start(path.clone()).is_none());
            assert!(recording.stop().is_none());
            let last = reaped(&mut recording);
            let [Msg::Recorded(recorded), Msg::Recording(RecordingMsg::Ended)] = &last[..] else {
                panic!("{last:?}")
            };
            assert_eq!(recorded.failing, None);
            let began = told.try_recv().unwrap();
            assert!(matches!(began, Msg::Recording(RecordingMsg::Began(_))), "{began:?}");
        }
        let ended = recording.stop().unwrap();
        assert!(matches!(ended, Msg::Recording(RecordingMsg::Ended)), "{ended:?}");
    }

    #[test]
    fn one_that_was_refused_hinders_no_other() {
        let (mut recording, mut told) = recording(Path::new("unused"));
        for _ in 0..2 {
            assert!(recording.start("/nonexistent/p.pcapng".into()).is_none());
            let refused = told.blocking_recv().unwrap();
            assert!(matches!(refused, Msg::Recording(RecordingMsg::Refused(_))), "{refused:?}");
            assert!(recording.recorder.as_ref().unwrap().ends_within(LONG));
        }
    }
}
