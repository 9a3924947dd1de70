//! Keeps the kernel ready to attach at once.
//!
//! Whoever attaches takes a lock that each fork takes too (`dup_mmap_sem`, kernel/events/uprobes.c). After a while
//! without attaching, the first to do it waits for a grace period of RCU: 10 to 15 ms were measured (`HZ=250`), and less
//! than 0.3 ms for those that follow within the next grace period. A process that runs once has shaken hands by then.
//! New programs come in bursts (a build, a test suite, containers), so that for a moment after each new image we go on
//! attaching: to a page of our own, which nobody runs.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::thread;
use std::time::Duration;

use rustix::fs::{MemfdFlags, memfd_create};

use super::links::{Link, Linker, Owned, remove};
use super::multi::Probe;

/// How long after an image was attached.
pub(super) const BURST: Duration = Duration::from_secs(1);
/// How often: the shortest grace period is two jiffies of 4 ms.
pub(super) const PAUSE: Duration = Duration::from_millis(5);
/// Links that are removed together: each waits 20 to 90 ms, and they wait beside one another.
const TOGETHER: usize = 32;
/// No slot has this number.
const COOKIE: u64 = u64::MAX;

/// The page, and what is attached to it.
#[derive(Debug, Default)]
pub(super) struct Warm {
    page: Option<File>,
    links: Vec<Link>,
}

impl Warm {
    /// Attaches once more.
    pub fn touch(&mut self, linker: &mut Linker, program: &'static str) {
        if linker.is_one_by_one() {
            return;
        }
        if self.page.is_none() {
            self.page = page().ok();
        }
        let Some(page) = &self.page else { return };
        let probe = Probe { file_offset: 0, cookie: COOKIE };
        // It only helps: a failure shows itself where it matters.
        let _ = linker.attach(program, page, &[probe], None, &mut self.links);
        if self.links.len() >= TOGETHER {
            self.release(linker);
        }
    }

    /// Removes them, beside what else is done.
    pub fn release(&mut self, linker: &mut Linker) {
        let links = self.take(linker);
        if !links.is_empty() {
            // Without a thread they go here.
            let _ = thread::Builder::new().name("release".to_owned()).spawn(|| remove(links));
        }
    }

    /// What is attached.
    pub fn take(&mut self, linker: &mut Linker) -> Vec<Owned> {
        linker.take(std::mem::take(&mut self.links))
    }
}

/// A page of instructions that do nothing.
fn page() -> io::Result<File> {
    const NOP: u8 = 0x90;
    let page = File::from(memfd_create("tlskeytop", MemfdFlags::CLOEXEC)?);
    page.write_all_at(&[NOP; 4096], 0)?;
    Ok(page)
}
