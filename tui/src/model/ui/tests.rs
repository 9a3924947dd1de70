use super::*;
use crate::model::fixture::*;
use crate::model::target::{Ancestor, Change, ImageId, Process, Selection};

const PAGES: Pages = Pages {
    sessions: 5,
    picker: 4,
    detail: 5,
    detail_past: 9,
    images: 5,
    help: 5,
    help_lines: 12,
    columns: Columns::ALL,
    too_small: false,
};

fn act(app: &mut App, action: Action) -> Vec<Effect> {
    let effects = app.act(at(10), action);
    app.settle(PAGES);
    effects
}

fn with_sessions(count: u32) -> App {
    let mut app = app(everything());
    add_many(&mut app, count);
    app.settle(PAGES);
    app
}

fn selected(app: &App) -> Option<u64> {
    app.ui.list.selected(&app.model.sessions).map(|session| session.serial)
}

fn shown(app: &App) -> Vec<u64> {
    app.ui.list.rows(&app.model.sessions).map(|session| session.serial).collect()
}

#[test]
fn an_empty_selection_opens_the_picker() {
    assert_eq!(app(Selection::default()).ui.view, View::Picker);
    assert_eq!(app(everything()).ui.view, View::Sessions);
}

#[test]
fn the_newest_session_is_followed_until_the_user_moves() {
    let mut app = with_sessions(10);
    assert_eq!(selected(&app), Some(9));
    act(&mut app, Action::Down);
    assert_eq!(selected(&app), Some(8));
    assert!(!app.ui.list.follows());
    act(&mut app, Action::Follow);
    assert_eq!(selected(&app), Some(9));
    assert_eq!(told(&app), "following the newest session");
    act(&mut app, Action::Follow);
    assert_eq!(told(&app), "not following: the selected session stays");
}

#[test]
fn new_rows_leave_the_selection_and_the_view_where_they_are() {
    let mut app = with_sessions(10);
    act(&mut app, Action::Down);
    assert_eq!(shown(&app), [9, 8, 7, 6, 5]);
    add_sessions(&mut app);
    app.settle(PAGES);
    assert_eq!(shown(&app), [9, 8, 7, 6, 5]);
    assert_eq!(selected(&app), Some(8));
    assert_eq!(app.ui.list.rows_hidden_above(&app.model.sessions), 4, "the null one is hidden");
}

#[test]
fn a_page_that_is_not_full_takes_new_rows() {
    let mut app = with_sessions(2);
    act(&mut app, Action::Down);
    assert_eq!((shown(&app), selected(&app)), (vec![1, 0], Some(0)));
    add_sessions(&mut app);
    app.settle(PAGES);
    assert_eq!((shown(&app), selected(&app)), (vec![4, 3, 2, 1, 0], Some(0)));
}

#[test]
fn all_keys_that_move_stay_within_the_rows() {
    let mut app = with_sessions(12);
    for (action, expected) in [
        (Action::PageDown, 6),
        (Action::PageDown, 1),
        (Action::PageDown, 0),
        (Action::Down, 0),
        (Action::PageUp, 5),
        (Action::First, 11),
        (Action::Up, 11),
        (Action::Last, 0),
    ] {
        act(&mut app, action);
        assert_eq!(selected(&app), Some(expected), "{action:?}");
        assert!(shown(&app).contains(&expected));
        assert_eq!(shown(&app).len(), 5);
    }
}

#[test]
fn a_selection_that_was_dropped_goes_to_its_neighbour() {
    let mut app = app(everything());
    app.model.sessions = crate::model::Store::new(4);
    add_many(&mut app, 4);
    app.settle(PAGES);
    act(&mut app, Action::Last);
    assert_eq!(selected(&app), Some(0));
    add_sessions(&mut app);
    app.settle(PAGES);
    assert_eq!(selected(&app), shown(&app).last().copied());
}

#[test]
fn the_null_filter_hides_and_shows() {
    let mut app = app(everything());
    add_sessions(&mut app);
    app.settle(PAGES);
    assert_eq!(shown(&app), [4, 2, 1, 0]);
    act(&mut app, Action::NullFilter);
    assert_eq!(shown(&app), [4, 3, 2, 1, 0]);
    assert_eq!(told(&app), "1 null session shown");
    act(&mut app, Action::Down);
    assert_eq!(selected(&app), Some(3));
    act(&mut app, Action::NullFilter);
    assert_eq!(selected(&app), Some(2));
    assert_eq!(app.model.sessions.null_sessions(), 1);
}

