//! Whose a connection is: the processes at its ends, as far as the kernel tells.

use std::collections::VecDeque;
use std::fs::File;
use std::io::Read as _;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use rustix::net::{AddressFamily, SocketFlags, SocketType, connect, getsockname, socket_with};

use crate::clock::boot_time;
use crate::model::target::Process;
use crate::model::{Owner, Owners as Ends};
use crate::packets::{Opener, Owners};
use crate::target::follow::watch::Watch;
use crate::target::process;

/// Processes of which it is remembered what runs in them.
const REMEMBERED: usize = 256;
/// Bytes of `/proc/PID/maps` that are read: 10,000 mappings.
const MAPS: u64 = 1 << 20;
/// Runtimes with TLS of their own, by a file that each of their processes has mapped.
const RUNTIMES: [(&[u8], &str); 1] = [(b"/libjvm.so\n", "Java")];

/// Finds them.
pub(super) struct Finder {
    owners: Owners,
    watch: Watch,
    runtimes: VecDeque<(u32, u64, Option<&'static str>)>,
}

impl Finder {
    pub fn new(owners: Owners, watch: Watch) -> Self {
        Self { owners, watch, runtimes: VecDeque::new() }
    }

    /// The processes at both ends.
    pub fn owners(&mut self, client: SocketAddr, server: SocketAddr) -> Ends {
        let opener = self.owners.client(client, server);
        let found = opener.and_then(|opener| self.owner(opener));
        let holder = self.owners.server(client, server);
        let now = || Duration::from_nanos(boot_time());
        let held = holder.and_then(|pid| self.owner(Opener { pid, since_boot: now() }));
        let is_known = found.is_some() || held.is_some();
        let is_foreign =
            !is_known && [client, server].into_iter().all(|end| is_ours(end) == Some(false));
        Ends { client: found, server: held, is_foreign }
    }

    /// The process that had this id then.
    fn owner(&mut self, opener: Opener) -> Option<Owner> {
        let time = u64::try_from(opener.since_boot.as_nanos()).ok()?;
        let known = self.watch.process_at(opener.pid, time);
        let process = known.or_else(|| {
            let process = process::read_with_ancestors(opener.pid).ok()?;
            (process.start_ticks <= process::ticks_at(time)).then(|| Arc::new(process))
        })?;
        let runtime = self.runtime(&process);
        Some(Owner { process, runtime, found_at: process::ticks_since_boot() })
    }

    fn runtime(&mut self, process: &Process) -> Option<&'static str> {
        let (pid, start) = (process.pid, process.start_ticks);
        let known = self.runtimes.iter().find(|(a, b, _)| (*a, *b) == (pid, start));
        if let Some((.., runtime)) = known {
            return *runtime;
        }
        let runtime = mapped_runtime(pid);
        // While its files were read, another process may have got its id.
        if process::start_ticks(pid).ok() != Some(start) {
            return None;
        }
        if self.runtimes.len() == REMEMBERED {
            self.runtimes.pop_front();
        }
        self.runtimes.push_back((pid, start, runtime));
        runtime
    }
}

fn mapped_runtime(pid: u32) -> Option<&'static str> {
    let mut maps = Vec::new();
    let file = File::open(format!("/proc/{pid}/maps")).ok()?;
    file.take(MAPS).read_to_end(&mut maps).ok()?;
    let is_mapped = |name: &[u8]| memchr::memmem::find(&maps, name).is_some();
    RUNTIMES.iter().find(|(name, _)| is_mapped(name)).map(|(_, runtime)| *runtime)
}

/// Whether an address is one of this machine, in our network namespace: the kernel chooses it as our own end towards
/// itself. `None` where that cannot be told. Nothing is sent.
fn is_ours(address: SocketAddr) -> Option<bool> {
    if address.ip().is_loopback() {
        return Some(true);
    }
    let family = match address.ip() {
        IpAddr::V4(_) => AddressFamily::INET,
        IpAddr::V6(_) => AddressFamily::INET6,
    };
    let socket = socket_with(family, SocketType::DGRAM, SocketFlags::CLOEXEC, None).ok()?;
    connect(&socket, &address).ok()?;
    let own = SocketAddr::try_from(getsockname(&socket).ok()?).ok()?;
    Some(own.ip() == address.ip())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn our_own_addresses_are_ours() {
        let ours = |address: &str| is_ours(address.parse().unwrap());
        assert_eq!(ours("127.0.0.2:1"), Some(true));
        assert_eq!(ours("[::1]:1"), Some(true));
        assert_ne!(ours("192.0.2.1:1"), Some(true));
        // Of a link, which it does not name.
        assert_ne!(ours("[fe80::1]:1"), Some(true));
    }

    #[test]
    fn without_java_there_is_no_runtime() {
        assert_eq!(mapped_runtime(std::process::id()), None);
    }
}
