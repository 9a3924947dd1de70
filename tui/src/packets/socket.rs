//! A packet socket with its ring, and what it counted.

use std::io;
use std::num::NonZeroU32;
use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd, OwnedFd};

use rustix::net::{AddressFamily, Protocol, SocketFlags, SocketType, socket_with};

use super::filter;
use super::ring::{Block, Ring, Size};

/// An AF_PACKET socket (packet(7)) that receives the packets of all interfaces, or of those that its filter names.
///
/// It is never bound: bind(2) is forbidden when everything runs, and a socket made with a protocol receives at once.
pub struct Socket {
    ring: Ring,
    socket: OwnedFd,
}

impl Socket {
    /// Opens one with a ring of this size, for the packets of these interfaces, or of all.
    ///
    /// # Errors
    ///
    /// The kernel's: `CAP_NET_RAW` is missing, it has no packet sockets, or no memory for the ring.
    pub fn open(size: Size, interfaces: Option<&[u32]>) -> io::Result<Self> {
        Self::with_filter(size, |socket| attach(socket, interfaces))
    }

    /// Opens one that receives what an eBPF program takes.
    ///
    /// # Errors
    ///
    /// As for [`Socket::open`].
    pub fn filtered(size: Size, program: BorrowedFd<'_>) -> io::Result<Self> {
        let number = program.as_raw_fd();
        Self::with_filter(size, |socket| {
            set(socket.as_fd(), libc::SOL_SOCKET, libc::SO_ATTACH_BPF, &number)
        })
    }

    fn with_filter(
        size: Size,
        attach: impl FnOnce(&OwnedFd) -> io::Result<()>,
    ) -> io::Result<Self> {
        let every = u32::from((libc::ETH_P_ALL as u16).to_be());
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let protocol = NonZeroU32::new(every).map(Protocol::from_raw);
        let socket = socket_with(AddressFamily::PACKET, SocketType::RAW, flags, protocol)?;
        attach(&socket)?;
        // What came before the filter is dropped by this.
        let ring = Ring::new(&socket, size)?;
        Ok(Self { ring, socket })
    }

    /// From now on receives from these interfaces.
    ///
    /// # Errors
    ///
    /// The kernel's, when it refuses the filter; the one before stays.
    pub fn choose(&self, interfaces: Option<&[u32]>) -> io::Result<()> {
        attach(&self.socket, interfaces)
    }

    /// The next block of packets, if there is one.
    pub fn next_block(&mut self) -> Option<Block<'_>> {
        self.ring.next_block()
    }

    /// Packets that passed the filter since this was asked last, and of those the ones for which the ring had no room.
    ///
    /// # Errors
    ///
    /// The kernel's.
    pub fn statistics(&self) -> io::Result<Statistics> {
        let mut counted = libc::tpacket_stats_v3 { tp_packets: 0, tp_drops: 0, tp_freeze_q_cnt: 0 };
        let mut len = size_of::<libc::tpacket_stats_v3>() as libc::socklen_t;
        // SAFETY: `counted` has room for `len` bytes, and every bit pattern is one of it.
        let result = unsafe {
            libc::getsockopt(
                self.socket.as_raw_fd(),
                libc::SOL_PACKET,
                libc::PACKET_STATISTICS,
                (&raw mut counted).cast(),
                &raw mut len,
            )
        };
        match result {
            0 => Ok(Statistics { packets: counted.tp_packets, dropped: counted.tp_drops }),
            _ => Err(io::Error::last_os_error()),
        }
    }
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// What to do about an error of [`Socket::open`], as the end of a sentence; nothing where that is not known.
pub fn advice(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::PermissionDenied => {
            "; it takes CAP_NET_RAW: run it as root on the host, or give the container that capability"
        }
        _ => "",
    }
}

/// What a socket counted (`PACKET_STATISTICS`, packet(7)).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Statistics {
    /// Passed the filter, also those that were dropped.
    pub packets: u32,
    /// No room in the ring.
    pub dropped: u32,
}

fn attach(socket: &OwnedFd, interfaces: Option<&[u32]>) -> io::Result<()> {
    let mut program = filter::program(interfaces);
    let option = filter::as_option(&mut program);
    set(socket.as_fd(), libc::SOL_SOCKET, libc::SO_ATTACH_FILTER, &option)
}

/// setsockopt(2).
pub(super) fn set<T: Copy>(
    socket: BorrowedFd<'_>,
    level: libc::c_int,
    option: libc::c_int,
    value: &T,
) -> io::Result<()> {
    let len = size_of::<T>() as libc::socklen_t;
    let from = std::ptr::from_ref(value).cast();
    // SAFETY: the kernel reads `len` bytes of `value`, and checks what they mean.
    match unsafe { libc::setsockopt(socket.as_raw_fd(), level, option, from, len) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}
