//! What the kernel is told of processes and images that come and go.

use std::path::PathBuf;
use std::sync::Arc;

use super::target::{
    Birth, Change, ImageId, ImageState, Process, Scan, Selection, Target, Targets,
};
use super::tests::{NOW, all, event, image, process};
use super::*;
use crate::tls::Label;

#[test]
fn rules_that_change_while_an_attach_is_answered_reach_the_kernel() {
    let names = vec![globset::Glob::new("zzz").unwrap().compile_matcher()];
    let selection = Selection { names, ..Selection::default() };
    let mut model = Model::new(selection, PathBuf::from("k"), 10);
    let scan = Scan { targets: Vec::new(), images: vec![image(0)], ..Scan::default() };
    model.update(NOW, Msg::Scanned(scan));
    let effects = model.update(NOW, Msg::Secret(event(2, 7, Label::ClientRandom, 3)));
    assert!(matches!(effects[..], [Effect::Capture(Change::Rule(2, false))]), "{effects:?}");
    let effects = model.update(NOW, Msg::Attached { image: ImageId(0), result: Ok(1) });
    assert!(matches!(effects[..], [Effect::Capture(Change::ForgetRule(2))]), "{effects:?}");
}

#[test]
fn what_was_not_chosen_is_dropped_and_the_kernel_is_told() {
    let selection = Selection {
        names: vec![globset::Glob::new("proc1*").unwrap().compile_matcher()],
        ..Selection::default()
    };
    let mut model = Model::new(selection, PathBuf::from("k"), 10);
    model.update(NOW, Msg::Scanned(Scan::default()));
    let effects = model.update(NOW, Msg::Secret(event(2, 7, Label::ClientRandom, 3)));
    assert!(matches!(effects[..], [Effect::Capture(Change::Rule(2, false))]), "{effects:?}");
    assert!(model.sessions.is_empty());
    let effects = model.update(NOW, Msg::Secret(event(12, 7, Label::ClientRandom, 3)));
    assert!(matches!(effects[..], [Effect::Capture(Change::Rule(12, true))]), "{effects:?}");
    assert_eq!(model.sessions.len(), 1);
}

