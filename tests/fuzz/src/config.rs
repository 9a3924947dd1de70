//! The configuration.

use std::path::Path;

use tlskeytop::action::Context;
use tlskeytop::config::{Config, ConfigError};
use tlskeytop::keymap::Key;

use crate::shown::assert_harmless;

/// Words of it.
pub const WORDS: &[&str] = &[
    "theme = \"dark\"\n",
    "columns = [\"time\", \"process\"]\n",
    "save-path = \"~/keys\"\n",
    "follow = true\n",
    "reveal-seconds = 10\n",
    "catch-up = 60\n",
    "[colors]\n",
    "cursor = \"#d70000 on 245 bold\"\n",
    "[keys.sessions]\n",
    "[keys.detail]\n",
    "save = [\"f2\", \"ctrl-w\"]\n",
    "quit = []\n",
    "\"\"\"",
    "= {",
];

/// Reads the text.
///
/// # Panics
/// When something does not hold.
pub fn run(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    match parse(&text) {
        Ok(config) => {
            check(&config);
            assert_eq!(parse(&format!("{text}\n# the end\n")).as_ref(), Ok(&config));
        }
        Err(error) => {
            let lines = text.split('\n').count();
            assert!((1..=lines).contains(&error.line), "line {} of {lines}", error.line);
            assert_harmless(&error.to_string());
        }
    }
}

fn parse(text: &str) -> Result<Config, ConfigError> {
    Config::parse(text, Some(Path::new("/home/user")))
}

/// Each key means what the table says, and there is a way out of every view.
fn check(config: &Config) {
    let keymap = &config.settings.keymap;
    for context in Context::ALL {
        let mut keys = 0;
        for binding in keymap.bindings(context) {
            for &key in &binding.keys {
                assert_eq!(key.name().parse::<Key>(), Ok(key));
                assert_eq!(keymap.action(context, key), Some(binding.action), "{}", key.name());
                assert_harmless(&key.to_string());
                keys += 1;
            }
        }
        assert!(keys > 0, "{context:?} has no key");
    }
    let path = config.save_path.as_os_str().as_encoded_bytes();
    assert!(!path.is_empty() && !path.contains(&0), "{path:?}");
    assert!((1..=3600).contains(&config.settings.reveal.as_secs()));
    assert!(config.catch_up.as_secs() <= 86_400);
}
