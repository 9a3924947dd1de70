//! From a record of the ring buffer to a message of the model.

use std::sync::{Arc, PoisonError, RwLock};

use tlskeytop_common::{Cookie, Ends, SecretEvent, SeenBy, WalkEvent};
use zeroize::Zeroize as _;

use super::again::Again;
use super::processes::Processes;
use super::reading;
use super::slots::{Part, Slot, Slots};
use crate::clock::{boot_time, time_of_day};
use crate::model::{Captured, Facts, Method, Msg, Time, WhoIsWho};
use crate::target::follow::watch::Watch;
use crate::target::functions;
use crate::text::Foreign;
use crate::tls::{ClientRandom, Label, Secret};

/// Reads records. Labels that the kernel could not read are taken from the image's plan.
pub struct Decoder {
    slots: Arc<RwLock<Slots>>,
    walks: Arc<RwLock<Slots>>,
    again: Again,
    processes: Processes,
    clock: Clock,
}

impl Decoder {
    pub(crate) fn new(slots: Arc<RwLock<Slots>>, walks: Arc<RwLock<Slots>>, again: Again) -> Self {
        Self { slots, walks, again, processes: Processes::default(), clock: Clock::read() }
    }

    /// Asks this from now on which process an event came from.
    pub fn watch(&mut self, watch: Watch) {
        self.processes.watch = Some(watch);
    }

    /// Looks at the clocks and processes again; to be called before a batch of records.
    pub fn begin_batch(&mut self) {
        self.clock = Clock::read();
        self.processes.begin_batch();
    }

    /// What a record says: a secret, or all secrets of a connection.
    pub fn decode(&mut self, record: &[u8], into: &mut Vec<Msg>) {
        if let Ok(mut event) = WalkEvent::decode(record) {
            self.walk(&event, into);
            event.payload.zeroize();
            return;
        }
        match SecretEvent::decode_with_ends(record) {
            Ok((mut event, ends)) => {
                into.push(self.message(&event, ends.as_ref()));
                event.secret.zeroize();
            }
            Err(error) => into.push(rejected(0, b"", error.to_string())),
        }
    }

    fn walk(&mut self, event: &WalkEvent, into: &mut Vec<Msg>) {
        let mut reject = |reason| into.push(rejected(event.pid, &event.comm, reason));
        let cookie = Cookie::unpack(event.cookie);
        let by = SeenBy { pid: event.pid, slot: cookie.slot };
        let slots = self.walks.read().unwrap_or_else(PoisonError::into_inner);
        let Some(slot) = slots.get(cookie).cloned() else {
            return reject("an attach cookie that was never given".to_owned());
        };
        drop(slots);
        let reading = match reading::read(&slot.plan.layout, &event.payload) {
            Ok(Some(reading)) => reading,
            // The handshake is not done yet.
            Ok(None) => return,
            Err(error) => {
                reject(error.to_string());
                return self.again.rejected(event.connection, by, event.time_ns);
            }
        };
        self.again.believed(event.connection, by);
        let ends = Self::ends_of(event, &slot, &reading.facts);
        for (label, secret) in reading.secrets {
            let may_be_updated = matches!(label, Label::ClientTraffic0 | Label::ServerTraffic0);
            into.push(Msg::Secret(Captured {
                time: self.clock.to_realtime(event.time_ns),
                process: self.processes.get(event.pid, event.tid, &event.comm, event.time_ns),
                image: slot.image,
                method: Method::Walk,
                client_random: reading.client_random,
                label,
                secret,
                facts: reading.facts,
                ends: ends.clone(),
                caught_up: (slot.part == Part::CatchUp).then_some(event.connection),
                may_be_updated: reading.may_be_updated && may_be_updated,
            }));
        }
    }

    /// The ends of a walked connection. A program may have closed the descriptor before it ends the connection, and
    /// another socket may have it then: at those hooks it says nothing.
    fn ends_of(event: &WalkEvent, slot: &Slot, facts: &Facts) -> WhoIsWho {
        let ends = reading::ends::read(&event.ends, facts);
        let hook = slot.hook(Cookie::unpack(event.cookie).site);
        let is_open = hook.is_some_and(|hook| !functions::ends_it(hook.name));
        WhoIsWho { peer: ends.peer.filter(|_| is_open), ..ends }
    }

    fn message(&mut self, event: &SecretEvent, ends: Option<&Ends>) -> Msg {
        let reject = |reason: String| rejected(event.pid, &event.comm, reason);
        let slots = self.slots.read().unwrap_or_else(PoisonError::into_inner);
        let Some(slot) = slots.get(Cookie::unpack(event.cookie)).cloned() else {
            return reject("an attach cookie that was never given".to_owned());
        };
        drop(slots);
        let label = match (slot.numbered(event.label_number), event.label_len) {
            (Some(Some(label)), _) => Label::parse(label.as_bytes()),
            (Some(None), _) => {
                return reject(format!("no label has the number {}", event.label_number));
            }
            (None, 0) => match label_from_plan(event, &slot) {
                Some(label) => Ok(label),
                None => return Msg::LabelLost,
            },
            (None, _) => Label::parse(event.label()),
        };
        let label = match label {
            Ok(label) => label,
            Err(error) => return reject(error.to_string()),
        };
        let client_random = ClientRandom(event.client_random);
        if client_random.is_null() {
            return reject(format!("{label} with a client random of zeros"));
        }
        let secret = match Secret::new(&label, &event.secret, event.secret_len) {
            Ok(secret) => secret,
            Err(error) => return reject(error.to_string()),
        };
        let facts = slot.facts(&event.facts);
        Msg::Secret(Captured {
            time: self.clock.to_realtime(event.time_ns),
            process: self.processes.get(event.pid, event.tid, &event.comm, event.time_ns),
            image: slot.image,
            method: Method::Tap,
            client_random,
            label,
            secret,
            facts,
            ends: ends.map(|ends| reading::ends::read(ends, &facts)).unwrap_or_default(),
            caught_up: None,
            may_be_updated: false,
        })
    }
}

