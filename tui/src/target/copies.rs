//! Files that are known again by their contents: most of what is new on a machine is a copy of something.
//!
//! A process of a fresh copy shakes hands some 4 ms after its exec, and reading 5 MB and hashing them takes as long. So a
//! copy is first recognised by its size, its first page and the code around every place that a probe would stand at:
//! that is enough to attach. Right after that its whole contents are compared, by SHA-256.

use std::collections::{BTreeSet, HashMap};
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use sha2::{Digest as _, Sha256};

use super::plan::ImagePlan;

/// Contents whose plans are remembered.
const LIMIT: usize = 1024;
/// Files up to this size are known again by their contents: hashing takes some 3 ms for each 4 MiB.
const SMALL: u64 = 16 << 20;
/// Bytes of a page, by which a file is sampled.
const PAGE: u64 = 4096;
/// Bytes that are read at a time: they stay in the second-level cache.
const STEP: usize = 128 << 10;
/// What has the same head, but other contents: builds of one program without a build id.
const SAME_HEAD: usize = 8;

type Hash = [u8; 32];

/// Of a library its path counts too: the linkage is judged by it.
type Library = Option<PathBuf>;

/// What a file is at first sight: its size, its first page, and the path of a library.
pub type Head = (u64, Hash, Library);

/// What a file is.
#[derive(Clone, Debug)]
pub struct Copy {
    /// The SHA-256 of all bytes.
    contents: Hash,
    /// The SHA-256 of the pages at which something would be attached.
    sample: Hash,
    /// The plan of it.
    pub plan: Arc<ImagePlan>,
}

impl Copy {
    /// Whether a file with the same head has the same code where something would be attached.
    pub fn looks_like(&self, file: &File) -> bool {
        sample(file, &self.plan).is_ok_and(|sample| sample == self.sample)
    }

    /// Whether this is what a file has in it.
    ///
    /// # Errors
    ///
    /// When it cannot be read.
    pub fn is_in(&self, file: &File, size: u64) -> io::Result<bool> {
        Ok(hash(file, size)? == self.contents)
    }
}

/// The contents that are known, with their plans.
#[derive(Debug, Default)]
pub struct Copies {
    by_contents: HashMap<(Hash, Library), Arc<ImagePlan>>,
    by_head: HashMap<Head, Vec<Copy>>,
}

/// A file as it is looked up and remembered, read without a lock.
#[derive(Debug)]
pub struct Contents {
    head: Head,
    hash: Hash,
}

impl Contents {
    /// Reads a file; `None` when it is too large or cannot be read.
    pub fn of(file: &File, size: u64, path: &Path) -> Option<Self> {
        let head = head(file, size, path)?;
        Some(Self { head, hash: hash(file, size).ok()? })
    }
}

impl Copies {
    /// What may be in a file with this head: for [`Copy::looks_like`].
    pub fn candidates(&self, head: &Head) -> Vec<Copy> {
        self.by_head.get(head).cloned().unwrap_or_default()
    }

    /// The plan of these contents.
    pub fn get(&self, contents: &Contents) -> Option<Arc<ImagePlan>> {
        self.by_contents.get(&(contents.hash, contents.head.2.clone())).cloned()
    }

    /// Remembers the plan of a file with TLS code, whose pages are `sample`.
    pub fn insert(&mut self, contents: Contents, sample: Hash, plan: &Arc<ImagePlan>) {
        // Seldom as many: then they are learnt again.
        if self.by_contents.len() >= LIMIT {
            (self.by_contents, self.by_head) = Default::default();
        }
        let Contents { head, hash } = contents;
        self.by_contents.insert((hash, head.2.clone()), Arc::clone(plan));
        let same = self.by_head.entry(head).or_default();
        same.retain(|copy| copy.sample != sample);
        if same.len() < SAME_HEAD {
            same.push(Copy { contents: hash, sample, plan: Arc::clone(plan) });
        }
    }

    /// Forgets what a file only looked like.
    pub fn mistaken(&mut self, copy: &Copy) {
        for copies in self.by_head.values_mut() {
            copies.retain(|known| known.contents != copy.contents);
        }
    }
}

/// What a file is at first sight; `None` when it is too large or cannot be read.
pub fn head(file: &File, size: u64, path: &Path) -> Option<Head> {
    if size > SMALL {
        return None;
    }
    let mut page = [0; PAGE as usize];
    let length = usize::try_from(size.min(PAGE)).ok()?;
    file.read_exact_at(&mut page[..length], 0).ok()?;
    let is_library = path.to_string_lossy().contains(".so");
    Some((size, Sha256::digest(&page[..length]).into(), is_library.then(|| path.to_owned())))
}

/// The pages at which the probes of a plan stand, and those before and after: as much code as one function has that
/// passes secrets on.
///
/// # Errors
///
/// When the file cannot be read.
pub fn sample(file: &File, plan: &ImagePlan) -> io::Result<Hash> {
    let sites = plan.taps.iter().flat_map(|tap| tap.sites.iter().map(|site| site.file_offset));
    let hooks = plan.hooks.iter().flat_map(|hook| [hook.file_offset, hook.probe_offset]);
    let pages: BTreeSet<u64> = sites
        .chain(hooks)
        .map(|offset| offset / PAGE)
        .flat_map(|page| page.saturating_sub(1)..=page.saturating_add(1))
        .collect();
    let mut hash = Sha256::new();
    let mut bytes = [0; PAGE as usize];
    for page in pages {
        let length = file.read_at(&mut bytes, page.saturating_mul(PAGE))?;
        hash.update(page.to_le_bytes());
        hash.update(&bytes[..length]);
    }
    Ok(hash.finalize().into())
}

fn hash(file: &File, size: u64) -> io::Result<Hash> {
    let mut hash = Sha256::new();
    let mut bytes = vec![0; STEP];
    let mut at = 0;
    while at < size {
        let length = file.read_at(&mut bytes, at)?;
        if length == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        hash.update(&bytes[..length]);
        at += length as u64;
    }
    Ok(hash.finalize().into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::target::sample::file_of;

    #[test]
    fn a_copy_is_recognised_and_what_only_looks_like_one_is_found_out() {
        let path = Path::new("/x/program");
        let bytes = vec![7; 3 * PAGE as usize];
        let first = file_of(&bytes);
        let size = bytes.len() as u64;
        let plan = Arc::new(ImagePlan::nothing("a test"));
        let mut copies = Copies::default();
        let contents = Contents::of(&first, size, path).unwrap();
        let pages = sample(&first, &plan).unwrap();
        copies.insert(contents, pages, &plan);

        let recognise = |copies: &Copies, file: &File| {
            let found = copies.candidates(&head(file, size, path).unwrap());
            found.into_iter().find(|copy| copy.looks_like(file))
        };
        let second = file_of(&bytes);
        let copy = recognise(&copies, &second).unwrap();
        assert!(Arc::ptr_eq(&copy.plan, &plan) && copy.is_in(&second, size).unwrap());

        let mut other = bytes.clone();
        other[2 * PAGE as usize] = 8;
        let third = file_of(&other);
        let copy = recognise(&copies, &third).unwrap();
        assert!(!copy.is_in(&third, size).unwrap(), "one byte is another one");
        assert!(copies.get(&Contents::of(&third, size, path).unwrap()).is_none());
        copies.mistaken(&copy);
        assert!(recognise(&copies, &third).is_none());

        other[0] = 8;
        let fourth = file_of(&other);
        assert!(recognise(&copies, &fourth).is_none());
    }
}
