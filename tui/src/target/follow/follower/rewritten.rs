//! Images that are written to: what was found in them does not hold any more.

use std::fs::File;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tracing::{debug, warn};

use super::Follower;
use crate::model::target::ImageId;
use crate::target::cache::FileIdentity;
use crate::target::follow::news::Look;
use crate::target::follow::planners::Job;
use crate::target::follow::record::{FileKey, Mapped};
use crate::target::follow::table::Class;
use crate::target::follow::written::Written;
use crate::text::Foreign;

/// A file that was written to is looked at when nothing was written for so long.
const SETTLED: Duration = Duration::from_millis(200);

/// A file that was written to.
pub(super) struct Rewritten {
    path: Foreign,
    file: Arc<File>,
    keys: Vec<FileKey>,
    at: Instant,
}

impl Rewritten {
    /// When it is looked at, unless it is written to again.
    pub(super) fn settled(&self) -> Instant {
        self.at + SETTLED
    }
}

impl Follower {
    /// Begins to watch an image for writes, before anything is attached to it. Whether there was one before that, since
    /// the file was looked at: its other times are those of a chmod or unlink too.
    pub(super) fn was_written_to(&mut self, id: ImageId, planned: &FileIdentity) -> bool {
        let Some((file, _)) = self.registry.files().get(id) else { return false };
        if let Some(Err(error)) = self.written.as_mut().map(|written| written.add(id, &file)) {
            debug!(?id, %error, "cannot be watched for writes");
        }
        file.metadata().is_ok_and(|now| FileIdentity::of(&now).has_other_contents(planned))
    }

    /// Forgets what was known of an image, and looks at it again soon.
    pub(super) fn look_again(&mut self, id: ImageId, why: &'static str) {
        let keys = self.watch.forget(id);
        let Some((path, file)) = self.registry.written_to(id) else { return };
        warn!(%path, why, "its probes are removed");
        for key in &keys {
            self.watch.settle(*key, Some(Class::Looking));
        }
        self.rewritten.push(Rewritten { path, file, keys, at: Instant::now() });
        self.is_urgent = true;
    }

    pub(super) fn take_written(&mut self, is_written: bool) {
        let written = self.written.as_mut().filter(|_| is_written);
        for id in written.map(Written::take).unwrap_or_default() {
            self.look_again(id, "it is being written to");
        }
        let now = Instant::now();
        let ready: Vec<Rewritten> =
            self.rewritten.extract_if(.., |file| now >= file.settled()).collect();
        for Rewritten { path, file, keys, .. } in ready {
            let mut keys = keys.into_iter();
            let key = keys.next().unwrap_or(FileKey { device: (0, 0), inode: 0, generation: None });
            let mapped = Mapped { file: key, start: 0, length: 0, path };
            let look = Look {
                pid: 0,
                mapped,
                is_program: true,
                is_named: false,
                since: None,
                stamp: None,
            };
            self.submit(Job { aliases: keys.collect(), file: Some(file), ..Job::new(look) });
        }
    }
}
