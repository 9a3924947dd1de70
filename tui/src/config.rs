//! The configuration: what its text means. [`file`] finds and reads it, [`default_text`] prints the defaults.
//!
//! Command line options win over it.

mod defaults;
pub mod file;

use std::collections::BTreeMap;
use std::fmt;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;
use toml::Spanned;
use toml::de::DeTable;

pub use defaults::default_text;

use crate::action::{Action, Context};
use crate::keymap::{self, Key, Keymap};
use crate::model::CATCH_UP_LIMIT;
use crate::model::ui::Settings;
use crate::text::sanitize;
use crate::view::{self, REQUIRED_COLUMNS, Role, parse_style};

/// Where secrets go unless the user says otherwise.
pub const DEFAULT_KEYLOG: &str = "./tlskeytop.keylog";
/// Seconds that secrets may be shown in full: a screen that is left alone is masked within the hour.
const REVEAL: Range<u64> = 1..3601;
/// Seconds of catching up, as `--catch-up` takes them.
pub const CATCH_UP: Range<u64> = 0..86_401;

/// Words of serde that say little to who writes a configuration.
const PLAIN_WORDS: [(&str, &str); 4] = [
    ("unknown variant", "unknown name"),
    ("unknown field", "unknown key"),
    ("expected a sequence", "expected a list: [\"...\"]"),
    ("expected u64", "expected a whole number from 0 on"),
];

/// What a configuration says.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// Which theme.
    pub theme: view::Choice,
    /// Styles in place of the theme's.
    pub colors: Vec<view::Override>,
    /// The interface.
    pub settings: Settings,
    /// Where secrets go.
    pub save_path: PathBuf,
    /// Whether the mouse is used.
    pub mouse: bool,
    /// How long the open connections of a process are looked for.
    pub catch_up: Duration,
    /// Whether the children of chosen processes are chosen too.
    pub children: bool,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            theme: view::Choice::default(),
            colors: Vec::new(),
            settings: Settings::default(),
            save_path: DEFAULT_KEYLOG.into(),
            mouse: false,
            catch_up: CATCH_UP_LIMIT,
            children: true,
        }
    }
}

/// What is wrong with a configuration's text. Safe to show.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigError {
    /// Line, from 1 on.
    pub line: usize,
    /// The key, as `keys.sessions.save`; empty when the text is no TOML.
    pub key: String,
    /// What is wrong with it.
    pub message: String,
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}: ", self.line)?;
        if !self.key.is_empty() {
            write!(f, "{}: ", self.key)?;
        }
        f.write_str(&self.message)
    }
}

impl std::error::Error for ConfigError {}

/// The text as TOML has it, unchecked.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
struct Raw {
    theme: Option<view::Choice>,
    columns: Option<Words>,
    save_path: Option<Spanned<String>>,
    follow: Option<bool>,
    hide_nulls: Option<bool>,
    confirm_quit: Option<bool>,
    mouse: Option<bool>,
    reveal_seconds: Option<Spanned<u64>>,
    catch_up: Option<Spanned<u64>>,
    children: Option<bool>,
    colors: BTreeMap<Role, Spanned<String>>,
    keys: RawKeys,
}

type Words = Spanned<Vec<Spanned<String>>>;
type RawKeys = BTreeMap<Context, BTreeMap<Action, Words>>;

impl Config {
    /// Reads a configuration's text; `~/` in it is the folder `home`.
    ///
    /// # Errors
    ///
    /// The first [`ConfigError`].
    pub fn parse(text: &str, home: Option<&Path>) -> Result<Self, ConfigError> {
        let raw: Raw = toml::from_str(text).map_err(|error| {
            let mut message = error.message().to_owned();
            for (word, plain) in PLAIN_WORDS {
                message = message.replace(word, plain);
            }
            mistake(text, error.span(), &message)
        })?;
        raw.check(home).map_err(|(span, message)| mistake(text, Some(span), &message))
    }
}

type Mistake = (Range<usize>, String);

impl Raw {
    fn check(self, home: Option<&Path>) -> Result<Config, Mistake> {
        let usual = Config::default();
        let seconds = |value: Option<Spanned<u64>>, range: Range<u64>, usual| match value {
            Some(value) if range.contains(value.get_ref()) => {
                Ok(Duration::from_secs(value.into_inner()))
            }
            Some(value) => {
                let message = format!("must be from {} to {}", range.start, range.end - 1);
                Err((value.span(), message))
            }
            None => Ok(usual),
        };
        let settings = Settings {
            keymap: keymap(self.keys)?,
            columns: self.columns.map_or_else(|| Ok(Vec::new()), columns)?,
            follow: self.follow.unwrap_or(usual.settings.follow),
            hide_nulls: self.hide_nulls.unwrap_or(usual.settings.hide_nulls),
            confirm_quit: self.confirm_quit.unwrap_or(usual.settings.confirm_quit),
            reveal: seconds(self.reveal_seconds, REVEAL, usual.settings.reveal)?,
        };
        Ok(Config {
            theme: self.theme.unwrap_or_default(),
            colors: self.colors.into_iter().map(color).collect::<Result<_, _>>()?,
            settings,
            save_path: match self.save_path {
                Some(path) => save_path(&path, home)?,
                None => usual.save_path,
            },
            mouse: self.mouse.unwrap_or(usual.mouse),
            catch_up: seconds(self.catch_up, CATCH_UP, usual.catch_up)?,
            children: self.children.unwrap_or(usual.children),
        })
    }
}

