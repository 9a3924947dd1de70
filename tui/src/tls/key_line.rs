//! Lines of an SSLKEYLOGFILE: `LABEL <64 hex> <hex>\n` (RFC 9850, 2).

use std::fmt;
use std::hash::{BuildHasher as _, RandomState};
use std::sync::LazyLock;

use tlskeytop_common::RANDOM_LEN;
use zeroize::Zeroizing;

use super::{ClientRandom, Label, Secret};

/// One line that can be written.
#[derive(Clone, PartialEq, Eq)]
pub struct KeyLine {
    /// What the secret is.
    pub label: Label,
    /// The session.
    pub client_random: ClientRandom,
    /// The value.
    pub secret: Secret,
}

/// 12 bytes of a hash over a label and a client random, with a key of this process: a line's name, without its value.
///
/// Of a million names two are the same by chance once in 2^57 times, and nobody who does not know the key finds two.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct LineId([u32; 3]);

/// 4 bytes of such a hash over a client random and a value: tells two values apart without keeping them.
///
/// It is compared with that of one other value only, and hit by chance once in 2^32 times: then a conflict is taken for a
/// duplicate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ValueTag(u32);

impl LineId {
    /// The name of the line for `label` in the session of `client_random`.
    ///
    /// A label that repeats has one line for each value, so the value is part of the name.
    pub fn new(label: &Label, client_random: &ClientRandom, secret: &Secret) -> Self {
        let value = label.repeats().then(|| secret.expose());
        let [one, other] =
            [&KEYS.0, &KEYS.1].map(|key| key.hash_one((client_random.0, label, value)));
        Self([one as u32, (one >> 32) as u32, other as u32])
    }

    /// 8 of its bytes: nobody can choose what comes together in a table by them.
    pub fn hashed(&self) -> u64 {
        u64::from(self.0[1]) << 32 | u64::from(self.0[0])
    }
}

impl ValueTag {
    /// The tag of one value.
    pub fn new(client_random: &ClientRandom, secret: &Secret) -> Self {
        Self(KEYS.2.hash_one((client_random.0, secret.expose())) as u32)
    }
}

/// The hashes of the standard library, whose keys nobody else knows: those with one key say nothing of those with another.
static KEYS: LazyLock<(RandomState, RandomState, RandomState)> = LazyLock::new(Default::default);

impl KeyLine {
    /// A line in a place of its own, and nowhere else: a secret that moves leaves a copy behind that is not wiped.
    pub fn boxed(label: Label, client_random: ClientRandom, secret: &Secret) -> Box<Self> {
        let mut line = Box::new(Self { label, client_random, secret: Secret::empty() });
        line.secret.copy_from(secret);
        line
    }

    /// The line with its newline, ready for one `write`.
    pub fn to_text(&self) -> Zeroizing<String> {
        let secret = self.secret.expose();
        // With room for all of it, no copy is left behind by growing.
        let room = self.label.as_str().len() + 2 * (RANDOM_LEN + secret.len()) + 3;
        let mut text = Zeroizing::new(String::with_capacity(room));
        text.push_str(self.label.as_str());
        text.push(' ');
        push_hex(&mut text, &self.client_random.0);
        text.push(' ');
        push_hex(&mut text, secret);
        text.push('\n');
        text
    }

    /// The line's name, by which it is written only once.
    pub fn id(&self) -> LineId {
        LineId::new(&self.label, &self.client_random, &self.secret)
    }

    /// The line's name, and which value it has.
    pub fn name(&self) -> (LineId, ValueTag) {
        (self.id(), ValueTag::new(&self.client_random, &self.secret))
    }
}

fn push_hex(text: &mut String, bytes: &[u8]) {
    const DIGITS: [char; 16] =
        ['0', '1', '2', '3', '4', '5', '6', '7', '8', '9', 'a', 'b', 'c', 'd', 'e', 'f'];
    for byte in bytes {
        text.push(DIGITS[usize::from(byte >> 4)]);
        text.push(DIGITS[usize::from(byte & 15)]);
    }
}

impl fmt::Debug for KeyLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} {:?}", self.label, self.client_random, self.secret)
    }
}

