//! The table of sessions with a filter, or in another order.

use proptest::prelude::*;

use super::*;
use crate::model::fixture::*;
use crate::model::target::ImageId;
use crate::model::{Session, Store};
use crate::tls::{CipherSuite, Label, Role, Version};
use tui_input::InputRequest;

const PAGES: Pages = Pages {
    sessions: 5,
    picker: 4,
    detail: 5,
    images: 5,
    help: 5,
    help_lines: 12,
    detail_past: 0,
    columns: Columns::ALL,
    too_small: false,
};

fn act(app: &mut App, action: Action) {
    app.act(at(10), action);
    app.settle(PAGES);
}

fn type_filter(app: &mut App, text: &str) {
    act(app, Action::Filter);
    app.edit(InputRequest::DeleteLine);
    for c in text.chars() {
        app.edit(InputRequest::InsertChar(c));
    }
    app.settle(PAGES);
}

fn with_sessions() -> App {
    let mut app = app(everything());
    add_sessions(&mut app);
    app.settle(PAGES);
    app
}

fn selected(app: &App) -> Option<u64> {
    app.ui.list.selected(&app.model.sessions).map(|session| session.serial)
}

fn rows(app: &App) -> Vec<u64> {
    app.ui.list.rows(&app.model.sessions).map(|session| session.serial).collect()
}

fn counts(app: &App) -> (usize, usize) {
    app.ui.list.counts(&app.model.sessions)
}

fn told(app: &App) -> &str {
    app.ui.toast.as_ref().map_or("", |toast| &toast.text)
}

/// One more session of a process.
fn add(app: &mut App, pid: u32, comm: &str, random: u8) {
    let event = secret(at(20), &process(pid, comm), random, Label::ClientRandom, 1);
    app.receive(event.time, Msg::Secret(event));
    app.settle(PAGES);
}

#[test]
fn a_filter_holds_while_it_is_typed() {
    let mut app = with_sessions();
    assert_eq!((rows(&app), counts(&app)), (vec![4, 2, 1, 0], (4, 4)));
    type_filter(&mut app, "state:complete");
    assert_eq!((rows(&app), counts(&app)), (vec![4, 1, 0], (3, 4)));
    for c in " !nginx".chars() {
        app.edit(InputRequest::InsertChar(c));
    }
    app.settle(PAGES);
    assert_eq!(rows(&app), [4, 1]);
    act(&mut app, Action::Confirm);
    assert_eq!((rows(&app), app.ui.list.filter_text()), (vec![4, 1], "state:complete !nginx"));
    type_filter(&mut app, "nginx");
    assert_eq!(rows(&app), [0]);
    act(&mut app, Action::Back);
    assert_eq!(rows(&app), [4, 1], "as it was before");
    act(&mut app, Action::Back);
    assert_eq!((rows(&app), app.ui.list.filter_text()), (vec![4, 2, 1, 0], ""));
}

#[test]
fn an_error_is_known_while_it_is_typed_and_hides_nothing() {
    let mut app = with_sessions();
    type_filter(&mut app, "tls:9");
    assert_eq!(app.ui.list.filter().error(), Some("tls: 1.3, 1.2, 1.1 or 1.0"));
    assert_eq!(counts(&app), (4, 4));
}

#[test]
fn the_null_filter_and_the_pause_hold_with_a_filter() {
    let mut app = with_sessions();
    act(&mut app, Action::NullFilter);
    type_filter(&mut app, "state:null");
    act(&mut app, Action::Confirm);
    assert_eq!((rows(&app), counts(&app)), (vec![3], (1, 5)));
    act(&mut app, Action::NullFilter);
    assert_eq!((rows(&app), counts(&app)), (vec![], (0, 4)));
    type_filter(&mut app, "nginx");
    act(&mut app, Action::Confirm);
    act(&mut app, Action::Pause);
    add(&mut app, 8, "nginx", 0xb1);
    assert_eq!((rows(&app), counts(&app)), (vec![0], (1, 4)));
    act(&mut app, Action::Pause);
    assert_eq!((rows(&app), counts(&app)), (vec![5, 0], (2, 5)));
}

#[test]
fn sessions_that_change_come_and_go() {
    let mut app = with_sessions();
    type_filter(&mut app, "state:partial");
    act(&mut app, Action::Confirm);
    assert_eq!(rows(&app), [2]);
    for label in [Label::ClientTraffic0, Label::ServerTraffic0] {
        let event = secret(at(20), &scan().targets[3].process, 0xa3, label, 7);
        app.receive(event.time, Msg::Secret(event));
    }
    app.settle(PAGES);
    assert_eq!((rows(&app), selected(&app)), (vec![], None));
    type_filter(&mut app, "saved:yes");
    act(&mut app, Action::Confirm);
    assert!(rows(&app).is_empty());
    act(&mut app, Action::Save);
    app.receive(at(21), Msg::KeyLog(KeyLogMsg::Opened { generation: 1, known: Vec::new() }));
    app.settle(PAGES);
    assert!(rows(&app).is_empty());
    app.receive(at(21), Msg::KeyLog(KeyLogMsg::Wrote { generation: 1, written: 11, error: None }));
    app.settle(PAGES);
    assert_eq!(rows(&app), [4, 2, 1, 0]);
}

