//! What the C library's allocator keeps of memory that was given back to it.

/// Bytes from which memory is the kernel's own again as soon as it is given back.
#[cfg(target_env = "gnu")]
const LARGE: libc::c_int = 128 << 10;
/// So many threads at a time have their turn without waiting.
#[cfg(target_env = "gnu")]
const ARENAS: libc::c_int = 2;

/// Keeps little. To be called before there are threads.
///
/// By itself glibc has an arena for each of our ten threads, keeps what was once needed to look into a library in each of
/// them, and cannot give it back later since it is locked: 39 MiB resident where there are 27 with this.
pub fn keep_little() {
    #[cfg(target_env = "gnu")]
    // SAFETY: two numbers; no other thread has memory yet. Where it refuses them, more is kept.
    unsafe {
        libc::mallopt(libc::M_MMAP_THRESHOLD, LARGE);
        libc::mallopt(libc::M_ARENA_MAX, ARENAS);
    }
}
