use tui_input::InputRequest;

use super::*;
use crate::action::Action;
use crate::cli::{self, Task};
use crate::model::fixture::*;
use crate::model::target::{Process, Scan, Selection};
use crate::model::ui::{App, Pages, View};
use crate::model::{Effect, Model};

const PAGES: Pages = Pages {
    sessions: 5,
    picker: 4,
    detail_past: 0,
    columns: crate::model::ui::Columns::ALL,
    detail: 5,
    images: 5,
    help: 5,
    help_lines: 12,
    too_small: false,
};

fn act(app: &mut App, action: Action) -> Vec<Effect> {
    let effects = app.act(at(10), action);
    app.settle(PAGES);
    effects
}

fn type_in(app: &mut App, text: &str) {
    for c in text.chars() {
        app.edit(InputRequest::InsertChar(c));
        app.settle(PAGES);
    }
}

fn lines(app: &App) -> Vec<String> {
    let row = |line: &Line| match line.row {
        Row::Everything => "everything".to_owned(),
        Row::Process(pid) => format!("{}{pid}", line.guide),
    };
    app.ui.picker.lines.iter().map(row).collect()
}

fn cursor(app: &App) -> Row {
    app.ui.picker.cursor().unwrap()
}

fn told(app: &App) -> &str {
    app.ui.toast.as_ref().map_or("", |toast| &toast.text)
}

/// The fixture's scan without some processes, and with parents.
fn scan_with(gone: &[u32], parents: &[(u32, u32)]) -> Msg {
    let mut scan = scan();
    scan.targets.retain(|target| !gone.contains(&target.process.pid));
    for target in &mut scan.targets {
        if let Some((_, parent)) = parents.iter().find(|(pid, _)| *pid == target.process.pid) {
            let process = Process { parent: *parent, ..(*target.process).clone() };
            target.process = std::sync::Arc::new(process);
        }
    }
    Msg::Scanned(scan)
}

fn receive(app: &mut App, msg: Msg) {
    app.receive(at(9), msg);
    app.settle(PAGES);
}

fn started(selection: Selection) -> App {
    App::new(Model::new(selection, "keylog".into(), 1000))
}

#[test]
fn without_options_nothing_is_attached_until_one_enter() {
    let mut app = started(Selection::default());
    app.settle(PAGES);
    assert_eq!((app.ui.view, cursor(&app)), (View::Picker, Row::Everything));
    let effects = app.receive(at(1), Msg::Scanned(scan()));
    assert!(effects.is_empty(), "{effects:?}");
    app.settle(PAGES);
    assert_eq!(cursor(&app), Row::Everything);
    let effects = act(&mut app, Action::Confirm);
    assert!(app.model.targets.selection.all && !effects.is_empty());
    assert_eq!(app.ui.view, View::Sessions);
}

#[test]
fn what_is_chosen_with_options_needs_no_picker() {
    for arguments in [&["--all"][..], &["--pid", "7"], &["--name", "nginx"]] {
        // Here without a terminal; the selection is the same.
        let all = ["tlskeytop"].iter().chain(arguments).map(Into::into);
        let Task::Capture(task) = cli::parse(all).unwrap() else { panic!("{arguments:?}") };
        let mut app = started(task.selection);
        assert_eq!(app.ui.view, View::Sessions, "{arguments:?}");
        let effects = app.receive(at(1), Msg::Scanned(scan()));
        assert!(!effects.is_empty(), "{arguments:?}");
    }
}

