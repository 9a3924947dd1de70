//! Times with 100,000 sessions, from a key press to the drawn frame. They say something in a release
//! build only, and nothing is asserted:
//!
//! ```text
//! cargo xtask bench
//! ```

use std::time::{Duration, Instant};

use ratatui::Terminal;
use ratatui::backend::TestBackend;
use tui_input::InputRequest;

use super::*;
use crate::action::Action;
use crate::model::fixture::{app, at, everything, process, secret};
use crate::model::target::{ImageId, Process};
use crate::model::{DEFAULT_SESSION_LIMIT, Msg};
use crate::tls::{CipherSuite, Label};

const LOOK: Look = Look { theme: Theme::ANSI, offset: UtcOffset::UTC, reveal: false };
const SIZE: Size = Size { width: 200, height: 60 };
const NAMES: [&str; 8] =
    ["nginx", "curl", "node", "envoy", "postgres", "python3", "java", "Firefox"];

struct Bench {
    app: App,
    terminal: Terminal<TestBackend>,
    processes: Vec<std::sync::Arc<Process>>,
    next: u32,
}

impl Bench {
    /// One session: every third of TLS 1.2, the others of TLS 1.3 with five secrets.
    fn add(&mut self) {
        let n = self.next;
        self.next += 1;
        let mixed = n.wrapping_mul(2_654_435_761);
        let tls13: Vec<_> = Label::TLS13_COMPLETE.into_iter().chain([Label::Exporter]).collect();
        for label in if n.is_multiple_of(3) { &[Label::ClientRandom][..] } else { &tls13 } {
            let process = &self.processes[mixed as usize % self.processes.len()];
            let mut event = secret(at(u64::from(n)), process, 0, label.clone(), 1);
            event.client_random.0[..4].copy_from_slice(&mixed.to_be_bytes());
            event.client_random.0[4] = 0xff;
            event.image = ImageId(1 + n % 3);
            event.facts.cipher = Some(CipherSuite(0x1301 + (n % 3) as u16));
            self.app.receive(event.time, Msg::Secret(event));
        }
    }

    fn frame(&mut self) {
        self.app.settle(pages(&self.app, SIZE, &LOOK));
        let app = &self.app;
        self.terminal.draw(|frame| draw(frame, app, &LOOK)).unwrap();
    }

    /// Prints what a second with so many secrets and twenty frames costs, with a filter and without.
    fn second_of_events(&mut self, secrets: u32) {
        for filter in ["", "tls:1.3 !curl"] {
            drop(self.app.act(at(1), Action::Filter));
            self.app.edit(InputRequest::DeleteLine);
            self.app.paste(at(1), filter);
            drop(self.app.act(at(1), Action::Confirm));
            let start = Instant::now();
            for _ in 0..20 {
                // Of three sessions, two with five secrets and one with one.
                (0..secrets * 3 / 11 / 20).for_each(|_| self.add());
                self.frame();
            }
            let share = start.elapsed().as_secs_f64() * 100.0;
            println!(
                "{secrets} secrets a second, 20 frames, filter {filter:?}: {share:.1}% of one core"
            );
        }
    }

    /// Prints how long the steps and the frame behind each of them take.
    fn time<T>(
        &mut self,
        what: &str,
        steps: impl IntoIterator<Item = T>,
        step: impl Fn(&mut Self, T),
    ) {
        let mut times = Vec::new();
        for each in steps {
            let start = Instant::now();
            step(self, each);
            self.frame();
            times.push(start.elapsed());
        }
        let mean = times.iter().sum::<Duration>() / times.len() as u32;
        let worst = times.iter().max().copied().unwrap_or_default();
        let (rows, _) = self.app.ui.list.counts(&self.app.model.sessions);
        println!("{what:45} mean {mean:10.3?}  worst {worst:10.3?}  {rows} rows");
    }
}

#[test]
#[ignore = "prints times, which say something in a release build only"]
fn figures() {
    let processes = (0..200).map(|n| process(1000 + n, NAMES[n as usize % NAMES.len()])).collect();
    let backend = TestBackend::new(SIZE.width, SIZE.height);
    let terminal = Terminal::new(backend).unwrap();
    let mut bench = Bench { app: app(everything()), terminal, processes, next: 0 };
    (0..DEFAULT_SESSION_LIMIT).for_each(|_| bench.add());
    bench.frame();
    let act = |bench: &mut Bench, action| drop(bench.app.act(at(1), action));
    bench.time("a frame", 0..20, |_, _| {});
    bench.time("moving, newest first", [Action::PageDown; 20], act);
    for column in Column::ALL {
        let what = format!("sort by {}, and reverse", column.name());
        bench.time(&what, 0..4, |bench, _| bench.app.sort_by(at(1), column));
    }
    bench.time("moving, sorted", [Action::PageDown; 20], act);
    bench.time("500 new sessions, sorted", 0..20, |bench, _| (0..500).for_each(|_| bench.add()));
    bench.time("null filter, sorted", [Action::NullFilter; 4], act);
    bench.time("pause, sorted", [Action::Pause; 4], act);
    for column in [Column::Executable, Column::Time] {
        bench.app.sort_by(at(1), column);
        for text in
            ["nginx", "zzzzz", "tls:1.2 !curl", "abc12", "state:complete proc:n", "日本", "1.3 aes"]
        {
            act(&mut bench, Action::Filter);
            bench.app.edit(InputRequest::DeleteLine);
            let what = format!("each key of {text:?}, by {}", column.name());
            bench.time(&what, text.chars(), |bench, c| {
                bench.app.edit(InputRequest::InsertChar(c));
            });
            act(&mut bench, Action::Confirm);
        }
    }
    bench.time("moving, filtered", [Action::PageDown; 20], act);
    bench.time("500 new sessions, filtered", 0..20, |bench, _| (0..500).for_each(|_| bench.add()));
    bench.time("filter dropped", [Action::Back], act);
    bench.second_of_events(10_000);
}