#[test]
fn only_images_of_chosen_processes_are_attached() {
    let mut model = Model::new(Selection::default(), PathBuf::from("k"), 10);
    let target =
        |pid, image| Target { process: process(pid), images: vec![ImageId(image)], command: None };
    let scan = Scan {
        targets: vec![target(1, 0), target(2, 1)],
        images: vec![image(0), image(1)],
        ..Scan::default()
    };
    assert!(model.update(NOW, Msg::Scanned(scan)).is_empty());
    let effects = model.update(NOW, Msg::ChoosePid(2, true));
    let changes: Vec<_> = effects
        .into_iter()
        .map(|effect| match effect {
            Effect::Capture(change) => change,
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(changes, [Change::ReportAnew(2), Change::Attach(ImageId(1))]);
    assert!(!model.is_ready());
    model.update(NOW, Msg::Attached { image: ImageId(1), result: Ok(1) });
    assert!(model.is_ready());
    assert_eq!((model.targets.attached_processes(), model.targets.attached_images()), (1, 1));
    let effects = model.update(NOW, Msg::ChoosePid(2, false));
    assert_eq!(effects.len(), 2, "{effects:?}");
}

/// A target with TLS code that began at `ticks`, as the only process there is.
fn only_process(pid: u32, ticks: u64) -> Scan {
    let process = Process { start_ticks: ticks, ..Process::clone(&process(pid)) };
    Scan {
        targets: vec![Target {
            process: Arc::new(process),
            images: vec![ImageId(0)],
            command: None,
        }],
        images: vec![image(0)],
        pids: Some([pid].into()),
        births: [(pid, Birth { parent: 0, start_ticks: ticks })].into(),
        ..Scan::default()
    }
}

#[test]
fn a_process_that_got_the_id_of_a_chosen_one_is_not_chosen() {
    let mut model = Model::new(Selection::default(), PathBuf::from("k"), 10);
    model.update(NOW, Msg::Scanned(only_process(5, 1)));
    model.update(NOW, Msg::ChoosePid(5, true));
    assert_eq!(model.targets.selection.pids, [(5, 1)].into());
    // Its secrets come before a scan has seen it.
    let mut other = event(5, 1, Label::ClientRandom, 1);
    other.process = Arc::new(Process { start_ticks: 20, ..Process::clone(&process(5)) });
    let effects = model.update(NOW, Msg::Secret(other));
    assert!(matches!(effects[..], [Effect::Capture(Change::Rule(5, false))]), "{effects:?}");
    assert!(model.sessions.is_empty());
    let effects = model.update(NOW, Msg::Scanned(only_process(5, 20)));
    assert!(model.targets.selection.pids.is_empty());
    let told = format!("{effects:?}");
    assert_eq!(told, "[Capture(ForgetRule(5)), Capture(Detach(ImageId(0)))]");
}

#[test]
fn a_chosen_process_that_ended_is_dropped_when_its_last_secrets_are_read() {
    let selection = Selection { pids: [(5, 1)].into(), ..Selection::default() };
    let mut model = Model::new(selection, PathBuf::from("k"), 10);
    let nobody = |pids| Scan { pids, ..Scan::default() };
    model.update(NOW, Msg::Scanned(only_process(5, 1)));
    model.update(NOW, Msg::Scanned(nobody(Some([9].into()))));
    let mut last = event(5, 1, Label::ClientRandom, 1);
    last.process = Arc::new(Process { start_ticks: 0, ..Process::clone(&process(5)) });
    model.update(NOW, Msg::Secret(last));
    assert_eq!(model.sessions.len(), 1);
    // One that was not found for once, and one scan that could not list the processes.
    model.update(NOW, Msg::Scanned(only_process(5, 1)));
    model.update(NOW, Msg::Scanned(nobody(None)));
    let effects = model.update(NOW, Msg::Scanned(nobody(Some([9].into()))));
    assert_eq!(model.targets.selection.pids.len(), 1);
    // On a machine where nothing else happens, no other picture would come.
    assert!(matches!(effects[..], [Effect::Report]), "{effects:?}");
    let effects = model.update(NOW, Msg::Scanned(nobody(Some([9].into()))));
    assert!(matches!(effects[..], [Effect::Capture(Change::ForgetRule(5))]), "{effects:?}");
    assert!(model.targets.selection.is_empty());
}

#[test]
fn a_rule_that_the_kernel_lost_is_set_again() {
    let selection = Selection {
        names: vec![globset::Glob::new("proc1*").unwrap().compile_matcher()],
        ..Selection::default()
    };
    let mut model = Model::new(selection, PathBuf::from("k"), 10);
    for random in [7, 8] {
        let effects = model.update(NOW, Msg::Secret(event(2, random, Label::ClientRandom, 3)));
        assert!(matches!(effects[..], [Effect::Capture(Change::Rule(2, false))]), "{effects:?}");
    }
}

#[test]
fn one_failed_attach_leaves_the_others() {
    let mut model = all();
    let scan = Scan { images: vec![image(0), image(1)], ..Scan::default() };
    model.update(NOW, Msg::Scanned(scan));
    model.update(NOW, Msg::Attached { image: ImageId(0), result: Err("refused".to_owned()) });
    model.update(NOW, Msg::Attached { image: ImageId(1), result: Ok(2) });
    assert!(model.is_ready());
    assert_eq!(model.targets.attached_images(), 1);
    assert_eq!(model.targets.images[&ImageId(0)].state, ImageState::Failed("refused".to_owned()));
}

#[test]
fn an_image_that_is_not_known_any_more_is_detached() {
    let mut model = all();
    let images = |ids: &[u32]| Scan {
        images: ids.iter().map(|id| image(*id)).collect(),
        warnings: vec!["no room".to_owned()],
        ..Scan::default()
    };
    model.update(NOW, Msg::Scanned(images(&[0, 1, 2])));
    model.update(NOW, Msg::Attached { image: ImageId(0), result: Ok(1) });
    model.update(NOW, Msg::Attached { image: ImageId(1), result: Err("refused".to_owned()) });
    let effects = model.update(NOW, Msg::Scanned(images(&[])));
    let told = format!("{effects:?}");
    let expected = "[Warn(\"no room\"), Capture(Detach(ImageId(0))), Capture(Detach(ImageId(2)))]";
    assert_eq!(told, expected, "one that failed has nothing to detach");
    assert!(model.targets.images.is_empty() && model.is_ready());
    // The answer for one that was on its way comes too late.
    assert!(model.update(NOW, Msg::Attached { image: ImageId(2), result: Ok(1) }).is_empty());
}

#[test]
fn what_has_the_keys_of_an_image_is_attached_with_it() {
    use crate::target::plan::{Arguments, Operands};
    let with = |id, path: &str, version, arguments: Arguments| {
        let mut image = fixture::image(id, path, Some(("NSS", version)), 1);
        Arc::make_mut(&mut image.plan).taps[0].arguments = arguments;
        image
    };
    let key = || {
        let record = tlskeytop_common::RecordConfig::default();
        Arguments::Key(Operands { record, labels: &[] })
    };
    let token = || Arguments::Token(tlskeytop_common::TokenConfig::default());
    let mut tls = with(1, "/lib/libssl3.so", "3.87.1", key());
    tls.named = true;
    let images = vec![
        tls,
        with(2, "/lib/libsoftokn3.so", "3.87.1", token()),
        with(3, "/opt/libsoftokn3.so", "3.125.1", token()),
    ];
    let selection = Selection { all: true, only_named_images: true, ..Selection::default() };
    let mut targets = Targets::new(selection);
    targets.merge(Scan { images, ..Scan::default() });
    let attached = |changes: Vec<Change>| -> Vec<ImageId> {
        let of = |change| match change {
            Change::Attach(image) => Some(image),
            _ => None,
        };
        changes.into_iter().filter_map(of).collect()
    };
    assert_eq!(attached(targets.reconcile()), [ImageId(1), ImageId(2)]);
    // The walk has no use for either.
    targets.selection.ways = crate::target::plan::Ways::Walk;
    let detached = targets.reconcile();
    assert_eq!(detached, [Change::Detach(ImageId(1)), Change::Detach(ImageId(2))]);
}
