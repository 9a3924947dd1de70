//! Which TLS library is in a file, and its version where the file itself says it.

use std::fs::File;

use memchr::memmem;

use super::dynamic::Dynamic;
use super::elf::{Elf, Segment};
use super::plan::Library;
use super::window::Window;

/// Bytes of a version string that are looked at, and how far a scan looks beyond a step.
const CONTEXT: u64 = 96;

/// What the strings of a file say, from the strongest to the weakest.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Strings {
    /// From `OpenSSL 3.0.17 1 Jul 2025`: a name, the version, and a date.
    openssl: Option<String>,
    /// From `LibreSSL 3.8.2`.
    libressl: Option<String>,
    /// From `AWS-LC 1.30.1`; the inner `None` where only the name was seen.
    awslc: Option<Option<String>>,
    /// `BoringSSL`, or the path of its sources.
    boringssl: bool,
}

/// Recognises the library. Constants are in segments without code, or in those that hold the `labels` (addresses).
/// Best effort: what cannot be read is not recognised.
pub fn recognise(
    window: &mut Window<'_>,
    elf: &Elf,
    dynamic: &Dynamic,
    labels: &[u64],
) -> Option<Library> {
    let mut strings = Strings::default();
    let holds = |segment: &Segment| {
        !segment.executable || labels.iter().any(|&label| segment.contains(label))
    };
    for segment in elf.segments.iter().filter(|segment| holds(segment)) {
        // A segment that cannot be read says nothing.
        let _ = window.scan(segment.offset, segment.size, CONTEXT, |_, bytes, own| {
            strings.look(bytes, own);
            strings.openssl.is_none()
        });
        if strings.openssl.is_some() {
            break;
        }
    }
    let mut exports = |name: &str| dynamic.export(window, elf, name).is_some();
    if exports("gnutls_init") {
        return named("GnuTLS", None);
    }
    if exports("SSL_ImportFD") {
        return named("NSS", None);
    }
    // OpenSSL never had this function; BoringSSL has it too.
    let quic = exports("SSL_set_quic_method");
    let openssl = |quic: bool| if quic { "quictls" } else { "OpenSSL" };
    if let Some(version) = strings.openssl {
        return named(openssl(quic || version.contains("+quic")), Some(version));
    }
    if let Some(version) = strings.libressl {
        return named("LibreSSL", Some(version));
    }
    if let Some(version) = strings.awslc {
        return named("AWS-LC", version);
    }
    if strings.boringssl {
        return named("BoringSSL", None);
    }
    // OpenSSL's version string is in libcrypto: its libssl is known by the versions of its symbols. They name the
    // release in which a symbol appeared, not the release of the file.
    if exports("SSL_new") && dynamic.has_string(window, elf, "OPENSSL_") {
        return named(openssl(quic), None);
    }
    None
}

/// The version of the OpenSSL in a file: for a libssl, whose version string is in the libcrypto beside it.
pub fn openssl_version(file: &File) -> Option<String> {
    let mut window = Window::new(file).ok()?;
    let elf = Elf::read(&mut window).ok()?;
    let dynamic = Dynamic::read(&mut window, &elf);
    let library = recognise(&mut window, &elf, &dynamic, &[])?;
    library.version.filter(|_| matches!(library.name, "OpenSSL" | "quictls"))
}

fn named(name: &'static str, version: Option<String>) -> Option<Library> {
    Some(Library { name, version })
}

impl Strings {
    fn look(&mut self, bytes: &[u8], own: usize) {
        // "OpenSSL ", "LibreSSL ".
        for at in memmem::find_iter(bytes, b"SSL ") {
            let (before, after) = bytes.split_at(at);
            let after = &after[4..];
            if before.ends_with(b"Open") {
                if let Some(version) = dated_version(after) {
                    self.openssl = Some(version);
                    return;
                }
            } else if before.ends_with(b"Libre")
                && at < own + 16
                && let Some(version) = version(after)
            {
                self.libressl.get_or_insert(version);
            }
        }
        for name in [&b"AWS-LC"[..], b"aws-lc"] {
            for at in memmem::find_iter(bytes, name) {
                let found = bytes.get(at + name.len() + 1..).and_then(version);
                match &mut self.awslc {
                    Some(known) if known.is_some() => {}
                    known => *known = Some(found),
                }
            }
        }
        if !self.boringssl {
            self.boringssl = memmem::find(bytes, b"BoringSSL").is_some()
                || memmem::find(bytes, b"boringssl/").is_some();
        }
    }
}

/// `3.0.17+quic` at the start of `text`: at least two dots or letters after them, ended by something else.
pub fn version(text: &[u8]) -> Option<String> {
    let length = text
        .iter()
        .take(CONTEXT as usize)
        .take_while(|&&byte| {
            byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'+' | b'_')
        })
        .count();
    let word = std::str::from_utf8(&text[..length]).ok()?;
    let mut parts = word.split('.');
    let number = |part: Option<&str>| {
        part.is_some_and(|part| part.starts_with(|digit: char| digit.is_ascii_digit()))
    };
    let whole = number(parts.next()) && number(parts.next()) && number(parts.next());
    (whole && length < text.len()).then(|| word.to_owned())
}

/// A version that is followed by a date, ` 1 Jul 2025`: the library's own string, not somebody's message about it.
fn dated_version(text: &[u8]) -> Option<String> {
    let found = version(text)?;
    let rest = text.get(found.len()..)?.strip_prefix(b" ")?;
    // Up to 1.1.1 there are two spaces before the date.
    let rest = rest.strip_prefix(b" ").unwrap_or(rest);
    let mut words = rest.get(..12.min(rest.len()))?.split(|&byte| byte == b' ');
    let day = words.next()?;
    let month = words.next()?;
    let year = words.next()?;
    let digits = |word: &[u8]| word.iter().all(u8::is_ascii_digit);
    let dated = (1..=2).contains(&day.len())
        && digits(day)
        && month.len() == 3
        && month.iter().all(u8::is_ascii_alphabetic)
        && year.len() >= 4
        && digits(&year[..4]);
    dated.then_some(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_version_strings() {
        let dated = |text: &str| dated_version(text.as_bytes());
        assert_eq!(dated("3.0.17 1 Jul 2025\0"), Some("3.0.17".to_owned()));
        assert_eq!(dated("3.0.15+quic 3 Sep 2024\0"), Some("3.0.15+quic".to_owned()));
        assert_eq!(dated("1.1.1w  11 Sep 2023\0"), Some("1.1.1w".to_owned()));
        assert_eq!(dated("1.1.1 (compatible; BoringSSL)\0"), None);
        assert_eq!(dated("version mismatch\0"), None);
        assert_eq!(dated("3.0.17 1 Jul 2"), None);
        assert_eq!(version(b"3.8.2\0"), Some("3.8.2".to_owned()));
        assert_eq!(version(b"3.8\0"), None);
        assert_eq!(version(b"3.8.2"), None, "may go on in the next bytes");
    }

    #[test]
    fn the_name_alone_is_enough_for_libraries_without_a_version() {
        let mut strings = Strings::default();
        let text = b"..OpenSSL 1.1.1 (compatible; AWS-LC 1.30.1)\0 aws-lc/ssl/ssl_lib.cc\0";
        strings.look(text, text.len());
        assert_eq!(strings.awslc, Some(Some("1.30.1".to_owned())));
        assert_eq!(strings.openssl, None);
        let text = b"../../third_party/boringssl/src/ssl/ssl_lib.cc\0";
        strings.look(text, text.len());
        assert!(strings.boringssl);
    }
}
