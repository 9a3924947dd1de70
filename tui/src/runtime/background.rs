//! How the terminal's background is: asked of the terminal (OSC 11) before it is taken over.

use std::env;
use std::io::{self, IsTerminal as _};
use std::mem::MaybeUninit;
use std::time::Duration;

use terminal_colorsaurus::{QueryOptions, ThemeMode, theme_mode};

use crate::view::{Background, Choice, Override, Surroundings, Theme};

/// Nearly every terminal answers at once, that it cannot tell if nothing else (the question is followed by DA1). Those
/// behind a slow line get this long: an answer that came later would be taken for keys.
const PATIENCE: Duration = Duration::from_secs(1);

/// The theme for this terminal. To be called before there are other threads.
pub(super) fn theme(choice: Choice, colors: &[Override]) -> Theme {
    let [no_color, term, colorterm] = ["NO_COLOR", "TERM", "COLORTERM"].map(env::var_os);
    let surroundings = Surroundings {
        no_color: no_color.as_deref(),
        term: term.as_deref(),
        colorterm: colorterm.as_deref(),
    };
    let background = if surroundings.needs_background(choice) { ask() } else { None };
    Theme::choose(choice, colors, &surroundings, background)
}

fn ask() -> Option<Background> {
    if !io::stdin().is_terminal() || !io::stdout().is_terminal() {
        return None;
    }
    let held_back = Signals::hold_back();
    let mut options = QueryOptions::default();
    options.timeout = PATIENCE;
    let mode = theme_mode(options);
    drop(held_back);
    match mode.ok()? {
        ThemeMode::Dark => Some(Background::Dark),
        ThemeMode::Light => Some(Background::Light),
    }
}

/// Signals that would end or stop the program while the terminal is in raw mode wait until this is dropped.
struct Signals(libc::sigset_t);

impl Signals {
    fn hold_back() -> Self {
        let mut set = MaybeUninit::uninit();
        let mut before = MaybeUninit::uninit();
        // SAFETY: `sigemptyset` initialises `set`, and `pthread_sigmask`, which fails only when its first argument is
        // wrong, `before`; the other pointers are to those.
        unsafe {
            libc::sigemptyset(set.as_mut_ptr());
            for signal in [libc::SIGTERM, libc::SIGINT, libc::SIGHUP, libc::SIGTSTP] {
                libc::sigaddset(set.as_mut_ptr(), signal);
            }
            libc::pthread_sigmask(libc::SIG_BLOCK, set.as_ptr(), before.as_mut_ptr());
            Self(before.assume_init())
        }
    }
}

impl Drop for Signals {
    fn drop(&mut self) {
        // SAFETY: the set is one that `pthread_sigmask` gave; nothing is written.
        unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, &self.0, std::ptr::null_mut()) };
    }
}
