//! tlskeytop's eBPF programs: read, bound, submit. What the bytes mean is for user space.
#![no_std]
#![no_main]
// The BPF target has atomic addition, but `AtomicU64::fetch_add` only where there is compare-and-swap too.
#![feature(core_intrinsics)]
#![allow(internal_features, reason = "see above")]

mod ends;
mod facts;
mod lifecycle;
mod look;
mod maps;
mod openings;
mod owners;
mod packets;
mod record;
mod steps;
mod tap;
mod token;
mod walk;

#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    // The verifier refuses a program in which a panic is reachable, so none is.
    loop {}
}

/// The kernel gives the helpers that read user memory to programs with a GPL-compatible licence.
#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";
