//! Where this kernel's structures have the fields that lead from a file descriptor to its socket's peer: from the
//! kernel's own BTF, so that no release's offsets are written down here.

use btf_rs::{Backend, Btf, BtfType as _, Member, Type};
use tlskeytop_common::KernelLayout;

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
}

/// The offsets of the running kernel.
///
/// # Errors
///
/// [`KernelError`] when one of them is not there.
pub fn layout() -> Result<KernelLayout, KernelError> {
    // The mapping takes no memory of ours; kernels before 6.16 cannot map the file.
    let btf = Btf::from_file_with_backend(BTF, Backend::Mmap).or_else(|_| Btf::from_file(BTF))?;
    let field = |structure, name| field(&btf, structure, name);
    let common = field("sock", "__sk_common")?;
    Ok(KernelLayout {
        known: 1,
        task_files: field("task_struct", "files")?,
        files_fdt: field("files_struct", "fdt")?,
        fdt_max_fds: field("fdtable", "max_fds")?,
        fdt_fd: field("fdtable", "fd")?,
        file_inode: field("file", "f_inode")?,
        file_private_data: field("file", "private_data")?,
        inode_mode: field("inode", "i_mode")?,
        socket_file: field("socket", "file")?,
        socket_sk: field("socket", "sk")?,
        sock_family: common + field("sock_common", "skc_family")?,
        sock_port: common + field("sock_common", "skc_dport")?,
        sock_address: common + field("sock_common", "skc_daddr")?,
        sock_address6: common + field("sock_common", "skc_v6_daddr")?,
    })
}

fn field(btf: &Btf, structure: &'static str, name: &'static str) -> Result<u32, KernelError> {
    let missing = KernelError::Field(structure, name);
    for found in btf.resolve_types_by_name(structure)? {
        if let Type::Struct(found) = found
            && let Some(bits) = offset_in(btf, &found.members, name, DEPTH)?
        {
            return Ok(bits / 8);
        }
    }
    Err(missing)
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
        // Of `struct sock_common` (`net/sock.h`), whose start is the same since 3.x.
        assert_eq!(layout.sock_address, 0);
        assert_eq!(layout.sock_port, 12);
        assert_eq!(layout.sock_family, 16);
        // Behind a structure without a name, and each at a place of its own.
        assert!(layout.sock_address6 > layout.sock_family);
        assert!(layout.file_inode != layout.file_private_data && layout.task_files > 0);
    }
}
