//! Which sessions are shown: a line of words, parsed once, all of which must hold.
//!
//! ```text
//! curl              process, executable, library, version, cipher, client random or pid
//! tls:1.2 !curl     a word with a key looks at one thing; ! negates
//! proc:"my server"  quotes keep spaces together
//! ```

use std::fmt::{self, Write as _};
use std::net::{SocketAddr, SocketAddrV4};

use crate::model::target::Process;
use crate::model::{Facts, SecretState, Session};
use crate::text::Foreign;
use crate::tls::{Role, Version};

/// A filter, and what of its text could not be understood.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    words: Vec<Word>,
    errors: Vec<String>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Word {
    negated: bool,
    test: Test,
}

/// What one word asks of a session.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Test {
    Anything(Needle),
    Pid(u32),
    Process(Needle),
    Library(Needle),
    Version(Version),
    Cipher(Needle),
    State(StateName),
    Peer(Needle),
    Name(Needle),
    Role(Role),
    Saved(bool),
    Container(Needle),
    Reason(Needle),
    Alpn(Needle),
}

/// A secret state, without how many of how many.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum StateName {
    Waiting,
    Partial,
    Complete,
    Null,
    Missing,
}

/// Reads a key's value; what it should have been when it is wrong.
type ReadValue = fn(&str) -> Result<Test, &'static str>;

/// Every key, and how its value is read.
const KEYS: [(&str, ReadValue); 13] = [
    ("pid", |value| value.parse().map(Test::Pid).map_err(|_| "a process id")),
    ("proc", |value| Needle::new(value).map(Test::Process).ok_or("a process name")),
    ("container", |value| Needle::new(value).map(Test::Container).ok_or("a container or unit")),
    ("lib", |value| Needle::new(value).map(Test::Library).ok_or("a library or version")),
    ("tls", |value| version(value).map(Test::Version).ok_or("1.3, 1.2, 1.1 or 1.0")),
    ("cipher", |value| Needle::new(value).map(Test::Cipher).ok_or("a cipher suite")),
    ("state", |value| {
        state(value).map(Test::State).ok_or("null, partial, complete, missing or waiting")
    }),
    ("peer", |value| Needle::new(value).map(Test::Peer).ok_or("an address")),
    ("name", |value| Needle::new(value).map(Test::Name).ok_or("a server name")),
    ("role", |value| role(value).map(Test::Role).ok_or("client or server")),
    ("reason", |value| Needle::new(value).map(Test::Reason).ok_or("why there is no secret")),
    ("alpn", |value| Needle::new(value).map(Test::Alpn).ok_or("an application protocol")),
    ("saved", |value| yes_or_no(value).map(Test::Saved).ok_or("yes or no")),
];

/// What a key is called as well: by the column that shows it.
const ALIASES: [(&str, &str); 5] = [
    ("process", "proc"),
    ("library", "lib"),
    ("server", "name"),
    ("sni", "name"),
    ("secrets", "state"),
];

/// Each word is looked for in each session, and nobody types more.
const MOST_WORDS: usize = Words::BITS as usize;

/// Which words hold: a bit for each.
pub(super) type Words = u32;

impl Filter {
    /// Reads a line. What is not understood is an error, and does not filter.
    pub fn parse(text: &str) -> Self {
        let mut filter = Self::default();
        for (index, raw) in split(text).into_iter().enumerate() {
            if index == MOST_WORDS {
                filter.errors.push(format!("more than {MOST_WORDS} words"));
                break;
            }
            let plain = &raw.text[..raw.quoted_from.unwrap_or(raw.text.len())];
            let marks = plain.len() - plain.trim_start_matches('!').len();
            let (negated, plain) = (marks % 2 == 1, &plain[marks..]);
            let test = match plain.split_once(':') {
                Some((key, _)) if is_key(key) => {
                    let value = &raw.text[marks + key.len() + 1..];
                    read(key, value)
                }
                // Nothing, or nothing but a `!`: the word is not there yet.
                _ => Ok(Needle::new(&raw.text[marks..]).map(Test::Anything)),
            };
            match test {
                Ok(test) => filter.words.extend(test.map(|test| Word { negated, test })),
                Err(error) => filter.errors.push(error),
            }
        }
        filter
    }

