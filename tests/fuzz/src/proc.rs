//! What `/proc` and the kernel's records say of other processes, and `ld.so.cache`. The first byte chooses the reader.

use tlskeytop::doors;
use tlskeytop::target::cgroup;
use tlskeytop::target::follow::record::{self, Parsed, What};

use crate::shown::assert_harmless;

/// Parts of such files.
pub const WORDS: &[&str] = &[
    "7f0e6c1b4000-7f0e6c212000 r-xp 0001e000 fe:00 393229 /usr/lib/libssl.so.3",
    " (deleted)",
    "0::/system.slice/docker-",
    "4a8e7f1b9d0c3e5f6a7b8c9d0e1f2a3b4c5d6e7f8091a2b3c4d5e6f708192a3b",
    "/kubepods.slice/kubepods-burstable-pod8a9b2c1d_3e4f_4a5b_8c7d_9e0f1a2b3c4d.slice",
    "machine-debian\\x2d12.scope",
    "lowerdir=/a:/b,upperdir=/c",
    " - overlay overlay rw,",
    "NSpid:\t7\t3\n",
    ") S 1 2 3",
    "\\040",
];

/// Reads it.
///
/// # Panics
/// When something does not hold.
pub fn run(bytes: &[u8]) {
    let Some((&which, bytes)) = bytes.split_first() else { return };
    match which % 7 {
        0 => bytes.split_inclusive(|&byte| byte == b'\n').for_each(maps),
        1 => control_groups(bytes),
        2 => String::from_utf8_lossy(bytes).lines().for_each(mount),
        3 => stat(bytes),
        4 => status(bytes),
        5 => cached(bytes),
        _ => kernel_record(bytes),
    }
}

/// What is read is what is printed again.
fn maps(line: &[u8]) {
    let Some(mapping) = doors::maps_line(line) else { return };
    let path = mapping.path.raw();
    assert!(path.starts_with('/') && !path.contains('\0'), "{path:?}");
    assert_harmless(&mapping.path.to_string());
    assert_eq!(mapping.as_mapped().path, mapping.path);
    if !path.ends_with(" (deleted)") {
        let (major, minor, inode) = mapping.file;
        let (start, end) = (mapping.start, mapping.end);
        let line = format!("{start:x}-{end:x} r-xp 0 {major:x}:{minor:x} {inode} {path}\n");
        assert_eq!(doors::maps_line(line.as_bytes()), Some(mapping));
    }
}

fn control_groups(text: &[u8]) {
    let Some(container) = cgroup::container(text) else { return };
    assert!(!container.is_empty());
    assert_harmless(&container.short());
    assert_harmless(&container.to_string());
}

fn mount(line: &str) {
    let Some((mount, layers)) = doors::mount_line(line) else { return };
    assert!(!mount.is_fuse() || mount.is_served());
    if let Some(layers) = layers {
        assert!(!layers.is_empty() && layers.iter().all(|layer| layer.is_absolute()));
    }
}

/// A process's name, which it chooses, never passes for another field.
fn stat(name: &[u8]) {
    let _ = doors::birth(name);
    let line = [b"42 (", name, b") S 4711 42 42 0 -1 0 0 0 0 0 0 0 0 0 20 0 1 0 815 0 0"].concat();
    let birth = doors::birth(&line).expect("the fields are there");
    assert_eq!((birth.parent, birth.start_ticks), (4711, 815));
}

/// The same, where the kernel escapes line feeds.
fn status(name: &[u8]) {
    let _ = doors::inner_pid(name);
    let name: Vec<u8> = name.iter().copied().filter(|&byte| byte != b'\n').collect();
    let text = [b"Name:\t", &*name, b"\nUmask:\t0022\nNSpid:\t4711\t7\n"].concat();
    assert_eq!(doors::inner_pid(&text), Some(7));
    let shown = doors::command_line(name);
    assert_harmless(&shown.to_string());
}

fn cached(bytes: &[u8]) {
    for (name, path) in doors::cached_libraries(bytes) {
        assert!(path.is_absolute() && !name.contains(&0));
    }
}

/// Kind and flags come first.
fn kernel_record(bytes: &[u8]) {
    let [kind, low, high, bytes @ ..] = bytes else { return };
    let flags = u16::from_le_bytes([*low, *high]);
    let Parsed::Event(event) = record::parse((*kind).into(), flags, bytes) else { return };
    assert_ne!(event.pid, u32::MAX);
    match event.what {
        What::Map(mapped) => {
            assert_ne!(mapped.length, 0);
            assert_harmless(&mapped.path.to_string());
        }
        What::Name { name, .. } => assert_harmless(&name.to_string()),
        What::Lost(_) | What::Fork { .. } | What::Thread | What::Exit { .. } => {}
    }
}
