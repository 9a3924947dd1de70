//! Looks at memory: what cannot be read is not there.

use core::mem::MaybeUninit;

use aya_ebpf::helpers::generated::{bpf_probe_read_kernel, bpf_probe_read_user};
use tlskeytop_common::{DescriptorTable, SocketLinks, SocketNames};

/// What is made of integers, of which every bit pattern is one.
pub trait Number: Copy {}
impl Number for u16 {}
impl Number for u32 {}
impl Number for u64 {}
impl Number for [u8; 16] {}
impl Number for DescriptorTable {}
impl Number for SocketLinks {}
impl Number for SocketNames {}

/// Reads the target's memory.
#[inline(always)]
pub fn user<T: Number>(from: u64) -> Option<T> {
    let mut value = MaybeUninit::<T>::uninit();
    let to = value.as_mut_ptr().cast();
    // SAFETY: `value` has room for its own size, and the helper checks `from`.
    let failed = unsafe { bpf_probe_read_user(to, size_of::<T>() as u32, from as *const _) };
    // SAFETY: the helper has filled it.
    (failed == 0).then(|| unsafe { value.assume_init() })
}

/// Reads the kernel's memory.
#[inline(always)]
pub fn kernel<T: Number>(base: u64, offset: u32) -> Option<T> {
    let mut value = MaybeUninit::<T>::uninit();
    let to = value.as_mut_ptr().cast();
    let from = base.wrapping_add(offset as u64) as *const _;
    // SAFETY: `value` has room for its own size, and the helper checks `from`.
    let failed = unsafe { bpf_probe_read_kernel(to, size_of::<T>() as u32, from) };
    // SAFETY: the helper has filled it.
    (failed == 0).then(|| unsafe { value.assume_init() })
}
