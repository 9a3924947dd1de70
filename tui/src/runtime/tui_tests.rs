use std::collections::VecDeque;
use std::future::pending;

use crossterm::event::{KeyCode, KeyModifiers};
use ratatui::backend::TestBackend;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use zeroize::Zeroizing;

use super::*;
use crate::clipboard::DisplayCopy;
use crate::model::fixture::{self, START, everything, scan, secret};
use crate::model::target::{Change, Selection};
use crate::model::{DEFAULT_SESSION_LIMIT, KeyLogMsg, Time};
use crate::tls::Label;
use crate::view::Theme;

/// Takes messages from the test and keeps the effects; attaches and opens at once.
struct FakeEngine {
    started: Instant,
    sender: UnboundedSender<Msg>,
    messages: UnboundedReceiver<Msg>,
    effects: Vec<String>,
    /// What comes as soon as something is attached.
    once_attached: Vec<Msg>,
}

impl FakeEngine {
    fn new(messages: Vec<Msg>) -> Self {
        let (sender, receiver) = unbounded_channel();
        for message in messages {
            sender.send(message).unwrap();
        }
        Self {
            started: Instant::now(),
            sender,
            messages: receiver,
            effects: Vec::new(),
            once_attached: Vec::new(),
        }
    }
}

impl Engine for FakeEngine {
    async fn next(&mut self, into: &mut Vec<Msg>) -> io::Result<()> {
        match self.messages.recv_many(into, 100).await {
            0 => Err(io::ErrorKind::BrokenPipe.into()),
            _ => Ok(()),
        }
    }

    fn perform(&mut self, effect: Effect) {
        let answer = match &effect {
            Effect::Capture(Change::Attach(image)) => {
                Some(Msg::Attached { image: *image, result: Ok(2) })
            }
            Effect::OpenKeyLog(_) => {
                Some(Msg::KeyLog(KeyLogMsg::Opened { generation: 1, known: Vec::new() }))
            }
            Effect::WriteLines { lines, .. } => {
                let written = lines.len();
                Some(Msg::KeyLog(KeyLogMsg::Wrote { generation: 1, written, error: None }))
            }
            _ => None,
        };
        self.effects.push(format!("{effect:?}"));
        let attached = matches!(answer, Some(Msg::Attached { .. }));
        let follow = if attached { std::mem::take(&mut self.once_attached) } else { Vec::new() };
        for message in answer.into_iter().chain(follow) {
            self.sender.send(message).unwrap();
        }
    }

    fn now(&self) -> Time {
        START + self.started.elapsed()
    }
}

/// What a user does, and when: the clock of the tests stands still until everything waits for it.
struct FakeConsole {
    started: Instant,
    steps: VecDeque<(Duration, Input)>,
    calls: Vec<&'static str>,
    copied: Vec<String>,
}

impl FakeConsole {
    /// Presses the keys one after the other, 100 ms apart, then ends the program after the same time.
    fn typing(keys: &str) -> Self {
        let mut console = Self {
            started: Instant::now(),
            steps: VecDeque::new(),
            calls: Vec::new(),
            copied: Vec::new(),
        };
        for key in keys.chars() {
            console.then(Input::Key(key_event(key)));
        }
        console.then(Input::End);
        console
    }

    fn then(&mut self, input: Input) {
        let at = self.steps.back().map_or(Duration::ZERO, |(at, _)| *at);
        self.steps.push_back((at + Duration::from_millis(100), input));
    }

    fn end_after(&mut self, wait: Duration) {
        self.steps.pop_back();
        let at = self.steps.back().map_or(Duration::ZERO, |(at, _)| *at);
        self.steps.push_back((at + wait, Input::End));
    }
}

fn key_event(key: char) -> KeyEvent {
    let code = match key {
        '\n' => KeyCode::Enter,
        '↓' => KeyCode::Down,
        '↑' => KeyCode::Up,
        c => KeyCode::Char(c),
    };
    KeyEvent::new(code, KeyModifiers::NONE)
}

