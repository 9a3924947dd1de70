//! Who is chosen: children, containers, what is left out, and ids that are used again.

use std::path::PathBuf;
use std::sync::Arc;

use super::container::{Container, ContainerPattern};
use super::selection::{Choice, Exclusion};
use super::target::{Ancestor, Birth, Change, ImageId, Process, Scan, Target};
use super::tests::{NOW, event, image, process};
use super::*;
use crate::tls::Label;

/// Began at its own pid, below these, the nearest first.
fn below(pid: u32, ancestors: &[u32]) -> Process {
    let ancestor = |&pid: &u32| Ancestor { pid, start_ticks: u64::from(pid) };
    let parent = ancestors.first().copied().unwrap_or(0);
    Process {
        parent,
        start_ticks: u64::from(pid),
        ancestors: ancestors.iter().map(ancestor).collect(),
        ..(*process(pid)).clone()
    }
}

/// These processes with TLS code, and these others.
fn scan(processes: &[Process], others: &[u32]) -> Msg {
    let target = |process: &Process| Target {
        process: Arc::new(process.clone()),
        images: vec![ImageId(0)],
        command: None,
    };
    let birth = |process: &Process| {
        (process.pid, Birth { parent: process.parent, start_ticks: process.start_ticks })
    };
    let other = |&pid: &u32| (pid, Birth { parent: 1, start_ticks: u64::from(pid) });
    let births = processes.iter().map(birth).chain(others.iter().map(other));
    let pids = processes.iter().map(|process| process.pid).chain(others.iter().copied());
    Msg::Scanned(Scan {
        targets: processes.iter().map(target).collect(),
        images: vec![image(0)],
        pids: Some(pids.collect()),
        births: births.collect(),
        ..Scan::default()
    })
}

fn model(selection: Selection) -> Model {
    Model::new(Selection { children: true, ..selection }, PathBuf::from("k"), 100)
}

fn only(pid: u32) -> Selection {
    Selection { pids: [(pid, u64::from(pid))].into(), ..Selection::default() }
}

fn everything() -> Selection {
    Selection { all: true, ..Selection::default() }
}

/// Whether a process that reports now is captured, and what the kernel is told of it.
fn report(model: &mut Model, process: &Process) -> (bool, Option<bool>) {
    let mut secret = event(process.pid, model.sessions.len() as u8 + 1, Label::ClientRandom, 9);
    secret.process = Arc::new(process.clone());
    let before = model.sessions.len();
    let effects = model.update(NOW, Msg::Secret(secret));
    let rule = effects.iter().find_map(|effect| match effect {
        Effect::Capture(Change::Rule(pid, rule)) if *pid == process.pid => Some(*rule),
        _ => None,
    });
    (model.sessions.len() > before, rule)
}

#[test]
fn children_of_a_chosen_process_report_and_others_do_not() {
    let mut model = model(only(7));
    let effects = model.update(NOW, scan(&[below(7, &[1])], &[1]));
    let text = format!("{effects:?}");
    assert!(text.contains("ReportUnknown(true)") && text.contains("ReportAnew(7)"), "{text}");
    assert!(text.contains("Attach"), "before a child uses it: {text}");
    assert_eq!(report(&mut model, &below(20, &[7, 1])), (true, Some(true)));
    assert_eq!(report(&mut model, &below(21, &[20, 7, 1])), (true, Some(true)));
    assert_eq!(report(&mut model, &below(22, &[1])), (false, Some(false)));
    let selection = &model.targets.selection;
    assert_eq!(selection.choice(&below(21, &[20, 7, 1])), Choice::Child(7));
}

#[test]
fn without_children_a_child_is_nobody() {
    let mut model = Model::new(only(7), PathBuf::from("k"), 100);
    let effects = format!("{:?}", model.update(NOW, scan(&[below(7, &[1])], &[])));
    assert!(!effects.contains("ReportUnknown"), "{effects}");
    assert!(!report(&mut model, &below(20, &[7, 1])).0);
}

#[test]
fn a_grandchild_whose_parents_have_all_ended_still_reports() {
    let mut model = model(only(7));
    model.update(NOW, scan(&[below(7, &[1]), below(20, &[7, 1])], &[1]));
    // A child that nobody saw but by its report.
    assert!(report(&mut model, &below(30, &[20, 7, 1])).0);
    for _ in 0..3 {
        model.update(NOW, scan(&[below(30, &[1])], &[1]));
    }
    assert!(model.targets.selection.pids.is_empty(), "7 has ended");
    assert!(!model.targets.selection.is_empty() && model.targets.selection.is_open());
    assert!(report(&mut model, &below(30, &[1])).0);
    assert!(report(&mut model, &below(31, &[30, 1])).0);
    for _ in 0..2 {
        model.update(NOW, scan(&[], &[1]));
    }
    assert!(model.targets.selection.is_empty() && !model.targets.selection.is_open());
}

