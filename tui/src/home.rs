//! The home directory of the user behind sudo, for paths that begin with `~/`.

use std::ffi::{CStr, OsStr};
use std::os::unix::ffi::OsStrExt as _;
use std::path::PathBuf;

use crate::keylog::Owner;

/// The home directory of the user whose files we create: of the user behind sudo by the user database, else `HOME`.
pub fn home_of(owner: Owner) -> Option<PathBuf> {
    let variable = std::env::var_os("HOME").filter(|home| !home.is_empty()).map(PathBuf::from);
    match owner.uid == rustix::process::geteuid().as_raw() {
        true => variable,
        false => home_in_database(owner.uid),
    }
}

/// getpwuid_r(3): the database may be more than `/etc/passwd`.
fn home_in_database(uid: u32) -> Option<PathBuf> {
    // More than any entry has: glibc suggests 1 KiB (sysconf(3), _SC_GETPW_R_SIZE_MAX).
    let mut text = vec![0; 16 * 1024];
    let mut found = std::ptr::null_mut();
    // SAFETY: all zero is a valid passwd: numbers and null pointers.
    let mut entry: libc::passwd = unsafe { std::mem::zeroed() };
    // SAFETY: the pointers are to live values, and the length is that of the buffer.
    let error =
        unsafe { libc::getpwuid_r(uid, &mut entry, text.as_mut_ptr(), text.len(), &mut found) };
    if error != 0 || found.is_null() || entry.pw_dir.is_null() {
        return None;
    }
    // SAFETY: on success it is a string that ends with NUL within the buffer, which is still there.
    let home = unsafe { CStr::from_ptr(entry.pw_dir) };
    (!home.is_empty()).then(|| OsStr::from_bytes(home.to_bytes()).into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_home_is_that_of_the_user_behind_sudo() {
        assert_eq!(home_in_database(0), Some("/root".into()));
        assert_eq!(home_in_database(u32::MAX - 7), None);
        assert_eq!(home_of(Owner::of_this_run()), std::env::var_os("HOME").map(PathBuf::from));
    }
}
