//! What a terminal could act on, told independently of the program's own list.

/// Characters that change the direction of what follows (Unicode, `Bidi_Control`), or end a line.
const MARKS: [char; 14] = [
    '\u{061c}', '\u{200e}', '\u{200f}', '\u{2028}', '\u{2029}', '\u{202a}', '\u{202b}', '\u{202c}',
    '\u{202d}', '\u{202e}', '\u{2066}', '\u{2067}', '\u{2068}', '\u{2069}',
];

/// Panics where a text must not reach a terminal.
pub fn assert_harmless(text: &str) {
    let harmful = text.chars().find(|c| c.is_control() || MARKS.contains(c));
    assert_eq!(harmful, None, "in {text:?}");
}
