//! The loader's cache, `/etc/ld.so.cache`: the system's libraries, also those that nobody uses yet.
//!
//! The format is glibc's `sysdeps/generic/dl-cache.h`, `struct cache_file_new`.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::fs::File;
use std::io::Read as _;
use std::os::unix::ffi::OsStrExt as _;
use std::path::PathBuf;

const PATH: &str = "/etc/ld.so.cache";
const MAGIC: &[u8] = b"glibc-ld.so.cache1.1";
/// Bytes of the header, which begins with the magic and the number of entries.
const HEADER: usize = 48;
/// Bytes of one entry: flags, key, value, osversion, hwcap.
const ENTRY: usize = 24;
/// `FLAG_ELF_LIBC6` with `FLAG_X8664_LIB64` in the byte above.
const X86_64: u32 = 0x0303;
/// Bytes read at most; a desktop's cache has some 200 KiB.
const LIMIT: u64 = 16 << 20;

/// Paths of the cached libraries whose name says that they may contain TLS. Empty when there is no
/// cache, as in a container without glibc's `ldconfig`.
pub fn tls_libraries() -> Vec<PathBuf> {
    let paths = parse(&cache()).into_iter().map(real);
    paths.collect::<BTreeSet<_>>().into_iter().collect()
}

/// Every cached library by its name: of one name there may be several, for CPUs with more instructions.
pub fn by_name() -> BTreeMap<Vec<u8>, Vec<PathBuf>> {
    let mut libraries: BTreeMap<_, Vec<_>> = BTreeMap::new();
    for (name, path) in entries(&cache()) {
        libraries.entry(name.to_owned()).or_default().push(path);
    }
    libraries
}

/// The bytes of the cache; none where it cannot be read.
fn cache() -> Vec<u8> {
    let mut bytes = Vec::new();
    match File::open(PATH).and_then(|file| file.take(LIMIT).read_to_end(&mut bytes)) {
        Ok(_) => bytes,
        Err(_) => Vec::new(),
    }
}

/// `libssl.so` and `libssl.so.3` name one file: under its own name it is shown as processes map it.
fn real(path: PathBuf) -> PathBuf {
    path.canonicalize().unwrap_or(path)
}

fn parse(bytes: &[u8]) -> Vec<PathBuf> {
    let tls = entries(bytes).into_iter().filter(|(name, _)| may_contain_tls(name));
    tls.map(|(_, path)| path).collect::<BTreeSet<_>>().into_iter().collect()
}

/// Names and paths of the libraries for this machine.
pub(crate) fn entries(bytes: &[u8]) -> Vec<(&[u8], PathBuf)> {
    // An old-format cache may stand before the new one.
    let Some(start) = memchr::memmem::find(bytes, MAGIC) else { return Vec::new() };
    let cache = &bytes[start..];
    let word = |at: usize| {
        let bytes = cache.get(at..at.checked_add(4)?)?;
        Some(u32::from_le_bytes(bytes.try_into().ok()?))
    };
    let text = |at: u32| {
        let rest = cache.get(at as usize..)?;
        rest.get(..memchr::memchr(0, rest)?)
    };
    let count = word(MAGIC.len()).unwrap_or(0) as usize;
    let room = cache.len().saturating_sub(HEADER) / ENTRY;
    let mut libraries = Vec::new();
    for entry in 0..count.min(room) {
        let at = HEADER + entry * ENTRY;
        let fields = (word(at), word(at + 4).and_then(text), word(at + 8).and_then(text));
        if let (Some(X86_64), Some(name), Some(path)) = fields
            && path.starts_with(b"/")
        {
            libraries.push((name, PathBuf::from(OsStr::from_bytes(path))));
        }
    }
    libraries
}

/// By the soname: `libssl.so.3`, `libgnutls.so.30`, `libs2n.so.1`, `libaws-lc-…`, `libboringssl…`.
pub fn may_contain_tls(name: &[u8]) -> bool {
    [&b"ssl"[..], b"tls", b"libs2n", b"aws-lc"]
        .iter()
        .any(|part| memchr::memmem::find(name, part).is_some())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn cache(entries: &[(u32, &str, &str)]) -> Vec<u8> {
        let mut bytes = MAGIC.to_vec();
        bytes.extend((entries.len() as u32).to_le_bytes());
        bytes.resize(HEADER, 0);
        let mut strings = Vec::new();
        let base = HEADER + entries.len() * ENTRY;
        for (flags, name, path) in entries {
            let mut put = |text: &str| {
                let at = (base + strings.len()) as u32;
                strings.extend(text.as_bytes());
                strings.push(0);
                at
            };
            let (key, value) = (put(name), put(path));
            for word in [*flags, key, value, 0, 0, 0] {
                bytes.extend(word.to_le_bytes());
            }
        }
        bytes.extend(strings);
        bytes
    }

    #[test]
    fn libraries_with_tls_in_their_name_are_found() {
        let bytes = cache(&[
            (X86_64, "libssl.so.3", "/lib/x86_64-linux-gnu/libssl.so.3"),
            (X86_64, "libz.so.1", "/lib/x86_64-linux-gnu/libz.so.1"),
            (0x0003, "libssl.so.1", "/lib/i386-linux-gnu/libssl.so.1"),
        ]);
        assert_eq!(parse(&bytes), [PathBuf::from("/lib/x86_64-linux-gnu/libssl.so.3")]);
    }

    #[test]
    fn this_machines_cache_is_read() {
        if std::path::Path::new("/usr/lib/x86_64-linux-gnu/libssl.so.3").exists() {
            let libraries = tls_libraries();
            assert!(libraries.iter().any(|path| path.ends_with("libssl.so.3")), "{libraries:?}");
        }
    }

    proptest! {
        #[test]
        fn a_damaged_cache_is_no_danger(cut in 0usize..200, at in 0usize..200, byte: u8) {
            let mut bytes = cache(&[(X86_64, "libssl.so.3", "/lib/libssl.so.3"), (X86_64, "libtls.so", "/l")]);
            if let Some(place) = bytes.get_mut(at) { *place = byte; }
            bytes.truncate(bytes.len().saturating_sub(cut));
            let _ = parse(&bytes);
        }
    }
}
