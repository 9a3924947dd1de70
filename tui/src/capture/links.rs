//! Links between the programs and the probed instructions: by a multi-uprobe link where the kernel has it, and through
//! perf, one by one, where it does not.

use std::fs::File;
use std::num::NonZeroU32;
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::path::PathBuf;

use aya::Ebpf;
use aya::programs::UProbe;
use aya::programs::uprobe::{
    UProbeAttachLocation, UProbeAttachPoint, UProbeLink, UProbeLinkId, UProbeScope,
};
use tracing::info;

use super::multi::{Multi, Probe};
use super::{CaptureError, OBJECT, is_refused, with_causes};

/// A program, and whether it runs at the return of the function that it is attached to.
pub(super) type Name = (&'static str, bool);

/// Attaches programs.
pub(super) struct Linker {
    ebpf: Ebpf,
    multi: Option<Multi>,
}

/// Probes in place, until [`Linker::take`].
#[derive(Debug)]
pub(super) enum Link {
    /// All of them in one.
    Multi(OwnedFd),
    /// One of a program.
    Perf(&'static str, UProbeLinkId),
}

/// A link that goes when it is dropped. The kernel then waits until no CPU can be in its probes, some 90 ms.
#[derive(Debug)]
#[expect(dead_code, reason = "held to be dropped")]
pub(super) enum Owned {
    Multi(OwnedFd),
    Perf(UProbeLink),
}

impl Linker {
    /// Loads the programs for perf, unless those for multi-uprobe links are there.
    ///
    /// # Errors
    ///
    /// When the kernel refuses them.
    pub fn new(ebpf: Ebpf, multi: Option<Multi>, names: &[Name]) -> Result<Self, CaptureError> {
        let mut linker = Self { ebpf, multi };
        if linker.multi.is_none() {
            for (name, _) in names {
                linker.program(name)?.load()?;
            }
        }
        Ok(linker)
    }

    /// The programs for multi-uprobe links, where the kernel has them. To be called while `ebpf` has all of its maps.
    pub fn multi(ebpf: &Ebpf, names: &[Name]) -> Option<Multi> {
        match Multi::load(ebpf, OBJECT, names) {
            Ok(multi) => Some(multi),
            Err(error) => {
                info!(%error, "no multi-uprobe links: probes are attached one by one");
                None
            }
        }
    }

    /// Whether there are no multi-uprobe links.
    pub fn is_one_by_one(&self) -> bool {
        self.multi.is_none()
    }

    /// Attaches a program to all of these instructions of a file, in one process or in all. On an error, what `links`
    /// then holds is in place.
    ///
    /// # Errors
    ///
    /// [`CaptureError::Attach`] with what the kernel said.
    pub fn attach(
        &mut self,
        program: &'static str,
        file: &File,
        probes: &[Probe],
        process: Option<NonZeroU32>,
        links: &mut Vec<Link>,
    ) -> Result<(), CaptureError> {
        let Some(first) = probes.first() else { return Ok(()) };
        if let Some(multi) = &self.multi {
            let link = multi.attach(program, file, probes, process);
            let link = link.map_err(|error| CaptureError::Attach {
                offset: first.file_offset,
                refused: is_refused(&error),
                // The kernel does not say at which of them.
                reason: match probes.len() {
                    1 => error.to_string(),
                    count => format!("{error} (there, or at one of {} more)", count - 1),
                },
            })?;
            links.push(Link::Multi(link));
            return Ok(());
        }
        // Through our own descriptor it is this file and no other, whatever its path names by now.
        let path = PathBuf::from(format!("/proc/self/fd/{}", file.as_raw_fd()));
        let scope = process.map_or(UProbeScope::AllProcesses, UProbeScope::OneProcess);
        for &Probe { file_offset, cookie } in probes {
            let point = UProbeAttachPoint {
                location: UProbeAttachLocation::AbsoluteOffset(file_offset),
                cookie: Some(cookie),
            };
            let attached = self.program(program)?.attach(point, &path, scope);
            let link = attached.map_err(|error| CaptureError::Attach {
                offset: file_offset,
                refused: is_refused(&error),
                reason: with_causes(&error),
            })?;
            links.push(Link::Perf(program, link));
        }
        Ok(())
    }

    /// The kernel's own handles.
    pub fn take(&mut self, links: Vec<Link>) -> Vec<Owned> {
        let own = |link| match link {
            Link::Multi(link) => Some(Owned::Multi(link)),
            // It only fails for a link that is not there any more.
            Link::Perf(name, link) => {
                self.program(name).ok()?.take_link(link).ok().map(Owned::Perf)
            }
        };
        links.into_iter().filter_map(own).collect()
    }

    fn program(&mut self, name: &'static str) -> Result<&mut UProbe, CaptureError> {
        let program = self.ebpf.program_mut(name).ok_or(CaptureError::Missing(name))?;
        Ok(program.try_into()?)
    }
}

/// Removes probes. For each multi-uprobe link the kernel waits, and for several at the same time: so each has a thread.
/// Through perf it waits for one after the other all the same.
pub(super) fn remove(links: Vec<Owned>) {
    const AT_A_TIME: usize = 64;
    let mut links = links.into_iter();
    loop {
        let some: Vec<_> = links.by_ref().take(AT_A_TIME).collect();
        if some.is_empty() {
            return;
        }
        std::thread::scope(|scope| {
            for link in some {
                scope.spawn(move || drop(link));
            }
        });
    }
}
