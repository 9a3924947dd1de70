//! Attaching and detaching the probes of a plan.

use std::collections::HashMap;
use std::fs::File;
use std::num::NonZeroU32;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use aya::maps::{Array, MapData};
use tlskeytop_common::{Cookie, RecordConfig, TapConfig, TokenConfig, WalkConfig};

use super::links::{Link, Linker, Name, Owned, remove};
use super::multi::Probe;
use super::slots::{Part, Slots};
use super::warm::Warm;
use super::{CaptureError, reading};
use crate::model::target::ImageId;
use crate::target::functions;
use crate::target::plan::{Arguments, ImagePlan, RandomPath, Ways};

/// The program at the secret-logging function.
const TAP: &str = "tap";
/// The program where the values of a tap are elsewhere.
const RECORD: &str = "record";
/// The same, where the secret is a handle.
const RECORD_KEY: &str = "record_key";
/// The program that learns the handles.
const TOKEN: &str = "token";
/// The program at the entry of a function at which a connection can be walked.
const WALK: &str = "walk";
/// The programs at the entry and at the return of a function that shakes hands.
const HANDSHAKE: [&str; 2] = ["walk_enter", "walk_return"];
/// All programs, and whether each runs at a return.
pub(super) const PROGRAMS: [Name; 7] = [
    (TAP, false),
    (RECORD, false),
    (RECORD_KEY, false),
    (TOKEN, false),
    (WALK, false),
    (HANDSHAKE[0], false),
    (HANDSHAKE[1], true),
];

/// What an attach gave.
#[derive(Debug, Default)]
pub struct Attached {
    /// Probes in place.
    pub probes: usize,
    /// Parts of the plan that could not be attached, with the reason.
    pub problems: Vec<CaptureError>,
}

/// The loaded programs and everything they are attached to.
pub struct Probes {
    linker: Linker,
    taps: Array<MapData, PodTap>,
    records: Array<MapData, PodRecord>,
    tokens: Array<MapData, PodToken>,
    walks: Array<MapData, PodWalk>,
    tap_slots: Arc<RwLock<Slots>>,
    walk_slots: Arc<RwLock<Slots>>,
    ways: Ways,
    links: HashMap<ImageId, Vec<Links>>,
    /// Images that were attached before anybody decided on them.
    undecided: HashMap<ImageId, usize>,
    catching_up: HashMap<(u32, ImageId), Links>,
    warm: Warm,
}

/// The probes of one tap or walk.
struct Links {
    slots: Arc<RwLock<Slots>>,
    slot: u32,
    probes: usize,
    links: Vec<Link>,
}