impl Console for FakeConsole {
    async fn next(&mut self) -> Input {
        let Some((at, _)) = self.steps.front() else { return pending().await };
        sleep_until(self.started + *at).await;
        self.steps.pop_front().map_or(Input::End, |(_, input)| input)
    }

    fn suspend(&mut self) -> io::Result<()> {
        self.calls.push("suspend");
        Ok(())
    }

    fn resume(&mut self) -> io::Result<()> {
        self.calls.push("resume");
        Ok(())
    }

    fn copy(&mut self, text: Zeroizing<String>, what: String) -> io::Result<String> {
        self.copied.push(text.to_string());
        Ok(format!("{what} sent to terminal"))
    }
}

struct Ran {
    screen: TestBackend,
    app: App,
    engine: FakeEngine,
    console: FakeConsole,
}

async fn try_run(
    selection: Selection,
    mut engine: FakeEngine,
    mut console: FakeConsole,
) -> Result<Ran, TuiError> {
    let model = Model::new(selection, "./tlskeytop.keylog".into(), DEFAULT_SESSION_LIMIT);
    let mut terminal = Terminal::new(TestBackend::new(80, 24)).unwrap();
    let look = Look { theme: Theme::MONOCHROME, offset: UtcOffset::UTC, reveal: false };
    let mut main_loop = Loop::new(&mut terminal, &mut engine, &mut console, App::new(model), look);
    main_loop.run().await?;
    let app = main_loop.app;
    Ok(Ran { screen: terminal.backend().clone(), app, engine, console })
}

async fn run(selection: Selection, messages: Vec<Msg>, console: FakeConsole) -> Ran {
    try_run(selection, FakeEngine::new(messages), console).await.unwrap()
}

fn secrets() -> Vec<Msg> {
    let process = fixture::process(7, "nginx");
    let mut messages = vec![Msg::Scanned(scan())];
    for (fill, label) in (1..).zip(Label::TLS13_COMPLETE) {
        messages.push(Msg::Secret(secret(START, &process, 0xa1, label, fill)));
    }
    messages.push(Msg::Secret(secret(START, &process, 0xa2, Label::ClientRandom, 9)));
    messages
}

#[tokio::test(start_paused = true)]
async fn picking_attaching_saving_copying_and_quitting() {
    let mut engine = FakeEngine::new(vec![Msg::Scanned(scan())]);
    engine.once_attached = secrets();
    let ran = try_run(Selection::default(), engine, FakeConsole::typing("\nw\n↓Yq")).await.unwrap();
    assert!(ran.app.model.targets.selection.all);
    assert_eq!(ran.app.model.saving.lines, 5);
    assert_eq!(ran.console.copied.len(), 1);
    assert_eq!(ran.console.copied[0].lines().count(), 4);
    assert_eq!(ran.console.steps.len(), 1, "q ended it, without a question");
    let performed =
        |start: &str| ran.engine.effects.iter().filter(|e| e.starts_with(start)).count();
    assert_eq!(performed("Capture(Attach"), 3);
    assert_eq!(performed("OpenKeyLog"), 1);
    assert_eq!(performed("Copy") + performed("Quit"), 0, "the loop's own");
    insta::assert_snapshot!(ran.screen);
}

#[tokio::test(start_paused = true)]
async fn nothing_is_attached_before_the_user_says_so() {
    let ran = run(Selection::default(), secrets(), FakeConsole::typing("")).await;
    assert!(!ran.engine.effects.iter().any(|effect| effect.contains("Attach")));
    assert_eq!(ran.app.model.sessions.len(), 0);
    assert!(ran.screen.to_string().contains("everything, now and in future"));
}

#[tokio::test(start_paused = true)]
async fn a_toast_goes_after_three_seconds_without_a_key() {
    let mut console = FakeConsole::typing("c");
    console.end_after(Duration::from_millis(2900));
    let ran = run(everything(), secrets(), console).await;
    assert!(ran.screen.to_string().contains("client random sent to terminal"));

    let mut console = FakeConsole::typing("c");
    console.end_after(Duration::from_millis(3500));
    let ran = run(everything(), secrets(), console).await;
    assert!(!ran.screen.to_string().contains("client random sent to terminal"));
}

