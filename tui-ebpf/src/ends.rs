//! The ends of a connection: the server's name, and the peer of its socket.

use aya_ebpf::helpers::generated::{
    bpf_get_current_task, bpf_probe_read_kernel, bpf_probe_read_user, bpf_probe_read_user_str,
};
use tlskeytop_common::{
    BioNumbers, DescriptorTable, EndSteps, Ends, KernelLayout, NAME_ROOM, POINTERS, SocketLinks,
    SocketNames, StepKind,
};

use crate::maps::KERNEL;
use crate::steps;

/// What the types of all `BIO`s that are a source or sink with a descriptor have in common: `BIO_TYPE_SOURCE_SINK` and
/// `BIO_TYPE_DESCRIPTOR` (`openssl/bio.h`). The lower byte tells sockets from others, and those of an application's
/// own (libpq) from the library's.
const DESCRIPTOR: u32 = 0x0500;
/// `S_IFMT` and `S_IFSOCK` (`linux/stat.h`).
const FILE_TYPE: u16 = 0o170_000;
const SOCKET: u16 = 0o140_000;
/// `linux/socket.h`.
pub const AF_INET: u16 = 2;
pub const AF_INET6: u16 = 10;

/// Fills `ends` with what the steps find of the present task's connection.
///
/// # Safety
///
/// `ends` must point to writable room for one [`Ends`].
#[inline(always)]
pub unsafe fn take(steps: &EndSteps, connection: u64, ends: *mut Ends) {
    // SAFETY: by this function's contract.
    unsafe { steps::clear::<{ size_of::<Ends>() }>(ends.cast()) };
    let mut pointers = [0u64; POINTERS];
    pointers[0] = connection;
    let mut left_out = 0;
    for step in steps {
        if step.kind == StepKind::End as u8 {
            break;
        }
        if left_out > 0 {
            left_out -= 1;
            continue;
        }
        let base = pointers[step.from as usize % POINTERS];
        let from = base.wrapping_add(step.offset as u64);
        if step.kind == StepKind::Follow as u8 {
            let to = &mut pointers[step.to as usize % POINTERS];
            *to = if base == 0 { 0 } else { user(from).unwrap_or(0) };
        } else if base == 0 {
            continue;
        } else if step.kind == StepKind::Name as u8 {
            // SAFETY: by this function's contract, and the helper checks `from`.
            unsafe {
                let to = (&raw mut (*ends).name).cast();
                let read = bpf_probe_read_user_str(to, NAME_ROOM as u32, from as *const _);
                if read > 0 {
                    (*ends).name_len = read as u16;
                    (*ends).name_from = step.to as u16;
                    left_out = step.len;
                }
            }
        } else if step.kind == StepKind::Descriptor as u8 {
            let numbers: BioNumbers = user(from).unwrap_or_default();
            if numbers.init != 1 {
                continue;
            }
            let kind: u32 = user(pointers[step.to as usize % POINTERS]).unwrap_or(0);
            if kind & 0xff00 == DESCRIPTOR {
                if let Some(layout) = KERNEL.get(0) {
                    // SAFETY: by this function's contract.
                    let _ = unsafe { peer(layout, numbers.num, ends) };
                }
                break;
            }
        }
    }
}

/// Fills in the peer of the present task's socket with this descriptor. The task is in the middle of using it, so that
/// it is the connection's; that the socket points back to the file proves that it is a socket, and not what was one.
///
/// # Safety
///
/// `ends` must point to writable room for one [`Ends`].
#[inline(always)]
unsafe fn peer(layout: &KernelLayout, descriptor: u32, ends: *mut Ends) -> Option<()> {
    if layout.known == 0 {
        return None;
    }
    // SAFETY: the helper takes no argument.
    let task = unsafe { bpf_get_current_task() };
    let files: u64 = kernel(task, layout.task_files)?;
    let table: u64 = kernel(files, layout.files_fdt)?;
    let table: DescriptorTable = kernel(table, layout.fdt_table)?;
    if descriptor >= table.max_fds {
        return None;
    }
    let file: u64 = kernel(table.fd.wrapping_add(8 * descriptor as u64), 0)?;
    let inode: u64 = kernel(file, layout.file_inode)?;
    let mode: u16 = kernel(inode, layout.inode_mode)?;
    if mode & FILE_TYPE != SOCKET {
        return None;
    }
    let socket: u64 = kernel(file, layout.file_private_data)?;
    let socket: SocketLinks = kernel(socket, layout.socket_links)?;
    if socket.file != file {
        return None;
    }
    let names: SocketNames = kernel(socket.sk, layout.sock_names)?;
    // A socket that is not connected has port 0.
    if names.port == 0 {
        return None;
    }
    // SAFETY: by this function's contract.
    unsafe {
        match names.family {
            AF_INET => (&raw mut (*ends).address).cast::<[u8; 4]>().write(names.address),
            AF_INET6 => (*ends).address = kernel(socket.sk, layout.sock_address6)?,
            _ => return None,
        }
        (*ends).port = names.port;
        (*ends).family = names.family;
    }
    Some(())
}

/// What is made of integers, of which every bit pattern is one.
pub trait Number: Copy + Default {}
impl Number for u16 {}
impl Number for u32 {}
impl Number for u64 {}
impl Number for [u8; 16] {}
impl Number for [[u8; 16]; 2] {}
impl Number for BioNumbers {}
impl Number for DescriptorTable {}
impl Number for SocketLinks {}
impl Number for SocketNames {}

/// Reads the target's memory.
#[inline(always)]
fn user<T: Number>(from: u64) -> Option<T> {
    let mut value = T::default();
    let to = (&raw mut value).cast();
    // SAFETY: `value` has room for its own size, and the helper checks `from`.
    let failed = unsafe { bpf_probe_read_user(to, size_of::<T>() as u32, from as *const _) };
    (failed == 0).then_some(value)
}

/// Reads the kernel's memory.
#[inline(always)]
pub fn kernel<T: Number>(base: u64, offset: u32) -> Option<T> {
    let mut value = T::default();
    let to = (&raw mut value).cast();
    let from = base.wrapping_add(offset as u64) as *const _;
    // SAFETY: `value` has room for its own size, and the helper checks `from`.
    let failed = unsafe { bpf_probe_read_kernel(to, size_of::<T>() as u32, from) };
    (failed == 0).then_some(value)
}
