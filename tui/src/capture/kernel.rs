//! Where this kernel's structures have the fields that lead from a file descriptor to its socket's peer: from the
//! kernel's own BTF, so that no release's offsets are written down here.

use std::fs::File;
use std::io;
use std::mem::offset_of;
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::MetadataExt as _;

use btf_rs::{Backend, Btf, BtfType as _, Member, Type};
use rustix::fs::{MemfdFlags, memfd_create};
use tlskeytop_common::{DescriptorTable, KernelLayout, SocketLinks, SocketNames};

/// A [`KernelLayout`] that aya may copy into a map.
#[derive(Clone, Copy)]
#[repr(transparent)]
pub(super) struct PodLayout(pub KernelLayout);

// SAFETY: KernelLayout is made of integers without padding; every bit pattern is valid and no byte is undefined.
unsafe impl aya::Pod for PodLayout {}

/// The kernel's types.
const BTF: &str = "/sys/kernel/btf/vmlinux";
/// Structures without a name within each other: `sock_common` has two.
const DEPTH: usize = 4;

/// Why the layout of the kernel's structures is not known.
#[derive(Debug, thiserror::Error)]
pub enum KernelError {
    /// There is no BTF, or it is broken.
    #[error("{BTF}: {0}")]
    Btf(#[from] btf_rs::Error),
    /// It lacks a field.
    #[error("{BTF} has no {1} in {0}")]
    Field(&'static str, &'static str),
    /// Fields are in another order.
    #[error("{BTF} has the fields of {0} in another order")]
    Shape(&'static str),
}

/// The offsets of the running kernel.
///
/// # Errors
///
/// [`KernelError`] when one of them is not there.
pub fn layout() -> Result<KernelLayout, KernelError> {
    let btf = kernel_btf()?;
    let [files] = fields(&btf, "task_struct", ["files"])?;
    let [fdt] = fields(&btf, "files_struct", ["fdt"])?;
    let table = fields(&btf, "fdtable", ["max_fds", "fd"])?;
    let fdt_table = shape("fdtable", table, offset_of!(DescriptorTable, fd))?;
    let [inode, private_data] = fields(&btf, "file", ["f_inode", "private_data"])?;
    let [mode] = fields(&btf, "inode", ["i_mode"])?;
    let links = fields(&btf, "socket", ["file", "sk"])?;
    let socket_links = shape("socket", links, offset_of!(SocketLinks, sk))?;
    let [common] = fields(&btf, "sock", ["__sk_common"])?;
    let in_common = ["skc_daddr", "skc_dport", "skc_family", "skc_v6_daddr"];
    let [address, port, family, address6] = fields(&btf, "sock_common", in_common)?;
    let local = ["skc_rcv_saddr", "skc_num", "skc_v6_rcv_saddr"];
    let [local, local_port, local6] = fields(&btf, "sock_common", local)?;
    shape("sock_common", [address, local], offset_of!(SocketNames, between))?;
    shape("sock_common", [address, local_port], offset_of!(SocketNames, local_port))?;
    shape("sock_common", [address6, local6], size_of::<[u8; 16]>())?;
    shape("sock_common", [address, port], offset_of!(SocketNames, port))?;
    shape("sock_common", [address, family], offset_of!(SocketNames, family))?;
    let [net] = fields(&btf, "sock_common", ["skc_net"])?;
    let [namespace] = fields(&btf, "net", ["ns"])?;
    let [inode_number] = fields(&btf, "ns_common", ["inum"])?;
    Ok(KernelLayout {
        known: 1,
        task_files: files,
        files_fdt: fdt,
        fdt_table,
        file_inode: inode,
        file_private_data: private_data,
        inode_mode: mode,
        socket_links,
        sock_names: common + address,
        sock_address6: common + address6,
        sock_net: common + net,
        net_inode: namespace + inode_number,
        own_net: own_net(),
    })
}

/// The inode of our network namespace, which the kernel has as `inum`; 0 where it has no namespaces.
fn own_net() -> u32 {
    let found = std::fs::metadata("/proc/self/ns/net");
    found.ok().and_then(|found| u32::try_from(found.ino()).ok()).unwrap_or(0)
}

/// The first of two fields, which are read with one look because the second is `distance` behind it.
fn shape(
    structure: &'static str,
    [first, second]: [u32; 2],
    distance: usize,
) -> Result<u32, KernelError> {
    match second.checked_sub(first) {
        Some(between) if between as usize == distance => Ok(first),
        _ => Err(KernelError::Shape(structure)),
    }
}

/// Mapped, not parsed as a whole: that takes 40 MB and 300 ms (6.18), and this next to nothing and 8 ms. Kernels before
/// 6.16 cannot map the file itself, so there a copy in memory is mapped.
fn kernel_btf() -> Result<Btf, KernelError> {
    if let Ok(btf) = Btf::from_file_with_backend(BTF, Backend::Mmap) {
        return Ok(btf);
    }
    let copy = || -> io::Result<File> {
        let mut copy = File::from(memfd_create("btf", MemfdFlags::CLOEXEC)?);
        io::copy(&mut File::open(BTF)?, &mut copy)?;
        Ok(copy)
    };
    let copy = copy().map_err(btf_rs::Error::from)?;
    let path = format!("/proc/self/fd/{}", copy.as_raw_fd());
    Ok(Btf::from_file_with_backend(path, Backend::Mmap)?)
}

/// The offsets of these fields, in bytes. There may be several structures of a name: the first with all fields counts.
fn fields<const N: usize>(
    btf: &Btf,
    structure: &'static str,
    names: [&'static str; N],
) -> Result<[u32; N], KernelError> {
    let mut missing = names[0];
    'found: for found in btf.resolve_types_by_name(structure)? {
        let Type::Struct(found) = found else { continue };
        let mut offsets = [0; N];
        for (offset, name) in offsets.iter_mut().zip(names) {
            let Some(bits) = offset_in(btf, &found.members, name, DEPTH)? else {
                missing = name;
                continue 'found;
            };
            *offset = bits / 8;
        }
        return Ok(offsets);
    }
    Err(KernelError::Field(structure, missing))
}

/// The offset of a member in bits, also of one in a structure or union that has no name.
fn offset_in(
    btf: &Btf,
    members: &[Member],
    name: &str,
    depth: usize,
) -> Result<Option<u32>, btf_rs::Error> {
    for member in members {
        let member_name = match member.get_name_offset() {
            Some(0) | None => String::new(),
            Some(_) => btf.resolve_name(member)?,
        };
        if member_name == name {
            return Ok(Some(member.bit_offset()));
        }
        if !member_name.is_empty() || depth == 0 {
            continue;
        }
        if let Type::Struct(inner) | Type::Union(inner) = btf.resolve_chained_type(member)?
            && let Some(bits) = offset_in(btf, &inner.members, name, depth - 1)?
        {
            return Ok(Some(member.bit_offset() + bits));
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_running_kernel_has_every_field() {
        if !std::path::Path::new(BTF).exists() {
            eprintln!("skipped: this kernel has no BTF");
            return;
        }
        let layout = layout().unwrap();
        // Behind a structure without a name, and each at a place of its own.
        assert!(layout.sock_address6 > layout.sock_names);
        assert!(layout.file_inode != layout.file_private_data && layout.task_files > 0);
    }
}