    /// Whether every session is shown.
    pub fn is_empty(&self) -> bool {
        self.words.is_empty()
    }

    /// The first word that was not understood, and what was expected.
    pub fn error(&self) -> Option<&str> {
        self.errors.first().map(String::as_str)
    }

    /// Whether all words hold for a session, of which `library` made the secrets.
    pub fn matches(&self, session: &Session, library: &str) -> bool {
        let known = self.hold_for_process(&session.process)
            | self.hold_for_library(library)
            | self.hold_for_facts(&session.facts);
        self.matches_with(known, session)
    }

    /// The same when it is known which words hold for its process, its library and its facts.
    pub(super) fn matches_with(&self, known: Words, session: &Session) -> bool {
        self.words.iter().enumerate().all(|(at, word)| {
            (known & (1 << at) != 0 || word.test.holds_alone(session)) != word.negated
        })
    }

    /// The words that hold for all sessions of a process.
    pub(super) fn hold_for_process(&self, process: &Process) -> Words {
        self.which(|test| match test {
            Test::Anything(needle) => {
                needle.is_in(&process.comm.shown())
                    || process.exe.as_ref().is_some_and(|exe| needle.is_in(&exe.shown()))
                    || needle.is_in_container(process)
            }
            Test::Process(needle) => needle.is_in_process(process),
            Test::Container(needle) => needle.is_in_container(process),
            _ => false,
        })
    }

    /// The words that hold for all sessions of a library.
    pub(super) fn hold_for_library(&self, library: &str) -> Words {
        self.which(|test| match test {
            Test::Anything(needle) | Test::Library(needle) => needle.is_in(library),
            _ => false,
        })
    }

    /// The words that hold for all sessions of this version and this cipher.
    pub(super) fn hold_for_facts(&self, facts: &Facts) -> Words {
        self.which(|test| match test {
            Test::Anything(needle) => needle.is_in_version(facts) || needle.is_in_cipher(facts),
            // What is only known to be 1.2 or older most likely is 1.2: hiding it would be worse than showing it.
            Test::Version(Version::Tls12) => {
                matches!(facts.version, Some(Version::Tls12 | Version::Tls12OrOlder))
            }
            Test::Version(version) => facts.version == Some(*version),
            Test::Cipher(needle) => needle.is_in_cipher(facts),
            _ => false,
        })
    }

    fn which(&self, holds: impl Fn(&Test) -> bool) -> Words {
        let bits = self.words.iter().enumerate();
        bits.fold(0, |words, (at, word)| words | Words::from(holds(&word.test)) << at)
    }
}

/// A colon behind anything else, as in an address, makes no key.
fn is_key(key: &str) -> bool {
    !key.is_empty() && key.bytes().all(|byte| byte.is_ascii_alphabetic())
}

fn read(key: &str, value: &str) -> Result<Option<Test>, String> {
    let alias = ALIASES.iter().find(|(alias, _)| alias.eq_ignore_ascii_case(key));
    let wanted = alias.map_or(key, |(_, name)| name);
    match KEYS.iter().find(|(name, _)| name.eq_ignore_ascii_case(wanted)) {
        Some((name, read)) => read(value).map(Some).map_err(|wanted| format!("{name}: {wanted}")),
        None => Err(format!("no key {key}: (quote it to find it)")),
    }
}

/// As a column shows it: `1.2`, `D1.2`, `SSL3`.
fn version(value: &str) -> Option<Version> {
    const ALL: [Version; 8] = [
        Version::Tls13,
        Version::Tls12,
        Version::Tls11,
        Version::Tls10,
        Version::Ssl3,
        Version::Dtls13,
        Version::Dtls12,
        Version::Dtls10,
    ];
    ALL.into_iter().find(|version| version.short().eq_ignore_ascii_case(value))
}

