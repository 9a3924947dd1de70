//! Catching up: probes on the reads and writes of one process, until each connection was seen that was open before
//! its secrets could be reported.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use super::Time;
use super::target::{Change, ImageId, ImageState, Targets};

/// How long one process is caught up with, unless the user says otherwise: its connections may be silent.
pub const DEFAULT_LIMIT: Duration = Duration::from_secs(60);
/// Processes that are caught up with at a time, where all probes of one are one link of the kernel.
pub const AT_A_TIME: usize = 256;
/// The same where each probe is one, and takes the kernel 90 ms to remove.
pub const AT_A_TIME_ONE_BY_ONE: usize = 3;

/// One process and one of its images.
type Key = (u32, ImageId);

/// Whom we catch up with.
#[derive(Debug)]
pub struct CatchingUp {
    limit: Duration,
    at_a_time: usize,
    running: BTreeMap<Key, Running>,
    waiting: VecDeque<Key>,
    /// Nothing more to do, with the process's `start_ticks`.
    done: BTreeMap<Key, u64>,
    /// Processes that started later than this, in clock ticks, were reporting from their start.
    covered_since: BTreeMap<ImageId, u64>,
}

/// How far catching up with one process is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CatchUpState {
    /// Its probes are not in place yet.
    Waiting,
    /// Its open connections are looked for, for no longer than this.
    Looking(Duration),
}

#[derive(Debug)]
struct Running {
    start_ticks: u64,
    /// Since the probes are in place; before, it is `None`.
    since: Option<Time>,
    /// Connections that the process had open then; `None` if that could not be told.
    connections: Option<usize>,
    /// Addresses of the connections that came, up to that many.
    seen: BTreeSet<u64>,
}

impl Running {
    fn has_all(&self) -> bool {
        self.connections.is_some_and(|connections| self.seen.len() >= connections)
    }
}

impl CatchingUp {
    /// With nobody yet; with so many at a time, for no longer than `limit` each, and not at all if that is 0.
    pub fn new(limit: Duration, at_a_time: usize) -> Self {
        Self {
            limit,
            at_a_time,
            running: BTreeMap::new(),
            waiting: VecDeque::new(),
            done: BTreeMap::new(),
            covered_since: BTreeMap::new(),
        }
    }

    /// Processes that are being caught up with or wait for it, and the time that is left for the last of those
    /// whose probes are in place.
    pub fn progress(&self, now: Time) -> Option<(usize, Duration)> {
        let ends = self.running.values().filter_map(|running| Some(running.since? + self.limit));
        let left = ends.max().map_or(self.limit, |end| end.since(now));
        // Of one with two images it is still one process.
        let pids: BTreeSet<u32> =
            self.running.keys().chain(&self.waiting).map(|key| key.0).collect();
        match pids.len() {
            0 => None,
            count => Some((count, left)),
        }
    }

    /// How far it is with one process; `None` when it is not caught up with.
    pub fn of(&self, pid: u32, now: Time) -> Option<CatchUpState> {
        let images = (pid, ImageId(0))..=(pid, ImageId(u32::MAX));
        let running = self.running.range(images).map(|(_, running)| running.since);
        // Of several images, the last one to end.
        match running.max() {
            Some(Some(since)) => Some(CatchUpState::Looking((since + self.limit).since(now))),
            Some(None) => Some(CatchUpState::Waiting),
            None => self.waiting.iter().any(|key| key.0 == pid).then_some(CatchUpState::Waiting),
        }
    }

    /// Whether probes that were asked for are not in place yet.
    pub fn is_starting(&self) -> bool {
        !self.waiting.is_empty() && self.running.len() < self.at_a_time
            || self.running.values().any(|running| running.since.is_none())
    }

    /// A look at the machine began at `ticks`: from then on, everything that starts is seen by what is attached.
    pub fn looked(&mut self, targets: &Targets, ticks: u64) {
        let open = targets.selection.is_open();
        let attached = |id: &ImageId| is_attached(targets, *id);
        self.covered_since.retain(|id, _| open && attached(id));
        if open {
            for id in targets.images.keys().filter(|id| attached(id)) {
                self.covered_since.entry(*id).or_insert(ticks);
            }
        }
    }

