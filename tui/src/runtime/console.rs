//! What reaches the loop from the user's side: keys, signals, the end of the terminal, the clipboard.

use std::env;
use std::future::Future;
use std::io;
use std::thread;

use crossterm::event::{Event, KeyEvent, KeyEventKind, MouseEvent};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc::{Receiver, Sender, channel};
use tokio::sync::oneshot;
use zeroize::Zeroizing;

use super::frames::Frames;
use super::terminal::{TerminalGuard, watch_hang_up};
use crate::clipboard::{Display, DisplayCopy, describe_osc52, osc52};
use crate::signals::{received, unless_ignored};

/// Keys that can wait for the loop.
const KEYS: usize = 256;
/// Answers of the display's clipboard that can wait: it carries out one request after the other.
const COPIES: usize = 4;

/// Something from the user's side.
#[derive(Debug)]
pub(super) enum Input {
    /// A key was pressed.
    Key(KeyEvent),
    /// The mouse was clicked, or its wheel turned.
    Mouse(MouseEvent),
    /// A text was pasted.
    Pasted(String),
    /// The screen has another size.
    Resized,
    /// The program shall end: SIGTERM, SIGINT, SIGHUP, or the terminal is gone.
    End,
    /// SIGTSTP.
    Suspend,
    /// SIGCONT.
    Resumed,
    /// The display's clipboard answered.
    Copied(DisplayCopy),
}

/// The user's side. A trait, so that tests can take its place.
pub(super) trait Console {
    /// Waits for the next input. Cancel-safe.
    fn next(&mut self) -> impl Future<Output = Input>;

    /// Gives the terminal back and stops the process group.
    fn suspend(&mut self) -> io::Result<()>;

    /// Takes the terminal over again.
    fn resume(&mut self) -> io::Result<()>;

    /// Whether the terminal has not taken the last frame yet.
    fn is_busy(&self) -> bool {
        false
    }

    /// Puts a text on the clipboard, and says what to tell the user.
    fn copy(&mut self, text: Zeroizing<String>, what: String) -> io::Result<String>;
}

/// The real one.
pub(super) struct TerminalConsole {
    guard: TerminalGuard,
    events: Receiver<io::Result<Event>>,
    gone: oneshot::Receiver<()>,
    ends: [Signal; 3],
    /// Not under `nohup`.
    hang_up: Option<Signal>,
    frames: Frames,
    stop: Signal,
    cont: Signal,
    display: Option<Display>,
    copies: Receiver<DisplayCopy>,
}

impl TerminalConsole {
    /// Takes the terminal over and starts to listen.
    pub fn new(mouse: bool, frames: Frames) -> io::Result<Self> {
        // Signals first: one that comes during the start must not find the terminal taken over.
        let ends = [
            signal(SignalKind::terminate())?,
            signal(SignalKind::interrupt())?,
            signal(SignalKind::quit())?,
        ];
        let hang_up = unless_ignored(SignalKind::hangup())?;
        let stop = signal(SignalKind::from_raw(libc::SIGTSTP))?;
        let cont = signal(SignalKind::from_raw(libc::SIGCONT))?;
        let gone = watch_hang_up()?;
        let (answers, copies) = channel(COPIES);
        let (x11, wayland) = (env::var_os("DISPLAY"), env::var_os("WAYLAND_DISPLAY"));
        let display = Display::start(x11.as_deref(), wayland.as_deref(), answers)?;
        let guard = TerminalGuard::new(mouse)?;
        let (sender, events) = channel(KEYS);
        thread::Builder::new().name("keys".to_owned()).spawn(move || read_events(&sender))?;
        Ok(Self { guard, frames, events, gone, ends, hang_up, stop, cont, display, copies })
    }
}

/// Reads keys in a thread of its own, not with crossterm's `EventStream`: once the terminal is gone,
/// crossterm reads without end, with `EventStream` in the loop itself (see [`watch_hang_up`]). The thread ends
/// with the process, or with the first key after the loop.
fn read_events(sender: &Sender<io::Result<Event>>) {
    loop {
        let event = crossterm::event::read();
        let failed = event.is_err();
        if sender.blocking_send(event).is_err() || failed {
            return;
        }
    }
}

impl Console for TerminalConsole {
    async fn next(&mut self) -> Input {
        let [terminate, interrupt, quit] = &mut self.ends;
        loop {
            tokio::select! {
                biased;
                _ = terminate.recv() => return Input::End,
                _ = interrupt.recv() => return Input::End,
                _ = received(&mut self.hang_up) => return Input::End,
                _ = quit.recv() => return Input::End,
                _ = &mut self.gone => return Input::End,
                Some(()) = self.stop.recv() => return Input::Suspend,
                Some(()) = self.cont.recv() => return Input::Resumed,
                event = self.events.recv() => match event {
                    Some(Ok(Event::Key(key))) if key.kind != KeyEventKind::Release => {
                        return Input::Key(key);
                    }
                    Some(Ok(Event::Mouse(mouse))) => return Input::Mouse(mouse),
                    Some(Ok(Event::Resize(..))) => return Input::Resized,
                    Some(Ok(Event::Paste(text))) => return Input::Pasted(text),
                    Some(Ok(_)) => {}
                    Some(Err(_)) | None => return Input::End,
                },
                Some(copy) = self.copies.recv() => return Input::Copied(copy),
            }
        }
    }

    fn suspend(&mut self) -> io::Result<()> {
        self.guard.suspend()
    }

    fn is_busy(&self) -> bool {
        self.frames.is_busy()
    }

    fn resume(&mut self) -> io::Result<()> {
        self.guard.enter()
    }

    fn copy(&mut self, text: Zeroizing<String>, what: String) -> io::Result<String> {
        self.frames.send(osc52(&text).as_bytes())?;
        let told = describe_osc52(&what, env::var_os("TERM").as_deref());
        match &self.display {
            Some(display) if !display.copy(text, what, told.clone()) => {
                Ok(format!("{told}; the display's clipboard does not answer"))
            }
            _ => Ok(told),
        }
    }
}
