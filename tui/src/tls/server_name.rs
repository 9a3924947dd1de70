//! The name of a server that a client asks for.

/// Whether this is one: ASCII that can be seen, since internationalised names are sent as A-labels (RFC 6066, 3).
pub fn is_server_name(name: &[u8]) -> bool {
    !name.is_empty() && name.iter().all(u8::is_ascii_graphic)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn controls_spaces_and_other_scripts_are_none() {
        assert!(is_server_name(b"xn--bcher-kva.example") && is_server_name(b"localhost"));
        for other in [&b""[..], b"a b", b"a\n", b"\x1b]0;n\x07", "bücher.example".as_bytes()] {
            assert!(!is_server_name(other), "{other:?}");
        }
    }
}
