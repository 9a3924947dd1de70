//! Attaching and detaching the probes of a plan.

use std::collections::HashMap;
use std::fs::File;
use std::num::NonZeroU32;
use std::os::fd::AsRawFd as _;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use aya::Ebpf;
use aya::maps::{Array, MapData, MapError};
use aya::programs::UProbe;
use aya::programs::uprobe::{
    UProbeAttachLocation, UProbeAttachPoint, UProbeLink, UProbeLinkId, UProbeScope,
};
use tlskeytop_common::{Cookie, TapConfig, WalkConfig};

use super::slots::{Part, Slots};
use super::{CaptureError, reading, with_causes};
use crate::model::target::ImageId;
use crate::target::layout::Layouted;
use crate::target::plan::{ImagePlan, RandomPath, Ways};

/// The program at the secret-logging function.
const TAP: &str = "tap";
/// The program at the entry of a function at which a connection can be walked.
const WALK: &str = "walk";
/// The programs at the entry and at the return of a function that shakes hands.
const HANDSHAKE: [&str; 2] = ["walk_enter", "walk_return"];
/// Functions whose successful return ends a handshake.
const SHAKES_HANDS: [&str; 3] = ["SSL_do_handshake", "SSL_connect", "SSL_accept"];
/// Functions that are entered with a finished handshake also where none of those was called: a BIO filter
/// shakes hands by itself (facts, part 2).
const FINDS_IT_DONE: [&str; 3] = ["SSL_get_error", "SSL_shutdown", "SSL_free"];

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
    ebpf: Ebpf,
    taps: Array<MapData, PodTap>,
    walks: Array<MapData, PodWalk>,
    tap_slots: Arc<RwLock<Slots>>,
    walk_slots: Arc<RwLock<Slots>>,
    ways: Ways,
    links: HashMap<ImageId, Vec<Links>>,
    catching_up: HashMap<(u32, ImageId), Links>,
}

/// The probes of one tap or walk.
struct Links {
    slots: Arc<RwLock<Slots>>,
    slot: u32,
    links: Vec<(&'static str, UProbeLinkId)>,
}

/// One probe to attach.
struct Point {
    program: &'static str,
    file_offset: u64,
}

/// A [`TapConfig`] that aya may copy into a map.
#[derive(Clone, Copy)]
#[repr(transparent)]
pub(super) struct PodTap(TapConfig);

// SAFETY: TapConfig is made of integers without padding; every bit pattern is valid and no byte is undefined.
unsafe impl aya::Pod for PodTap {}

/// A [`WalkConfig`] that aya may copy into a map.
#[derive(Clone, Copy)]
#[repr(transparent)]
pub(super) struct PodWalk(WalkConfig);

// SAFETY: WalkConfig is made of integers without padding; every bit pattern is valid and no byte is undefined.
unsafe impl aya::Pod for PodWalk {}

/// The maps and slots that are shared with the kernel and with the decoder.
pub(super) struct Tables {
    pub taps: Array<MapData, PodTap>,
    pub walks: Array<MapData, PodWalk>,
    pub tap_slots: Arc<RwLock<Slots>>,
    pub walk_slots: Arc<RwLock<Slots>>,
}

impl Probes {
    pub(super) fn new(ebpf: Ebpf, tables: Tables, ways: Ways) -> Result<Self, CaptureError> {
        let Tables { taps, walks, tap_slots, walk_slots } = tables;
        let mut probes = Self {
            ebpf,
            taps,
            walks,
            tap_slots,
            walk_slots,
            ways,
            links: HashMap::new(),
            catching_up: HashMap::new(),
        };
        for name in [TAP, WALK].into_iter().chain(HANDSHAKE) {
            probes.program(name)?.load()?;
        }
        Ok(probes)
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
        let mut attached = Attached::default();
        for tap in 0..plan.taps_for(self.ways).len() {
            if stop.load(Ordering::Relaxed) {
                return attached;
            }
            let result = self.attach_tap(image, file, plan, tap);
            self.note(image, result, &mut attached);
        }
        if plan.is_walked(self.ways)
            && let Some(steps) = reading::steps(&plan.layout)
        {
            let result = self.attach_walk(image, file, plan, steps);
            self.note(image, result, &mut attached);
        }
        attached
    }

