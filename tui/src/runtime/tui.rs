//! The one select loop: keys, messages and time come in, effects and frames go out.

use std::io;
use std::mem::ManuallyDrop;
use std::ops::ControlFlow;
use std::time::Duration;

use crossterm::event::{KeyEvent, KeyModifiers};
use futures_util::FutureExt as _;
use ratatui::Terminal;
use ratatui::backend::{Backend, CrosstermBackend};
use ratatui::layout::{Position, Rect};
use time::UtcOffset;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep_until};

use super::console::{Console, Input, TerminalConsole};
use super::frames::{FrameWriter, Frames};
use super::{Engine, background, mouse};
use crate::action::{Action, Context};
use crate::config::Config;
use crate::home::home_of;
use crate::keylog::Owner;
use crate::keymap;
use crate::model::ui::{App, Level, Settings};
use crate::model::{Effect, Model, Msg};
use crate::target::process;
use crate::view::{self, Look};

/// How often the model learns that time goes on.
const TICK: Duration = Duration::from_millis(250);
/// The least time between two frames that no key asked for: 20 a second.
const FRAME: Duration = Duration::from_millis(50);
/// Inputs that are taken before one frame shows what they did.
const INPUTS_A_FRAME: usize = 64;

/// How the TUI looks and what it reacts to.
#[derive(Clone, Debug)]
pub struct Options {
    /// Theme, time zone, and whether secrets are shown in full.
    pub look: Look,
    /// What the user wants to be otherwise.
    pub settings: Settings,
    /// Whether the mouse is used.
    pub mouse: bool,
}

impl Options {
    /// By the configuration and the environment; the terminal may be asked for its background. To be called while
    /// there is only one thread. Times are in the zone of [`local_offset`].
    pub fn new(config: &Config, offset: UtcOffset, reveal: bool) -> Self {
        let theme = background::theme(config.theme, &config.colors);
        let settings = config.settings.clone();
        Self { look: Look { theme, offset, reveal }, settings, mouse: config.mouse }
    }
}

/// The present offset of the local time zone; UTC when it cannot be told. To be called before the
/// first thread is started: the C library reads the environment.
pub fn local_offset() -> UtcOffset {
    UtcOffset::current_local_offset().unwrap_or(UtcOffset::UTC)
}

