//! The end of a capture: detach, take what was still on its way, write what can be written.

use std::time::Duration;

use tokio::time::Instant;

use super::{Engine as _, Machine};
use crate::model::{Model, Msg, SavingState, WireMsg};

/// How long the end waits for the disk.
const FLUSH: Duration = Duration::from_secs(5);

/// Secrets that were captured, should have been written, and could not be.
#[derive(Debug, thiserror::Error)]
#[error("{lines} secrets could not be written to the key log: {reason}")]
pub struct Unsaved {
    /// How many.
    pub lines: usize,
    /// Why.
    pub reason: String,
}

/// Removes every probe, and writes what was captured until then, as far as it is `wanted`. A key log that failed
/// a moment ago is tried once more.
///
/// # Errors
///
/// [`Unsaved`] when the key log did not take everything.
pub async fn finish(
    machine: &mut Machine,
    model: &mut Model,
    wanted: impl Fn(&Model, &Msg) -> bool,
) -> Result<(), Unsaved> {
    let mut last = Vec::new();
    machine.detach(&mut last);
    machine.stop_wire(&mut last);
    for msg in last {
        if wanted(model, &msg) {
            update(machine, model, msg);
        }
    }
    end_wire(machine, model);
    // No further secret comes: it ends while the key log is written.
    machine.stop_recording();
    let end = Instant::now() + FLUSH;
    let mut retried = false;
    // A key log that is being opened gets what was captured before.
    while model.saving.pending() > 0 || model.saving.state == SavingState::Opening {
        if model.saving.in_flight() == 0 && model.saving.state != SavingState::Opening {
            if std::mem::replace(&mut retried, true) {
                break;
            }
            update(machine, model, Msg::Flush);
            continue;
        }
        match machine.reply(end.saturating_duration_since(Instant::now())).await {
            Some(msg) => update(machine, model, msg),
            None => break,
        }
    }
    let mut last = Vec::new();
    machine.end_recorder(end.saturating_duration_since(Instant::now()), &mut last);
    last.into_iter().for_each(|msg| update(machine, model, msg));
    machine.end_writer(end.saturating_duration_since(Instant::now()));
    let lines = model.saving.pending();
    match &model.saving.state {
        _ if lines == 0 => Ok(()),
        SavingState::Failing(reason) => Err(Unsaved { lines, reason: reason.clone() }),
        _ => Err(Unsaved {
            lines,
            reason: "the disk, or the reader of stdout, did not answer".to_owned(),
        }),
    }
}

/// Finds out of the last handshakes whose they are, and which have no secret.
fn end_wire(machine: &mut Machine, model: &mut Model) {
    update(machine, model, Msg::Wire(WireMsg::Ending));
    let mut last = Vec::new();
    machine.end_wire(&mut last);
    last.push(Msg::Wire(WireMsg::Ended));
    last.into_iter().for_each(|msg| update(machine, model, msg));
}

fn update(machine: &mut Machine, model: &mut Model, msg: Msg) {
    for effect in model.update(machine.now(), msg) {
        machine.perform(effect);
    }
}
