//! From a record of the ring buffer to a message of the model.

use std::sync::{Arc, PoisonError, RwLock};

use rustix::time::{ClockId, clock_gettime};
use tlskeytop_common::{Cookie, SecretEvent};
use zeroize::Zeroize as _;

use super::processes::Processes;
use super::slots::{Slot, Slots};
use crate::model::{Captured, Method, Msg, Time};
use crate::text::Foreign;
use crate::tls::{ClientRandom, Label, Secret};

/// Reads records. Labels that the kernel could not read are taken from the image's plan.
pub struct Decoder {
    slots: Arc<RwLock<Slots>>,
    processes: Processes,
    clock: Clock,
}

impl Decoder {
    pub(super) fn new(slots: Arc<RwLock<Slots>>) -> Self {
        Self { slots, processes: Processes::default(), clock: Clock::read() }
    }

    /// Looks at the clocks again; to be called before a batch of records.
    pub fn refresh_clock(&mut self) {
        self.clock = Clock::read();
    }

    /// What a record says.
    pub fn decode(&mut self, record: &[u8]) -> Msg {
        let mut event = match SecretEvent::decode(record) {
            Ok(event) => event,
            Err(error) => return rejected(0, b"", error.to_string()),
        };
        let msg = self.message(&event);
        event.secret.zeroize();
        msg
    }

    fn message(&mut self, event: &SecretEvent) -> Msg {
        let reject = |reason: String| rejected(event.pid, &event.comm, reason);
        let slots = self.slots.read().unwrap_or_else(PoisonError::into_inner);
        let Some(slot) = slots.get(Cookie::unpack(event.cookie)).cloned() else {
            return reject("an attach cookie that was never given".to_owned());
        };
        drop(slots);
        let label = match event.label_len {
            0 => match label_from_plan(event, &slot) {
                Some(label) => label,
                None => return Msg::LabelLost,
            },
            _ => match Label::parse(event.label()) {
                Ok(label) => label,
                Err(error) => return reject(error.to_string()),
            },
        };
        let client_random = ClientRandom(event.client_random);
        if client_random.is_null() {
            return reject(format!("{label} with a client random of zeros"));
        }
        let secret = match Secret::new(&label, &event.secret, event.secret_len) {
            Ok(secret) => secret,
            Err(error) => return reject(error.to_string()),
        };
        Msg::Secret(Captured {
            time: self.clock.to_realtime(event.time_ns),
            process: self.processes.get(event.pid, &event.comm),
            image: slot.image,
            method: Method::Tap,
            client_random,
            label,
            secret,
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

/// Both clocks at one moment: events carry `CLOCK_MONOTONIC`, users want the time of day.
#[derive(Clone, Copy, Debug)]
struct Clock {
    monotonic: u64,
    realtime: u64,
}

impl Clock {
    fn read() -> Self {
        let nanoseconds = |clock| {
            let time = clock_gettime(clock);
            u64::try_from(time.tv_sec).unwrap_or(0) * 1_000_000_000
                + u64::try_from(time.tv_nsec).unwrap_or(0)
        };
        Self {
            monotonic: nanoseconds(ClockId::Monotonic),
            realtime: nanoseconds(ClockId::Realtime),
        }
    }

    fn to_realtime(self, monotonic: u64) -> Time {
        let age = self.monotonic.saturating_sub(monotonic);
        Time(self.realtime.saturating_sub(age))
    }
}
