//! Whose connection it is: of a client by the tracepoint, of a server by the socket itself (sock_diag(7)). Never guessed:
//! where several processes hold a socket, it is none of theirs.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::OwnedFd;
use std::time::Duration;

use aya::maps::{HashMap, MapData};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, netlink, recv, send, socket_with,
};
use tlskeytop_common::{Flow, Opened, Owner, mapped};

use super::holders::Holders;

/// How long the kernel may take to answer, which it does at once.
const ANSWER: Duration = Duration::from_millis(100);

/// An [`Opened`] that aya may look up.
#[derive(Clone, Copy)]
#[repr(transparent)]
pub(crate) struct PodOpened(Opened);

// SAFETY: Opened is made of integers without padding; every bit pattern is valid and no byte is undefined.
unsafe impl aya::Pod for PodOpened {}

/// An [`Owner`] that aya may copy out of a map.
#[derive(Clone, Copy)]
#[repr(transparent)]
pub(crate) struct PodOwner(Owner);

// SAFETY: Owner is made of integers without padding; every bit pattern is valid and no byte is undefined.
unsafe impl aya::Pod for PodOwner {}

/// Who opened a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Opener {
    /// Process id, in the initial pid namespace.
    pub pid: u32,
    /// When it called connect(2), since boot: a process that started later is another one.
    pub since_boot: Duration,
}

/// Asks for the processes of connections.
pub struct Owners {
    opened: HashMap<MapData, PodOpened, PodOwner>,
    sockets: OwnedFd,
    holders: Holders,
}

impl Owners {
    /// With the map of the tracepoint.
    ///
    /// # Errors
    ///
    /// When the kernel has no sockets to ask by.
    pub(crate) fn new(opened: HashMap<MapData, PodOpened, PodOwner>) -> io::Result<Self> {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let protocol = Some(netlink::SOCK_DIAG);
        let sockets = socket_with(AddressFamily::NETLINK, SocketType::DGRAM, flags, protocol)?;
        Ok(Self { opened, sockets, holders: Holders::new() })
    }

    /// The process that opened a connection, in our own network namespace or else in another one of this machine; `None`
    /// where it was opened on another machine, before the tracepoint was there, or in several other namespaces.
    pub fn client(&self, client: SocketAddr, server: SocketAddr) -> Option<Opener> {
        let flow = flow(client, server);
        let opened = |is_elsewhere| self.opened.get(&PodOpened(Opened { flow, is_elsewhere }), 0);
        let PodOwner(owner) = opened(0).or_else(|_| opened(1)).ok()?;
        let since_boot = Duration::from_nanos(owner.since_boot);
        (owner.pid != 0).then_some(Opener { pid: owner.pid, since_boot })
    }

    /// The one process that holds the server's socket of a connection, in our own network namespace; `None` where there is
    /// no such socket, it is not accepted yet, or several processes hold it; also where it would take too long.
    pub fn server(&mut self, client: SocketAddr, server: SocketAddr) -> Option<u32> {
        let Self { sockets, holders, .. } = self;
        holders.find(server.port(), || inode(sockets, server, client))
    }
}

/// The inode of the socket of a connection that is open in our own network namespace.
fn inode(sockets: &OwnedFd, local: SocketAddr, remote: SocketAddr) -> Option<u32> {
    // What came too late for the question before.
    while recv(sockets, &mut [0u8; 16], RecvFlags::TRUNC).is_ok() {}
    send(sockets, &question(local, remote), SendFlags::empty()).ok()?;
    let limit = Timespec::try_from(ANSWER).ok()?;
    let mut ready = [PollFd::new(sockets, PollFlags::IN)];
    poll(&mut ready, Some(&limit)).ok()?;
    let mut room = [0u8; 512];
    let (len, _) = recv(sockets, &mut room, RecvFlags::empty()).ok()?;
    answer(room.get(..len)?)
}

fn flow(client: SocketAddr, server: SocketAddr) -> Flow {
    Flow {
        client: octets(client.ip()),
        server: octets(server.ip()),
        client_port: client.port().to_be_bytes(),
        server_port: server.port().to_be_bytes(),
    }
}

