//! What was not captured since the image was attached too late for it: counted, and never guessed.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::Time;
use super::session::{Captured, Method};
use super::target::{Ended, ImageId, ImageState, Process, Targets};
use crate::text::Foreign;
use crate::tls::Label;

use std::time::Duration;

/// Names of which the losses are told apart; those of others are counted together.
const NAMES: usize = 256;
/// A handshake that is seen from its middle on so long after its image was attached has another reason.
const HANDSHAKE: Duration = Duration::from_secs(10);

/// Losses of the processes of one name.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Loss {
    /// Handshakes that began before the image was attached.
    pub handshakes: u64,
    /// Processes that had the image mapped and ended before it was attached.
    pub processes: u64,
    /// Files that nobody could open any more when the process that had them mapped had ended.
    pub unread: u64,
}

/// What was missed.
#[derive(Clone, Debug, Default)]
pub struct Missed {
    /// When each image was attached.
    attached: BTreeMap<ImageId, Time>,
    by_name: BTreeMap<Foreign, Loss>,
}

impl Missed {
    /// An image was attached.
    pub(super) fn attached(&mut self, image: ImageId, now: Time) {
        self.attached.insert(image, now);
    }

    /// Whether an image was attached after this, or is not.
    pub(super) fn was_late(&self, image: ImageId, time: Time) -> bool {
        self.attached.get(&image).is_none_or(|since| *since > time)
    }

    /// The clock was set back: what was attached was so before now.
    pub(super) fn clock_was_set_back(&mut self, now: Time) {
        self.attached.values_mut().for_each(|since| *since = now.min(*since));
    }

    /// Processes ended; images that are not known any more are forgotten.
    pub(super) fn ended(&mut self, ended: &[Ended], targets: &Targets) {
        self.attached.retain(|id, _| targets.images.contains_key(id));
        for Ended { process, images, at } in ended {
            let is_late = |id: &ImageId| {
                let Some(image) = targets.images.get(id) else { return false };
                let is_attached = matches!(image.state, ImageState::Attached { .. });
                let since = self.attached.get(id).filter(|_| is_attached);
                targets.can_attach(image) && since.is_none_or(|since| since > at)
            };
            if targets.selection.chooses(process) && images.iter().any(is_late) {
                self.loss(&process.comm).processes += 1;
            }
        }
    }

    /// Processes ended before a file of theirs could be opened.
    pub(super) fn unread(&mut self, unread: &[Arc<Process>], targets: &Targets) {
        for process in unread.iter().filter(|process| targets.selection.chooses(process)) {
            self.loss(&process.comm).unread += 1;
        }
    }

    /// A secret came; `is_first` tells whether it is the first of its session.
    pub(super) fn session(&mut self, event: &Captured, is_first: impl FnOnce() -> bool) {
        // A tap sees the secrets of a handshake before those that follow from them.
        let is_late =
            matches!(event.label, Label::ClientTraffic0 | Label::ServerTraffic0 | Label::Exporter);
        let is_new = self
            .attached
            .get(&event.image)
            .is_some_and(|since| event.time.since(*since) < HANDSHAKE);
        let may_count = is_late && is_new && event.method == Method::Tap;
        if may_count && event.caught_up.is_none() && is_first() {
            self.loss(&event.process.comm).handshakes += 1;
        }
    }

    fn loss(&mut self, name: &Foreign) -> &mut Loss {
        let is_room = self.by_name.len() < NAMES || self.by_name.contains_key(name);
        let name = if is_room { name.clone() } else { "others".into() };
        self.by_name.entry(name).or_default()
    }

    /// In words, the worst first: `1 handshake of bun began before it was attached`.
    pub fn sentences(&self) -> Vec<String> {
        let mut losses: Vec<(&Foreign, &Loss)> = self.by_name.iter().collect();
        losses.sort_by_key(|(_, loss)| {
            std::cmp::Reverse(loss.handshakes + loss.processes + loss.unread)
        });
        let mut sentences = Vec::new();
        for (name, loss) in losses {
            for (count, one, many, what) in [
                (loss.handshakes, "handshake", "handshakes", "began before it was attached"),
                (loss.processes, "process", "processes", "ended before it was attached"),
                (loss.unread, "file", "files", "went before it could be looked at"),
            ] {
                if count > 0 {
                    let noun = if count == 1 { one } else { many };
                    sentences.push(format!("{count} {noun} of {name} {what}"));
                }
            }
        }
        sentences
    }

    /// All together.
    pub fn total(&self) -> Loss {
        self.by_name.values().fold(Loss::default(), |sum, loss| Loss {
            handshakes: sum.handshakes + loss.handshakes,
            processes: sum.processes + loss.processes,
            unread: sum.unread + loss.unread,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::fixture;
    use super::super::target::{Selection, Targets};
    use super::*;

    #[test]
    fn who_ended_before_the_image_was_attached_is_counted_once() {
        let mut targets = Targets::new(Selection { all: true, ..Selection::default() });
        targets.merge(fixture::scan());
        let bun = fixture::process(7, "bun");
        let ended = |at| {
            [Ended {
                process: Arc::clone(&bun),
                images: vec![ImageId(1), ImageId(2)],
                at: Time(at),
            }]
        };
        let mut missed = Missed::default();
        missed.ended(&ended(5), &targets);
        assert_eq!(missed.total(), Loss { handshakes: 0, processes: 1, unread: 0 });
        for id in [1, 2] {
            missed.attached(ImageId(id), Time(10));
            let image = targets.images.get_mut(&ImageId(id)).unwrap();
            image.state = ImageState::Attached { probes: 1 };
        }
        missed.ended(&ended(11), &targets);
        assert_eq!(missed.total().processes, 1);
        // It is told later than the attach, and was before it.
        missed.ended(&ended(9), &targets);
        assert_eq!(missed.sentences(), ["2 processes of bun ended before it was attached"]);
        missed.unread(&[fixture::process(8, "bun")], &targets);
        assert_eq!(missed.sentences()[1], "1 file of bun went before it could be looked at");
        missed.attached(ImageId(1), Time(100));
        missed.clock_was_set_back(Time(20));
        missed.ended(&ended(30), &targets);
        assert_eq!(missed.total().processes, 2, "it was attached before");
        targets.selection.all = false;
        missed.ended(&ended(9), &targets);
        missed.unread(&[fixture::process(8, "bun")], &targets);
        let total = missed.total();
        assert_eq!((total.processes, total.unread), (2, 1), "it was not chosen");
    }

    #[test]
    fn a_handshake_that_is_seen_from_its_middle_is_counted() {
        let mut missed = Missed::default();
        let bun = fixture::process(7, "bun");
        let first = |label, at| fixture::secret(Time(at), &bun, 1, label, 2);
        missed.session(&first(Label::ClientTraffic0, 5), || true);
        assert!(missed.sentences().is_empty(), "the image is attached since longer than we know");
        missed.attached(ImageId(1), Time(4));
        missed.session(&first(Label::ClientHandshake, 5), || true);
        missed.session(&first(Label::ClientTraffic0, 5), || true);
        missed.session(&first(Label::ClientTraffic0, 5), || false);
        assert_eq!(missed.sentences(), ["1 handshake of bun began before it was attached"]);
        missed.session(&first(Label::ClientTraffic0, 60_000_000_000), || true);
        assert_eq!(missed.total().handshakes, 1);
    }
}