    /// Others are about to be chosen, who may have begun since and did not report. Those who did are done with.
    pub fn before_choosing(&mut self, targets: &Targets) {
        let all = Self::wanted_with(targets, &BTreeMap::new());
        let uncovered = self.wanted(targets);
        self.done.extend(all.into_iter().filter(|(key, _)| !uncovered.contains_key(key)));
        self.covered_since.clear();
    }

    /// Begins with chosen processes that were running before, and ends with those that are not chosen any more.
    pub fn reconcile(&mut self, targets: &Targets) -> Vec<Change> {
        if self.limit.is_zero() {
            return Vec::new();
        }
        let wanted = self.wanted(targets);
        let mut changes = Vec::new();
        self.running.retain(|key, running| {
            let stays = wanted.get(key) == Some(&running.start_ticks);
            if !stays {
                changes.push(ended(*key));
            }
            stays
        });
        self.done.retain(|key, ticks| wanted.get(key) == Some(ticks));
        self.waiting.retain(|key| wanted.contains_key(key));
        for key in wanted.keys() {
            let known = self.running.contains_key(key)
                || self.done.contains_key(key)
                || self.waiting.contains(key);
            if !known {
                self.waiting.push_back(*key);
            }
        }
        self.start(&wanted, &mut changes);
        changes
    }

    /// What was asked for is in place: so many connections are open, if that could be told.
    pub fn answered(&mut self, key: Key, connections: Option<usize>, now: Time) -> Option<Change> {
        let running = self.running.get_mut(&key)?;
        running.since = Some(now);
        running.connections = connections;
        self.end_if_done(key, now)
    }

    /// The secrets came of the connection at this address, known or not.
    pub fn saw(&mut self, key: Key, connection: u64, now: Time) -> Option<Change> {
        let running = self.running.get_mut(&key)?;
        if running.connections.is_some() && !running.has_all() {
            running.seen.insert(connection);
        }
        self.end_if_done(key, now)
    }

    /// Ends with those whose time is up, and tells of each process that was named what did not show up.
    pub fn tick(&mut self, targets: &Targets, now: Time) -> (Vec<Change>, Vec<String>) {
        let keys: Vec<Key> = self.running.keys().copied().collect();
        let mut changes = Vec::new();
        let mut told = Vec::new();
        for key in keys {
            let silent =
                self.running.get(&key).and_then(|running| self.silent(key.0, running, targets));
            let ended = self.end_if_done(key, now);
            if ended.is_some() {
                told.extend(silent);
            }
            changes.extend(ended);
        }
        if !self.waiting.is_empty() {
            let wanted = self.wanted(targets);
            self.start(&wanted, &mut changes);
        }
        (changes, told)
    }

    /// What is told when its time is up. Nothing when everything is chosen: most connections of a machine carry no TLS.
    fn silent(&self, pid: u32, running: &Running, targets: &Targets) -> Option<String> {
        let process = &targets.processes.get(&pid)?.process;
        let connections = running.connections.filter(|_| !targets.selection.all)?;
        Some(format!(
            "{} ({pid}): {} of {} open connections showed up within {} s; the others were silent, or carry no TLS",
            process.comm,
            running.seen.len(),
            connections,
            self.limit.as_secs()
        ))
    }

    fn start(&mut self, wanted: &BTreeMap<Key, u64>, changes: &mut Vec<Change>) {
        while self.running.len() < self.at_a_time
            && let Some(key) = self.waiting.pop_front()
        {
            let Some(&start_ticks) = wanted.get(&key) else { continue };
            let running =
                Running { start_ticks, since: None, connections: None, seen: BTreeSet::new() };
            self.running.insert(key, running);
            changes.push(Change::CatchUp { pid: key.0, image: key.1 });
        }
    }

    /// The clock was set back: nobody is looked for longer than from now on.
    pub(super) fn clock_was_set_back(&mut self, now: Time) {
        let begun = self.running.values_mut().filter_map(|running| running.since.as_mut());
        begun.for_each(|since| *since = now.min(*since));
    }