    fn note(
        &mut self,
        image: ImageId,
        result: Result<Links, CaptureError>,
        attached: &mut Attached,
    ) {
        match result {
            Ok(links) => {
                attached.probes += links.links.len();
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
        let slots = Arc::clone(&self.tap_slots);
        let slot = take_slot(&slots, image, plan, Part::Tap(index))?;
        let links = Links { slots, slot, links: Vec::new() };
        let tap = &plan.taps[index];
        let config = PodTap(config(tap.client_random, &plan.layout));
        let set = self.taps.set(slot, config, 0);
        let points =
            tap.sites.iter().map(|site| Point { program: TAP, file_offset: site.file_offset });
        let scope = UProbeScope::AllProcesses;
        self.attach_points(file, links, set, points.collect(), scope)
    }

    fn attach_walk(
        &mut self,
        image: ImageId,
        file: &File,
        plan: &Arc<ImagePlan>,
        steps: WalkConfig,
    ) -> Result<Links, CaptureError> {
        let slots = Arc::clone(&self.walk_slots);
        let slot = take_slot(&slots, image, plan, Part::Walk)?;
        let links = Links { slots, slot, links: Vec::new() };
        let set = self.walks.set(slot, PodWalk(steps), 0);
        let mut points = Vec::new();
        for hook in &plan.hooks {
            let programs: &[&'static str] = match hook.name {
                name if SHAKES_HANDS.contains(&name) => &HANDSHAKE,
                name if FINDS_IT_DONE.contains(&name) => &[WALK],
                _ => &[],
            };
            let point = |&program| Point { program, file_offset: hook.file_offset };
            points.extend(programs.iter().map(point));
        }
        self.attach_points(file, links, set, points, UProbeScope::AllProcesses)
    }

    /// Attaches to the reads and writes of one process, until [`Probes::caught_up`].
    ///
    /// # Errors
    ///
    /// [`CaptureError`] when there is nothing to attach, or the kernel refuses it.
    pub fn catch_up(
        &mut self,
        pid: u32,
        image: ImageId,
        file: &File,
        plan: &Arc<ImagePlan>,
    ) -> Result<(), CaptureError> {
        let (Some(steps), Some(process)) = (reading::steps(&plan.layout), NonZeroU32::new(pid))
        else {
            return Ok(());
        };
        let slots = Arc::clone(&self.walk_slots);
        let slot = take_slot(&slots, image, plan, Part::CatchUp)?;
        let links = Links { slots, slot, links: Vec::new() };
        let set = self.walks.set(slot, PodWalk(steps), 0);
        let hooks = plan.hooks.iter().filter(|hook| hook.is_on_data_path());
        let points =
            hooks.map(|hook| Point { program: WALK, file_offset: hook.file_offset }).collect();
        let links =
            self.attach_points(file, links, set, points, UProbeScope::OneProcess(process))?;
        if let Some(old) = self.catching_up.insert((pid, image), links) {
            remove(self.take(old));
        }
        Ok(())
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
        set: Result<(), MapError>,
        points: Vec<Point>,
        scope: UProbeScope,
    ) -> Result<Links, CaptureError> {
        let result = set
            .map_err(|source| CaptureError::Map { name: "TAPS or WALKS", source })
            .and_then(|()| self.attach_each(file, &mut links, points, scope));
        match result {
            Ok(()) => Ok(links),
            Err(problem) => {
                remove(self.take(links));
                Err(problem)
            }
        }
    }

    fn attach_each(
        &mut self,
        file: &File,
        links: &mut Links,
        points: Vec<Point>,
        scope: UProbeScope,
    ) -> Result<(), CaptureError> {
        // Through our own descriptor it is this file and no other, whatever its path names by now.
        let path = PathBuf::from(format!("/proc/self/fd/{}", file.as_raw_fd()));
        for (index, Point { program, file_offset }) in points.into_iter().enumerate() {
            let cookie = Cookie { slot: links.slot, site: index as u32 }.pack();
            let point = UProbeAttachPoint {
                location: UProbeAttachLocation::AbsoluteOffset(file_offset),
                cookie: Some(cookie),
            };
            let attached = self.program(program)?.attach(point, &path, scope);
            let link = attached.map_err(|error| CaptureError::Attach {
                offset: file_offset,
                reason: with_causes(&error),
            })?;
            links.links.push((program, link));
        }
        Ok(())
    }

    /// Removes every probe of an image.
    pub fn detach(&mut self, image: ImageId) {
        let links = self.links.remove(&image).unwrap_or_default();
        let owned = links.into_iter().flat_map(|links| self.take(links)).collect();
        remove(owned);
    }

    /// The kernel's own handles of the probes of one tap or walk.
    fn take(&mut self, links: Links) -> Vec<UProbeLink> {
        links.slots.write().unwrap_or_else(PoisonError::into_inner).release(links.slot);
        let mut owned = Vec::new();
        for (name, link) in links.links {
            // It only fails for a link that is not there any more.
            owned.extend(self.program(name).ok().and_then(|program| program.take_link(link).ok()));
        }
        owned
    }

    fn program(&mut self, name: &'static str) -> Result<&mut UProbe, CaptureError> {
        let program = self.ebpf.program_mut(name).ok_or(CaptureError::Missing(name))?;
        Ok(program.try_into()?)
    }
}

impl Drop for Probes {
    fn drop(&mut self) {
        let mut all: Vec<_> = self.links.drain().flat_map(|(_, links)| links).collect();
        all.extend(self.catching_up.drain().map(|(_, links)| links));
        let owned = all.into_iter().flat_map(|links| self.take(links)).collect();
        remove(owned);
    }
}

fn take_slot(
    slots: &RwLock<Slots>,
    image: ImageId,
    plan: &Arc<ImagePlan>,
    part: Part,
) -> Result<u32, CaptureError> {
    let mut slots = slots.write().unwrap_or_else(PoisonError::into_inner);
    slots.insert(image, plan, part).ok_or(CaptureError::NoSlot)
}

/// Removes probes. For each the kernel waits until no CPU can be in it, some 100 ms, and waits once for
/// many that are removed at the same time: so each has a thread.
fn remove(probes: Vec<UProbeLink>) {
    const AT_A_TIME: usize = 32;
    let mut probes = probes.into_iter();
    loop {
        let some: Vec<_> = probes.by_ref().take(AT_A_TIME).collect();
        if some.is_empty() {
            return;
        }
        std::thread::scope(|scope| {
            for probe in some {
                scope.spawn(move || drop(probe));
            }
        });
    }
}

fn config(path: RandomPath, layout: &Layouted) -> TapConfig {
    TapConfig {
        has_deref: u32::from(path.deref.is_some()),
        deref: path.deref.unwrap_or(0),
        offset: path.offset,
        reserved: 0,
        facts: reading::fact_steps(layout),
    }
}
