//! Keys as a configuration writes them: `ctrl-b`, `space`, `f5`, `G`, `pgup`.

use std::str::FromStr;

use crossterm::event::KeyCode;

use super::Key;
use crate::text::is_dangerous;

/// Keys that have a name, each with the one that is written first.
const NAMED: [(&str, KeyCode); 19] = [
    ("up", KeyCode::Up),
    ("down", KeyCode::Down),
    ("left", KeyCode::Left),
    ("right", KeyCode::Right),
    ("pgup", KeyCode::PageUp),
    ("pageup", KeyCode::PageUp),
    ("pgdn", KeyCode::PageDown),
    ("pagedown", KeyCode::PageDown),
    ("home", KeyCode::Home),
    ("end", KeyCode::End),
    ("space", KeyCode::Char(' ')),
    ("enter", KeyCode::Enter),
    ("esc", KeyCode::Esc),
    ("tab", KeyCode::Tab),
    ("backtab", KeyCode::BackTab),
    ("backspace", KeyCode::Backspace),
    ("delete", KeyCode::Delete),
    ("del", KeyCode::Delete),
    ("insert", KeyCode::Insert),
];
/// What terminals send for these, as they have since the teletype.
const SAME: [(char, &str); 3] = [('i', "tab"), ('m', "enter"), ('[', "esc")];
/// The highest function key that terminfo has a use for on a PC.
const FUNCTION_KEYS: u8 = 12;

/// Why a text is no key.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// It names nothing.
    #[error(
        "is no key: write one character, ctrl-x, f1 to f12, or up, pgdn, space, enter, esc, tab..."
    )]
    Unknown,
    /// It would not be told apart.
    #[error("reaches the program as `{0}`: write that")]
    Same(&'static str),
}

impl FromStr for Key {
    type Err = KeyError;

    /// Names are read in upper and lower case; of a single character the case counts.
    fn from_str(text: &str) -> Result<Self, KeyError> {
        let lower = text.to_ascii_lowercase();
        let (name, ctrl) = match lower.strip_prefix("ctrl-") {
            Some(name) => (name, true),
            None => (text, false),
        };
        let mut chars = name.chars();
        if let (Some(c), None) = (chars.next(), chars.next()) {
            let same = SAME.iter().find(|(same, _)| ctrl && *same == c);
            return match same {
                Some((_, name)) => Err(KeyError::Same(name)),
                // Terminals have control characters for these (ASCII), and no others.
                None if ctrl && !matches!(c, 'a'..='z' | '4'..='7') => Err(KeyError::Unknown),
                None if c == ' ' || is_dangerous(c) => Err(KeyError::Unknown),
                None => Ok(Self { code: KeyCode::Char(c), ctrl }),
            };
        }
        let name = name.to_ascii_lowercase();
        let named = NAMED.iter().find(|(known, _)| *known == name).map(|(_, code)| *code);
        let function = || name.strip_prefix('f')?.parse().ok().map(KeyCode::F);
        match named.or_else(function) {
            Some(KeyCode::F(n)) if n == 0 || n > FUNCTION_KEYS => Err(KeyError::Unknown),
            // Terminals send the same with Ctrl and without.
            Some(KeyCode::Enter | KeyCode::Esc | KeyCode::Tab | KeyCode::Backspace) if ctrl => {
                Err(KeyError::Unknown)
            }
            Some(code) => Ok(Self { code, ctrl }),
            None => Err(KeyError::Unknown),
        }
    }
}

impl Key {
    /// The name that is read back as this key.
    pub fn name(&self) -> String {
        let named = NAMED.iter().find(|(_, code)| *code == self.code).map(|(name, _)| *name);
        let name = match (named, self.code) {
            (Some(name), _) => name.to_owned(),
            (None, KeyCode::Char(c)) => c.to_string(),
            (None, KeyCode::F(n)) => format!("f{n}"),
            (None, other) => format!("{other:?}").to_lowercase(),
        };
        if self.ctrl { format!("ctrl-{name}") } else { name }
    }

    /// Whether it is a character that one types into a text.
    pub(super) fn is_text(&self) -> bool {
        matches!(self.code, KeyCode::Char(_)) && !self.ctrl
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::action::Context;
    use crate::keymap::Keymap;

    fn key(text: &str) -> Result<String, KeyError> {
        text.parse::<Key>().map(|key| key.to_string())
    }

    #[test]
    fn keys_have_names() {
        let shown = ["ctrl-b", "space", "Enter", "f5", "G", "g", "PgUp", "up", "esc", "tab", "-"];
        let shown = shown.map(|text| key(text).unwrap());
        assert_eq!(shown.join(" "), "Ctrl-B Space Enter F5 G g PgUp ↑ Esc Tab -");
        assert_eq!(key("ctrl-B"), key("ctrl-b"));
        assert_eq!(key("ctrl-i"), Err(KeyError::Same("tab")));
        for wrong in
            ["", " ", "gg", "f0", "f13", "f-1", "f256", "ctrl-", "alt-x", "\u{1b}", "\u{202e}"]
        {
            assert_eq!(key(wrong), Err(KeyError::Unknown), "{wrong:?}");
        }
    }

    #[test]
    fn every_default_key_is_read_back() {
        let keymap = Keymap::default();
        for binding in Context::ALL.iter().flat_map(|context| keymap.bindings(*context)) {
            for key in &binding.keys {
                assert_eq!(key.name().parse::<Key>().as_ref(), Ok(key), "{key}");
            }
        }
    }

    proptest! {
        #[test]
        fn what_is_read_has_a_name_that_is_read(text in "(ctrl-|CTRL-)?(\\PC|[a-z]{2,9}|f[0-9]{1,3})") {
            if let Ok(key) = text.parse::<Key>() {
                prop_assert_eq!(key.name().parse::<Key>(), Ok(key));
            }
        }
    }
}
