//! The clock of the machine is set while we run.

use std::path::PathBuf;
use std::time::Duration;

use super::tests::{NOW, event};
use super::*;
use crate::tls::Label;

/// An hour before [`NOW`] would be before the epoch.
const BACK: Duration = Duration::from_secs(900);

fn is_written(effects: &[Effect]) -> bool {
    effects.iter().any(|effect| matches!(effect, Effect::WriteLines { .. }))
}

#[test]
fn set_back_it_holds_up_neither_the_key_log_nor_the_rate() {
    let selection = Selection { all: true, ..Selection::default() };
    let mut model = Model::new(selection, PathBuf::from("k"), 100);
    model.update(NOW, Msg::Save(true));
    model.update(NOW, Msg::KeyLog(KeyLogMsg::Opened { generation: 1, known: Vec::new() }));
    assert!(is_written(&model.update(NOW, Msg::Secret(event(1, 7, Label::ClientRandom, 3)))));
    let error = Some("disk full".to_owned());
    model.update(NOW, Msg::KeyLog(KeyLogMsg::Wrote { generation: 1, written: 0, error }));

    let before = Time(NOW.0 - u64::try_from(BACK.as_nanos()).unwrap());
    assert!(!is_written(&model.update(before, Msg::Tick)), "the retry is not due");
    assert!(is_written(&model.update(before + RETRY, Msg::Tick)));

    let sessions = |model: &Model| model.stats.rate.per_second().sum::<u64>();
    assert_eq!(sessions(&model), 1);
    // The seconds go on from there, and those of before go out with the time.
    for second in 0..60 {
        model.update(before + Duration::from_secs(2 + second), Msg::Tick);
    }
    assert_eq!(sessions(&model), 0);
}