#[test]
fn a_pause_holds_new_sessions_back_from_the_view_only() {
    let mut app = with_sessions(3);
    act(&mut app, Action::Pause);
    add_sessions(&mut app);
    app.settle(PAGES);
    assert_eq!(shown(&app), [2, 1, 0]);
    assert_eq!(app.ui.list.held_back(&app.model.sessions), Some(5));
    assert_eq!(app.ui.list.null_sessions(&app.model.sessions), 0, "it is among the five");
    assert_eq!(app.model.sessions.len(), 8);
    act(&mut app, Action::Pause);
    assert_eq!(selected(&app), Some(7));
    assert_eq!(app.ui.list.null_sessions(&app.model.sessions), 1);
}

#[test]
fn one_enter_attaches_to_everything() {
    let mut app = app(Selection::default());
    let effects = act(&mut app, Action::Confirm);
    assert!(matches!(effects[0], Effect::Capture(Change::ReportUnknown(true))), "{effects:?}");
    let attach = Effect::Capture(Change::Attach(ImageId(1)));
    assert!(effects.iter().any(|effect| format!("{effect:?}") == format!("{attach:?}")));
    assert_eq!(app.ui.view, View::Sessions);
    assert!(app.model.targets.selection.all);
}

#[test]
fn marked_processes_are_attached_together_and_detached_again() {
    let mut app = app(Selection::default());
    act(&mut app, Action::Down);
    act(&mut app, Action::Mark);
    act(&mut app, Action::Down);
    act(&mut app, Action::Mark);
    assert_eq!(app.ui.picker.mark(&app.model.targets, Row::Process(901)), Mark::On);
    assert!(app.model.targets.selection.is_empty(), "nothing before Enter");
    act(&mut app, Action::Confirm);
    assert_eq!(app.model.targets.selection.pids, [(7, 7), (901, 901)].into());
    let rescan = act(&mut app, Action::Processes);
    assert!(matches!(rescan[..], [Effect::Rescan]));
    act(&mut app, Action::Mark);
    let effects = act(&mut app, Action::Confirm);
    assert_eq!(app.model.targets.selection.pids, [(7, 7)].into());
    assert!(effects.iter().any(|e| matches!(e, Effect::Capture(Change::ForgetRule(901)))));
}

#[test]
fn escape_forgets_the_marks() {
    let mut app = app(Selection::default());
    act(&mut app, Action::Mark);
    assert!(app.ui.picker.has_marks());
    act(&mut app, Action::Back);
    assert!(!app.ui.picker.has_marks());
    assert!(app.model.targets.selection.is_empty());
    assert_eq!(app.ui.view, View::Sessions);
}

#[test]
fn the_cursor_stays_on_its_process_when_others_come_and_go() {
    let mut app = app(Selection::default());
    act(&mut app, Action::Last);
    assert_eq!(app.ui.picker.cursor(), Some(Row::Process(4_194_303)));
    act(&mut app, Action::Up);
    let mut scan = scan();
    scan.targets.remove(0);
    app.receive(at(1), Msg::Scanned(scan));
    app.settle(PAGES);
    assert_eq!(app.ui.picker.cursor(), Some(Row::Process(1203)));
    app.receive(at(1), Msg::Scanned(crate::model::target::Scan::default()));
    app.settle(PAGES);
    assert_eq!(app.ui.picker.cursor(), Some(Row::Everything));
}

#[test]
fn single_processes_are_left_out_of_everything_and_taken_in_again() {
    let mut app = app(everything());
    act(&mut app, Action::Processes);
    act(&mut app, Action::Down);
    let mark = |app: &App| app.ui.picker.mark(&app.model.targets, Row::Process(7));
    assert_eq!(mark(&app), Mark::Implied);
    act(&mut app, Action::Mark);
    assert_eq!(mark(&app), Mark::Off);
    let effects = act(&mut app, Action::Confirm);
    assert!(format!("{effects:?}").contains("Rule(7, false)"), "{effects:?}");
    assert_eq!(told(&app), "attaching to everything but 1 process");
    assert_eq!(mark(&app), Mark::Excluded);
    act(&mut app, Action::Processes);
    act(&mut app, Action::Mark);
    act(&mut app, Action::Confirm);
    assert_eq!(mark(&app), Mark::Implied);
    let selection = &app.model.targets.selection;
    assert!(selection.takes_all() && selection.pids.is_empty());
}

