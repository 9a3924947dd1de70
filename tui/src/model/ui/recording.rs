//! Recording packets, begun and ended by a key.

use std::path::PathBuf;

use time::OffsetDateTime;

use super::App;
use crate::model::{Effect, Msg, RecordingMsg, RecordingState, Time};
use crate::text::sanitize;

impl App {
    /// Begins to record to a file of a new name, or ends, also what has not begun yet.
    pub(super) fn toggle_recording(&mut self, now: Time) -> Vec<Effect> {
        if self.model.recording.state != RecordingState::Off {
            return vec![Effect::StopRecording];
        }
        let mut effects = self.model.update(now, Msg::Recording(RecordingMsg::Starting));
        effects.push(Effect::StartRecording(file_name(now)));
        effects
    }

    /// What the user is told of it where nothing went wrong.
    pub(super) fn said_of_recording(&self, msg: &RecordingMsg) -> Option<String> {
        match msg {
            RecordingMsg::Began(path) => {
                Some(format!("recording packets to {}", sanitize(&path.to_string_lossy())))
            }
            RecordingMsg::Ended if self.model.recording.is_on() => {
                Some(self.model.recording.current.to_string())
            }
            _ => None,
        }
    }
}

/// `tlskeytop-20260102-030405.678.pcapng`, in UTC. One that is there is not replaced: the recorder takes another name.
fn file_name(now: Time) -> PathBuf {
    const FORMAT: &[time::format_description::BorrowedFormatItem<'_>] = time::macros::format_description!(
        "[year][month][day]-[hour][minute][second].[subsecond digits:3]"
    );
    let text = OffsetDateTime::from_unix_timestamp_nanos(i128::from(now.0))
        .ok()
        .and_then(|time| time.format(FORMAT).ok())
        .unwrap_or_else(|| now.0.to_string());
    format!("./tlskeytop-{text}.pcapng").into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::action::Action;
    use crate::model::Recorded;
    use crate::model::fixture::{app, at, everything};
    use crate::model::ui::Level;

    #[test]
    fn one_that_follows_at_once_has_another_name() {
        let at = |milliseconds: u64| Time((1_767_322_800_000 + milliseconds) * 1_000_000);
        let named = |name: &str| PathBuf::from(name);
        assert_eq!(file_name(at(7)), named("./tlskeytop-20260102-030000.007.pcapng"));
        assert_eq!(file_name(at(8)), named("./tlskeytop-20260102-030000.008.pcapng"));
    }

    #[test]
    fn the_key_ends_one_that_starts_and_it_is_told_what_each_lost() {
        let mut app = app(everything());
        let press = |app: &mut App| app.act(at(1), Action::Record);
        let says = |app: &mut App, msg| app.receive(at(1), Msg::Recording(msg));
        let told = |app: &App| {
            app.ui.toast.as_ref().map(|toast| (toast.level, toast.text.clone())).unwrap()
        };
        for _ in 0..2 {
            assert!(matches!(press(&mut app)[..], [Effect::StartRecording(_)]));
            assert!(matches!(press(&mut app)[..], [Effect::StopRecording]));
            says(&mut app, RecordingMsg::Ended);
        }
        press(&mut app);
        says(&mut app, RecordingMsg::Began("a\x1b.pcapng".into()));
        assert_eq!(told(&app), (Level::Info, "recording packets to a\\x1b.pcapng".to_owned()));
        assert!(matches!(press(&mut app)[..], [Effect::StopRecording]));
        let recorded = Recorded { packets: 7, ..Recorded::default() };
        app.receive(at(1), Msg::Recorded(recorded.clone()));
        says(&mut app, RecordingMsg::Ended);
        assert_eq!(told(&app), (Level::Info, "7 packets recorded".to_owned()));

        press(&mut app);
        says(&mut app, RecordingMsg::Began("b.pcapng".into()));
        app.receive(at(1), Msg::Recorded(Recorded { dropped: 2, ..recorded }));
        says(&mut app, RecordingMsg::Ended);
        let text = "7 packets recorded, 2 packets dropped".to_owned();
        assert_eq!(told(&app), (Level::Warning, text));
    }
}
