//! The one place where text from other processes and files is made safe to show.

use std::borrow::Cow;
use std::ffi::OsStr;
use std::fmt::{self, Write as _};
use std::os::unix::ffi::OsStrExt as _;
use std::sync::Arc;

/// Text that another process or a file chose: a name, a path.
///
/// `Display` shows it with every character that a terminal could act on replaced; [`Foreign::raw`]
/// gives it as it is, for JSON, which escapes by itself. Bytes that are no UTF-8 became U+FFFD. A clone is the same text
/// in memory.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct Foreign(Arc<str>);

impl Foreign {
    /// Takes bytes as they came, up to the first NUL.
    pub fn from_bytes(bytes: &[u8]) -> Self {
        let text = bytes.split(|&byte| byte == 0).next().unwrap_or_default();
        Self(String::from_utf8_lossy(text).into())
    }

    /// The text as it came. Not for a terminal.
    pub fn raw(&self) -> &str {
        &self.0
    }

    /// The text as it is shown: what `Display` writes, without a copy where nothing is replaced.
    pub fn shown(&self) -> Cow<'_, str> {
        // To the end without looking back, so that many bytes are looked at in one step.
        let is_plain = self.0.bytes().fold(true, |plain, byte| plain & matches!(byte, b' '..=b'~'));
        match is_plain || !self.0.chars().any(is_dangerous) {
            true => Cow::Borrowed(&self.0),
            false => Cow::Owned(sanitize(&self.0)),
        }
    }

    /// The last part of a path.
    pub fn file_name(&self) -> Self {
        Self(self.0.rsplit('/').next().unwrap_or_default().into())
    }
}

impl From<&OsStr> for Foreign {
    fn from(text: &OsStr) -> Self {
        Self::from_bytes(text.as_bytes())
    }
}

impl From<&str> for Foreign {
    fn from(text: &str) -> Self {
        Self::from_bytes(text.as_bytes())
    }
}

impl fmt::Display for Foreign {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.shown())
    }
}

impl fmt::Debug for Foreign {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

/// `text` with every character that a terminal could act on shown as `\x1b`, `\u{202e}`.
pub fn sanitize(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for c in text.chars() {
        if !is_dangerous(c) {
            safe.push(c);
        } else if u32::from(c) < 0x100 {
            // Writing to a String cannot fail.
            let _ = write!(safe, "\\x{:02x}", u32::from(c));
        } else {
            let _ = write!(safe, "\\u{{{:x}}}", u32::from(c));
        }
    }
    safe
}

/// Control characters (C0, DEL, C1), line and paragraph separators, and the marks that change the
/// direction or the visibility of what follows (Unicode 16, "Bidi_Control" and "Default_Ignorable").
pub(crate) fn is_dangerous(c: char) -> bool {
    c.is_control()
        || matches!(
            c,
            '\u{00ad}'
                | '\u{061c}'
                | '\u{115f}'..='\u{1160}'
                | '\u{180b}'..='\u{180f}'
                | '\u{200b}'..='\u{200f}'
                | '\u{2028}'..='\u{202e}'
                | '\u{2060}'..='\u{206f}'
                | '\u{3164}'
                | '\u{fe00}'..='\u{fe0f}'
                | '\u{feff}'
                | '\u{fff0}'..='\u{fffb}'
                | '\u{e0000}'..='\u{e0fff}'
        )
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn escape_sequences_are_shown_not_sent() {
        let name = Foreign::from_bytes(b"a\x1b]0;pwned\x07\xff\nb\0rest");
        assert_eq!(name.to_string(), "a\\x1b]0;pwned\\x07\u{fffd}\\x0ab");
        assert_eq!(name.raw(), "a\u{1b}]0;pwned\u{7}\u{fffd}\nb");
        assert_eq!(sanitize("\u{202e}gpj.exe"), "\\u{202e}gpj.exe");
        assert_eq!(sanitize("日本 é"), "日本 é");
    }

    #[test]
    fn the_width_asked_for_is_kept() {
        assert_eq!(format!("{:<6}|", Foreign::from("ab")), "ab    |");
        assert_eq!(Foreign::from("/usr/bin/curl").file_name().raw(), "curl");
    }

    proptest! {
        #[test]
        fn nothing_shown_is_a_control_character(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let shown = Foreign::from_bytes(&bytes).to_string();
            prop_assert!(!shown.chars().any(is_dangerous));
        }
    }
}
