//! Attaching and detaching the probes of a plan.

use std::collections::HashMap;
use std::fs::File;
use std::os::fd::AsRawFd as _;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use aya::Ebpf;
use aya::maps::{Array, MapData};
use aya::programs::UProbe;
use aya::programs::uprobe::{
    UProbeAttachLocation, UProbeAttachPoint, UProbeLink, UProbeLinkId, UProbeScope,
};
use tlskeytop_common::{Cookie, TapConfig};

use super::slots::Slots;
use super::{CaptureError, PROGRAM, with_causes};
use crate::model::target::ImageId;
use crate::target::plan::{ImagePlan, RandomPath};

/// What an attach gave.
#[derive(Debug, Default)]
pub struct Attached {
    /// Probes in place.
    pub probes: usize,
    /// Taps of the plan that could not be attached, with the reason.
    pub problems: Vec<CaptureError>,
}

/// The loaded program and everything it is attached to.
pub struct Probes {
    ebpf: Ebpf,
    taps: Array<MapData, Pod>,
    slots: Arc<RwLock<Slots>>,
    links: HashMap<ImageId, Vec<Links>>,
}

/// The probes of one tap.
struct Links {
    slot: u32,
    links: Vec<UProbeLinkId>,
}

/// A [`TapConfig`] that aya may copy into a map.
#[derive(Clone, Copy)]
#[repr(transparent)]
pub(super) struct Pod(TapConfig);

// SAFETY: TapConfig is four u32 without padding; every bit pattern is valid and no byte is undefined.
unsafe impl aya::Pod for Pod {}

impl Probes {
    pub(super) fn new(
        mut ebpf: Ebpf,
        taps: Array<MapData, Pod>,
        slots: Arc<RwLock<Slots>>,
    ) -> Result<Self, CaptureError> {
        program(&mut ebpf)?.load()?;
        Ok(Self { ebpf, taps, slots, links: HashMap::new() })
    }

    /// Attaches every tap of a plan. A tap that fails does not stop the others; a tap with one site
    /// that fails is taken back, since it would miss secrets. Once `stop` is set, the rest is left out.
    pub fn attach(
        &mut self,
        image: ImageId,
        file: &Arc<File>,
        plan: &Arc<ImagePlan>,
        stop: &AtomicBool,
    ) -> Attached {
        let mut attached = Attached::default();
        for tap in 0..plan.taps.len() {
            if stop.load(Ordering::Relaxed) {
                break;
            }
            match self.attach_tap(image, file, plan, tap) {
                Ok(links) => {
                    attached.probes += links.links.len();
                    self.links.entry(image).or_default().push(links);
                }
                Err(problem) => attached.problems.push(problem),
            }
        }
        attached
    }

    fn attach_tap(
        &mut self,
        image: ImageId,
        file: &Arc<File>,
        plan: &Arc<ImagePlan>,
        tap: usize,
    ) -> Result<Links, CaptureError> {
        let slot = self
            .slots
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(image, plan, tap)
            .ok_or(CaptureError::NoSlot)?;
        let mut links = Links { slot, links: Vec::new() };
        let result = self.attach_sites(file, &plan.taps[tap], &mut links);
        if let Err(problem) = result {
            self.detach_links(links);
            return Err(problem);
        }
        Ok(links)
    }

    fn attach_sites(
        &mut self,
        file: &File,
        tap: &crate::target::plan::Tap,
        links: &mut Links,
    ) -> Result<(), CaptureError> {
        let config = Pod(config(tap.client_random));
        let map = |source| CaptureError::Map { name: "TAPS", source };
        self.taps.set(links.slot, config, 0).map_err(map)?;
        // Through our own descriptor it is this file and no other, whatever its path names by now.
        let path = PathBuf::from(format!("/proc/self/fd/{}", file.as_raw_fd()));
        let program = program(&mut self.ebpf)?;
        for (index, site) in tap.sites.iter().enumerate() {
            let cookie = Cookie { slot: links.slot, site: index as u32 }.pack();
            let point = UProbeAttachPoint {
                location: UProbeAttachLocation::AbsoluteOffset(site.file_offset),
                cookie: Some(cookie),
            };
            let link =
                program.attach(point, &path, UProbeScope::AllProcesses).map_err(|error| {
                    CaptureError::Attach { offset: site.file_offset, reason: with_causes(&error) }
                })?;
            links.links.push(link);
        }
        Ok(())
    }

    /// Removes every probe of an image.
    pub fn detach(&mut self, image: ImageId) {
        for links in self.links.remove(&image).unwrap_or_default() {
            self.detach_links(links);
        }
    }

    fn detach_links(&mut self, links: Links) {
        let owned = self.take(links);
        remove(owned);
    }

    /// The kernel's own handles of the probes of one tap.
    fn take(&mut self, links: Links) -> Vec<UProbeLink> {
        self.slots.write().unwrap_or_else(PoisonError::into_inner).release(links.slot);
        let Ok(program) = program(&mut self.ebpf) else { return Vec::new() };
        // It only fails for a link that is not there any more.
        links.links.into_iter().filter_map(|link| program.take_link(link).ok()).collect()
    }
}

impl Drop for Probes {
    fn drop(&mut self) {
        let all: Vec<_> = self.links.drain().flat_map(|(_, links)| links).collect();
        let owned = all.into_iter().flat_map(|links| self.take(links)).collect();
        remove(owned);
    }
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

fn program(ebpf: &mut Ebpf) -> Result<&mut UProbe, CaptureError> {
    let program = ebpf.program_mut(PROGRAM).ok_or(CaptureError::Missing(PROGRAM))?;
    Ok(program.try_into()?)
}

fn config(path: RandomPath) -> TapConfig {
    TapConfig {
        has_deref: u32::from(path.deref.is_some()),
        deref: path.deref.unwrap_or(0),
        offset: path.offset,
        reserved: 0,
    }
}