#[test]
fn sessions_that_are_dropped_lose_their_rows() {
    let mut app = app(everything());
    app.model.sessions = Store::new(4);
    add_many(&mut app, 4);
    type_filter(&mut app, "nginx");
    act(&mut app, Action::Confirm);
    act(&mut app, Action::Last);
    assert_eq!((rows(&app), selected(&app)), (vec![3, 2, 1, 0], Some(0)));
    add(&mut app, 9, "curl", 0xc1);
    add(&mut app, 9, "nginx", 0xc2);
    assert_eq!((rows(&app), selected(&app)), (vec![5, 3, 2], Some(2)));
}

#[test]
fn a_library_that_becomes_known_is_found() {
    let mut app = with_sessions();
    type_filter(&mut app, "lib:boringssl");
    act(&mut app, Action::Confirm);
    assert!(rows(&app).is_empty());
    let mut event = secret(at(20), &process(7, "nginx"), 0xb1, Label::ClientRandom, 1);
    event.image = ImageId(9);
    app.receive(at(20), Msg::Secret(event));
    app.settle(PAGES);
    assert!(rows(&app).is_empty());
    let mut scan = scan();
    scan.images.push(image(9, "/opt/b", Some(("BoringSSL", "")), 1));
    app.receive(at(21), Msg::Scanned(scan));
    app.settle(PAGES);
    assert_eq!(rows(&app), [5]);
}

#[test]
fn sorting_goes_through_the_columns_that_are_shown() {
    let mut app = with_sessions();
    let shown = [Column::Time, Column::Process, Column::State].into_iter().collect();
    let pages = Pages { columns: shown, ..PAGES };
    app.settle(pages);
    let mut sort = |action| {
        app.act(at(10), action);
        app.settle(pages);
        (rows(&app), selected(&app), app.ui.list.follows(), told(&app).to_owned())
    };
    // By name: \u{202e} is hidden, \x1b first, then nginx, 日本, 🦀.
    let by_process = "sorted by process, ascending".to_owned();
    assert_eq!(sort(Action::Sort), (vec![1, 0, 2, 4], Some(1), false, by_process));
    let reversed = "sorted by process, descending".to_owned();
    assert_eq!(sort(Action::ReverseSort), (vec![4, 2, 0, 1], Some(1), false, reversed));
    let by_state = "sorted by state of the secrets, ascending".to_owned();
    assert_eq!(sort(Action::Sort), (vec![2, 4, 1, 0], Some(1), false, by_state));
    let newest = "sorted by time, newest first".to_owned();
    assert_eq!(sort(Action::Sort), (vec![4, 2, 1, 0], Some(4), true, newest), "following again");
    let oldest = "sorted by time, oldest first".to_owned();
    assert_eq!(sort(Action::ReverseSort), (vec![0, 1, 2, 4], Some(0), false, oldest));
}

#[test]
fn a_click_on_a_heading_sorts_and_then_reverses() {
    let mut app = with_sessions();
    app.sort_by(at(10), Column::Pid);
    app.settle(PAGES);
    assert_eq!(rows(&app), [0, 1, 2, 4]);
    app.sort_by(at(10), Column::Pid);
    app.settle(PAGES);
    assert_eq!(rows(&app), [4, 2, 1, 0]);
}

#[test]
fn the_selection_stays_in_another_order() {
    let mut app = with_sessions();
    act(&mut app, Action::Down);
    assert_eq!(selected(&app), Some(2));
    app.sort_by(at(10), Column::Process);
    app.settle(PAGES);
    assert_eq!((rows(&app), selected(&app)), (vec![1, 0, 2, 4], Some(2)));
    for n in 0..9 {
        add(&mut app, 100 + u32::from(n), "aaa", 0xb0 + n);
        assert_eq!(selected(&app), Some(2));
        assert!(rows(&app).contains(&2));
    }
    act(&mut app, Action::First);
    assert_eq!(selected(&app), Some(1), "\\x1b stands before a");
    act(&mut app, Action::Down);
    assert_eq!(selected(&app), Some(13), "of equal names the newest is first");
    act(&mut app, Action::Last);
    assert_eq!(selected(&app), Some(4));
    act(&mut app, Action::Follow);
    assert_eq!(selected(&app), Some(13));
    act(&mut app, Action::PageDown);
    assert!(!app.ui.list.follows());
}