#[tokio::test(start_paused = true)]
async fn messages_are_shown_without_a_key() {
    let mut console = FakeConsole::typing("");
    console.end_after(Duration::from_millis(60));
    let ran = run(everything(), secrets(), console).await;
    assert!(ran.screen.to_string().contains("2 sessions"), "{}", ran.screen);
}

#[tokio::test(start_paused = true)]
async fn quitting_with_unsaved_secrets_asks() {
    let ran = run(everything(), secrets(), FakeConsole::typing("q")).await;
    assert!(ran.screen.to_string().contains("2 sessions hold secrets that are not in the key log"));
    let ran = run(everything(), secrets(), FakeConsole::typing("qyyyy")).await;
    assert_eq!(ran.console.steps.len(), 4, "y ended it");
    let ran = run(everything(), secrets(), FakeConsole::typing("qw\nyyy")).await;
    assert_eq!(ran.console.steps.len(), 4, "w ended it");
    assert_eq!(ran.app.model.saving.lines, 5);
}

#[tokio::test(start_paused = true)]
async fn warnings_are_told_and_logged() {
    let rejected = Msg::Rejected { pid: 7, thread: "nginx".into(), reason: "17 bytes".to_owned() };
    let ran = run(everything(), vec![rejected], FakeConsole::typing("↓")).await;
    assert!(ran.engine.effects.iter().any(|effect| effect.starts_with("Warn(")));
    assert!(ran.screen.to_string().contains("rejected from nginx (7): 17 bytes"));
}

#[tokio::test(start_paused = true)]
async fn the_terminal_is_given_back_and_taken_over_again() {
    let mut console = FakeConsole::typing("");
    console.steps.clear();
    console.then(Input::Suspend);
    console.then(Input::Resumed);
    console.then(Input::Copied(DisplayCopy {
        what: "key line".to_owned(),
        told: String::new(),
        result: Ok(()),
    }));
    console.then(Input::Resized);
    console.then(Input::End);
    let ran = run(everything(), secrets(), console).await;
    assert_eq!(ran.console.calls, ["suspend", "resume"]);
    assert!(ran.screen.to_string().contains("on the display's clipboard"));
}

#[tokio::test(start_paused = true)]
async fn the_wheel_scrolls_and_a_double_click_opens() {
    use crossterm::event::{MouseButton, MouseEvent, MouseEventKind};
    let mouse = |kind, row| {
        Input::Mouse(MouseEvent { kind, column: 20, row, modifiers: KeyModifiers::NONE })
    };
    let mut console = FakeConsole::typing("");
    console.steps.clear();
    console.then(mouse(MouseEventKind::ScrollDown, 4));
    console.then(Input::End);
    let ran = run(everything(), secrets(), console).await;
    let list = &ran.app.ui.list;
    let selected =
        list.selected(&ran.app.model.sessions).map(|session| session.key.client_random.0[0]);
    assert_eq!(selected, Some(0xa1), "the second and last row");

    let mut console = FakeConsole::typing("");
    console.steps.clear();
    for _ in 0..2 {
        console.then(mouse(MouseEventKind::Down(MouseButton::Left), 4));
        console.then(mouse(MouseEventKind::Up(MouseButton::Left), 4));
    }
    console.then(Input::End);
    let ran = run(everything(), secrets(), console).await;
    assert_eq!(ran.app.ui.view, crate::model::ui::View::Detail);
}

#[tokio::test(start_paused = true)]
async fn nothing_is_drawn_while_suspended() {
    let mut console = FakeConsole::typing("");
    console.steps.clear();
    console.steps.push_back((Duration::ZERO, Input::Suspend));
    console.then(Input::End);
    let ran = run(everything(), secrets(), console).await;
    assert_eq!(ran.screen.buffer(), TestBackend::new(80, 24).buffer());
}

#[tokio::test(start_paused = true)]
async fn an_engine_that_ends_ends_the_loop() {
    let mut engine = FakeEngine::new(Vec::new());
    engine.messages.close();
    let ended = try_run(everything(), engine, FakeConsole::typing("↓")).await;
    assert!(matches!(ended, Err(TuiError::Engine(_))));
}
