//! Targets: processes, images, and which of them were chosen.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use globset::GlobMatcher;

use super::Time;
use super::container::ContainerPattern;
use super::family::Family;
pub use super::process::{Ancestor, Birth, Process, START_TOLERANCE, is_same_start};
use super::selection::{Choice, Excluded, Exclusion};
use crate::target::plan::{ImagePlan, Library, Ways};
use crate::text::Foreign;

/// Names an image while the program runs; never used again for another file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ImageId(pub u32);

impl ImageId {
    /// That of no image.
    pub const NONE: Self = Self(u32::MAX);
}

/// What is attached to an image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ImageState {
    /// Nothing, since no chosen process needs it.
    Idle,
    /// Asked for.
    Attaching,
    /// Probes are in place.
    Attached {
        /// Their number.
        probes: usize,
    },
    /// The kernel refused.
    Failed(String),
}

/// One file with TLS code.
#[derive(Clone, Debug)]
pub struct Image {
    /// Its name while the program runs.
    pub id: ImageId,
    /// Its path as the first target sees it.
    pub path: Foreign,
    /// What can be attached.
    pub plan: Arc<ImagePlan>,
    /// What is attached.
    pub state: ImageState,
    /// Named with `--image`.
    pub named: bool,
    /// Named with `--exclude-image`.
    pub excluded: bool,
}

impl Image {
    /// Whether it has secrets of its own that somebody may want.
    pub fn may_be_attached(&self) -> bool {
        !self.plan.is_token() && !self.excluded
    }

    /// `OpenSSL 3.0.17`, `BoringSSL`, `Go 1.22.3 + rustls 0.23.46`, `unknown`, `unknown + Go 1.27.3`.
    pub fn library(&self) -> String {
        let name = |library: &Library| match &library.version {
            Some(version) => format!("{} {}", library.name, crate::text::sanitize(version)),
            None => library.name.to_owned(),
        };
        let first = self.plan.library.as_ref().map_or_else(|| "unknown".to_owned(), name);
        let others = self.plan.others.iter().map(name);
        std::iter::once(first).chain(others).collect::<Vec<_>>().join(" + ")
    }
}

/// A process that has images mapped.
#[derive(Clone, Debug)]
pub struct Target {
    /// The process.
    pub process: Arc<Process>,
    /// The images with TLS code that it has mapped.
    pub images: Vec<ImageId>,
    /// Its command line, as it was when it was looked at; `None` when it could not be read.
    pub command: Option<Foreign>,
}

/// What a look at the machine found.
#[derive(Clone, Debug, Default)]
pub struct Scan {
    /// Every process with TLS code.
    pub targets: Vec<Target>,
    /// The parents of processes without TLS code that are above those with it.
    pub ancestors: BTreeMap<u32, u32>,
    /// Every image with TLS code that is known: mapped, in the loader's cache, or named.
    pub images: Vec<Image>,
    /// Every process there is; `None` when that could not be read.
    pub pids: Option<BTreeSet<u32>>,
    /// From whom each of them was born; of one that ended meanwhile there is nothing.
    pub births: BTreeMap<u32, Birth>,
    /// What the user should know.
    pub warnings: Vec<String>,
    /// When the look began: clock ticks since boot, as in [`Process::start_ticks`].
    pub began: u64,
    /// Those that had an image mapped and ended since the last look.
    pub ended: Vec<Ended>,
    /// Those that ended before a file that they had mapped could be opened: what was in it is not known.
    pub unread: Vec<Arc<Process>>,
}

/// A process with TLS code that ended.
#[derive(Clone, Debug)]
pub struct Ended {
    /// The process.
    pub process: Arc<Process>,
    /// The images with TLS code that it had mapped.
    pub images: Vec<ImageId>,
    /// When.
    pub at: Time,
}

/// Which processes report.
#[derive(Clone, Debug, Default)]
pub struct Selection {
    /// Everything, now and in future.
    pub all: bool,
    /// Chosen by process id, with the process's `start_ticks`, or 0 when these are not known: another process
    /// that gets the same id later is not chosen.
    pub pids: BTreeMap<u32, u64>,
    /// Chosen by name.
    pub names: Vec<GlobMatcher>,
    /// Chosen by container, pod or unit.
    pub containers: Vec<ContainerPattern>,
    /// The descendants of what is chosen by its id are chosen too, and those of what is excluded by it excluded.
    pub children: bool,
    /// What is left out, whatever chooses it.
    pub excluded: Excluded,
    /// Every descendant of this process is chosen: of ourselves, with a command that we run.
    pub root: Option<Ancestor>,
    /// Only images that were named (`--image`).
    pub only_named_images: bool,
    /// By tap, by walk.
    pub ways: Ways,
    /// The descendants of what is chosen by its id.
    pub family: Family,
}

/// What the kernel should do, as a difference to what it does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// Attach the plan of an image.
    Attach(ImageId),
    /// Remove its probes.
    Detach(ImageId),
    /// Let a process report, or not.
    Rule(u32, bool),
    /// Let a process report, also what it reported before: it may not have been taken then.
    ReportAnew(u32),
    /// Forget what was said of a process.
    ForgetRule(u32),
    /// Whether processes without a rule report.
    ReportUnknown(bool),
    /// Attach to the reads and writes of one process, for the connections that it has open.
    CatchUp {
        /// The process.
        pid: u32,
        /// The image.
        image: ImageId,
    },
    /// Remove those probes.
    CaughtUp {
        /// The process.
        pid: u32,
        /// The image.
        image: ImageId,
    },
}

