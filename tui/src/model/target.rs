//! Targets: processes, images, and which of them were chosen.

mod image;
mod reconcile;
mod scan;

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

pub use image::{Image, ImageId, ImageState};
pub use reconcile::Change;
use reconcile::Rule;
pub use scan::{Ended, Scan, Target};

pub use super::process::{Ancestor, Birth, Process, START_TOLERANCE, is_same_start};
pub use super::selection::Selection;

/// The processes and images of this machine, and what was chosen of them.
#[derive(Debug, Default)]
pub struct Targets {
    /// What was chosen.
    pub selection: Selection,
    /// Every process with TLS code, by pid.
    pub processes: BTreeMap<u32, Target>,
    /// Every image.
    pub images: BTreeMap<ImageId, Image>,
    /// The parents of processes without TLS code that are above those with it.
    pub ancestors: BTreeMap<u32, u32>,
    /// Images of which the kernel did not permit any probe.
    pub refused: BTreeSet<ImageId>,
    /// Counts the looks at the machine: with another number, processes and images may be others.
    pub looks: u64,
    /// When the last one began: clock ticks since boot.
    pub looked_at: u64,
    /// Every process that it found.
    pub births: BTreeMap<u32, Birth>,
    rules: HashMap<u32, Rule>,
    /// Processes chosen or excluded by their ids that the last scan did not find.
    missing: BTreeSet<u32>,
    reports_unknown: bool,
}

impl Targets {
    /// Nothing known yet, with what was chosen.
    pub fn new(selection: Selection) -> Self {
        Self { selection, ..Self::default() }
    }

    /// Takes over what a scan found. Images and their states stay; new ones are added, and those that
    /// are not known any more go, with what is attached to them.
    pub fn merge(&mut self, scan: Scan) -> Vec<Change> {
        let known: BTreeSet<ImageId> = scan.images.iter().map(|image| image.id).collect();
        let mut changes = Vec::new();
        self.images.retain(|id, image| {
            let stays = known.contains(id);
            let is_there =
                matches!(image.state, ImageState::Attached { .. } | ImageState::Attaching);
            if !stays && is_there {
                changes.push(Change::Detach(*id));
            }
            stays
        });
        self.refused.retain(|id| known.contains(id));
        for image in scan.images {
            let known = self.images.entry(image.id).or_insert_with(|| image.clone());
            known.named |= image.named;
            known.excluded = image.excluded;
        }
        self.processes =
            scan.targets.into_iter().map(|target| (target.process.pid, target)).collect();
        self.ancestors = scan.ancestors;
        self.looks += 1;
        self.looked_at = scan.began;
        if let Some(pids) = &scan.pids {
            self.look_at_families(pids, &scan.births);
        }
        self.births = scan.births;
        changes
    }

    /// Adds an image that was just found. Where any process may report it is attached at once: the first process that has
    /// it mapped is about to shake hands.
    pub fn found(&mut self, image: Image) -> Option<Change> {
        let (id, wanted) = (image.id, self.reports_unknown && self.can_attach(&image));
        let image = self.images.entry(id).or_insert(image);
        if !wanted || image.state != ImageState::Idle {
            return None;
        }
        image.state = ImageState::Attaching;
        Some(Change::Attach(id))
    }

    /// Whether one that was chosen or excluded by its id was missing in the last picture: the next one decides.
    pub fn may_have_ended(&self) -> bool {
        let Selection { pids, excluded, .. } = &self.selection;
        let named = [pids, &excluded.pids, &excluded.pardoned];
        self.missing.iter().any(|pid| named.iter().any(|pids| pids.contains_key(pid)))
    }

    /// Drops what was chosen or excluded by its id and has ended, since the id may be given to another process. What
    /// two scans did not find has ended, and what it sent before has been read. Its descendants stay.
    fn look_at_families(&mut self, living: &BTreeSet<u32>, births: &BTreeMap<u32, Birth>) {
        let Selection { pids, excluded, family, children, .. } = &mut self.selection;
        if *children {
            family.looked(pids, births);
            excluded.family.looked(&excluded.pids, births);
        }
        let before = std::mem::take(&mut self.missing);
        let missing = &mut self.missing;
        let mut has_ended = |pid: u32, ticks: u64| match living.contains(&pid) {
            true => births
                .get(&pid)
                .is_some_and(|now| ticks != 0 && !is_same_start(now.start_ticks, ticks)),
            false => {
                missing.insert(pid);
                before.contains(&pid)
            }
        };
        let ended = |pids: &BTreeMap<u32, u64>, has_ended: &mut dyn FnMut(u32, u64) -> bool| {
            let ended = pids.iter().filter(|(pid, ticks)| has_ended(**pid, **ticks));
            ended.map(|(&pid, &start_ticks)| Ancestor { pid, start_ticks }).collect::<Vec<_>>()
        };
        for (pids, family) in
            [(&mut *pids, &mut *family), (&mut excluded.pids, &mut excluded.family)]
        {
            for root in ended(pids, &mut has_ended) {
                pids.remove(&root.pid);
                family.root_ended(root);
            }
        }
        for pardoned in ended(&excluded.pardoned, &mut has_ended) {
            excluded.pardoned.remove(&pardoned.pid);
        }
    }

