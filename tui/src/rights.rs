//! The rights of the user behind sudo, which a thread takes on for what that user asked for: opening files, looking for
//! programs, running one.
//!
//! Root's rights then reach no file that the user could not reach alone, whatever is done to the folders of a path
//! meanwhile: the kernel decides, at the moment when it opens.

use std::io;
use std::sync::OnceLock;
use std::thread;

use rustix::process::{DumpableBehavior, Gid, Uid, set_dumpable_behavior};
use rustix::thread::{
    CapabilitySet, CapabilitySets, set_capabilities, set_thread_groups, set_thread_res_gid,
    set_thread_res_uid,
};

use crate::home::account;
use crate::keylog::Owner;

/// User and groups.
#[derive(Clone, Debug)]
pub(crate) struct Rights {
    owner: Owner,
    groups: Vec<Gid>,
}

/// Those that were asked for first.
static FIRST: OnceLock<Rights> = OnceLock::new();

impl Rights {
    /// Those of a user, or `None` when that is who we are. Of one user the databases are asked for the groups only
    /// once: to be called first while there is only one thread, since the C library reads the environment for that.
    pub fn of(owner: Owner) -> Option<Self> {
        if owner.uid == rustix::process::geteuid().as_raw() {
            return None;
        }
        let ask = || Self::new(owner, account(owner).1);
        let first = FIRST.get_or_init(ask);
        Some(if first.owner == owner { first.clone() } else { ask() })
    }

    pub fn new(owner: Owner, groups: Vec<Gid>) -> Self {
        Self { owner, groups }
    }

    /// All groups, the first one too.
    #[cfg(test)]
    pub fn groups(&self) -> &[Gid] {
        &self.groups
    }

    fn ids(&self) -> (Uid, Gid) {
        (Uid::from_raw(self.owner.uid), Gid::from_raw(self.owner.gid))
    }

    /// Takes them on for the calling thread, for good. Not with the C library's functions, which change all threads
    /// (nptl(7)). System calls alone, without memory: also for a process between fork(2) and execve(2).
    pub fn take_on(&self) -> io::Result<()> {
        let (uid, gid) = self.ids();
        // In this order: without the user id of root the others cannot be set.
        set_thread_groups(&self.groups)?;
        set_thread_res_gid(gid, gid, gid)?;
        set_thread_res_uid(uid, uid, uid)?;
        Ok(())
    }

    /// Does something with them, in a thread of its own.
    ///
    /// # Errors
    ///
    /// When they cannot be taken on: then nothing is done.
    pub fn lend<T: Send>(&self, act: impl FnOnce() -> T + Send) -> io::Result<T> {
        let act = || self.take_on_for_files().map(|()| act());
        // The kernel's rights are a thread's own, and these end with it.
        let ended = thread::scope(|scope| {
            thread::Builder::new()
                .name("user".to_owned())
                .spawn_scoped(scope, act)
                .map(|thread| thread.join())
        });
        ended?.unwrap_or_else(|_| Err(io::Error::other("the thread panicked")))
    }

    /// Takes them on for the calling thread, as far as files are concerned. The real and the saved id stay root's, so
    /// that the user can neither signal nor trace the thread (kill(2), ptrace(2)).
    fn take_on_for_files(&self) -> io::Result<()> {
        let (uid, gid) = self.ids();
        set_thread_groups(&self.groups)?;
        set_thread_res_gid(Gid::ROOT, gid, Gid::ROOT)?;
        set_thread_res_uid(Uid::ROOT, uid, Uid::ROOT)?;
        let none = CapabilitySet::empty();
        let sets = CapabilitySets { effective: none, permitted: none, inheritable: none };
        set_capabilities(None, sets)?;
        // Another effective id has set it to what `fs.suid_dumpable` is (`commit_creds` in kernel/cred.c): there may be
        // core files again.
        Ok(set_dumpable_behavior(DumpableBehavior::NotDumpable)?)
    }
}

#[cfg(test)]
mod tests {
    use std::fs::{self, File};

    use rustix::process::{dumpable_behavior, geteuid};

    use super::*;

    /// `nobody` of Debian and Fedora; it needs no entry in the databases.
    const NOBODY: Owner = Owner { uid: 65534, gid: 65534 };

    #[test]
    fn our_own_are_none() {
        assert!(Rights::of(Owner { uid: geteuid().as_raw(), gid: 0 }).is_none());
    }

    #[test]
    fn they_are_those_of_one_thread() {
        if !geteuid().is_root() {
            return eprintln!("skipped: not root");
        }
        let rights = Rights::of(NOBODY).unwrap();
        let shadow = || File::open("/etc/shadow").map_err(|error| error.kind());
        let status = || fs::read_to_string("/proc/thread-self/status").unwrap();
        let (error, lent) = rights.lend(|| (shadow().err(), status())).unwrap();
        assert_eq!(error, Some(io::ErrorKind::PermissionDenied));
        let has = |line: &str| assert!(lent.lines().any(|other| other == line), "{line}\n{lent}");
        // Real, effective, saved, and that for files.
        has("Uid:\t0\t65534\t0\t65534");
        has("Gid:\t0\t65534\t0\t65534");
        has("Groups:\t65534 ");
        has("CapEff:\t0000000000000000");
        has("CapPrm:\t0000000000000000");
        assert!(geteuid().is_root() && shadow().is_ok());
        assert_eq!(dumpable_behavior().unwrap(), DumpableBehavior::NotDumpable);
        assert!(thread::spawn(move || shadow().is_ok()).join().unwrap());
    }
}