#[test]
fn everything_is_unmarked_before_single_processes_are_marked() {
    let mut app = app(everything());
    act(&mut app, Action::Processes);
    act(&mut app, Action::Mark);
    act(&mut app, Action::Down);
    act(&mut app, Action::Mark);
    act(&mut app, Action::Confirm);
    let selection = &app.model.targets.selection;
    assert_eq!((selection.all, &selection.pids), (false, &[(7, 7)].into()));
    assert!(selection.excluded.is_empty());
}

#[test]
fn marking_a_parent_shows_what_becomes_of_its_children() {
    let mut app = app(Selection { children: true, ..Selection::default() });
    let mut scan = scan();
    let child = &mut scan.targets[1].process;
    let parent = Ancestor { pid: 7, start_ticks: 7 };
    *child = Process { ancestors: [parent].into(), ..(**child).clone() }.into();
    app.receive(at(1), Msg::Scanned(scan));
    app.settle(PAGES);
    act(&mut app, Action::Down);
    act(&mut app, Action::Mark);
    let mark = |app: &App, pid| app.ui.picker.mark(&app.model.targets, Row::Process(pid));
    assert_eq!([7, 901, 1201].map(|pid| mark(&app, pid)), [Mark::On, Mark::Implied, Mark::Off]);
    // The child is left out before its parent is even chosen.
    act(&mut app, Action::Down);
    act(&mut app, Action::Mark);
    assert_eq!(mark(&app, 901), Mark::Off);
    act(&mut app, Action::Confirm);
    assert_eq!([7, 901].map(|pid| mark(&app, pid)), [Mark::On, Mark::Excluded]);
}

fn told(app: &App) -> &str {
    app.ui.toast.as_ref().map_or("", |toast| &toast.text)
}

#[test]
fn what_cannot_be_captured_is_refused() {
    const WHY: &str =
        "\\u{202e}gpj.exe\\u{202c} (1203) cannot be captured: GnuTLS is not yet supported";
    let mut app = app(Selection::default());
    for _ in 0..5 {
        act(&mut app, Action::Down);
    }
    assert_eq!(app.ui.picker.cursor(), Some(Row::Process(1203)));
    for action in [Action::Mark, Action::Confirm] {
        assert!(act(&mut app, action).is_empty());
        assert_eq!(told(&app), WHY, "{action:?}");
        assert!(!app.ui.picker.has_marks());
        assert_eq!(app.ui.view, View::Picker);
    }
    assert!(app.model.targets.selection.is_empty());
    act(&mut app, Action::First);
    act(&mut app, Action::Confirm);
    assert_eq!(app.ui.picker.mark(&app.model.targets, Row::Process(1203)), Mark::Never);
    assert_eq!(app.ui.picker.mark(&app.model.targets, Row::Process(7)), Mark::Implied);
}

#[test]
fn a_marked_process_that_ended_is_not_replaced_by_the_row_under_the_cursor() {
    let mut app = app(Selection::default());
    act(&mut app, Action::Down);
    act(&mut app, Action::Mark);
    let mut scan = scan();
    scan.targets.remove(0);
    app.receive(at(1), Msg::Scanned(scan));
    app.settle(PAGES);
    assert_eq!(app.ui.picker.cursor(), Some(Row::Process(901)));
    assert!(act(&mut app, Action::Confirm).is_empty());
    assert_eq!(told(&app), "the marked process has ended");
    assert!(app.model.targets.selection.is_empty());
    assert_eq!(app.ui.view, View::Picker);
    act(&mut app, Action::Confirm);
    assert_eq!(app.model.targets.selection.pids.len(), 1, "no mark any more: the row itself");
}

#[test]
fn a_mark_is_not_for_the_next_process_with_the_same_id() {
    let mut app = app(Selection::default());
    for _ in 0..2 {
        act(&mut app, Action::Down);
        act(&mut app, Action::Mark);
    }
    let mut scan = scan();
    let other = Process { start_ticks: 99, ..(*process(7, "curl")).clone() };
    scan.targets[0].process = std::sync::Arc::new(other);
    app.receive(at(1), Msg::Scanned(scan));
    app.settle(PAGES);
    assert_eq!(app.ui.picker.mark(&app.model.targets, Row::Process(7)), Mark::Off);
    act(&mut app, Action::Confirm);
    assert_eq!(told(&app), "attaching to 1 process; 1 that was marked has ended");
    assert!(!app.model.targets.selection.chooses(&process(7, "curl")));
}

