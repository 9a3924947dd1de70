//! What the kernel holds of a process's eBPF, by its own numbers: `/proc/PID/fdinfo`, and bpftool.

use std::collections::BTreeSet;
use std::fs;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::process::Process;
use crate::wait::until;

/// The ids of the programs, links and maps that a process holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Held {
    /// `prog_id` of each program.
    pub programs: BTreeSet<u64>,
    /// `link_id` of each link of uprobes, or of a perf event where the kernel has no others.
    pub probes: BTreeSet<u64>,
    /// `link_id` of each other link: the tracepoints.
    pub others: BTreeSet<u64>,
    /// `map_id` of each map.
    pub maps: BTreeSet<u64>,
}

impl Held {
    /// What the process holds now.
    ///
    /// # Errors
    /// When it has ended.
    pub fn by(pid: u32) -> Result<Self> {
        let mut held = Self::default();
        for entry in fs::read_dir(format!("/proc/{pid}/fdinfo")).context("it has ended")? {
            // One that was closed meanwhile.
            let Ok(text) = fs::read_to_string(entry?.path()) else { continue };
            let field = |name: &str| {
                text.lines().find_map(|line| Some(line.strip_prefix(name)?.trim().to_owned()))
            };
            let number = |name| field(name).and_then(|text| text.parse().ok());
            match (number("link_id:"), field("link_type:"), number("prog_id:")) {
                (Some(link), Some(kind), _) if kind.contains("uprobe") || kind == "perf" => {
                    held.probes.insert(link);
                }
                (Some(link), ..) => {
                    held.others.insert(link);
                }
                (None, _, Some(program)) => {
                    held.programs.insert(program);
                }
                _ => {}
            }
            held.maps.extend(number("map_id:"));
        }
        Ok(held)
    }

    /// What it holds when it is attached. On a busy machine it is ready before that, and says "so far".
    ///
    /// # Errors
    /// When it ends, or gets no probe.
    pub fn attached(pid: u32) -> Result<Self> {
        until("probes", || {
            let held = Self::by(pid)?;
            Ok((!held.probes.is_empty()).then_some(held))
        })
        .with_context(|| format!("{:?}", Self::by(pid)))
    }

    /// Waits until the kernel has nothing left of what this process held, neither listed nor pinned: it frees it some time
    /// after the last reference is gone.
    ///
    /// # Errors
    /// When something stays, or it held nothing.
    pub fn is_gone(&self, pid: u32) -> Result<()> {
        ensure!(!self.programs.is_empty() && !self.maps.is_empty(), "it held nothing: {self:?}");
        until("nothing left", || Ok(self.is_gone_now(pid).ok()))
            .or_else(|_| self.is_gone_now(pid).map(drop))
    }

    fn is_gone_now(&self, pid: u32) -> Result<()> {
        let listed = Listed::now()?;
        let links = self.probes.iter().chain(&self.others);
        for (mut held, listed) in [
            (Box::new(links) as Box<dyn Iterator<Item = &u64>>, &listed.links),
            (Box::new(self.programs.iter()), &listed.programs),
            (Box::new(self.maps.iter()), &listed.maps),
        ] {
            ensure!(!held.any(|id| listed.contains(id)), "{self:?} and {listed:?}");
        }
        ensure!(!listed.perf.contains(&u64::from(pid)), "{listed:?}");
        Ok(())
    }
}

/// What bpftool lists: links, programs, maps, and the processes with perf events that have a program.
#[derive(Debug)]
pub struct Listed {
    /// Ids of all links.
    pub links: BTreeSet<u64>,
    /// Ids of all programs.
    pub programs: BTreeSet<u64>,
    /// Ids of all maps.
    pub maps: BTreeSet<u64>,
    /// Process ids.
    pub perf: BTreeSet<u64>,
}

impl Listed {
    /// Asks bpftool.
    ///
    /// # Errors
    /// When it is missing or fails.
    pub fn now() -> Result<Self> {
        Ok(Self {
            links: ask("link", "id")?,
            programs: ask("prog", "id")?,
            maps: ask("map", "id")?,
            perf: ask("perf", "pid")?,
        })
    }
}

fn ask(what: &str, field: &str) -> Result<BTreeSet<u64>> {
    let ended = Process::run_ok(Command::new("bpftool").args(["--json", what, "show"]))?;
    let text = ended.stdout.trim();
    if text.is_empty() {
        return Ok(BTreeSet::new());
    }
    let list: Value = serde_json::from_str(text).with_context(|| format!("bpftool {what}"))?;
    ensure!(list.is_array(), "bpftool {what}: {text}");
    Ok(list.as_array().into_iter().flatten().filter_map(|item| item[field].as_u64()).collect())
}
