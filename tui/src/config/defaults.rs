//! The defaults as a text to begin with. Read back, it gives the defaults.

use std::fmt::Write as _;

use super::{Config, REVEAL};
use crate::action::Context;
use crate::keymap::{Key, Keymap};
use crate::view::{REQUIRED_COLUMNS, column_names};

/// The defaults as TOML, with comments.
pub fn default_text() -> String {
    let mut text = String::new();
    // Writing to a String cannot fail.
    let _ = write_text(&mut text);
    text
}

fn write_text(text: &mut String) -> std::fmt::Result {
    let Config { settings, save_path, mouse, catch_up, children, .. } = Config::default();
    let columns: Vec<_> = column_names().map(|name| quoted(&name)).collect();
    write!(
        text,
        r#"# tlskeytop's configuration: ~/.config/tlskeytop/config.toml of the user behind sudo, who must be able to
# read it. These are the defaults; what you leave out stays as it is here. Command line options win.

# auto, dark, light, ansi (the terminal's own 16 colours), none. auto asks the terminal for its background; it
# honours NO_COLOR, which the others do not.
theme = "auto"

# The columns of the sessions, in this order; what has no room is left out.
# {required} must stay.
columns = [
  {columns},
]

# Where secrets go when saving is on (-k); ~/ is your home folder.
save-path = {path}

# Keep the newest session selected (F).
follow = {follow}
# Hide sessions that have only null secrets (n).
hide-nulls = {hide_nulls}
# Ask before quitting when there are secrets that are not in the key log.
confirm-quit = {confirm_quit}
# Use the mouse (--mouse). The terminal then selects text only with Shift held.
mouse = {mouse}
# Mask secrets again after so many seconds, 1 to {longest}.
reveal-seconds = {reveal}
# Look for the open connections of a process for so many seconds when it is attached to; 0: do not (--catch-up).
catch-up = {catch_up}
# The children of a chosen process are chosen too, and theirs (--no-children).
children = {children}

# Styles in place of the theme's: a colour (a name, a number up to 255, or #rrggbb), `on` and another one for the
# background, and bold, dim, italic, underlined or reversed. The roles are
# heading, faint, key, selected, good, caution, bad, toast and warning.
[colors]
# faint = "245"
# warning = "black on #ffd75f bold"

# Keys. What you list replaces all keys of that action in that view, and an empty list unbinds it. Keys are single
# characters, ctrl-x, f1 to f12, up, down, left, right, pgup, pgdn, home, end, space, enter, esc, tab, backtab,
# backspace, delete and insert. The first one is what the footer shows.
"#,
        required = REQUIRED_COLUMNS.join(", "),
        columns = columns.join(",\n  "),
        path = quoted(&save_path.to_string_lossy()),
        follow = settings.follow,
        hide_nulls = settings.hide_nulls,
        confirm_quit = settings.confirm_quit,
        longest = REVEAL.end - 1,
        reveal = settings.reveal.as_secs(),
        catch_up = catch_up.as_secs(),
    )?;
    let keymap = Keymap::default();
    for context in Context::ALL {
        writeln!(text, "\n[keys.{}]", context.name())?;
        for binding in keymap.bindings(context) {
            let keys: Vec<_> = binding.keys.iter().map(Key::name).map(|key| quoted(&key)).collect();
            writeln!(text, "{} = [{}]", binding.action.name(), keys.join(", "))?;
        }
    }
    Ok(())
}

fn quoted(text: &str) -> String {
    toml::Value::from(text).to_string()
}