    fn end_if_done(&mut self, key: Key, now: Time) -> Option<Change> {
        let running = self.running.get(&key)?;
        let since = running.since?;
        if !running.has_all() && now.since(since) < self.limit {
            return None;
        }
        let running = self.running.remove(&key)?;
        self.done.insert(key, running.start_ticks);
        Some(ended(key))
    }

    /// Chosen processes that were running before their image was attached, or before they were chosen, with their
    /// `start_ticks`.
    fn wanted(&self, targets: &Targets) -> BTreeMap<Key, u64> {
        Self::wanted_with(targets, &self.covered_since)
    }

    fn wanted_with(
        targets: &Targets,
        covered_since: &BTreeMap<ImageId, u64>,
    ) -> BTreeMap<Key, u64> {
        let mut wanted = BTreeMap::new();
        let ways = targets.selection.ways;
        for target in targets.processes.values() {
            let (pid, ticks) = (target.process.pid, target.process.start_ticks);
            if !targets.selection.chooses(&target.process) {
                continue;
            }
            let parent = targets.processes.get(&target.process.parent);
            for id in &target.images {
                let can = |image: &super::target::Image| image.plan.can_catch_up(ways);
                // A process that was forked may have its parent's connections.
                let forked = parent.is_some_and(|parent| parent.images.contains(id));
                let covered = !forked && covered_since.get(id).is_some_and(|&since| ticks > since);
                if !covered && is_attached(targets, *id) && targets.images.get(id).is_some_and(can)
                {
                    wanted.insert((pid, *id), ticks);
                }
            }
        }
        wanted
    }
}

fn is_attached(targets: &Targets, image: ImageId) -> bool {
    let state = targets.images.get(&image).map(|image| &image.state);
    matches!(state, Some(ImageState::Attached { .. }))
}

