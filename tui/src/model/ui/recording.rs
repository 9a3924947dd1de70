//! Recording packets, begun and ended by a key.

use std::path::PathBuf;

use time::OffsetDateTime;

use super::{App, Level};
use crate::model::{Effect, Msg, Time};
use crate::text::sanitize;

impl App {
    /// Begins to record to a file of a new name, or ends.
    pub(super) fn toggle_recording(&mut self, now: Time) -> Vec<Effect> {
        if self.model.recording.is_some() {
            return vec![Effect::StopRecording];
        }
        vec![Effect::StartRecording(file_name(now))]
    }

    /// It has begun, or ended.
    pub(super) fn recording_changed(&mut self, now: Time, to: Option<PathBuf>) -> Vec<Effect> {
        let before = self.model.recording.clone();
        let effects = self.model.update(now, Msg::Record(to.is_some()));
        match (to, before) {
            (Some(path), _) => {
                let path = sanitize(&path.to_string_lossy());
                self.tell(now, Level::Info, &format!("recording packets to {path}"));
            }
            (None, Some(recorded)) => {
                let text = format!("{} packets recorded", recorded.packets);
                self.tell(now, Level::Info, &text);
            }
            (None, None) => {}
        }
        effects
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

    #[test]
    fn one_that_follows_at_once_has_another_name() {
        let at = |milliseconds: u64| Time((1_767_322_800_000 + milliseconds) * 1_000_000);
        let named = |name: &str| PathBuf::from(name);
        assert_eq!(file_name(at(7)), named("./tlskeytop-20260102-030000.007.pcapng"));
        assert_eq!(file_name(at(8)), named("./tlskeytop-20260102-030000.008.pcapng"));
    }
}