#[test]
fn what_is_not_known_is_below_in_both_directions() {
    let mut app = with_sessions();
    let mut event = secret(at(20), &process(7, "nginx"), 0xb1, Label::ClientRandom, 1);
    event.facts.role = Some(Role::Server);
    event.facts.cipher = Some(CipherSuite(0xc02f));
    event.facts.version = Some(Version::Tls12);
    app.receive(at(20), Msg::Secret(event));
    for column in [Column::Role, Column::Cipher] {
        for _ in 0..2 {
            app.sort_by(at(20), column);
            app.settle(PAGES);
            assert_eq!(rows(&app), [5, 4, 2, 1, 0], "{column:?}");
        }
    }
}

#[test]
fn an_export_has_all_rows_and_not_only_those_on_the_screen() {
    let mut app = app(everything());
    add_many(&mut app, 20);
    app.settle(PAGES);
    let serials = |app: &App| {
        let shown = app.ui.list.shown(&app.model.sessions);
        shown.map(|session| session.serial).collect::<Vec<_>>()
    };
    assert_eq!(serials(&app), (0..20).rev().collect::<Vec<_>>());
    act(&mut app, Action::Last);
    act(&mut app, Action::Pause);
    add_sessions(&mut app);
    app.sort_by(at(1), Column::Time);
    app.settle(PAGES);
    assert_eq!(serials(&app), (0..20).collect::<Vec<_>>());
}

/// What a user or the machine does, at random.
#[derive(Clone, Debug)]
enum Step {
    Do(Action),
    Filter(&'static str),
    SortBy(Column),
    Secret { pid: u32, random: u8, label: usize, fill: u8 },
    Save,
}

fn step() -> impl Strategy<Value = Step> {
    let actions = [
        Action::Up,
        Action::Down,
        Action::PageDown,
        Action::PageUp,
        Action::First,
        Action::Last,
        Action::Follow,
        Action::Pause,
        Action::NullFilter,
        Action::ReverseSort,
        Action::Sort,
    ];
    let filters = ["", "a", "state:partial", "!state:complete b", "saved:yes", "tls:1.3", "pid:2"];
    prop_oneof![
        3 => proptest::sample::select(actions.to_vec()).prop_map(Step::Do),
        1 => proptest::sample::select(filters.to_vec()).prop_map(Step::Filter),
        1 => proptest::sample::select(Column::ALL.to_vec()).prop_map(Step::SortBy),
        8 => (1..4u32, 0..20u8, 0..7usize, 0..3u8)
            .prop_map(|(pid, random, label, fill)| Step::Secret { pid, random, label, fill }),
        1 => Just(Step::Save),
    ]
}

proptest! {
    /// The rows that are kept in step are those of a pass over all sessions.
    #[test]
    fn rows_in_step_are_those_of_one_pass(steps in proptest::collection::vec(step(), 0..80)) {
        let mut app = app(everything());
        app.model.sessions = Store::new(12);
        app.settle(PAGES);
        for step in steps {
            match step {
                Step::Do(action) => drop(app.act(at(10), action)),
                Step::Filter(text) => app.ui.list.set_filter(text),
                Step::SortBy(column) => app.sort_by(at(10), column),
                Step::Secret { pid, random, label, fill } => {
                    let name = ["", "a", "b", "ab"][pid as usize];
                    let label = Label::SHOWN[label].clone();
                    let mut event = secret(at(10), &process(pid, name), random, label, fill);
                    let server = ["a", "Bb", "c\u{1b}", "É"][usize::from(random % 4)].repeat(pid as usize);
                    event.ends.server_name = (random > 3).then(|| server.as_str().into());
                    event.facts.cipher = (random > 5).then_some(CipherSuite(0xc02f + u16::from(random)));
                    app.receive(at(10), Msg::Secret(event));
                }
                Step::Save => {
                    app.receive(at(10), Msg::Save(true));
                    let known = Vec::new();
                    app.receive(at(10), Msg::KeyLog(KeyLogMsg::Opened { generation: 1, known }));
                    let written = app.model.saving.pending();
                    let wrote = KeyLogMsg::Wrote { generation: 1, written, error: None };
                    app.receive(at(10), Msg::KeyLog(wrote));
                }
            }
            app.settle(PAGES);
            let all: Vec<_> = serials(app.ui.list.shown(&app.model.sessions));
            let mut anew = app.ui.list.clone();
            anew.forget_index();
            anew.sync(&mut app.model.sessions, &app.model.targets);
            prop_assert_eq!(&all, &serials(anew.shown(&app.model.sessions)));
            prop_assert_eq!(&all, &anew.plainly(&app.model.sessions, &app.model.targets));
            prop_assert_eq!(all.len(), app.ui.list.counts(&app.model.sessions).0);
            let page = rows(&app);
            prop_assert_eq!(page.len(), all.len().min(5));
            prop_assert_eq!(selected(&app).is_some(), !all.is_empty());
            prop_assert!(selected(&app).is_none_or(|serial| page.contains(&serial)));
            // The check took what changed, which was nothing.
            app.ui.list = anew;
            app.settle(PAGES);
        }
    }
}

fn serials<'a>(sessions: impl Iterator<Item = &'a Session>) -> Vec<u64> {
    sessions.map(|session| session.serial).collect()
}
