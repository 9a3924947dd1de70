//! The styles of one view in each theme, as text: a letter for each style, so that a change of one is seen.

use std::fmt::Write as _;

use insta::assert_snapshot;
use ratatui::Terminal;
use ratatui::backend::TestBackend;
use ratatui::layout::Size;
use ratatui::style::Style;

use super::*;
use crate::action::Action;
use crate::model::fixture::{self, add_sessions, at, everything};
use crate::model::{KeyLogMsg, Msg};

/// The text, below it the letter of each cell's style, and what the letters mean.
fn dump(app: &mut App, (width, height): (u16, u16), theme: Theme) -> String {
    let look = Look { theme, offset: UtcOffset::UTC, reveal: false };
    let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
    app.settle(pages(app, Size { width, height }, &look));
    terminal.draw(|frame| draw(frame, app, &look)).unwrap();
    let buffer = terminal.backend().buffer();
    let mut styles: Vec<Style> = vec![plain()];
    let mut text = String::new();
    for y in 0..height {
        let mut letters = String::new();
        for x in 0..width {
            let style = buffer[(x, y)].style();
            let known = styles.iter().position(|other| *other == style);
            let index = known.unwrap_or_else(|| {
                styles.push(style);
                styles.len() - 1
            });
            letters.push(if index == 0 { '.' } else { char::from(b'a' + index as u8 - 1) });
        }
        let symbols: String = (0..width).map(|x| buffer[(x, y)].symbol()).collect();
        let _ = writeln!(text, "|{}\n:{}", symbols.trim_end(), letters.trim_end_matches('.'));
    }
    for (index, style) in styles.iter().enumerate().skip(1) {
        let _ = writeln!(text, "{} = {style:?}", char::from(b'a' + index as u8 - 1));
    }
    text
}

fn plain() -> Style {
    ratatui::buffer::Cell::EMPTY.style()
}

/// A selected row, complete, partial and null sessions, a conflict, something saved, something lost.
fn app() -> App {
    let mut app = fixture::app(everything());
    add_sessions(&mut app);
    app.act(at(6), Action::NullFilter);
    app.act(at(7), Action::Save);
    app.receive(at(7), Msg::KeyLog(KeyLogMsg::Opened { generation: 1, known: Vec::new() }));
    app.receive(at(8), Msg::KeyLog(KeyLogMsg::Wrote { generation: 1, written: 5, error: None }));
    let counters = crate::model::KernelCounters { ring_full: 12, ..Default::default() };
    app.receive(at(8), Msg::Counters(counters));
    app.expire(at(60));
    app
}

#[test]
fn styles_of_the_sessions() {
    for (name, theme) in [
        ("dark", Theme::DARK),
        ("light", Theme::LIGHT),
        ("ansi", Theme::ANSI),
        ("none", Theme::MONOCHROME),
    ] {
        assert_snapshot!(format!("sessions_{name}"), dump(&mut app(), (80, 20), theme));
    }
}

/// Whoever wants no colours gets none, in any view.
#[test]
fn no_colour_is_no_colour() {
    for action in [Action::Help, Action::Quit, Action::Processes, Action::Open, Action::Images] {
        let mut app = app();
        app.act(at(9), action);
        for level in [crate::model::ui::Level::Info, crate::model::ui::Level::Warning] {
            app.tell(at(9), level, "told");
            let text = dump(&mut app, (120, 40), Theme::MONOCHROME);
            assert!(!text.contains("Rgb") && !text.contains("Indexed"), "{text}");
            for colour in ["red", "green", "yellow", "blue", "magenta", "cyan", "black", "white"] {
                assert!(!text.contains(&format!(".{colour}()")), "{colour} in\n{text}");
            }
        }
    }
}

#[test]
fn chosen_columns_are_shown_in_their_order() {
    let mut app = app();
    app.ui.columns = ["secrets", "cipher", "tls", "process"].map(str::to_owned).into();
    let text = dump(&mut app, (80, 20), Theme::MONOCHROME);
    let heading = text.lines().find(|line| line.contains("PROCESS")).unwrap();
    let words: Vec<_> = heading.trim_start_matches('|').split_whitespace().collect();
    assert_eq!(words, ["SECRETS", "CIPHER", "TLS", "PROCESS"]);
}

