//! Why there is no secret for a handshake: told only as far as it is known.

use std::borrow::Cow;
use std::sync::Arc;

use super::missed::Missed;
use super::selection::Choice;
use super::target::{Image, ImageId, ImageState, Targets, is_same_start};
use super::wire::{OnWire, Owner, Owners};
use crate::tls::Role;

/// So many clock ticks after the handshake a look tells what a process has mapped: 1 s, of which there are 100 on all
/// architectures that are captured.
const LOOK_TICKS: u64 = 100;

/// Why.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Reason {
    /// The process is excluded.
    Excluded,
    /// The process is not chosen.
    NotChosen,
    /// Nothing can be attached to the process; the TLS library, or the runtime that brings one, where it is known.
    Unsupported(Option<Box<str>>),
    /// The kernel refused the probes of its image.
    Refused,
    /// It began before its image was attached.
    Late,
    /// No end has an address of ours: another machine's, whose packets pass here, or that of a container, which cannot
    /// be asked.
    Forwarded,
    /// Nothing of the above is known.
    #[default]
    Unknown,
}

impl Reason {
    /// As it stands in JSON.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Excluded => "excluded",
            Self::NotChosen => "not chosen",
            Self::Unsupported(_) => "library not supported",
            Self::Refused => "probes refused",
            Self::Late => "began before attach",
            Self::Forwarded => "forwarded",
            Self::Unknown => "unknown",
        }
    }

    /// The library, or the runtime that brings one, that cannot be captured.
    pub fn library(&self) -> Option<&str> {
        match self {
            Self::Unsupported(name) => name.as_deref(),
            _ => None,
        }
    }

    /// For the user: what it means.
    pub fn text(&self) -> Cow<'static, str> {
        Cow::Borrowed(match self {
            Self::Excluded => "its process is excluded",
            Self::NotChosen => "its process is not chosen",
            Self::Unsupported(Some(name)) => {
                return Cow::Owned(format!("{} is not supported", crate::text::sanitize(name)));
            }
            Self::Unsupported(None) => "its process has no TLS library that is known",
            Self::Refused => "the kernel refused the probes of its library",
            Self::Late => "it began before its library was attached",
            Self::Forwarded => "neither end has an address of this machine",
            Self::Unknown => "not known",
        })
    }
}

/// Whose a handshake is, and why it has no secret.
#[derive(Clone, Debug, Default)]
pub struct Verdict {
    /// Its process: the end that should have given a secret, where there is a choice.
    pub owner: Option<Owner>,
    /// Which end that is.
    pub role: Option<Role>,
    /// The image with its TLS library.
    pub image: Option<ImageId>,
    /// It is chosen.
    pub is_chosen: bool,
    /// Why.
    pub reason: Reason,
}

impl Verdict {
    /// Looks at it once more: what was not known then may be known by now.
    pub(super) fn again(self, on_wire: &Arc<OnWire>, targets: &Targets, missed: &Missed) -> Self {
        match (&self.owner, self.role) {
            (Some(owner), Some(role)) if self.reason == Reason::Unknown => {
                of_owner(owner.clone(), role, on_wire, targets, missed)
            }
            _ => self,
        }
    }
}

/// Of both ends the one that should have given a secret, else the client.
pub(super) fn judge(
    owners: Owners,
    on_wire: Option<&Arc<OnWire>>,
    targets: &Targets,
    missed: &Missed,
) -> Verdict {
    let Some(on_wire) = on_wire else { return Verdict::default() };
    let Owners { client, server, is_foreign } = owners;
    let ends = [(client, Role::Client), (server, Role::Server)];
    let known = ends.into_iter().filter_map(|(owner, role)| Some((owner?, role)));
    let mut verdicts = known
        .map(|(owner, role)| of_owner(owner, role, on_wire, targets, missed))
        .collect::<Vec<_>>();
    let best = verdicts.iter().position(|verdict| verdict.is_chosen).unwrap_or(0);
    if best < verdicts.len() {
        return verdicts.swap_remove(best);
    }
    let reason = if is_foreign { Reason::Forwarded } else { Reason::Unknown };
    Verdict { reason, ..Verdict::default() }
}

fn of_owner(
    owner: Owner,
    role: Role,
    on_wire: &OnWire,
    targets: &Targets,
    missed: &Missed,
) -> Verdict {
    let process = &owner.process;
    let images: Vec<&Image> = match targets.processes.get(&process.pid) {
        Some(target) if target.process.start_ticks == process.start_ticks => {
            target.images.iter().filter_map(|id| targets.images.get(id)).collect()
        }
        _ => Vec::new(),
    };
    let usable = |image: &&&Image| targets.can_attach(image);
    let image = images.iter().find(usable).or(images.first()).copied();
    let choice = targets.selection.choice(process);
    let reason = match choice {
        Choice::Excluded(_) => Reason::Excluded,
        Choice::No => Reason::NotChosen,
        _ if images.iter().any(|image| targets.can_attach(image)) => {
            let usable = images.iter().copied().filter(|image| targets.can_attach(image));
            attached_late(usable, on_wire, missed)
        }
        _ => match (image, owner.runtime) {
            (Some(image), _) if image.plan.library.is_some() => {
                Reason::Unsupported(Some(image.library().into()))
            }
            (Some(_), _) => Reason::Unsupported(None),
            (None, Some(runtime)) => Reason::Unsupported(Some(runtime.into())),
            (None, None) if was_looked_at(&owner, targets) => Reason::Unsupported(None),
            (None, None) => Reason::Unknown,
        },
    };
    Verdict {
        is_chosen: !matches!(choice, Choice::Excluded(_) | Choice::No),
        image: image.map(|image| image.id),
        owner: Some(owner),
        role: Some(role),
        reason,
    }
}

/// Why images that can be attached gave nothing. Which of several was used is not known: it was late if all were.
fn attached_late<'a>(
    images: impl Iterator<Item = &'a Image>,
    on_wire: &OnWire,
    missed: &Missed,
) -> Reason {
    let mut reason = Reason::Late;
    for image in images {
        match image.state {
            ImageState::Failed(_) => return Reason::Refused,
            ImageState::Attached { .. } if !missed.was_late(image.id, on_wire.began) => {
                reason = Reason::Unknown;
            }
            _ => {}
        }
    }
    reason
}

/// Whether a look at the machine has shown since that it has no TLS code: it lived, and there was time to look into what it
/// has mapped.
fn was_looked_at(owner: &Owner, targets: &Targets) -> bool {
    let process = &owner.process;
    let born = targets.births.get(&process.pid);
    let is_there = born.is_some_and(|now| is_same_start(now.start_ticks, process.start_ticks));
    is_there && !process.is_past && targets.looked_at >= owner.found_at + LOOK_TICKS
}
