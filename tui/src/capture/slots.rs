//! What each attach cookie stands for.

use std::sync::Arc;

use tlskeytop_common::Cookie;

use super::reading;
use crate::model::Facts;
use crate::model::target::ImageId;
use crate::target::functions;
use crate::target::plan::{Arguments, Hook, ImagePlan, Tap};

/// What a probe belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// One of the plan's taps.
    Tap(usize),
    /// The walk.
    Walk,
    /// The walk of one process's open connections.
    CatchUp,
}

/// One attached tap or walk.
#[derive(Clone, Debug)]
pub struct Slot {
    /// The image.
    pub image: ImageId,
    /// The image's plan.
    pub plan: Arc<ImagePlan>,
    /// What of the plan.
    pub part: Part,
    attached: bool,
}

impl Slot {
    /// What a tap's steps to the facts of a session copied.
    pub fn facts(&self, bytes: &[u8]) -> Facts {
        match self.tap().map(|tap| &tap.arguments) {
            Some(Arguments::Operands(_) | Arguments::Key(_) | Arguments::Token(_)) => {
                Facts::default()
            }
            _ => reading::facts(&self.plan.layout, bytes),
        }
    }

    /// The label that a number stands for; the outer `None` where the library passes the label itself.
    pub fn numbered(&self, number: u32) -> Option<Option<&'static str>> {
        match &self.tap()?.arguments {
            Arguments::Operands(operands) if !operands.labels.is_empty() => {
                Some(operands.labels.get(number as usize).copied())
            }
            _ => None,
        }
    }

    /// The hook of a walk's probe with this number, as `Probes` numbers them: entries of the functions that shake
    /// hands, their returns, the others.
    pub fn hook(&self, site: u32) -> Option<&Hook> {
        let hooks = |is_wanted: fn(&str) -> bool| {
            self.plan.hooks.iter().filter(move |hook| is_wanted(hook.name))
        };
        let site = site as usize;
        match self.part {
            Part::Tap(_) => None,
            Part::CatchUp => hooks(functions::is_data_path).nth(site),
            Part::Walk => {
                let shakes_hands = || hooks(functions::shakes_hands);
                let all = shakes_hands().chain(shakes_hands());
                all.chain(hooks(functions::finds_it_done)).nth(site)
            }
        }
    }

    /// The tap.
    pub fn tap(&self) -> Option<&Tap> {
        match self.part {
            Part::Tap(index) => self.plan.taps.get(index),
            Part::Walk | Part::CatchUp => None,
        }
    }
}

/// All slots. A slot is kept when its tap is detached, since events of it may still be on their way,
/// and is used again as late as possible.
#[derive(Debug)]
pub struct Slots {
    slots: Vec<Slot>,
    next: usize,
    limit: u32,
}

impl Slots {
    /// At most `limit` slots.
    pub fn new(limit: u32) -> Self {
        Self { slots: Vec::new(), next: 0, limit }
    }

    /// Takes a slot for a part of a plan; `None` when all are attached.
    pub fn insert(&mut self, image: ImageId, plan: &Arc<ImagePlan>, part: Part) -> Option<u32> {
        let new = Slot { image, plan: Arc::clone(plan), part, attached: true };
        if self.slots.len() < self.limit as usize {
            self.slots.push(new);
            return u32::try_from(self.slots.len() - 1).ok();
        }
        let count = self.slots.len();
        let free = (0..count)
            .map(|step| (self.next + step) % count)
            .find(|&at| !self.slots[at].attached)?;
        self.slots[free] = new;
        self.next = free + 1;
        u32::try_from(free).ok()
    }

    /// Notes that the tap of a slot is detached.
    pub fn release(&mut self, slot: u32) {
        if let Some(slot) = self.slots.get_mut(slot as usize) {
            slot.attached = false;
        }
    }

    /// What a cookie stands for.
    pub fn get(&self, cookie: Cookie) -> Option<&Slot> {
        self.slots.get(cookie.slot as usize)
    }
}
