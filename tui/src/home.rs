//! The home directory of the user behind sudo, for paths that begin with `~/`.

use std::ffi::{CStr, OsStr, OsString};
use std::os::unix::ffi::OsStrExt as _;
use std::path::PathBuf;

use rustix::process::Gid;

use crate::keylog::Owner;

/// The home directory of the user whose files we create: of the user behind sudo by the user database, else `HOME`.
pub fn home_of(owner: Owner) -> Option<PathBuf> {
    let variable = std::env::var_os("HOME").filter(|home| !home.is_empty()).map(PathBuf::from);
    match owner.uid == rustix::process::geteuid().as_raw() {
        true => variable,
        false => account(owner).0,
    }
}

/// Home folder and groups of a user by the databases; no home and the one group when it has no entry.
pub(crate) fn account(owner: Owner) -> (Option<PathBuf>, Vec<Gid>) {
    match entry(owner) {
        Some(entry) => (entry.home.is_absolute().then_some(entry.home), entry.groups),
        None => (None, vec![Gid::from_raw(owner.gid)]),
    }
}

/// What the databases say of a user.
#[derive(Debug)]
pub(crate) struct Entry {
    /// The name to log in with.
    pub name: OsString,
    /// The home folder, as it stands there.
    pub home: PathBuf,
    /// The shell; `/bin/sh` where none stands there (passwd(5)).
    pub shell: OsString,
    /// All groups, the first one too.
    pub groups: Vec<Gid>,
}

/// The entry of a user; `None` when there is none.
pub(crate) fn entry(owner: Owner) -> Option<Entry> {
    // Room for the texts of an entry; more is asked for with ERANGE.
    let mut texts = vec![0; 4096];
    loop {
        // SAFETY: `passwd` is a struct of integers and pointers, for which zeros are valid.
        let mut entry: libc::passwd = unsafe { std::mem::zeroed() };
        let mut found = std::ptr::null_mut();
        // SAFETY: all pointers are to live, writable memory, and the length is that of `texts`.
        let result = unsafe {
            libc::getpwuid_r(owner.uid, &mut entry, texts.as_mut_ptr(), texts.len(), &mut found)
        };
        if result == libc::ERANGE && texts.len() < 1 << 20 {
            texts.resize(texts.len() * 2, 0);
            continue;
        }
        if result != 0 || found.is_null() {
            return None;
        }
        // SAFETY: on success all three point to NUL-terminated texts in `texts` (getpwuid_r(3)).
        let [name, home, shell] = [entry.pw_name, entry.pw_dir, entry.pw_shell]
            .map(|text| unsafe { CStr::from_ptr(text) });
        let text = |text: &CStr| OsStr::from_bytes(text.to_bytes()).to_owned();
        return Some(Entry {
            name: text(name),
            home: text(home).into(),
            shell: if shell.is_empty() { "/bin/sh".into() } else { text(shell) },
            groups: groups(name, owner.gid).unwrap_or_else(|| vec![Gid::from_raw(owner.gid)]),
        });
    }
}

fn groups(name: &CStr, gid: libc::gid_t) -> Option<Vec<Gid>> {
    /// `NGROUPS_MAX` of `linux/limits.h`.
    const MOST: libc::c_int = 65536;
    let mut groups: Vec<libc::gid_t> = vec![0; 64];
    loop {
        let mut count = libc::c_int::try_from(groups.len()).ok()?;
        // SAFETY: `name` is NUL-terminated, and `count` is the length of `groups`.
        let result =
            unsafe { libc::getgrouplist(name.as_ptr(), gid, groups.as_mut_ptr(), &mut count) };
        if result >= 0 {
            groups.truncate(usize::try_from(count).ok()?);
            return Some(groups.into_iter().map(Gid::from_raw).collect());
        }
        // Too few: `count` says how many there are (getgrouplist(3)).
        if count > MOST || usize::try_from(count).ok()? <= groups.len() {
            return None;
        }
        groups.resize(usize::try_from(count).ok()?, 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_home_is_that_of_the_user_behind_sudo() {
        assert_eq!(home_of(Owner::of_this_run()), std::env::var_os("HOME").map(PathBuf::from));
    }

    #[test]
    fn accounts_have_a_home() {
        let (home, groups) = account(Owner { uid: 0, gid: 0 });
        assert_eq!(home, Some(PathBuf::from("/root")));
        assert!(groups.contains(&Gid::from_raw(0)));
        let (home, groups) = account(Owner { uid: 3_999_999_999, gid: 7 });
        assert_eq!((home, groups), (None, vec![Gid::from_raw(7)]));
    }
}