/// Programs and the offsets in the file that each is attached to.
type Points = Vec<(&'static str, Vec<u64>)>;

/// A [`TapConfig`] that aya may copy into a map.
#[derive(Clone, Copy)]
#[repr(transparent)]
pub(super) struct PodTap(TapConfig);

// SAFETY: TapConfig is made of integers without padding; every bit pattern is valid and no byte is undefined.
unsafe impl aya::Pod for PodTap {}

/// A [`RecordConfig`] that aya may copy into a map.
#[derive(Clone, Copy)]
#[repr(transparent)]
pub(super) struct PodRecord(RecordConfig);

// SAFETY: RecordConfig is made of integers without padding; every bit pattern is valid and no byte is undefined.
unsafe impl aya::Pod for PodRecord {}

/// A [`TokenConfig`] that aya may copy into a map.
#[derive(Clone, Copy)]
#[repr(transparent)]
pub(super) struct PodToken(TokenConfig);

// SAFETY: TokenConfig is made of integers without padding; every bit pattern is valid and no byte is undefined.
unsafe impl aya::Pod for PodToken {}

/// A [`WalkConfig`] that aya may copy into a map.
#[derive(Clone, Copy)]
#[repr(transparent)]
pub(super) struct PodWalk(WalkConfig);

// SAFETY: WalkConfig is made of integers without padding; every bit pattern is valid and no byte is undefined.
unsafe impl aya::Pod for PodWalk {}

/// The maps and slots that are shared with the kernel and with the decoder.
pub(super) struct Tables {
    pub taps: Array<MapData, PodTap>,
    pub records: Array<MapData, PodRecord>,
    pub tokens: Array<MapData, PodToken>,
    pub walks: Array<MapData, PodWalk>,
    pub tap_slots: Arc<RwLock<Slots>>,
    pub walk_slots: Arc<RwLock<Slots>>,
}

impl Probes {
    pub(super) fn new(linker: Linker, tables: Tables, ways: Ways) -> Self {
        let Tables { taps, records, tokens, walks, tap_slots, walk_slots } = tables;
        Self {
            linker,
            taps,
            records,
            tokens,
            walks,
            tap_slots,
            walk_slots,
            ways,
            links: HashMap::new(),
            undecided: HashMap::new(),
            catching_up: HashMap::new(),
            warm: Warm::default(),
        }
    }

    /// Whether the kernel has no multi-uprobe links: then removing many probes takes long.
    pub fn are_linked_one_by_one(&self) -> bool {
        self.linker.is_one_by_one()
    }

    /// Attaches a plan: its taps, or a walk where there is none. A part that fails does not stop the others.
    /// Once `stop` is set, the rest is left out.
    pub fn attach(
        &mut self,
        image: ImageId,
        file: &Arc<File>,
        plan: &Arc<ImagePlan>,
        stop: &AtomicBool,
    ) -> Attached {
        // What stands already is not attached again.
        if let Some(probes) = self.undecided.remove(&image) {
            return Attached { probes, problems: Vec::new() };
        }
        let mut attached = Attached::default();
        for tap in 0..plan.taps_for(self.ways).len() {
            if stop.load(Ordering::Relaxed) {
                return attached;
            }
            let result = self.attach_tap(image, file, plan, tap);
            self.note(image, result, &mut attached);
        }
        if plan.is_walked(self.ways)
            && let Some(steps) = reading::steps(plan)
        {
            let result = self.attach_walk(image, file, plan, steps);
            self.note(image, result, &mut attached);
        }
        attached
    }

    /// The same before anybody decided on it; `None` when nothing is attached: then [`Probes::attach`] says why.
    pub fn attach_ahead(
        &mut self,
        image: ImageId,
        file: &Arc<File>,
        plan: &Arc<ImagePlan>,
        stop: &AtomicBool,
    ) -> Option<usize> {
        if self.links.contains_key(&image) {
            return None;
        }
        let attached = self.attach(image, file, plan, stop);
        if attached.probes == 0 || !attached.problems.is_empty() {
            self.detach(image);
            return None;
        }
        self.undecided.insert(image, attached.probes);
        Some(attached.probes)
    }

    /// Removes the probes of images that nobody decided on.
    pub fn detach_undecided(&mut self) {
        let images: Vec<ImageId> = self.undecided.keys().copied().collect();
        for image in images {
            self.detach(image);
        }
    }

    /// Keeps the kernel ready for the next image.
    pub(super) fn keep_warm(&mut self) {
        self.warm.touch(&mut self.linker, TAP);
    }

    /// Ends that.
    pub(super) fn cool_down(&mut self) {
        self.warm.release(&mut self.linker);
    }

    fn note(
        &mut self,
        image: ImageId,
        result: Result<Links, CaptureError>,
        attached: &mut Attached,
    ) {
        match result {
            Ok(links) => {
                attached.probes += links.probes;
                self.links.entry(image).or_default().push(links);
            }
            Err(problem) => attached.problems.push(problem),
        }
    }

    fn attach_tap(
        &mut self,
        image: ImageId,
        file: &File,
        plan: &Arc<ImagePlan>,
        index: usize,
    ) -> Result<Links, CaptureError> {
        let links = Links::take_slot(&self.tap_slots, image, plan, Part::Tap(index))?;
        let tap = &plan.taps[index];
        let named = |name| move |source| CaptureError::Map { name, source };
        let (program, set) = match &tap.arguments {
            Arguments::Connection(random) => {
                let config = PodTap(config(*random, plan));
                (TAP, self.taps.set(links.slot, config, 0).map_err(named("TAPS")))
            }
            Arguments::Operands(operands) => {
                let config = PodRecord(operands.record);
                (RECORD, self.records.set(links.slot, config, 0).map_err(named("RECORDS")))
            }
            Arguments::Key(operands) => {
                let config = PodRecord(operands.record);
                (RECORD_KEY, self.records.set(links.slot, config, 0).map_err(named("RECORDS")))
            }
            Arguments::Token(config) => {
                let config = PodToken(*config);
                (TOKEN, self.tokens.set(links.slot, config, 0).map_err(named("TOKENS")))
            }
        };
        let offsets = tap.sites.iter().map(|site| site.file_offset).collect();
        self.attach_points(file, links, set, vec![(program, offsets)], None)
    }

    fn attach_walk(
        &mut self,
        image: ImageId,
        file: &File,
        plan: &Arc<ImagePlan>,
        steps: WalkConfig,
    ) -> Result<Links, CaptureError> {
        let links = Links::take_slot(&self.walk_slots, image, plan, Part::Walk)?;
        let set = self.set_walk(links.slot, steps);
        let hooks = |is_wanted: fn(&str) -> bool| {
            plan.hooks.iter().filter(move |hook| is_wanted(hook.name))
        };
        // The return address is where the entry finds it, and nowhere else.
        let entries: Vec<u64> =
            hooks(functions::shakes_hands).map(|hook| hook.file_offset).collect();
        let points = vec![
            (HANDSHAKE[0], entries.clone()),
            (HANDSHAKE[1], entries),
            (WALK, hooks(functions::finds_it_done).map(|hook| hook.probe_offset).collect()),
        ];
        self.attach_points(file, links, set, points, None)
    }

    /// Attaches to the reads and writes of one process, until [`Probes::caught_up`].
    ///
    /// # Errors
    ///
    /// [`CaptureError`] when there is no room, or the kernel refuses it.
    pub fn catch_up(
        &mut self,
        pid: u32,
        image: ImageId,
        file: &File,
        plan: &Arc<ImagePlan>,
    ) -> Result<(), CaptureError> {
        let (Some(steps), Some(process)) = (reading::steps(plan), NonZeroU32::new(pid)) else {
            return Ok(());
        };
        let links = Links::take_slot(&self.walk_slots, image, plan, Part::CatchUp)?;
        let set = self.set_walk(links.slot, steps);
        let hooks = plan.hooks.iter().filter(|hook| hook.is_on_data_path());
        let points = vec![(WALK, hooks.map(|hook| hook.probe_offset).collect())];
        let links = self.attach_points(file, links, set, points, Some(process))?;
        if let Some(old) = self.catching_up.insert((pid, image), links) {
            remove(self.take(old));
        }
        Ok(())
    }

    fn set_walk(&mut self, slot: u32, steps: WalkConfig) -> Result<(), CaptureError> {
        let set = self.walks.set(slot, PodWalk(steps), 0);
        set.map_err(|source| CaptureError::Map { name: "WALKS", source })
    }

    /// Removes the probes of [`Probes::catch_up`].
    pub fn caught_up(&mut self, pid: u32, image: ImageId) {
        if let Some(links) = self.catching_up.remove(&(pid, image)) {
            remove(self.take(links));
        }
    }

    /// Attaches all points or none: a tap or walk that lacks one would miss secrets.
    fn attach_points(
        &mut self,
        file: &File,
        mut links: Links,
        set: Result<(), CaptureError>,
        points: Points,
        process: Option<NonZeroU32>,
    ) -> Result<Links, CaptureError> {
        let result = set.and_then(|()| {
            for (program, offsets) in points {
                let probes = links.number(offsets);
                self.linker.attach(program, file, &probes, process, &mut links.links)?;
            }
            Ok(())
        });
        match result {
            Ok(()) => Ok(links),
            Err(problem) => {
                remove(self.take(links));
                Err(problem)
            }
        }
    }

    /// Removes every probe of an image.
    pub fn detach(&mut self, image: ImageId) {
        self.undecided.remove(&image);
        let links = self.links.remove(&image).unwrap_or_default();
        let owned = links.into_iter().flat_map(|links| self.take(links)).collect();
        remove(owned);
    }

    /// The kernel's own handles of the probes of one tap or walk.
    fn take(&mut self, links: Links) -> Vec<Owned> {
        links.slots.write().unwrap_or_else(PoisonError::into_inner).release(links.slot);
        self.linker.take(links.links)
    }
}

impl Links {
    /// None yet, with a slot for a part of a plan.
    fn take_slot(
        slots: &Arc<RwLock<Slots>>,
        image: ImageId,
        plan: &Arc<ImagePlan>,
        part: Part,
    ) -> Result<Self, CaptureError> {
        let slot = slots.write().unwrap_or_else(PoisonError::into_inner).insert(image, plan, part);
        let slot = slot.ok_or(CaptureError::NoSlot)?;
        Ok(Self { slots: Arc::clone(slots), slot, probes: 0, links: Vec::new() })
    }

    /// Probes at these offsets, each with a cookie of its own.
    fn number(&mut self, offsets: Vec<u64>) -> Vec<Probe> {
        let first = self.probes;
        self.probes += offsets.len();
        let cookie = |site| Cookie { slot: self.slot, site: site as u32 }.pack();
        let numbered = (first..).zip(offsets);
        numbered.map(|(site, file_offset)| Probe { file_offset, cookie: cookie(site) }).collect()
    }
}

impl Drop for Probes {
    fn drop(&mut self) {
        let mut all: Vec<_> = self.links.drain().flat_map(|(_, links)| links).collect();
        all.extend(self.catching_up.drain().map(|(_, links)| links));
        let mut owned: Vec<Owned> = all.into_iter().flat_map(|links| self.take(links)).collect();
        owned.extend(self.warm.take(&mut self.linker));
        remove(owned);
    }
}

fn config(path: RandomPath, plan: &ImagePlan) -> TapConfig {
    TapConfig {
        has_deref: u32::from(path.deref.is_some()),
        deref: path.deref.unwrap_or(0),
        offset: path.offset,
        reserved: 0,
        facts: reading::facts_config(&plan.layout),
        ends: reading::ends_config(plan),
    }
}