/// What the kernel was told of a process.
#[derive(Debug, PartialEq, Eq)]
enum Rule {
    /// It reports.
    Reports,
    /// It does not, while it is this program.
    Silent(Program),
}

/// The program that a process is: an exec makes it another one.
#[derive(Debug, PartialEq, Eq)]
struct Program {
    start_ticks: u64,
    comm: Foreign,
    exe: Option<Foreign>,
}

impl Program {
    fn of(process: &Process) -> Self {
        let Process { start_ticks, comm, exe, .. } = process;
        Self { start_ticks: *start_ticks, comm: comm.clone(), exe: exe.clone() }
    }
}

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

    /// Decides on a process that reported without a rule, and remembers it.
    pub fn decide(&mut self, process: &Process) -> (bool, Option<Change>) {
        if self.selection.takes_all() {
            return (true, None);
        }
        let chosen = self.selection.chooses(process);
        self.selection.saw(process);
        // A process that reports although it has the rule not to has lost it in the kernel, with an exec or an
        // earlier process of this id.
        let is_known = chosen && self.rules.get(&process.pid) == Some(&Rule::Reports);
        // Of one that ended before it was looked at, nothing is remembered: its id may be another's by now.
        let has_ended = process.start_ticks == 0 || !process.is_container_known;
        if is_known || has_ended && !chosen || process.is_past {
            return (chosen, None);
        }
        let rule = if chosen { Rule::Reports } else { Rule::Silent(Program::of(process)) };
        self.rules.insert(process.pid, rule);
        (chosen, Some(Change::Rule(process.pid, chosen)))
    }

    /// What has to change in the kernel so that it does what is chosen.
    pub fn reconcile(&mut self) -> Vec<Change> {
        let mut changes = Vec::new();
        // First the rules, then the probes: nothing reports that was not chosen.
        self.reconcile_rules(&mut changes);
        let wanted = self.wanted_images();
        for image in self.images.values_mut() {
            match (&image.state, wanted.contains(&image.id)) {
                (ImageState::Idle, true) => {
                    image.state = ImageState::Attaching;
                    changes.push(Change::Attach(image.id));
                }
                (ImageState::Attached { .. } | ImageState::Attaching, false) => {
                    image.state = ImageState::Idle;
                    changes.push(Change::Detach(image.id));
                }
                (ImageState::Failed(_), false) => image.state = ImageState::Idle,
                _ => {}
            }
        }
        changes
    }

    fn reconcile_rules(&mut self, changes: &mut Vec<Change>) {
        let open = self.selection.is_open();
        if open != self.reports_unknown {
            self.reports_unknown = open;
            changes.push(Change::ReportUnknown(open));
        }
        let mut wanted: HashMap<u32, Rule> = HashMap::new();
        if !self.selection.takes_all() {
            for pid in self.selection.pids.keys() {
                wanted.insert(*pid, Rule::Reports);
            }
            if open {
                for target in self.processes.values() {
                    let pid = target.process.pid;
                    let choice = self.selection.choice(&target.process);
                    if !matches!(choice, Choice::No | Choice::Excluded(_)) {
                        wanted.insert(pid, Rule::Reports);
                        continue;
                    }
                    wanted.remove(&pid);
                    // A look may be older than an exec, with which the kernel forgets who is silent, and would silence
                    // the new program. So may a report be; what it said ends with the next look that shows another
                    // program. Who is left out by its id stays so with an exec.
                    let silent = Rule::Silent(Program::of(&target.process));
                    let by_id = choice == Choice::Excluded(Exclusion::Pid);
                    if by_id || self.rules.get(&pid) == Some(&silent) {
                        wanted.insert(pid, silent);
                    }
                }
            }
        }
        for pid in self.rules.keys().filter(|pid| !wanted.contains_key(pid)) {
            changes.push(Change::ForgetRule(*pid));
        }
        for (pid, rule) in &wanted {
            let reports = *rule == Rule::Reports;
            if self.rules.get(pid).map(|known| *known == Rule::Reports) != Some(reports) {
                changes.push(if reports {
                    Change::ReportAnew(*pid)
                } else {
                    Change::Rule(*pid, false)
                });
            }
        }
        self.rules = wanted;
    }

    /// The images to attach, and with them those that have their keys.
    fn wanted_images(&self) -> BTreeSet<ImageId> {
        let mut wanted = self.wanted_by_processes();
        let holders: Vec<&Option<Library>> = wanted
            .iter()
            .filter_map(|id| self.images.get(id))
            .filter(|image| image.plan.wants_token())
            .map(|image| &image.plan.library)
            .collect();
        let is_usable = |image: &&Image| image.plan.is_token() && !image.excluded;
        let tokens = self.images.values().filter(is_usable);
        let needed = tokens.filter(|image| holders.contains(&&image.plan.library));
        wanted.extend(needed.map(|image| image.id));
        wanted
    }

    fn wanted_by_processes(&self) -> BTreeSet<ImageId> {
        let used: BTreeSet<ImageId> = self
            .processes
            .values()
            .filter(|target| self.selection.chooses(&target.process))
            .flat_map(|target| target.images.iter().copied())
            .collect();
        self.images
            .values()
            .filter(|image| self.can_attach(image))
            .filter(|image| self.selection.is_open() || used.contains(&image.id))
            .map(|image| image.id)
            .collect()
    }
}