#[test]
fn an_exec_in_a_child_is_followed() {
    let mut model = model(only(7));
    model.update(NOW, scan(&[below(7, &[1])], &[1]));
    let child = below(20, &[7, 1]);
    assert!(report(&mut model, &child).0);
    let exec = Process { comm: "curl".into(), exe: Some("/usr/bin/curl".into()), ..child };
    assert!(report(&mut model, &exec).0);
}

#[test]
fn a_program_is_not_silent_because_the_one_before_it_was() {
    let named = Selection {
        names: vec![globset::Glob::new("curl").unwrap().compile_matcher()],
        ..Selection::default()
    };
    let mut model = model(named);
    let shell = Process { comm: "sh".into(), ..below(20, &[1]) };
    let rules = |effects: &[Effect]| {
        let rule = |effect: &Effect| match effect {
            Effect::Capture(
                change @ (Change::Rule(..) | Change::ReportAnew(_) | Change::ForgetRule(_)),
            ) => Some(change.clone()),
            _ => None,
        };
        effects.iter().filter_map(rule).collect::<Vec<_>>()
    };
    // The look may be from before the exec.
    assert_eq!(rules(&model.update(NOW, scan(std::slice::from_ref(&shell), &[1]))), []);
    assert_eq!(report(&mut model, &shell), (false, Some(false)));
    assert_eq!(
        rules(&model.update(NOW, scan(std::slice::from_ref(&shell), &[1]))),
        [],
        "it stays silent"
    );
    // So may the report.
    let other = Process { exe: Some("/opt/sh".into()), ..shell.clone() };
    let effects = model.update(NOW, scan(std::slice::from_ref(&other), &[1]));
    assert_eq!(rules(&effects), [Change::ForgetRule(20)]);
    assert_eq!(report(&mut model, &other), (false, Some(false)));
    let curl = Process { comm: "curl".into(), ..shell };
    let effects = model.update(NOW, scan(std::slice::from_ref(&curl), &[1]));
    assert_eq!(rules(&effects), [Change::ReportAnew(20)], "also what was dropped");
    assert_eq!(report(&mut model, &curl), (true, None));
}

#[test]
fn an_id_that_is_used_again_is_neither_child_nor_parent() {
    let mut model = model(only(7));
    model.update(NOW, scan(&[below(7, &[1]), below(20, &[7, 1])], &[1]));
    let reborn = Ancestor { pid: 7, start_ticks: 700 };
    let child_of_other = Process { ancestors: [reborn].into(), ..below(40, &[]) };
    assert_eq!(report(&mut model, &child_of_other), (false, Some(false)));
    let instead_of_child = Process { start_ticks: 900, ..below(20, &[1]) };
    assert_eq!(report(&mut model, &instead_of_child), (false, Some(false)));
    // The look at the machine finds another process with the id of the chosen one.
    let instead = Process { start_ticks: 700, ..below(7, &[1]) };
    model.update(NOW, scan(&[instead.clone(), below(20, &[1])], &[1]));
    assert!(!report(&mut model, &instead).0);
    assert!(report(&mut model, &below(20, &[1])).0, "the child of the former one lives on");
}

#[test]
fn excludes_win_over_everything_children_and_names() {
    let glob = |text: &str| globset::Glob::new(text).unwrap().compile_matcher();
    for selection in [everything(), only(7), Selection { names: vec![glob("proc*")], ..only(1) }] {
        let mut model = model(selection);
        let excluded = &mut model.targets.selection.excluded;
        excluded.pids = [(20, 20)].into();
        excluded.names = vec![glob("proc21")];
        excluded.containers = vec![ContainerPattern::new("secret*").unwrap()];
        model.update(NOW, scan(&[below(7, &[1]), below(20, &[7, 1])], &[1]));
        let unit = |name: &str| Some(Container { unit: Some(name.into()), ..Container::default() });
        let in_unit = |name| Process { container: unit(name), ..below(22, &[7, 1]) };
        for (process, exclusion) in [
            (below(20, &[7, 1]), Exclusion::Pid),
            (below(30, &[20, 7, 1]), Exclusion::Child(20)),
            (below(21, &[7, 1]), Exclusion::Name),
            (in_unit("secret.service"), Exclusion::Container),
        ] {
            let choice = model.targets.selection.choice(&process);
            assert_eq!(choice, Choice::Excluded(exclusion), "{process:?}");
            assert_eq!(report(&mut model, &process), (false, Some(false)), "{process:?}");
        }
        assert!(report(&mut model, &in_unit("open.service")).0);
    }
}