#[test]
fn all_key_lines_are_copied_without_the_last_newline() {
    let mut app = app(everything());
    add_sessions(&mut app);
    app.settle(PAGES);
    act(&mut app, Action::Last);
    let effects = act(&mut app, Action::CopyLines);
    let [Effect::Copy { text, what: "key lines" }] = &effects[..] else { panic!("{effects:?}") };
    assert_eq!(text.lines().count(), 5);
    assert!(text.starts_with("CLIENT_HANDSHAKE_TRAFFIC_SECRET a1a1"));
    assert!(text.ends_with(&"05".repeat(32)));
    act(&mut app, Action::First);
    let effects = act(&mut app, Action::CopyLines);
    assert!(matches!(&effects[..], [Effect::Copy { what: "key line", .. }]));
    let effects = act(&mut app, Action::CopyClientRandom);
    let [Effect::Copy { text, what: "client random" }] = &effects[..] else {
        panic!("{effects:?}")
    };
    assert_eq!(**text, "a5".repeat(32));
}

#[test]
fn a_null_session_has_nothing_to_copy() {
    let mut app = app(everything());
    add_sessions(&mut app);
    act(&mut app, Action::NullFilter);
    act(&mut app, Action::Down);
    assert!(act(&mut app, Action::CopyLines).is_empty());
    assert!(app.ui.toast.as_ref().is_some_and(|toast| toast.text.contains("null")));
}

#[test]
fn saving_is_turned_on_and_off() {
    let mut app = app(everything());
    add_sessions(&mut app);
    assert!(matches!(act(&mut app, Action::Save)[..], [Effect::OpenKeyLog(_)]));
    let effects =
        app.receive(at(11), Msg::KeyLog(KeyLogMsg::Opened { generation: 1, known: Vec::new() }));
    assert!(matches!(&effects[..], [Effect::WriteLines { lines, .. }] if lines.len() == 9));
    let toast = app.ui.toast.as_ref().unwrap();
    assert_eq!(toast.text, "saving to ./tlskeytop.keylog, with what was captured so far");
    assert!(matches!(act(&mut app, Action::Save)[..], [Effect::CloseKeyLog]));
}

#[test]
fn a_key_log_that_is_refused_is_told() {
    let mut app = app(everything());
    act(&mut app, Action::Save);
    let reason = "/tmp/keys: others can read it\x1b[2J".to_owned();
    let effects = app.receive(at(11), Msg::KeyLog(KeyLogMsg::Refused { reason }));
    assert!(matches!(effects[..], [Effect::Warn(_)]));
    let toast = app.ui.toast.clone().unwrap();
    assert_eq!(
        (toast.level, &*toast.text),
        (Level::Warning, "/tmp/keys: others can read it\\x1b[2J")
    );
    assert!(!app.expire(at(13)));
    assert!(app.expire(at(14)));
    assert_eq!(app.ui.toast, None);
}

#[test]
fn quitting_asks_when_secrets_are_in_no_file() {
    let mut app = app(everything());
    assert!(matches!(act(&mut app, Action::Quit)[..], [Effect::Quit]));
    add_sessions(&mut app);
    assert!(act(&mut app, Action::Quit).is_empty());
    assert_eq!(app.ui.question, Some(Question::Quit { unsaved: 4 }));
    assert_eq!(app.context(), Context::Question);
    act(&mut app, Action::Down);
    assert!(app.ui.question.is_some());
    act(&mut app, Action::Back);
    assert_eq!(app.ui.question, None);
    act(&mut app, Action::Quit);
    assert!(matches!(act(&mut app, Action::Confirm)[..], [Effect::Quit]));
}

