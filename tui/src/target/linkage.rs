//! How code of a TLS library came into a file: by what the file says of itself and where it is.

use std::path::Path;

use super::dynamic::Dynamic;
use super::elf::Elf;
use super::plan::Linkage;

/// Judges by the headers, and by where the target sees the file.
pub fn linkage(elf: &Elf, dynamic: &Dynamic, path: &Path) -> Linkage {
    let executable = elf.fixed
        || dynamic.pie
        || elf.dynamic.is_none()
        || (elf.interpreter && dynamic.soname.is_none());
    if executable {
        return Linkage::Static;
    }
    let soname = dynamic.soname.as_deref().unwrap_or_default();
    let plain = ["libssl", "libboringssl", "libgnutls"].iter().any(|name| soname.starts_with(name))
        && !has_hash(soname);
    if plain && in_system_folder(path) { Linkage::Shared } else { Linkage::Bundled }
}

/// `libssl-1c5a3f9d.so.3`: the name that `auditwheel` gives to a library that it puts into a wheel.
fn has_hash(name: &str) -> bool {
    let stem = name.split(".so").next().unwrap_or(name);
    stem.rsplit_once('-').is_some_and(|(_, hash)| {
        hash.len() >= 8 && hash.bytes().all(|digit| digit.is_ascii_hexdigit())
    })
}

/// A folder of the loader, or its subfolder for one architecture; the stores of Nix and Guix.
fn in_system_folder(path: &Path) -> bool {
    if path.starts_with("/nix/store") || path.starts_with("/gnu/store") {
        return true;
    }
    let Some(folder) = path.parent() else {
        return false;
    };
    let is_system = |folder: &Path| {
        ["/lib", "/lib64", "/usr/lib", "/usr/lib64", "/usr/local/lib", "/usr/local/lib64"]
            .iter()
            .any(|system| folder == Path::new(system))
    };
    let for_machine =
        folder.file_name().is_some_and(|name| name.to_string_lossy().contains("-linux-"));
    is_system(folder) || (for_machine && folder.parent().is_some_and(is_system))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hashed_names_and_system_folders() {
        assert!(has_hash("libssl-1c5a3f9d.so.3"));
        assert!(!has_hash("libssl.so.3"));
        assert!(!has_hash("libssl-devel.so"));
        for path in [
            "/usr/lib/x86_64-linux-gnu/libssl.so.3",
            "/lib64/libssl.so.3",
            "/usr/local/lib/libssl.so.3",
        ] {
            assert!(in_system_folder(Path::new(path)), "{path}");
        }
        for path in ["/usr/lib/chromium/libssl.so", "/opt/app/lib/libssl.so.3", "libssl.so.3", ""] {
            assert!(!in_system_folder(Path::new(path)), "{path}");
        }
    }
}
