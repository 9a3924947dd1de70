//! The machine's interfaces as they come and go: which of them are recorded, and what they are called.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;

use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, netdevice, recv, send,
    socket_with,
};

use super::socket;

/// Bytes of a `nlmsghdr` (`linux/netlink.h`).
const NETLINK_HEADER: u32 = 16;

/// Names and indexes of interfaces (netdevice(7)), and a notice when one changes (rtnetlink(7)).
pub struct Interfaces {
    /// Any socket will do to ask for a name.
    names: OwnedFd,
    changes: OwnedFd,
    /// Empty: all.
    chosen: Vec<String>,
}

impl Interfaces {
    /// Watches the interfaces with these names, or all when there is none.
    ///
    /// # Errors
    ///
    /// When the sockets cannot be had.
    pub fn watch(chosen: Vec<String>) -> io::Result<Self> {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let names = socket_with(AddressFamily::UNIX, SocketType::DGRAM, flags, None)?;
        // Without a protocol it is NETLINK_ROUTE.
        let changes = socket_with(AddressFamily::NETLINK, SocketType::RAW, flags, None)?;
        // Joined without bind(2), which is forbidden when everything runs.
        let group = libc::RTNLGRP_LINK as libc::c_int;
        socket::set(changes.as_fd(), libc::SOL_NETLINK, libc::NETLINK_ADD_MEMBERSHIP, &group)?;
        // The kernel tells nothing to a socket that has no number yet. It gets one with its first message, which asks nothing.
        let mut message = [0; NETLINK_HEADER as usize];
        message[..4].copy_from_slice(&NETLINK_HEADER.to_ne_bytes());
        message[4..6].copy_from_slice(&(libc::NLMSG_NOOP as u16).to_ne_bytes());
        send(&changes, &message, SendFlags::empty())?;
        Ok(Self { names, changes, chosen })
    }

    /// The name of the interface with this index, if there is one now.
    pub fn name(&self, index: u32) -> Option<String> {
        netdevice::index_to_name(&self.names, index).ok()
    }

    /// The indexes of the chosen interfaces that are there now; `None`: all are chosen.
    pub fn indexes(&self) -> Option<Vec<u32>> {
        let index = |name: &String| netdevice::name_to_index(&self.names, name).ok();
        (!self.chosen.is_empty()).then(|| self.chosen.iter().filter_map(index).collect())
    }

    /// Index and hardware type of those of the interfaces that are there now.
    pub fn present(&self) -> Vec<(u32, u16)> {
        let chosen = self.indexes();
        let is_chosen = |index: &u32| chosen.as_ref().is_none_or(|chosen| chosen.contains(index));
        let Ok(folder) = std::fs::read_dir("/sys/class/net") else { return Vec::new() };
        let number = |path: PathBuf| std::fs::read_to_string(path).ok()?.trim().parse::<u32>().ok();
        let interface = |path: PathBuf| {
            let index = number(path.join("ifindex")).filter(is_chosen)?;
            Some((index, u16::try_from(number(path.join("type"))?).ok()?))
        };
        let mut present: Vec<_> =
            folder.flatten().filter_map(|entry| interface(entry.path())).collect();
        present.sort_unstable();
        present
    }

    /// The chosen interfaces that are not there now.
    pub fn missing(&self) -> impl Iterator<Item = &str> {
        let is_there = |name: &str| netdevice::name_to_index(&self.names, name).is_ok();
        self.chosen.iter().map(String::as_str).filter(move |name| !is_there(name))
    }

    /// Whether an interface came, went or changed since this was asked last. What the kernel says of it is not read: it
    /// is asked anew.
    pub fn changed(&self) -> bool {
        let mut changed = false;
        let mut room = [0u8; 64];
        loop {
            match recv(&self.changes, &mut room, RecvFlags::TRUNC) {
                Ok(_) | Err(Errno::NOBUFS) => changed = true,
                Err(Errno::INTR) => {}
                Err(_) => return changed,
            }
        }
    }
}

impl AsFd for Interfaces {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.changes.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_loopback_is_known_by_name_and_index() {
        let interfaces =
            Interfaces::watch(vec!["lo".to_owned(), "no such one".to_owned()]).unwrap();
        let indexes = interfaces.indexes().unwrap();
        assert_eq!(indexes.len(), 1);
        assert_eq!(interfaces.name(indexes[0]).as_deref(), Some("lo"));
        assert_eq!(interfaces.missing().collect::<Vec<_>>(), ["no such one"]);
        assert_eq!(interfaces.present(), [(indexes[0], libc::ARPHRD_LOOPBACK)]);
        assert_eq!(interfaces.name(u32::MAX), None);
        assert!(Interfaces::watch(Vec::new()).unwrap().indexes().is_none());
    }
}