#[test]
fn with_everything_the_kernel_is_told_of_what_is_left_out() {
    let mut model = model(everything());
    model.targets.selection.excluded.pids = [(20, 20)].into();
    let effects = model.update(NOW, scan(&[below(7, &[1]), below(20, &[1])], &[1]));
    let text = format!("{effects:?}");
    assert!(text.contains("Rule(20, false)") && text.contains("ReportAnew(7)"), "{text}");
    // Its id is another process's: that one is not left out.
    let instead = Process { start_ticks: 900, ..below(20, &[1]) };
    assert_eq!(report(&mut model, &instead), (true, Some(true)));
    model.update(NOW, scan(&[instead], &[1]));
    assert!(model.targets.selection.takes_all());
}

#[test]
fn the_user_takes_in_again_what_options_exclude() {
    let mut model = model(everything());
    let glob = globset::Glob::new("proc20").unwrap().compile_matcher();
    model.targets.selection.excluded.names = vec![glob];
    model.update(NOW, scan(&[below(7, &[1]), below(20, &[1])], &[1]));
    assert!(!report(&mut model, &below(20, &[1])).0);
    model.update(NOW, Msg::ChoosePid(20, true));
    assert!(report(&mut model, &below(20, &[1])).0);
    let instead = Process { start_ticks: 900, ..below(20, &[1]) };
    assert!(!report(&mut model, &instead).0, "only that process was taken in");
    model.update(NOW, Msg::ChoosePid(20, false));
    assert!(!report(&mut model, &below(20, &[1])).0);
}

#[test]
fn a_child_that_is_dropped_is_excluded_and_its_parent_stays() {
    let mut model = model(only(7));
    model.update(NOW, scan(&[below(7, &[1]), below(20, &[7, 1])], &[1]));
    model.update(NOW, Msg::ChoosePid(20, false));
    assert!(!report(&mut model, &below(20, &[7, 1])).0);
    assert!(!report(&mut model, &below(30, &[20, 7, 1])).0, "nor its children");
    assert!(report(&mut model, &below(7, &[1])).0);
    model.update(NOW, Msg::ChoosePid(7, false));
    let selection = &model.targets.selection;
    assert!(selection.is_empty() && !selection.is_open());
    model.update(NOW, Msg::ChoosePid(20, true));
    assert!(report(&mut model, &below(30, &[20, 7, 1])).0);
}

#[test]
fn a_choice_whose_process_has_ended_does_not_choose_its_successor() {
    let mut model = model(Selection::default());
    model.update(NOW, scan(&[below(7, &[1])], &[1]));
    model.update(NOW, Msg::ChoosePid(7, true));
    let instead = Process { start_ticks: 900, ..below(7, &[1]) };
    assert!(!report(&mut model, &instead).0);
    model.update(NOW, scan(&[instead], &[1]));
    assert!(model.targets.selection.is_empty());
    for image in model.targets.images.values() {
        assert!(!matches!(image.state, ImageState::Attached { .. } | ImageState::Attaching));
    }
}

#[test]
fn an_excluded_image_is_never_attached() {
    let mut model = model(everything());
    let Msg::Scanned(mut scan) = scan(&[below(7, &[1])], &[1]) else { unreachable!() };
    scan.images[0].excluded = true;
    let effects = model.update(NOW, Msg::Scanned(scan));
    assert!(!format!("{effects:?}").contains("Attach"), "{effects:?}");
    let why = model.targets.obstacle(&model.targets.processes[&7]).unwrap();
    assert_eq!(why, "--exclude-image names /lib/libssl.so");
}