/// What a line of an existing file is.
#[derive(Debug, PartialEq, Eq)]
pub enum ParsedLine {
    /// A key.
    Key(KeyLine),
    /// Empty, or a comment (`#`), which RFC 9850 allows.
    Blank,
    /// Anything else; it is left as it is.
    Foreign,
}

/// Reads one line of an existing file, without or with its newline. Hexadecimal digits may be of
/// either case, as RFC 9850 allows.
pub fn parse_line(line: &[u8]) -> ParsedLine {
    let line = line.trim_ascii();
    if line.is_empty() || line.starts_with(b"#") {
        return ParsedLine::Blank;
    }
    parse_key(line).map_or(ParsedLine::Foreign, ParsedLine::Key)
}

fn parse_key(line: &[u8]) -> Option<KeyLine> {
    let mut fields = line.split(|&byte| byte == b' ').filter(|field| !field.is_empty());
    let label = Label::parse(fields.next()?).ok()?;
    let mut client_random = ClientRandom([0; RANDOM_LEN]);
    hex::decode_to_slice(fields.next()?, &mut client_random.0).ok()?;
    let digits = fields.next()?;
    let mut bytes = Zeroizing::new([0u8; 64]);
    let len = digits.len() / 2;
    hex::decode_to_slice(digits, bytes.get_mut(..len)?).ok()?;
    let secret = Secret::new(&label, &*bytes, u32::try_from(len).ok()?).ok()?;
    fields.next().is_none().then_some(KeyLine { label, client_random, secret })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn line(label: Label, len: u32) -> KeyLine {
        let secret = Secret::new(&label, &[0x5a; 64], len).unwrap();
        KeyLine { label, client_random: ClientRandom([0xc1; 32]), secret }
    }

    #[test]
    fn a_line_is_lower_case_and_has_the_real_length() {
        let text = line(Label::ClientTraffic0, 32).to_text();
        let expected = format!("CLIENT_TRAFFIC_SECRET_0 {} {}\n", "c1".repeat(32), "5a".repeat(32));
        assert_eq!(*text, expected);
        assert_eq!(text.capacity(), expected.len(), "the text grew and left a copy behind");
    }

    #[test]
    fn what_is_written_is_read_back() {
        for (label, len) in
            [(Label::ClientRandom, 48), (Label::Exporter, 32), (Label::Exporter, 48)]
        {
            let line = line(label, len);
            assert_eq!(parse_line(line.to_text().as_bytes()), ParsedLine::Key(line.clone()));
            let upper = line.to_text().to_uppercase();
            assert_eq!(parse_line(upper.as_bytes()), ParsedLine::Key(line));
        }
    }

    #[test]
    fn comments_and_foreign_lines_are_told_apart() {
        assert_eq!(parse_line(b"# SSL/TLS secrets log file"), ParsedLine::Blank);
        assert_eq!(parse_line(b"\r\n"), ParsedLine::Blank);
        assert_eq!(parse_line(b"CLIENT_RANDOM 00 00"), ParsedLine::Foreign);
        let cut = line(Label::Exporter, 32).to_text();
        assert_eq!(parse_line(&cut.as_bytes()[..cut.len() - 2]), ParsedLine::Foreign);
    }

    #[test]
    fn a_label_that_repeats_has_a_line_for_each_value() {
        let label = Label::parse(b"SERVER_TRAFFIC_SECRET_N").unwrap();
        let mut other = line(label.clone(), 32);
        other.secret = Secret::new(&label, &[1; 32], 32).unwrap();
        assert_ne!(line(label, 32).id(), other.id());
        let mut exporter = line(Label::Exporter, 32);
        let id = exporter.id();
        exporter.secret = Secret::new(&Label::Exporter, &[1; 32], 32).unwrap();
        assert_eq!(exporter.id(), id);
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_without_a_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = parse_line(&bytes);
        }

        #[test]
        fn any_three_fields_are_read_without_a_panic(text in "[A-Z_0-9]{0,60} [0-9a-fA-Fg]{0,70} [0-9a-f]{0,200}") {
            let _ = parse_line(text.as_bytes());
        }
    }
}