#[test]
fn the_tree_shows_parents_above_their_children() {
    let mut app = app(Selection::default());
    receive(&mut app, scan_with(&[], &[(901, 7), (1203, 901), (1201, 7), (1202, 4_194_303)]));
    act(&mut app, Action::Last);
    act(&mut app, Action::Tree);
    let expected =
        ["everything", "7", "├─901", "│ └─1203", "└─1201", "4194303", "└─1202"].map(str::to_owned);
    assert_eq!(lines(&app), expected);
    assert_eq!(cursor(&app), Row::Process(4_194_303), "it stays on its process");
    act(&mut app, Action::Down);
    act(&mut app, Action::Mark);
    let marked = |pid| app.ui.picker.mark(&app.model.targets, Row::Process(pid)) == Mark::On;
    assert_eq!([1202, 4_194_303].map(marked), [true, false]);
    act(&mut app, Action::Up);
    act(&mut app, Action::Mark);
    let marked = |pid| app.ui.picker.mark(&app.model.targets, Row::Process(pid)) == Mark::On;
    assert_eq!([7, 901, 1201, 1202, 4_194_303].map(marked), [false, false, false, true, true]);
    act(&mut app, Action::Tree);
    assert_eq!(lines(&app)[1..4], ["7", "901", "1201"].map(str::to_owned));
}

#[test]
fn a_search_is_live_with_the_cursor_on_the_best() {
    let mut app = app(Selection::default());
    act(&mut app, Action::Down);
    act(&mut app, Action::Tree);
    act(&mut app, Action::Search);
    type_in(&mut app, "120");
    assert_eq!(lines(&app), ["everything", "1201", "1202", "1203"].map(str::to_owned));
    assert_eq!((cursor(&app), app.ui.picker.matches()), (Row::Process(1201), 3));
    assert!(!app.ui.picker.is_tree());
    type_in(&mut app, "3");
    assert_eq!((cursor(&app), app.ui.picker.matches()), (Row::Process(1203), 1));
    act(&mut app, Action::Confirm);
    assert_eq!(app.context(), crate::action::Context::Picker);
    assert_eq!(app.ui.picker.matches(), 1, "it holds");
    act(&mut app, Action::Back);
    assert_eq!((app.ui.view, app.ui.picker.matches()), (View::Picker, 6));
    assert_eq!(cursor(&app), Row::Process(1203));
    act(&mut app, Action::Back);
    assert_eq!(app.ui.view, View::Sessions);
}

#[test]
fn a_search_that_is_given_up_leaves_the_cursor_where_it_was() {
    let mut app = app(Selection::default());
    act(&mut app, Action::Down);
    act(&mut app, Action::Search);
    type_in(&mut app, "crab");
    assert_eq!(cursor(&app), Row::Process(4_194_303));
    act(&mut app, Action::Back);
    assert_eq!((cursor(&app), app.ui.picker.matches()), (Row::Process(7), 6));
    act(&mut app, Action::Search);
    type_in(&mut app, "nothing like this");
    assert_eq!((app.ui.picker.cursor(), app.ui.picker.matches()), (None, 0));
    for action in [Action::Confirm, Action::Mark, Action::Confirm] {
        act(&mut app, action);
    }
    assert!(app.model.targets.selection.is_empty() && !app.ui.picker.has_marks());
    assert_eq!((told(&app), app.ui.view), ("no process matches the search", View::Picker));
}

/// On the way to it the cursor is on others, which the user never meant.
#[test]
fn the_same_search_once_more_marks_what_it_finds() {
    let mut app = app(Selection::default());
    for _ in 0..2 {
        act(&mut app, Action::Search);
        app.edit(InputRequest::DeleteLine);
        app.settle(PAGES);
        type_in(&mut app, "1202");
        act(&mut app, Action::Confirm);
        assert_eq!(cursor(&app), Row::Process(1202));
    }
    act(&mut app, Action::Mark);
    assert!(app.ui.picker.has_marks(), "{}", told(&app));
}

/// On a busy machine the keys come before the first look at it. Everything was marked then.
#[test]
fn a_search_before_the_processes_are_known_marks_what_it_finds_then() {
    let mut app = started(Selection::default());
    app.settle(PAGES);
    act(&mut app, Action::Search);
    type_in(&mut app, "1203");
    act(&mut app, Action::Confirm);
    receive(&mut app, Msg::Scanned(scan()));
    assert_eq!(cursor(&app), Row::Process(1203));
    act(&mut app, Action::Search);
    for _ in 0..4 {
        app.edit(InputRequest::DeletePrevChar);
    }
    type_in(&mut app, "901");
    act(&mut app, Action::Confirm);
    act(&mut app, Action::Mark);
    act(&mut app, Action::Confirm);
    let selection = &app.model.targets.selection;
    assert_eq!((selection.all, &selection.pids), (false, &[(901, 901)].into()));
}