fn ended((pid, image): Key) -> Change {
    Change::CaughtUp { pid, image }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::fixture::{at, everything, scan};
    use crate::model::target::{Scan, Selection};

    const FIRST: Key = (7, ImageId(1));

    /// Everything of the fixture attached: image 1 is Debian's libssl, of nginx (7) and two others.
    fn targets(selection: Selection) -> Targets {
        let mut targets = Targets::new(selection);
        let mut scan = scan();
        for image in &mut scan.images {
            crate::model::fixture::make_walkable(image);
        }
        targets.merge(scan);
        targets.reconcile();
        for image in targets.images.values_mut() {
            image.state = ImageState::Attached { probes: 1 };
        }
        targets
    }

    fn only(pid: u32) -> Selection {
        Selection { pids: [(pid, 0)].into(), ..Selection::default() }
    }

    fn begin((pid, image): Key) -> Change {
        Change::CatchUp { pid, image }
    }

    #[test]
    fn a_chosen_process_is_caught_up_with_once_until_all_connections_were_seen() {
        let targets = targets(only(7));
        let mut catching = CatchingUp::new(DEFAULT_LIMIT, 32);
        assert_eq!(catching.reconcile(&targets), [begin(FIRST)]);
        assert!(catching.is_starting());
        assert_eq!(catching.of(7, at(0)), Some(CatchUpState::Waiting));
        assert_eq!(catching.of(901, at(0)), None);
        assert_eq!(catching.answered(FIRST, Some(2), at(1)), None);
        assert!(!catching.is_starting() && catching.reconcile(&targets).is_empty());
        // Both of its secrets count as one connection.
        assert_eq!(catching.saw(FIRST, 0xa, at(2)), None);
        assert_eq!(catching.saw(FIRST, 0xa, at(2)), None);
        assert_eq!(catching.progress(at(3)), Some((1, Duration::from_secs(58))));
        let left = Duration::from_secs(58);
        assert_eq!(catching.of(7, at(3)), Some(CatchUpState::Looking(left)));
        assert_eq!(catching.saw(FIRST, 0xb, at(3)), Some(ended(FIRST)));
        assert_eq!(catching.of(7, at(3)), None);
        assert!(catching.reconcile(&targets).is_empty());
        assert_eq!(catching.progress(at(3)), None);
    }

    #[test]
    fn without_connections_or_without_a_word_it_ends() {
        let targets = targets(only(7));
        let mut catching = CatchingUp::new(DEFAULT_LIMIT, 32);
        catching.reconcile(&targets);
        assert_eq!(catching.answered(FIRST, Some(0), at(1)), Some(ended(FIRST)));

        let mut catching = CatchingUp::new(DEFAULT_LIMIT, 32);
        catching.reconcile(&targets);
        catching.answered(FIRST, Some(5), at(1));
        assert_eq!(catching.tick(&targets, at(60)), (Vec::new(), Vec::new()));
        let (changes, told) = catching.tick(&targets, at(61));
        assert_eq!(changes, [ended(FIRST)]);
        assert!(told[0].starts_with("nginx (7): 0 of 5 open connections"), "{told:?}");

        let mut never = CatchingUp::new(Duration::ZERO, 32);
        assert!(never.reconcile(&targets).is_empty());
    }

    #[test]
    fn a_clock_that_is_set_back_does_not_make_it_longer() {
        let targets = targets(only(7));
        let mut catching = CatchingUp::new(DEFAULT_LIMIT, 32);
        catching.reconcile(&targets);
        catching.answered(FIRST, Some(5), at(1000));
        catching.clock_was_set_back(at(10));
        assert_eq!(catching.tick(&targets, at(69)), (Vec::new(), Vec::new()));
        assert_eq!(catching.tick(&targets, at(70)).0, [ended(FIRST)]);
    }

    #[test]
    fn chosen_again_it_is_caught_up_with_again() {
        let mut targets = targets(only(7));
        let mut catching = CatchingUp::new(DEFAULT_LIMIT, 32);
        catching.reconcile(&targets);
        catching.answered(FIRST, Some(1), at(1));
        targets.choose_pid(7, false);
        assert_eq!(catching.reconcile(&targets), [ended(FIRST)]);
        targets.choose_pid(7, true);
        assert_eq!(catching.reconcile(&targets), [begin(FIRST)]);
    }

    #[test]
    fn what_starts_while_everything_is_attached_needs_none() {
        let targets = targets(everything());
        let mut catching = CatchingUp::new(DEFAULT_LIMIT, 32);
        catching.looked(&targets, 1000);
        // The fixture's processes start at their pid: only those up to 1000 were there before.
        assert_eq!(catching.reconcile(&targets), [begin(FIRST), begin((901, ImageId(2)))]);
        // A fork of a process with the same image may have its connections.
        let mut forked = targets;
        let mut child = forked.processes[&1202].clone();
        let mut process = (*child.process).clone();
        process.parent = 7;
        child.process = process.into();
        forked.processes.insert(1202, child);
        assert_eq!(catching.reconcile(&forked), [begin((1202, ImageId(1)))]);
        // What is chosen one by one was running before it was chosen.
        let targets = self::targets(only(1202));
        let mut catching = CatchingUp::new(DEFAULT_LIMIT, 32);
        catching.looked(&targets, 1000);
        assert_eq!(catching.reconcile(&targets), [begin((1202, ImageId(1)))]);
    }

    #[test]
    fn many_processes_wait_for_their_turn() {
        let mut targets = targets(everything());
        let template = targets.processes[&7].clone();
        let many = (10_000..10_100).map(|pid| {
            let process = crate::model::fixture::process(pid, "postgres");
            crate::model::target::Target { process, ..template.clone() }
        });
        let images = targets.images.values().cloned().collect();
        targets.merge(Scan { targets: many.collect(), images, ..Scan::default() });
        let mut catching = CatchingUp::new(DEFAULT_LIMIT, 32);
        assert_eq!(catching.reconcile(&targets).len(), 32);
        assert_eq!(catching.progress(at(0)).map(|(count, _)| count), Some(100));
        assert_eq!(catching.of(10_099, at(0)), Some(CatchUpState::Waiting));
        let first = (10_000, ImageId(1));
        assert!(catching.answered(first, Some(0), at(1)).is_some());
        let next = vec![begin((10_000 + 32, ImageId(1)))];
        assert_eq!(catching.tick(&targets, at(1)), (next, Vec::new()));
        targets.merge(Scan::default());
        assert_eq!(catching.reconcile(&targets).len(), 32);
        assert_eq!(catching.progress(at(2)), None);
    }
}
