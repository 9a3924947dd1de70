//! Whose the command is: the user behind sudo, with all that belongs to him.

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::unix::ffi::OsStrExt as _;

use rustix::process::Gid;

use crate::home::{Entry, entry};
use crate::keylog::Owner;
use crate::rights::Rights;

/// Rights and environment of the command.
#[derive(Debug)]
pub struct User {
    /// `None`: we are this user already.
    rights: Option<Rights>,
    /// Every variable of the command.
    environment: Vec<(OsString, OsString)>,
}

impl User {
    /// The user behind sudo, or ourselves.
    pub fn of_this_run() -> Self {
        let owner = Owner::of_this_run();
        if owner.uid == rustix::process::geteuid().as_raw() {
            return Self { rights: None, environment: std::env::vars_os().collect() };
        }
        Self::behind_sudo(owner, entry(owner), std::env::vars_os())
    }

    fn behind_sudo(
        owner: Owner,
        entry: Option<Entry>,
        environment: impl Iterator<Item = (OsString, OsString)>,
    ) -> Self {
        let gid = Gid::from_raw(owner.gid);
        let groups = entry.as_ref().map_or_else(|| vec![gid], |entry| entry.groups.clone());
        let rights = Rights::new(owner, groups);
        let mut name = None;
        let mut environment: Vec<_> = environment
            .filter(|(variable, value)| {
                if variable == "SUDO_USER" {
                    name = Some(value.clone());
                }
                !variable.as_bytes().starts_with(b"SUDO_")
                    && !["HOME", "USER", "LOGNAME", "SHELL"].iter().any(|own| variable == own)
            })
            .collect();
        let (name, home, shell) = match entry {
            Some(entry) => (Some(entry.name), entry.home.into(), entry.shell),
            // Not in the databases of this machine any more, or of this container.
            None => (name, "/".into(), "/bin/sh".into()),
        };
        let mut set = |variable: &str, value: OsString| environment.push((variable.into(), value));
        set("HOME", home);
        set("SHELL", shell);
        if let Some(name) = name {
            set("USER", name.clone());
            set("LOGNAME", name);
        }
        Self { rights: Some(rights), environment }
    }

    /// Ends a message about what is not allowed.
    pub(super) fn as_whom(&self) -> &'static str {
        if self.rights.is_some() { " as the user behind sudo" } else { "" }
    }

    /// What the command finds under this name in its environment.
    pub(super) fn variable(&self, name: &str) -> Option<OsString> {
        let has_name = |(variable, _): &&(OsString, OsString)| variable == OsStr::new(name);
        self.environment.iter().find(has_name).map(|(_, value)| value.clone())
    }

    pub(super) fn environment(&self) -> &[(OsString, OsString)] {
        &self.environment
    }

    pub(super) fn rights(&self) -> Option<&Rights> {
        self.rights.as_ref()
    }

    /// Does something with the user's rights.
    ///
    /// # Errors
    ///
    /// When the rights cannot be taken on.
    pub(super) fn with_rights<T: Send>(&self, act: impl FnOnce() -> T + Send) -> io::Result<T> {
        match &self.rights {
            Some(rights) => rights.lend(act),
            None => Ok(act()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;

    const NOBODY: Owner = Owner { uid: 65534, gid: 65534 };

    fn environment() -> impl Iterator<Item = (OsString, OsString)> {
        [
            ("PATH", "/x"),
            ("HOME", "/root"),
            ("USER", "root"),
            ("SUDO_USER", "eve"),
            ("SUDO_UID", "65534"),
            ("LANG", "C"),
        ]
        .into_iter()
        .map(|(name, value)| (name.into(), value.into()))
    }

    #[test]
    fn the_environment_is_the_users() {
        let entry = Entry {
            name: "eve".into(),
            home: PathBuf::from("/home/eve"),
            shell: "/bin/zsh".into(),
            groups: vec![Gid::from_raw(65534), Gid::from_raw(100)],
        };
        let user = User::behind_sudo(NOBODY, Some(entry), environment());
        let mut found: Vec<String> = user
            .environment()
            .iter()
            .map(|(name, value)| format!("{}={}", name.display(), value.display()))
            .collect();
        found.sort();
        let expected =
            ["HOME=/home/eve", "LANG=C", "LOGNAME=eve", "PATH=/x", "SHELL=/bin/zsh", "USER=eve"];
        assert_eq!(found, expected);
        assert_eq!(user.rights().unwrap().groups().len(), 2);
    }

    #[test]
    fn a_user_without_an_entry_has_only_the_id() {
        let user = User::behind_sudo(NOBODY, None, environment());
        assert_eq!(user.variable("HOME").unwrap(), "/");
        assert_eq!(user.variable("USER").unwrap(), "eve");
        assert_eq!(user.rights().unwrap().groups(), [Gid::from_raw(65534)]);
    }
}
