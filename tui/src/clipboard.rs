//! Puts text on the user's clipboard: through the terminal (OSC 52), which also works over SSH and
//! under sudo, and through the display where one can be reached. Never through an argument list.

use std::ffi::OsStr;
use std::io;
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::thread;

use arboard::SetExtLinux as _;
use crossterm::Command as _;
use crossterm::clipboard::CopyToClipboard;
use tokio::sync::mpsc::Sender;
use zeroize::Zeroizing;

/// The escape sequence that asks the terminal to take a text (xterm's "OSC 52", ctlseqs).
///
/// crossterm encodes it in a buffer of its own that is not wiped; what is returned here is.
pub fn osc52(text: &str) -> Zeroizing<String> {
    // Base64 takes four characters for three bytes; the sequence around it has 9.
    let mut sequence = Zeroizing::new(String::with_capacity(text.len().div_ceil(3) * 4 + 16));
    // Writing to a String cannot fail.
    let _ = CopyToClipboard::to_clipboard_from(text).write_ansi(&mut *sequence);
    sequence
}

/// What the user is told of a copy through the terminal, which never says whether it took it.
pub fn describe_osc52(what: &str, term: Option<&OsStr>) -> String {
    let multiplexer = term.is_some_and(|term| {
        let term = term.to_string_lossy();
        term.starts_with("tmux") || term.starts_with("screen")
    });
    match multiplexer {
        true => format!("{what} sent to terminal; tmux needs: set -g set-clipboard on"),
        false => format!("{what} sent to terminal (it does not say whether it took it)"),
    }
}

/// What became of a copy through the display.
#[derive(Debug, PartialEq, Eq)]
pub struct DisplayCopy {
    /// What was copied, for the user.
    pub what: String,
    /// What the user was told of the copy through the terminal.
    pub told: String,
    /// Why it was not.
    pub result: Result<(), String>,
}

impl DisplayCopy {
    /// What the user is told.
    pub fn describe(&self) -> String {
        match &self.result {
            Ok(()) => format!("{} sent to terminal, and on the display's clipboard", self.what),
            // What tmux needs is all the more of use.
            Err(error) => format!("{}; not on the display's clipboard: {error}", self.told),
        }
    }
}

/// The display's clipboard. It lives in a thread of its own, since it can block; the thread holds the
/// text for other programs while this program runs.
#[derive(Debug)]
pub struct Display {
    requests: SyncSender<Request>,
}

/// A text, what it is, and what the user was told.
type Request = (Zeroizing<String>, String, String);

impl Display {
    /// Starts the thread when the environment names a display.
    ///
    /// # Errors
    ///
    /// When the thread cannot be started.
    pub fn start(
        display: Option<&OsStr>,
        wayland: Option<&OsStr>,
        results: Sender<DisplayCopy>,
    ) -> io::Result<Option<Self>> {
        let named = |value: Option<&OsStr>| value.is_some_and(|value| !value.is_empty());
        if !named(display) && !named(wayland) {
            return Ok(None);
        }
        // One that is carried out and one that waits; more are refused.
        let (requests, incoming) = sync_channel(1);
        thread::Builder::new()
            .name("clipboard".to_owned())
            .spawn(move || serve(&incoming, &results))?;
        Ok(Some(Self { requests }))
    }

    /// Hands a text over, and says whether it was taken.
    pub fn copy(&self, text: Zeroizing<String>, what: String, told: String) -> bool {
        match self.requests.try_send((text, what, told)) {
            Ok(()) => true,
            Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) => false,
        }
    }
}

fn serve(incoming: &Receiver<Request>, results: &Sender<DisplayCopy>) {
    let mut clipboard = None;
    while let Ok((text, what, told)) = incoming.recv() {
        let result = set(&mut clipboard, &text).map_err(|error| error.to_string());
        if result.is_err() {
            // The display may have gone; the next copy connects anew.
            clipboard = None;
        }
        if results.blocking_send(DisplayCopy { what, told, result }).is_err() {
            return;
        }
    }
}

/// arboard keeps a copy of its own, which it does not wipe. Clipboard managers are asked not to keep it.
fn set(clipboard: &mut Option<arboard::Clipboard>, text: &str) -> Result<(), arboard::Error> {
    let held = match clipboard {
        Some(held) => held,
        None => clipboard.insert(arboard::Clipboard::new()?),
    };
    held.set().exclude_from_history().text(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sequence_carries_the_text_in_base64() {
        let sequence = osc52("CLIENT_RANDOM 00 11");
        assert_eq!(*sequence, "\x1b]52;c;Q0xJRU5UX1JBTkRPTSAwMCAxMQ==\x1b\\");
        let long = "x".repeat(1000);
        let sequence = osc52(&long);
        assert!(sequence.len() <= 1000usize.div_ceil(3) * 4 + 16, "it grew and left a copy behind");
    }

    #[test]
    fn the_message_names_what_tmux_needs() {
        let told = describe_osc52("2 key lines", Some(OsStr::new("tmux-256color")));
        assert!(told.contains("set -g set-clipboard on"));
        let told = describe_osc52("client random", Some(OsStr::new("xterm")));
        assert_eq!(told, "client random sent to terminal (it does not say whether it took it)");
    }

    #[test]
    fn a_display_that_fails_does_not_hide_what_tmux_needs() {
        let told = describe_osc52("key line", Some(OsStr::new("screen")));
        let failed =
            DisplayCopy { what: "key line".to_owned(), told, result: Err("no".to_owned()) };
        assert_eq!(
            failed.describe(),
            "key line sent to terminal; tmux needs: set -g set-clipboard on; \
             not on the display's clipboard: no"
        );
        let done = DisplayCopy { result: Ok(()), ..failed };
        assert_eq!(done.describe(), "key line sent to terminal, and on the display's clipboard");
    }

    #[test]
    fn without_a_display_there_is_no_thread() {
        let (results, _) = tokio::sync::mpsc::channel(1);
        assert!(Display::start(None, Some(OsStr::new("")), results).unwrap().is_none());
    }
}