mod clicks {
    use ratatui::layout::Position;

    use super::*;
    use crate::model::target::Selection;
    use crate::model::ui::{Hit, Mark, Row, View};

    const SIZE: Size = Size { width: 80, height: 24 };
    const LOOK: Look = Look { theme: Theme::MONOCHROME, offset: UtcOffset::UTC, reveal: false };

    fn hit_at(app: &mut App, x: u16, y: u16) -> Option<Hit> {
        app.settle(pages(app, SIZE, &LOOK));
        hit(app, SIZE, &LOOK, Position { x, y })
    }

    fn selected(app: &App) -> Option<u64> {
        app.ui.list.selected(&app.model.sessions).map(|session| session.serial)
    }

    #[test]
    fn a_row_is_selected_by_a_click_and_opened_by_two() {
        let mut app = app();
        let rows = {
            app.settle(pages(&app, SIZE, &LOOK));
            app.ui.list.rows(&app.model.sessions).map(|s| s.serial).collect::<Vec<_>>()
        };
        let click = |app: &mut App, ms: u64, row: u16| {
            let now = crate::model::Time(at(10).0 + ms * 1_000_000);
            let hit = hit_at(app, 20, 3 + row).unwrap();
            app.click(now, hit)
        };
        assert!(click(&mut app, 0, 2).is_empty());
        assert_eq!(selected(&app), Some(rows[2]));
        assert!(!app.ui.list.follows(), "the user wants to stay there");
        // Another row, and too late.
        click(&mut app, 100, 1);
        assert_eq!((selected(&app), app.ui.view), (Some(rows[1]), View::Sessions));
        click(&mut app, 600, 1);
        assert_eq!(app.ui.view, View::Sessions);
        click(&mut app, 900, 1);
        assert_eq!(app.ui.view, View::Detail);
    }

    #[test]
    fn headings_and_empty_places() {
        let mut app = app();
        assert_eq!(hit_at(&mut app, 0, 2), Some(Hit::Header(Column::Time)));
        app.click(at(10), Hit::Header(Column::Process));
        assert_eq!(app.ui.list.order().column, Column::Process);
        assert_eq!(hit_at(&mut app, 0, 0), None);
        assert_eq!(hit_at(&mut app, 0, 23), None);
        let below = hit_at(&mut app, 0, 12).unwrap();
        let before = selected(&app);
        app.click(at(10), below);
        assert_eq!(selected(&app), before, "there is no row");
        app.act(at(10), Action::Help);
        assert_eq!(hit_at(&mut app, 20, 4), None, "the help lies over it");
    }

    #[test]
    fn the_picker_moves_its_cursor_and_toggles_its_marks() {
        let mut app = fixture::app(Selection::default());
        let row = hit_at(&mut app, 20, 4).unwrap();
        assert_eq!(row, Hit::Process { row: 1, on_mark: false });
        app.click(at(1), row);
        assert_eq!(app.ui.picker.cursor(), Some(Row::Process(7)));
        assert!(!app.ui.picker.has_marks());
        let mark = hit_at(&mut app, 1, 5).unwrap();
        app.click(at(1), mark);
        assert_eq!(app.ui.picker.cursor(), Some(Row::Process(901)));
        assert_eq!(app.ui.picker.mark(&app.model.targets, Row::Process(901)), Mark::On);
    }

    #[test]
    fn no_place_panics() {
        for selection in [Selection::default(), everything()] {
            let mut app = fixture::app(selection);
            add_sessions(&mut app);
            for size in [(0, 0), (1, 1), (60, 12), (80, 24), (300, 90)] {
                let size = Size::from(size);
                app.settle(pages(&app, size, &LOOK));
                for (x, y) in (0..310).step_by(7).flat_map(|x| (0..95).map(move |y| (x, y))) {
                    if let Some(hit) = hit(&app, size, &LOOK, Position { x, y }) {
                        app.click(at(u64::from(x)), hit);
                    }
                }
            }
        }
    }
}