/// The processes change between two frames, or just when the user presses the key.
#[test]
fn no_key_is_about_a_process_that_the_user_did_not_see_under_the_cursor() {
    let another = |app: &mut App| {
        let mut scan = scan();
        let target = scan.targets.iter_mut().find(|target| target.process.pid == 7).unwrap();
        let process = Process { start_ticks: 5000, ..(*target.process).clone() };
        target.process = std::sync::Arc::new(process);
        app.receive(at(9), Msg::Scanned(scan));
    };
    let ended = |app: &mut App| {
        let Msg::Scanned(scan) = scan_with(&[7], &[]) else { panic!() };
        app.receive(at(9), Msg::Scanned(scan));
    };
    for change in [&another as &dyn Fn(&mut App), &ended] {
        for (key, is_drawn) in
            [(Action::Mark, true), (Action::Mark, false), (Action::Confirm, false)]
        {
            let mut app = app(Selection::default());
            act(&mut app, Action::Down);
            assert_eq!(cursor(&app), Row::Process(7));
            change(&mut app);
            if is_drawn {
                app.settle(PAGES);
            }
            let effects = act(&mut app, key);
            assert!(effects.is_empty() && !app.ui.picker.has_marks(), "{effects:?}");
            assert!(told(&app).starts_with("what was under the cursor is gone"), "{}", told(&app));
            assert_eq!(app.ui.view, View::Picker);
            // Now the user knows.
            act(&mut app, Action::Confirm);
            assert_eq!(app.model.targets.selection.pids.len(), 1);
        }
    }
}

#[test]
fn a_search_goes_on_when_processes_come_and_go() {
    let mut app = app(Selection::default());
    act(&mut app, Action::Search);
    type_in(&mut app, "120");
    act(&mut app, Action::Down);
    act(&mut app, Action::Confirm);
    act(&mut app, Action::Down);
    receive(&mut app, scan_with(&[1201], &[]));
    assert_eq!(lines(&app), ["everything", "1202", "1203"].map(str::to_owned));
    assert_eq!(cursor(&app), Row::Process(1202));
}

#[test]
fn the_cursor_goes_to_the_nearest_row_when_its_process_ends() {
    for (gone, nearest) in [
        (&[1201][..], Row::Process(1202)),
        (&[1201, 1202], Row::Process(901)),
        (&[7, 901, 1201, 1202], Row::Process(1203)),
        (&[7, 901, 1201, 1202, 1203, 4_194_303], Row::Everything),
    ] {
        let mut app = app(Selection::default());
        app.settle(PAGES);
        for _ in 0..3 {
            act(&mut app, Action::Down);
        }
        assert_eq!(cursor(&app), Row::Process(1201));
        receive(&mut app, scan_with(gone, &[]));
        assert_eq!(cursor(&app), nearest, "{gone:?}");
    }
    let mut app = app(Selection::default());
    act(&mut app, Action::Last);
    receive(&mut app, scan_with(&[4_194_303], &[]));
    assert_eq!(cursor(&app), Row::Process(1203), "not everything");
}

#[test]
fn a_row_keeps_its_place_in_the_order() {
    let mut app = app(Selection::default());
    act(&mut app, Action::Tree);
    let before = lines(&app);
    let mut scan = scan();
    scan.targets.reverse();
    receive(&mut app, Msg::Scanned(scan));
    assert_eq!(lines(&app), before);
    receive(&mut app, Msg::Scanned(Scan::default()));
    assert_eq!(lines(&app), ["everything"]);
}