/// The page with the label was not resident in the target. The label's address is that of the probed
/// instruction plus the distance that the kernel side sent, and the plan has the file's labels.
fn label_from_plan(event: &SecretEvent, slot: &Slot) -> Option<Label> {
    let site = slot.tap()?.sites.get(Cookie::unpack(event.cookie).site as usize)?;
    let address = site.address.checked_add_signed(event.label_delta)?;
    let label = slot.plan.labels.iter().find(|label| label.address == address)?;
    Label::parse(label.name.as_bytes()).ok()
}

fn rejected(pid: u32, thread: &[u8], reason: String) -> Msg {
    Msg::Rejected { pid, thread: Foreign::from_bytes(thread), reason }
}

/// Both clocks at one moment: events carry `CLOCK_BOOTTIME`, users want the time of day.
#[derive(Clone, Copy, Debug)]
struct Clock {
    boot: u64,
    realtime: Time,
}

impl Clock {
    fn read() -> Self {
        Self { boot: boot_time(), realtime: time_of_day() }
    }

    fn to_realtime(self, boot: u64) -> Time {
        let age = self.boot.saturating_sub(boot);
        Time(self.realtime.0.saturating_sub(age))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::target::ImageId;
    use crate::target::layout::{Evidence, LayoutRefusal};
    use crate::target::plan::{
        Arguments, ImagePlan, LabelAt, Linkage, RandomPath, Site, SiteKind, Tap,
    };

    fn decoder() -> Decoder {
        let site = Site { address: 0x1000, file_offset: 0x1000, kind: SiteKind::Call };
        let tap = Tap {
            function: 0x2000,
            symbol: None,
            arguments: Arguments::Connection(RandomPath { deref: None, offset: 0 }),
            sites: vec![Site { address: 0x500, ..site }, site],
        };
        let plan = ImagePlan {
            unsupported: None,
            build_id: None,
            linkage: Linkage::Shared,
            stripped: true,
            library: None,
            others: Vec::new(),
            taps: vec![tap],
            labels: vec![LabelAt { address: 0x8000, name: "EXPORTER_SECRET" }],
            reason: String::new(),
            layout: Err(LayoutRefusal("made up for a test".to_owned())),
            evidence: Evidence::default(),
            hooks: Vec::new(),
            hooks_reason: String::new(),
        };
        let mut slots = Slots::new(4);
        assert_eq!(slots.insert(ImageId(3), &Arc::new(plan), Part::Tap(0)), Some(0));
        let walks = Arc::new(RwLock::new(Slots::new(4)));
        Decoder::new(Arc::new(RwLock::new(slots)), walks, Again::new(None))
    }

    fn event(label: &[u8], secret_len: u32) -> SecretEvent {
        let mut event = SecretEvent {
            time_ns: Clock::read().boot,
            cookie: Cookie { slot: 0, site: 1 }.pack(),
            connection: 0x7000_0000,
            label_delta: 0x7000,
            pid: std::process::id(),
            tid: 1,
            label_len: label.len() as u32,
            secret_len,
            label_number: 0,
            reserved: 0,
            comm: *b"worker\0\0\0\0\0\0\0\0\0\0",
            client_random: [7; 32],
            label: [0; tlskeytop_common::LABEL_ROOM],
            secret: [9; 64],
            facts: [0; tlskeytop_common::FACTS],
        };
        event.label[..label.len()].copy_from_slice(label);
        event
    }

    fn rejection(event: &SecretEvent) -> String {
        match decoder().message(event, None) {
            Msg::Rejected { reason, .. } => reason,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_secret_becomes_a_message_with_its_process() {
        match decoder().message(&event(b"CLIENT_RANDOM", 48), None) {
            Msg::Secret(captured) => {
                assert_eq!(captured.image, ImageId(3));
                assert_eq!(captured.label, Label::ClientRandom);
                assert_eq!(captured.secret.expose(), [9; 48]);
                assert_eq!(captured.process.pid, std::process::id());
            }
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_label_that_was_not_resident_comes_from_the_plan() {
        match decoder().message(&event(b"", 32), None) {
            Msg::Secret(captured) => assert_eq!(captured.label, Label::Exporter),
            other => panic!("{other:?}"),
        }
        let mut elsewhere = event(b"", 32);
        elsewhere.label_delta = i64::MIN;
        assert!(matches!(decoder().message(&elsewhere, None), Msg::LabelLost));
        elsewhere.label_delta = 0x7001;
        assert!(matches!(decoder().message(&elsewhere, None), Msg::LabelLost));
    }

    #[test]
    fn what_cannot_be_right_is_rejected_with_the_reason() {
        assert!(rejection(&event(b"CLIENT_RANDOM", 32)).contains("32 bytes"));
        assert!(rejection(&event(b"EXPORTER_SECRET", u32::MAX)).contains("bytes"));
        assert!(rejection(&event(b"A\nB", 32)).contains("0x0a"));
        let mut wrong = event(b"CLIENT_RANDOM", 48);
        wrong.client_random = [0; 32];
        assert!(rejection(&wrong).contains("zeros"));
        wrong.cookie = u64::MAX;
        assert!(rejection(&wrong).contains("cookie"));
    }
}