fn octets(address: IpAddr) -> [u8; 16] {
    match address {
        IpAddr::V4(address) => mapped(address.octets()),
        IpAddr::V6(address) => address.octets(),
    }
}

/// `SOCK_DIAG_BY_FAMILY` (`linux/sock_diag.h`).
const BY_FAMILY: u16 = 20;
/// `nlmsghdr`, `inet_diag_req_v2` (`linux/netlink.h`, `linux/inet_diag.h`).
const QUESTION: usize = 16 + 56;
/// In `inet_diag_msg`, which follows the `nlmsghdr`.
const STATE: usize = 16 + 1;
const INODE: usize = 16 + 4 + 48 + 16;
/// `TCP_LISTEN` (`net/tcp_states.h`): the listening socket, where there is none of the connection.
const LISTENING: u8 = 10;

/// Asks for the one socket with these ends.
fn question(local: SocketAddr, remote: SocketAddr) -> Vec<u8> {
    let (family, [local_address, remote_address]) = match (local.ip(), remote.ip()) {
        (IpAddr::V4(local), IpAddr::V4(remote)) => {
            let address = |address: std::net::Ipv4Addr| {
                let mut padded = [0; 16];
                padded[..4].copy_from_slice(&address.octets());
                padded
            };
            (libc::AF_INET, [address(local), address(remote)])
        }
        (local, remote) => (libc::AF_INET6, [octets(local), octets(remote)]),
    };
    let mut message = Vec::with_capacity(QUESTION);
    message.extend_from_slice(&(QUESTION as u32).to_ne_bytes());
    message.extend_from_slice(&BY_FAMILY.to_ne_bytes());
    message.extend_from_slice(&(libc::NLM_F_REQUEST as u16).to_ne_bytes());
    // Number and sender of the question, which nobody looks at.
    message.extend_from_slice(&[0; 8]);
    message.extend_from_slice(&[family as u8, libc::IPPROTO_TCP as u8, 0, 0]);
    message.extend_from_slice(&u32::MAX.to_ne_bytes());
    message.extend_from_slice(&local.port().to_be_bytes());
    message.extend_from_slice(&remote.port().to_be_bytes());
    message.extend_from_slice(&local_address);
    message.extend_from_slice(&remote_address);
    // Any interface, and no cookie.
    message.extend_from_slice(&[0; 4]);
    message.extend_from_slice(&[0xff; 8]);
    message
}

/// The inode in the answer; `None` for an error, a listening socket, or one that no process has yet.
fn answer(message: &[u8]) -> Option<u32> {
    let kind = u16::from_ne_bytes(*message.get(4..)?.first_chunk()?);
    let inode = u32::from_ne_bytes(*message.get(INODE..)?.first_chunk()?);
    (kind == BY_FAMILY && *message.get(STATE)? != LISTENING && inode != 0).then_some(inode)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_question_is_as_long_as_it_says() {
        for ends in [["127.0.0.1:1", "127.0.0.2:2"], ["[::1]:1", "[::2]:2"]] {
            let [local, remote] = ends.map(|end| end.parse().unwrap());
            assert_eq!(question(local, remote).len(), QUESTION);
        }
    }

    #[test]
    fn an_answer_that_is_cut_or_an_error_is_none() {
        let mut message = vec![0; 100];
        message[4..6].copy_from_slice(&BY_FAMILY.to_ne_bytes());
        message[STATE] = 1;
        message[INODE..INODE + 4].copy_from_slice(&77u32.to_ne_bytes());
        assert_eq!(answer(&message), Some(77));
        assert_eq!(answer(&message[..INODE + 3]), None);
        message[STATE] = LISTENING;
        assert_eq!(answer(&message), None);
        message[STATE] = 1;
        message[4..6].copy_from_slice(&2u16.to_ne_bytes());
        assert_eq!(answer(&message), None);
        assert_eq!(answer(&[]), None);
    }
}