fn state(value: &str) -> Option<StateName> {
    match &*value.to_ascii_lowercase() {
        "waiting" => Some(StateName::Waiting),
        "partial" => Some(StateName::Partial),
        "complete" => Some(StateName::Complete),
        "null" => Some(StateName::Null),
        "missing" => Some(StateName::Missing),
        _ => None,
    }
}

fn role(value: &str) -> Option<Role> {
    [Role::Client, Role::Server].into_iter().find(|role| role.as_str().eq_ignore_ascii_case(value))
}

fn yes_or_no(value: &str) -> Option<bool> {
    match &*value.to_ascii_lowercase() {
        "yes" => Some(true),
        "no" => Some(false),
        _ => None,
    }
}

impl Test {
    /// Whether it holds by what no two sessions need to have in common.
    fn holds_alone(&self, session: &Session) -> bool {
        match self {
            Self::Anything(needle) => {
                needle.is_in_server_name(session)
                    || needle.is_hex && needle.is_in_hex(session)
                    || needle.is_in_peer(session)
            }
            Self::Pid(pid) => session.key.pid == *pid,
            Self::State(name) => StateName::of(session.state()) == *name,
            Self::Peer(needle) => needle.is_in_peer(session),
            Self::Name(needle) => needle.is_in_server_name(session),
            Self::Role(role) => session.facts.role == Some(*role),
            Self::Saved(saved) => session.is_saved() == *saved,
            Self::Reason(needle) => {
                session.reason.as_ref().is_some_and(|reason| needle.is_in(reason.as_str()))
            }
            Self::Alpn(needle) => session
                .wire
                .as_ref()
                .is_some_and(|wire| wire.protocols().any(|name| needle.is_in(&name.shown()))),
            // These are told by process, library and facts.
            Self::Process(_)
            | Self::Library(_)
            | Self::Version(_)
            | Self::Cipher(_)
            | Self::Container(_) => false,
        }
    }
}

impl StateName {
    fn of(state: SecretState) -> Self {
        match state {
            SecretState::Waiting => Self::Waiting,
            SecretState::Partial { .. } => Self::Partial,
            SecretState::Complete => Self::Complete,
            SecretState::Null => Self::Null,
            SecretState::Missing => Self::Missing,
        }
    }
}

/// A text that is looked for, whatever its case.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Needle {
    /// In lower case.
    text: Box<str>,
    is_ascii: bool,
    /// It may be a part of a client random.
    is_hex: bool,
    /// It may be a part of a process id.
    is_decimal: bool,
    /// It may be a part of an IPv4 address and a port.
    is_dotted: bool,
}