    /// Chooses a process by its id, or drops it. Of what else chooses it, it is excluded.
    pub fn choose_pid(&mut self, pid: u32, chosen: bool) {
        let process = self.processes.get(&pid).map(|target| Arc::clone(&target.process));
        match chosen {
            true => self.selection.take_in(pid, process.as_deref()),
            false => self.selection.leave_out(pid, process.as_deref()),
        }
    }

    /// Number of chosen processes with an image that is attached.
    pub fn attached_processes(&self) -> usize {
        let attached = |id: &ImageId| {
            self.images.get(id).is_some_and(|i| matches!(i.state, ImageState::Attached { .. }))
        };
        self.processes
            .values()
            .filter(|target| self.selection.chooses(&target.process))
            .filter(|target| target.images.iter().any(attached))
            .count()
    }

    /// Processes that were named one by one and have TLS code that cannot be captured, with the reason.
    pub fn not_capturable(&self) -> Vec<(&Process, String)> {
        let named =
            |target: &&Target| !self.selection.all && self.selection.chooses(&target.process);
        let reason = |target: &Target| self.obstacle(target).map(|why| crate::text::sanitize(&why));
        self.processes
            .values()
            .filter(named)
            .filter_map(|target| Some((&*target.process, reason(target)?)))
            .collect()
    }

    /// Why nothing of a process can be captured: `GnuTLS is not yet supported`; `None` when something can.
    /// Not safe to show as it is.
    pub fn obstacle(&self, target: &Target) -> Option<Cow<'_, str>> {
        let known = target.images.iter().filter_map(|id| self.images.get(id));
        let mut images = known.filter(|image| !image.plan.is_token()).peekable();
        let why = match images.peek().copied() {
            None => Cow::Borrowed("it has no image with TLS code"),
            Some(image) if !image.plan.is_captured(self.selection.ways) => {
                image.plan.obstacle(self.selection.ways)
            }
            Some(image) if image.excluded => {
                Cow::Owned(format!("--exclude-image names {}", image.path))
            }
            Some(image) => Cow::Owned(format!("--image does not name {}", image.path)),
        };
        (!images.any(|image| self.can_attach(image))).then_some(why)
    }

    /// Whether there is something to attach, which the command line allows.
    pub(super) fn can_attach(&self, image: &Image) -> bool {
        image.plan.is_captured(self.selection.ways)
            && image.may_be_attached()
            && (image.named || !self.selection.only_named_images)
    }

    /// How many processes have each image mapped.
    pub fn users(&self) -> BTreeMap<ImageId, usize> {
        let mut users = BTreeMap::new();
        for id in self.processes.values().flat_map(|target| &target.images) {
            *users.entry(*id).or_default() += 1;
        }
        users
    }

    /// Number of images with probes in place.
    pub fn attached_images(&self) -> usize {
        let attached = |image: &&Image| matches!(image.state, ImageState::Attached { .. });
        self.images.values().filter(attached).count()
    }

    /// What the kernel said, when it permitted no probe at all: some were asked for, and each was refused.
    pub fn refusal(&self) -> Option<&str> {
        let mut reason = None;
        for image in self.images.values() {
            match &image.state {
                ImageState::Failed(why) if self.refused.contains(&image.id) => {
                    reason = Some(&**why)
                }
                ImageState::Idle => {}
                ImageState::Failed(_) | ImageState::Attached { .. } | ImageState::Attaching => {
                    return None;
                }
            }
        }
        reason
    }

    /// Whether an attach that was asked for has not been answered.
    pub fn is_attaching(&self) -> bool {
        self.images.values().any(|image| image.state == ImageState::Attaching)
    }
}