fn save_path(path: &Spanned<String>, home: Option<&Path>) -> Result<PathBuf, Mistake> {
    let text = path.get_ref();
    let wrong = |message: &str| Err((path.span(), message.to_owned()));
    match (text.strip_prefix("~/"), home) {
        _ if text.is_empty() || text == "-" || text.contains('\0') => {
            wrong("must be the path of a file")
        }
        (Some(rest), Some(home)) => Ok(home.join(rest)),
        (Some(_), None) => wrong("your home folder is not known: write the whole path"),
        (None, _) => Ok(text.into()),
    }
}

fn color((role, style): (Role, Spanned<String>)) -> Result<view::Override, Mistake> {
    let parsed = parse_style(style.get_ref()).map_err(|word| {
        let message = format!(
            "`{word}` is no colour: write as `cyan bold`, `#d70000`, `245`, `black on yellow`; \
             emphasis is bold, dim, italic, underlined, reversed"
        );
        (style.span(), message)
    })?;
    Ok((role, parsed))
}

/// Names of columns; none when they are as usual.
fn columns(columns: Words) -> Result<Vec<String>, Mistake> {
    let known: Vec<_> = view::column_names().collect();
    let mut names = Vec::new();
    for name in columns.get_ref() {
        let wrong = |message: String| Err((name.span(), message));
        if !known.contains(name.get_ref()) {
            return wrong(format!(
                "`{}` is no column: there are {}",
                name.get_ref(),
                known.join(", ")
            ));
        }
        if names.contains(name.get_ref()) {
            return wrong(format!("`{}` is listed twice", name.get_ref()));
        }
        names.push(name.get_ref().clone());
    }
    let is_missing = |required: &&str| !names.iter().any(|name| name == required);
    if let Some(missing) = REQUIRED_COLUMNS.iter().find(|name| is_missing(name)) {
        let all = REQUIRED_COLUMNS.join(", ");
        return Err((columns.span(), format!("`{missing}` is missing: {all} cannot be left out")));
    }
    Ok(if names == known { Vec::new() } else { names })
}

fn keymap(raw: RawKeys) -> Result<Keymap, Mistake> {
    let mut listed = Vec::new();
    for (context, actions) in raw {
        for (action, keys) in actions {
            listed.push((context, action, keys));
        }
    }
    // Of two that want the same key, the second one in the text is told.
    listed.sort_by_key(|(.., keys)| keys.span().start);
    let mut overrides = Vec::with_capacity(listed.len());
    for (context, action, keys) in &listed {
        let read = |key: &Spanned<String>| {
            let message = |error| format!("`{}` {error}", key.get_ref());
            key.get_ref().parse::<Key>().map_err(|error| (key.span(), message(error)))
        };
        let keys = keys.get_ref().iter().map(read).collect::<Result<Vec<_>, _>>()?;
        overrides.push(keymap::Override { context: *context, action: *action, keys });
    }
    Keymap::with(&overrides).map_err(|error| {
        let (.., keys) = &listed[error.at()];
        let is_wrong = |key: &&Spanned<String>| key.get_ref().parse().ok() == error.key();
        // The last one: of a key that is there twice, the second.
        let wrong = keys.get_ref().iter().rfind(|key| error.key().is_some() && is_wrong(key));
        (wrong.map_or(keys.span(), Spanned::span), error.to_string())
    })
}

fn mistake(text: &str, span: Option<Range<usize>>, message: &str) -> ConfigError {
    let at = span.map_or(0, |span| span.start);
    let before = text.as_bytes().get(..at).unwrap_or_default();
    let (table, _) = DeTable::parse_recoverable(text);
    let mut key = Vec::new();
    if !find_key(table.get_ref(), at, &mut key) {
        // No table has what is no TOML, or is there a second time. The line may still say what it is about.
        let line =
            text.get(..at).and_then(|before| text.get(before.rfind('\n').map_or(0, |n| n + 1)..));
        let name = line.and_then(|line| line.lines().next()?.split_once('='));
        key.extend(name.map(|(name, _)| name.trim().to_owned()));
    }
    ConfigError {
        line: 1 + before.iter().filter(|byte| **byte == b'\n').count(),
        key: sanitize(&key.join(".")),
        message: sanitize(&message.trim_end().replace('\n', "; ")),
    }
}

/// The path of the key that is at this place of the text, or whose value is.
fn find_key(table: &DeTable<'_>, at: usize, path: &mut Vec<String>) -> bool {
    for (key, value) in table {
        path.push(key.get_ref().to_string());
        if key.span().contains(&at) {
            return true;
        }
        let found = match value.get_ref().as_table() {
            // Its lines may be anywhere.
            Some(inner) => find_key(inner, at, path),
            None => value.span().contains(&at),
        };
        if found {
            return true;
        }
        path.pop();
    }
    false
}

#[cfg(test)]
mod tests;