#[test]
fn names_that_try_something_are_compared_as_they_are() {
    let glob = globset::Glob::new("a\n*").unwrap().compile_matcher();
    let mut model = model(Selection { names: vec![glob], ..Selection::default() });
    let hostile = Process { comm: "a\n\x1b]0;x\x07".into(), ..below(7, &[1]) };
    assert!(report(&mut model, &hostile).0);
    let unit = Container { unit: Some("a\x1b[2J.service".into()), ..Container::default() };
    let process = Process { container: Some(unit), ..below(8, &[1]) };
    model.targets.selection.containers = vec![ContainerPattern::new("a*").unwrap()];
    assert_eq!(model.targets.selection.choice(&process), Choice::Container);
    assert!(!process.container.unwrap().short().contains('\x1b'));
}

#[test]
fn what_was_chosen_late_is_caught_up_with_though_it_began_late() {
    let mut model = model(only(7));
    let Msg::Scanned(mut first) = scan(&[below(7, &[1]), below(20, &[1])], &[1]) else {
        unreachable!()
    };
    super::fixture::make_walkable(&mut first.images[0]);
    first.began = 10;
    let again = first.clone();
    model.update(NOW, Msg::Scanned(first));
    model.update(NOW, Msg::Attached { image: ImageId(0), result: Ok(1) });
    // From now on everything that begins is seen, but 20 is not chosen, and does not report.
    model.update(NOW, Msg::Scanned(again));
    let effects = format!("{:?}", model.update(NOW, Msg::ChoosePid(20, true)));
    assert!(effects.contains("CatchUp { pid: 20"), "{effects}");
    assert!(!effects.contains("CatchUp { pid: 7"), "{effects}");
}

#[test]
fn a_kernel_that_permits_nothing_is_told_from_one_failure() {
    let mut model = model(everything());
    let Msg::Scanned(mut scan) = scan(&[below(7, &[1])], &[1]) else { unreachable!() };
    scan.images.push(image(1));
    model.update(NOW, Msg::Scanned(scan));
    let attached = |image, result: Result<usize, &str>| Msg::Attached {
        image: ImageId(image),
        result: result.map_err(str::to_owned),
    };
    model.update(NOW, Msg::Refused(ImageId(0)));
    model.update(NOW, attached(0, Err("EPERM")));
    assert_eq!(model.targets.refusal(), None, "the other one is on its way");
    model.update(NOW, Msg::Refused(ImageId(1)));
    model.update(NOW, attached(1, Err("EPERM")));
    assert_eq!(model.targets.refusal(), Some("EPERM"));
    model.update(NOW, attached(1, Err("the file is odd")));
    model.update(NOW, attached(1, Ok(1)));
    assert_eq!(model.targets.refusal(), None);
}

#[test]
fn of_one_whose_container_was_not_read_the_worst_is_assumed() {
    let patterns = || vec![ContainerPattern::new("nginx").unwrap()];
    let unread = Process { is_container_known: false, ..below(20, &[1]) };
    // It might be in the container that is left out.
    let mut left_out = model(everything());
    left_out.targets.selection.excluded.containers = patterns();
    assert_eq!(report(&mut left_out, &unread), (false, None));
    assert_eq!(left_out.stats.unattributed, 1);
    assert_eq!(report(&mut left_out, &below(21, &[1])), (true, Some(true)));
    // Or in the one that is chosen.
    let selection = Selection { containers: patterns(), ..Selection::default() };
    let mut chosen = model(selection.clone());
    assert_eq!(report(&mut chosen, &unread), (false, None));
    assert_eq!(report(&mut chosen, &below(21, &[1])), (false, Some(false)));
    assert_eq!(chosen.stats.unattributed, 1);
    // Its parent's container says enough to choose it.
    let unit = Container { unit: Some("nginx.service".into()), ..Container::default() };
    let unread = Process { container: Some(unit), ..unread };
    assert!(report(&mut chosen, &unread).0);
    // What nothing chooses is not missed.
    let mut nobody = model(only(7));
    nobody.targets.selection.excluded.containers = patterns();
    nobody.targets.selection.children = false;
    assert!(!report(&mut nobody, &unread).0);
    assert_eq!(nobody.stats.unattributed, 0);
}

#[test]
fn one_that_ended_before_it_was_looked_at_is_counted_and_not_attributed() {
    let mut model = model(only(7));
    model.update(NOW, scan(&[below(7, &[1])], &[1]));
    let ended = Process { start_ticks: 0, ancestors: [].into(), ..below(20, &[]) };
    assert_eq!(report(&mut model, &ended), (false, None));
    assert_eq!(model.stats.unattributed, 1);
    assert_eq!(report(&mut model, &below(22, &[1])), (false, Some(false)));
    assert_eq!(model.stats.unattributed, 1);
}