impl Needle {
    fn new(text: &str) -> Option<Self> {
        let text: Box<str> = text.to_lowercase().into();
        let is_ascii = text.is_ascii();
        let is_hex = text.len() <= 64 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
        let is_dotted = text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'.' | b':'));
        let is_decimal = text.bytes().all(|byte| byte.is_ascii_digit());
        (!text.is_empty()).then_some(Self { text, is_ascii, is_hex, is_decimal, is_dotted })
    }

    fn is_in(&self, text: &str) -> bool {
        if !self.is_ascii {
            // What is ASCII stays so in lower case.
            return !text.is_ascii() && text.to_lowercase().contains(&*self.text);
        }
        self.is_in_bytes(text.as_bytes())
    }

    /// Without a copy: this is done for each of many sessions.
    fn is_in_bytes(&self, text: &[u8]) -> bool {
        let needle = self.text.as_bytes();
        let Some((&first, rest)) = needle.split_first() else { return true };
        memchr::memchr2_iter(first, first.to_ascii_uppercase(), text).any(|at| {
            text.get(at + 1..at + needle.len()).is_some_and(|part| part.eq_ignore_ascii_case(rest))
        })
    }

    fn is_in_server_name(&self, session: &Session) -> bool {
        session.server_name.as_ref().is_some_and(|name| self.is_in(&name.shown()))
    }

    fn is_in_peer(&self, session: &Session) -> bool {
        let Some(peer) = session.peer else { return false };
        if peer.is_ipv4() && !self.is_dotted {
            return false;
        }
        let mut text = ArrayText::default();
        let written = match peer {
            SocketAddr::V4(peer) => text.write_v4(peer),
            SocketAddr::V6(peer) => write!(text, "{peer}"),
        };
        // There is room for every address.
        written.is_ok() && self.is_in_bytes(text.as_bytes())
    }

    fn is_in_process(&self, process: &Process) -> bool {
        let name = |exe: &Foreign| self.is_in(file_name(&exe.shown()));
        self.is_in(&process.comm.shown()) || process.exe.as_ref().is_some_and(name)
    }

    fn is_in_container(&self, process: &Process) -> bool {
        let container = process.container.as_ref();
        container.is_some_and(|container| container.texts().any(|text| self.is_in(text)))
    }

    fn is_in_cipher(&self, facts: &Facts) -> bool {
        facts.cipher.is_some_and(|cipher| match cipher.name() {
            Some(name) => self.is_in(name),
            None => self.is_in(&cipher.to_string()),
        })
    }

    fn is_in_version(&self, facts: &Facts) -> bool {
        let Some(version) = facts.version else { return false };
        self.is_in(version.short()) || self.is_in(version.name())
    }

    /// Client random and process id: they need digits to match.
    fn is_in_hex(&self, session: &Session) -> bool {
        let mut hex = [0; 64];
        let random = hex::encode_to_slice(session.key.client_random.0, &mut hex);
        random.is_ok() && self.is_in_bytes(&hex)
            || self.is_decimal && {
                let mut text = ArrayText::default();
                text.write_number(session.key.pid).is_ok() && self.is_in_bytes(text.as_bytes())
            }
    }
}

/// A short text that is made for each session, in place.
struct ArrayText {
    bytes: [u8; Self::ROOM],
    len: usize,
}

impl ArrayText {
    /// `[v6]%scope:port` has up to 58 bytes.
    const ROOM: usize = 64;

    /// As its `Display`, and several times as fast.
    fn write_v4(&mut self, peer: SocketAddrV4) -> fmt::Result {
        let [a, b, c, d] = peer.ip().octets();
        for (octet, then) in [(a, '.'), (b, '.'), (c, '.'), (d, ':')] {
            self.write_number(octet.into())?;
            self.write_char(then)?;
        }
        self.write_number(peer.port().into())
    }

    fn write_number(&mut self, number: u32) -> fmt::Result {
        let mut digits = [b'0'; 10];
        let mut left = number;
        let mut first = digits.len();
        while first == digits.len() || left > 0 {
            first -= 1;
            digits[first] = b'0' + (left % 10) as u8;
            left /= 10;
        }
        self.push(&digits[first..])
    }

    fn push(&mut self, bytes: &[u8]) -> fmt::Result {
        let room = self.bytes.get_mut(self.len..self.len + bytes.len()).ok_or(fmt::Error)?;
        room.copy_from_slice(bytes);
        self.len += bytes.len();
        Ok(())
    }

    fn as_bytes(&self) -> &[u8] {
        &self.bytes[..self.len]
    }
}

impl Default for ArrayText {
    fn default() -> Self {
        Self { bytes: [0; Self::ROOM], len: 0 }
    }
}

impl fmt::Write for ArrayText {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.push(text.as_bytes())
    }
}

fn file_name(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or_default()
}

/// A word as it was typed, without its quotes.
#[derive(Default)]
struct Raw {
    text: String,
    /// From this byte on it was in quotes at least once: a `!` or a key stands before.
    quoted_from: Option<usize>,
}

/// The words of a line. A quote that is not closed reaches to the end.
fn split(text: &str) -> Vec<Raw> {
    let mut words = Vec::new();
    let mut word = Raw::default();
    let mut quoted = false;
    for c in text.chars() {
        match c {
            '"' => {
                quoted = !quoted;
                word.quoted_from.get_or_insert(word.text.len());
            }
            c if c.is_whitespace() && !quoted => words.push(std::mem::take(&mut word)),
            c => word.text.push(c),
        }
    }
    words.push(word);
    words
}

#[cfg(test)]
#[path = "filter_tests.rs"]
mod tests;
