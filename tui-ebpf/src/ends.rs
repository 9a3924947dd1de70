//! The ends of a connection: the server's name, and the peer of its socket.

use core::mem::MaybeUninit;

use aya_ebpf::helpers::generated::{
    bpf_get_current_task, bpf_probe_read_user, bpf_probe_read_user_str,
};
use tlskeytop_common::{
    BIO_MAX, BIO_SHORT, DescriptorTable, Ends, EndsConfig, INIT_TO_NUM, KernelLayout, NAME_ROOM,
    NOWHERE, SocketLinks, SocketNames,
};

use crate::look::{kernel, user};
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

/// No descriptor.
const NONE: u32 = u32::MAX;

/// Room for the words of a `BIO`, of which the last are 0: a power of two, so that every place is in it.
type Words = [u64; (BIO_MAX / 8).next_power_of_two()];

/// Fills `ends` with what is found of the present task's connection. Behind the end of a name it stays as it is.
///
/// # Safety
///
/// `ends` must point to writable room for one [`Ends`].
#[inline(always)]
pub unsafe fn take(config: &EndsConfig, connection: u64, ends: *mut Ends) {
    // SAFETY: by this function's contract.
    unsafe {
        (*ends).family = 0;
        (*ends).port = 0;
        (*ends).name_len = 0;
        (*ends).name_from = 0;
        steps::clear::<16>((&raw mut (*ends).address).cast());
        name(config, connection, ends);
        let descriptor = descriptor(config, connection);
        if descriptor != NONE
            && let Some(layout) = KERNEL.get(0)
        {
            let _ = peer(layout, descriptor, ends);
        }
    }
}

/// Fills in the name.
///
/// # Safety
///
/// As [`take`].
#[inline(always)]
unsafe fn name(config: &EndsConfig, connection: u64, ends: *mut Ends) {
    for at in &config.names {
        if at.which == 0 {
            return;
        }
        let holder = if at.behind == NOWHERE { connection } else { pointer(connection, at.behind) };
        let from = pointer(holder, at.offset);
        if from == 0 {
            continue;
        }
        // SAFETY: by this function's contract, and the helper checks `from`.
        unsafe {
            let to = (&raw mut (*ends).name).cast();
            let read = bpf_probe_read_user_str(to, NAME_ROOM as u32, from as *const _);
            if read > 0 {
                (*ends).name_len = read as u16;
                (*ends).name_from = at.which as u16;
                return;
            }
        }
    }
}

/// The descriptor of the connection's socket: of the `BIO` that is read from or the one that is written to, or of what is
/// next to these. Both are the same, but for applications that read or write by themselves; OpenSSL puts one that
/// buffers before the other while the handshake runs. [`NONE`] where there is none: of an `Option` the compiler lets the
/// number be any register on the way without one, also one that was never written, which the verifier refuses.
#[inline(always)]
fn descriptor(config: &EndsConfig, connection: u64) -> u32 {
    if config.bio == NOWHERE {
        return NONE;
    }
    let mut room = MaybeUninit::uninit();
    let ends: &mut [u64; 2] = steps::zeros(&mut room);
    let len = if config.bio_count == 2 { 16 } else { 8 };
    let from = connection.wrapping_add(config.bio as u64) as *const _;
    // SAFETY: `ends` has room for both pointers, and the helper checks `from`.
    if unsafe { bpf_probe_read_user((&raw mut *ends).cast(), len, from) } != 0 {
        return NONE;
    }
    let mut next = 0;
    for at in 0..4 {
        let bio = match at {
            0 => ends[0],
            2 => ends[1],
            _ => next,
        };
        next = 0;
        // The first was looked at.
        if bio == 0 || at > 1 && bio == ends[0] {
            continue;
        }
        let descriptor = look(config, bio, &mut next);
        if descriptor != NONE {
            return descriptor;
        }
    }
    NONE
}

/// The descriptor of a `BIO`; of one that has none, [`NONE`], and in `next` the one that is next to it, or 0.
#[inline(always)]
fn look(config: &EndsConfig, bio: u64, next: &mut u64) -> u32 {
    let mut words = MaybeUninit::<Words>::uninit();
    let to = words.as_mut_ptr().cast::<u64>();
    // SAFETY: `to` has room for both lengths, and the helper checks `bio`. It fills what it is asked for, the rest is
    // written here.
    let (failed, words) = unsafe {
        let from = bio as *const _;
        steps::clear::<{ size_of::<Words>() - BIO_SHORT }>(to.add(BIO_SHORT / 8).cast());
        let failed = if config.bio_len as usize > BIO_SHORT {
            bpf_probe_read_user(to.cast(), BIO_MAX as u32, from)
        } else {
            bpf_probe_read_user(to.cast(), BIO_SHORT as u32, from)
        };
        (failed, words.assume_init_ref())
    };
    if failed != 0 {
        return NONE;
    }
    let (mut known, mut kind) = (0, 0u32);
    for at in &config.bios {
        if at.init == NOWHERE {
            break;
        }
        if number(words, at.init) != 1 {
            continue;
        }
        let method = word(words, at.method);
        if method != known {
            (known, kind) = (method, user(method).unwrap_or(0));
        }
        if kind & 0xff00 == DESCRIPTOR {
            return number(words, at.init.wrapping_add(INIT_TO_NUM));
        }
    }
    if config.next_bio != NOWHERE {
        *next = word(words, config.next_bio);
    }
    NONE
}

/// The 8 bytes at an offset, a multiple of 8.
#[inline(always)]
fn word(words: &Words, offset: u32) -> u64 {
    words[offset as usize / 8 % words.len()]
}

/// The 4 bytes at an offset, a multiple of 4.
#[inline(always)]
fn number(words: &Words, offset: u32) -> u32 {
    (word(words, offset) >> (8 * (offset & 4))) as u32
}

/// The pointer at `base + offset`; 0 when it cannot be read, or `base` is 0.
#[inline(always)]
fn pointer(base: u64, offset: u32) -> u64 {
    if base == 0 { 0 } else { user(base.wrapping_add(offset as u64)).unwrap_or(0) }
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