#[test]
fn only_quitting_works_on_a_screen_that_is_too_small() {
    let small = Pages { too_small: true, ..PAGES };
    let mut app = app(Selection::default());
    app.settle(small);
    for action in [Action::Confirm, Action::Mark, Action::Processes, Action::Help, Action::Save] {
        assert!(app.act(at(10), action).is_empty(), "{action:?}");
        assert_eq!((app.ui.view, app.ui.help), (View::Picker, None), "{action:?}");
    }
    assert!(!app.ui.picker.has_marks() && app.model.targets.selection.is_empty());
    assert!(matches!(app.act(at(10), Action::Quit)[..], [Effect::Quit]));

    let mut app = with_sessions(3);
    app.settle(small);
    assert!(app.act(at(10), Action::Quit).is_empty());
    assert_eq!(app.context(), Context::Question);
    assert!(matches!(app.act(at(10), Action::Confirm)[..], [Effect::Quit]));
}

#[test]
fn saving_is_offered_before_quitting() {
    let asked = || {
        let mut app = with_sessions(3);
        act(&mut app, Action::Quit);
        assert!(matches!(act(&mut app, Action::Save)[..], [Effect::OpenKeyLog(_)]));
        assert_eq!(app.ui.question, None);
        app
    };
    let mut app = asked();
    let opened = || Msg::KeyLog(KeyLogMsg::Opened { generation: 1, known: Vec::new() });
    let effects = app.receive(at(11), opened());
    assert!(matches!(&effects[..], [Effect::WriteLines { lines, .. }] if lines.len() == 3));
    let wrote = |written, error| Msg::KeyLog(KeyLogMsg::Wrote { generation: 1, written, error });
    assert!(matches!(app.receive(at(11), wrote(3, None))[..], [Effect::Quit]));

    let mut app = asked();
    app.receive(at(11), opened());
    let effects = app.receive(at(11), wrote(0, Some("no space".to_owned())));
    assert!(matches!(effects[..], [Effect::Warn(_)]), "{effects:?}");
    act(&mut app, Action::Quit);
    assert!(act(&mut app, Action::Save).is_empty());
    assert_eq!(told(&app), "saving fails: no space");
    assert!(app.ui.question.is_some());

    let mut app = asked();
    let refused = KeyLogMsg::Refused { reason: "not yours".to_owned() };
    app.receive(at(11), Msg::KeyLog(refused));
    act(&mut app, Action::Save);
    assert!(!app.receive(at(12), opened()).iter().any(|e| matches!(e, Effect::Quit)));
}

#[test]
fn quitting_does_not_ask_while_saving_works() {
    let mut app = app(everything());
    act(&mut app, Action::Save);
    app.receive(at(11), Msg::KeyLog(KeyLogMsg::Opened { generation: 1, known: Vec::new() }));
    add_sessions(&mut app);
    assert!(matches!(act(&mut app, Action::Quit)[..], [Effect::Quit]));
}

#[test]
fn the_help_scrolls_to_its_end_and_closes() {
    let mut app = app(everything());
    act(&mut app, Action::Help);
    assert_eq!(app.context(), Context::Help);
    act(&mut app, Action::Last);
    assert_eq!(app.ui.help, Some(7));
    act(&mut app, Action::Down);
    assert_eq!(app.ui.help, Some(7));
    act(&mut app, Action::Back);
    assert_eq!(app.ui.help, None);
}

#[test]
fn a_paste_is_no_row_of_keys() {
    let mut app = with_sessions(3);
    app.paste(at(1), "e\nw\nq");
    assert_eq!((app.ui.view, app.model.saving.is_wanted()), (View::Sessions, false));
    act(&mut app, Action::Filter);
    app.paste(at(1), "curl\n!node\u{1b}[2J");
    assert_eq!(app.ui.prompt.as_ref().map(|prompt| prompt.input.value()), Some("curl!node[2J"));
    app.paste(at(1), &"x ".repeat(10_000));
    let typed = app.ui.prompt.as_ref().map(|prompt| prompt.input.value().chars().count());
    assert_eq!(typed, Some(4096));
    assert!(app.ui.list.filter().error().is_some(), "too many words");
}

#[test]
fn whatever_lies_over_a_screen_that_is_too_small_can_be_left() {
    for open in [Action::CopyLine, Action::Help, Action::Filter] {
        let mut app = with_sessions(3);
        add_sessions(&mut app);
        app.settle(PAGES);
        act(&mut app, Action::First);
        act(&mut app, open);
        app.settle(Pages { too_small: true, ..PAGES });
        app.act(at(11), Action::Back);
        assert_eq!(app.context(), Context::Sessions, "{open:?}");
    }
}