/// Why the TUI ended by itself.
#[derive(Debug, thiserror::Error)]
pub enum TuiError {
    /// The terminal could not be taken over.
    #[error("the terminal cannot be used: {0}")]
    Terminal(#[source] io::Error),
    /// A frame could not be drawn.
    #[error("drawing on the terminal failed: {0}")]
    Draw(#[source] io::Error),
    /// Nothing can come from the engine any more.
    #[error("capture ended: {0}")]
    Engine(#[source] io::Error),
}

/// Takes the terminal over and runs until the user quits, a signal ends the program, or the terminal is
/// gone. The terminal is given back in each case. Returns the model as it is at the end, and
/// [`TuiError`] when the TUI ended by itself: what was captured until then is still to be written.
///
/// Opens the picker when nothing was chosen, else the sessions.
pub async fn run<E: Engine>(
    engine: &mut E,
    model: Model,
    options: Options,
) -> (Model, Result<(), TuiError>) {
    let (mut console, mut terminal) = match take_over(options.mouse) {
        Ok(taken) => taken,
        Err(error) => return (model, Err(TuiError::Terminal(error))),
    };
    let mut app = App::new(model).with_settings(options.settings);
    app.ui.files.home = home_of(Owner::of_this_run());
    let mut main_loop = Loop::new(&mut terminal, engine, &mut console, app, options.look);
    let result = main_loop.run().await;
    (main_loop.app.model, result)
}

type Screen = Terminal<CrosstermBackend<FrameWriter>>;

fn take_over(mouse: bool) -> io::Result<(TerminalConsole, ManuallyDrop<Screen>)> {
    let frames = Frames::start()?;
    let console = TerminalConsole::new(mouse, frames.clone())?;
    let backend = CrosstermBackend::new(FrameWriter::new(frames));
    // Not dropped: ratatui would show the cursor again, which the console does, and when the terminal is
    // gone it would print that to standard error and panic, since that is gone too.
    Ok((console, ManuallyDrop::new(Terminal::new(backend)?)))
}

/// Everything that the loop holds.
pub(super) struct Loop<'a, B: Backend, E, C> {
    terminal: &'a mut Terminal<B>,
    engine: &'a mut E,
    console: &'a mut C,
    pub(super) app: App,
    look: Look,
    /// Something changed since the last frame.
    dirty: bool,
    /// The terminal is not ours at the moment.
    suspended: bool,
    next_frame: Instant,
    last_second: u64,
}

impl<'a, B, E, C> Loop<'a, B, E, C>
where
    B: Backend,
    B::Error: Send + Sync + 'static,
    E: Engine,
    C: Console,
{
    pub fn new(
        terminal: &'a mut Terminal<B>,
        engine: &'a mut E,
        console: &'a mut C,
        app: App,
        look: Look,
    ) -> Self {
        Self {
            terminal,
            engine,
            console,
            app,
            look,
            dirty: true,
            suspended: false,
            next_frame: Instant::now(),
            last_second: 0,
        }
    }

    pub async fn run(&mut self) -> Result<(), TuiError> {
        let mut tick = interval(TICK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut messages = Vec::new();
        loop {
            // In this order: the user does not wait for a flood of messages.
            let flow = tokio::select! {
                biased;
                input = self.console.next() => self.take_inputs(input)?,
                () = sleep_until(self.next_frame), if self.dirty && !self.suspended => {
                    self.draw()?;
                    ControlFlow::Continue(())
                }
                _ = tick.tick() => self.tick(),
                result = self.engine.next(&mut messages) => {
                    result.map_err(TuiError::Engine)?;
                    self.receive_all(&mut messages)
                }
            };
            if flow.is_break() {
                return Ok(());
            }
        }
    }

    /// Takes an input and those that are there already, then shows at once what they did.
    fn take_inputs(&mut self, first: Input) -> Result<ControlFlow<()>, TuiError> {
        let mut input = Some(first);
        for _ in 0..INPUTS_A_FRAME {
            let Some(present) = input.take() else { break };
            if self.take_input(present)?.is_break() {
                return Ok(ControlFlow::Break(()));
            }
            input = self.console.next().now_or_never();
        }
        if let Some(last) = input
            && self.take_input(last)?.is_break()
        {
            return Ok(ControlFlow::Break(()));
        }
        // However many keys come: what was captured and the time have their turn.
        let mut messages = Vec::new();
        if let Some(result) = self.engine.next(&mut messages).now_or_never() {
            result.map_err(TuiError::Engine)?;
        }
        if self.receive_all(&mut messages).is_break() || self.tick().is_break() {
            return Ok(ControlFlow::Break(()));
        }
        if !self.suspended {
            self.draw()?;
        }
        Ok(ControlFlow::Continue(()))
    }

    fn take_input(&mut self, input: Input) -> Result<ControlFlow<()>, TuiError> {
        match input {
            Input::End => return Ok(ControlFlow::Break(())),
            Input::Key(key) => return self.take_key(key),
            Input::Mouse(event) => {
                let size = self.terminal.size().map_err(draw_error)?;
                let now = self.engine.now();
                let effects = mouse::act(&mut self.app, now, event, size, &self.look);
                return Ok(self.perform(effects));
            }
            Input::Resized => {}
            Input::Pasted(text) => {
                self.app.paste(self.engine.now(), &text);
            }
            Input::Suspend => self.suspend()?,
            Input::Resumed => {
                self.console.resume().map_err(TuiError::Terminal)?;
                self.suspended = false;
                self.forget_screen()?;
            }
            Input::Copied(copy) => {
                let level = if copy.result.is_ok() { Level::Info } else { Level::Warning };
                self.app.tell(self.engine.now(), level, &copy.describe());
            }
        }
        Ok(ControlFlow::Continue(()))
    }

    fn take_key(&mut self, key: KeyEvent) -> Result<ControlFlow<()>, TuiError> {
        // No key is bound with Alt; Escape and a letter in quick succession look the same.
        if key.modifiers.contains(KeyModifiers::ALT) && self.app.context() != Context::Prompt {
            return Ok(ControlFlow::Continue(()));
        }
        match self.app.keymap.action(self.app.context(), key) {
            None if self.app.context() == Context::Prompt => {
                if let Some(request) = keymap::edit(key) {
                    self.app.edit(request);
                }
            }
            None => {}
            Some(Action::Suspend) => self.suspend()?,
            Some(Action::Redraw) => self.forget_screen()?,
            Some(action) => {
                let effects = self.app.act(self.engine.now(), action);
                return Ok(self.perform(effects));
            }
        }
        Ok(ControlFlow::Continue(()))
    }

    fn suspend(&mut self) -> Result<(), TuiError> {
        if process::leads_its_session() {
            // There is no shell that could resume it.
            let text = "there is no shell to go back to";
            self.app.tell(self.engine.now(), Level::Warning, text);
            return Ok(());
        }
        self.suspended = true;
        self.console.suspend().map_err(TuiError::Terminal)
    }

    /// Makes the next frame draw everything. Not `Terminal::clear`: it asks the terminal for the
    /// cursor's position, and the thread that reads keys has the answer.
    fn forget_screen(&mut self) -> Result<(), TuiError> {
        let size = self.terminal.size().map_err(draw_error)?;
        let area = Rect::from((Position::ORIGIN, size));
        self.terminal.resize(area).map_err(draw_error)
    }

    fn tick(&mut self) -> ControlFlow<()> {
        let now = self.engine.now();
        let effects = self.app.receive(now, Msg::Tick);
        self.dirty |= self.app.expire(now);
        // The rate and its sparkline move on with every second.
        if now.seconds() != self.last_second {
            self.last_second = now.seconds();
            self.dirty |= self.app.model.stats.rate.per_second().any(|count| count > 0);
            // And so does the time that is left for catching up.
            self.dirty |= self.app.model.catching_up.progress(now).is_some();
        }
        self.perform(effects)
    }

    fn receive_all(&mut self, messages: &mut Vec<Msg>) -> ControlFlow<()> {
        let now = self.engine.now();
        let mut flow = ControlFlow::Continue(());
        // All of them, also when one ends the loop: there may be secrets among them.
        let mut left = messages.len();
        for message in messages.drain(..) {
            left -= 1;
            self.app.model.saving.gather(left > 0);
            let same = matches!(&message, Msg::Counters(c) if *c == self.app.model.stats.kernel);
            self.dirty |= !same && !matches!(message, Msg::Tick);
            let effects = self.app.receive(now, message);
            if self.perform(effects).is_break() {
                flow = ControlFlow::Break(());
            }
        }
        flow
    }

    fn perform(&mut self, effects: Vec<Effect>) -> ControlFlow<()> {
        for effect in effects {
            match effect {
                Effect::Quit => return ControlFlow::Break(()),
                Effect::Copy { text, what } => {
                    let what = match text.lines().count() {
                        0 | 1 => what.to_owned(),
                        lines => format!("{lines} {what}"),
                    };
                    let told = self.console.copy(text.into_wiped(), what);
                    let (level, told) = match told {
                        Ok(told) => (Level::Info, told),
                        Err(error) => (Level::Warning, format!("not copied: {error}")),
                    };
                    self.app.tell(self.engine.now(), level, &told);
                }
                other => self.engine.perform(other),
            }
        }
        ControlFlow::Continue(())
    }

    fn draw(&mut self) -> Result<(), TuiError> {
        if self.console.is_busy() {
            // Capture and saving go on; the screen follows when the terminal reads again.
            self.dirty = true;
            self.next_frame = Instant::now() + FRAME;
            return Ok(());
        }
        let size = self.terminal.size().map_err(draw_error)?;
        self.app.settle(view::pages(&self.app, size, &self.look));
        let (app, look) = (&self.app, &self.look);
        self.terminal.draw(|frame| view::draw(frame, app, look)).map_err(draw_error)?;
        self.dirty = false;
        self.next_frame = Instant::now() + FRAME;
        Ok(())
    }
}

fn draw_error(error: impl std::error::Error + Send + Sync + 'static) -> TuiError {
    TuiError::Draw(io::Error::other(error))
}

#[cfg(test)]
#[path = "tui_tests.rs"]
mod tests;
