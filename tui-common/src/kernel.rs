//! Where the running kernel keeps a socket's peer.

use core::mem::size_of;

/// Where this kernel's structures have the fields that lead from a file descriptor to the socket's peer, in bytes:
/// the one element of the map `KERNEL`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct KernelLayout {
    /// 1: all fields are known. 0: no peer is read.
    pub known: u32,
    /// `files` in `task_struct`, a pointer.
    pub task_files: u32,
    /// `fdt` in `files_struct`, a pointer.
    pub files_fdt: u32,
    /// [`DescriptorTable`](crate::DescriptorTable) in `fdtable`.
    pub fdt_table: u32,
    /// `f_inode` in `file`, a pointer.
    pub file_inode: u32,
    /// `private_data` in `file`, a pointer.
    pub file_private_data: u32,
    /// `i_mode` in `inode`, 16 bits.
    pub inode_mode: u32,
    /// [`SocketLinks`](crate::SocketLinks) in `socket`.
    pub socket_links: u32,
    /// [`SocketNames`](crate::SocketNames) in `sock`.
    pub sock_names: u32,
    /// `__sk_common.skc_v6_daddr` in `sock`, 16 bytes.
    pub sock_address6: u32,
    /// `__sk_common.skc_net` in `sock`, a pointer.
    pub sock_net: u32,
    /// `ns.inum` in `net`, 32 bits.
    pub net_inode: u32,
    /// The inode of our own network namespace; 0: this kernel has one for all.
    pub own_net: u32,
}

const _: () = assert!(size_of::<KernelLayout>() == 52);
