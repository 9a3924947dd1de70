//! What a user can ask for. Keys become actions in [`crate::keymap`]; the user interface's state takes
//! nothing but actions, so that it can be driven without a terminal.

use serde::{Deserialize, Serialize};

/// Something that the user asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Action {
    /// One row up.
    Up,
    /// One row down.
    Down,
    /// One page up.
    PageUp,
    /// One page down.
    PageDown,
    /// To the first row.
    First,
    /// To the last row.
    Last,
    /// Keep the newest session selected, or stop that.
    Follow,
    /// Keep new sessions out of the view, or let them in again.
    Pause,
    /// Hide or show sessions that have only null secrets.
    NullFilter,
    /// Copy the selected session's key lines.
    CopyLines,
    /// Copy the selected session's client random.
    CopyClientRandom,
    /// Turn saving to the key log on or off.
    Save,
    /// Open the processes, or go back to the sessions.
    Processes,
    /// Mark or unmark the row under the cursor.
    Mark,
    /// Carry out what a view offers: attach to what is marked, answer yes.
    Confirm,
    /// Look at the machine again.
    Rescan,
    /// Show the keys of the present view.
    Help,
    /// Leave a view without a change; answer no.
    Back,
    /// Draw the screen anew.
    Redraw,
    /// Hand the terminal back to the shell until the program is resumed.
    Suspend,
    /// End the program.
    Quit,
}

/// What has the user's attention, and so decides what a key means.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Context {
    /// The table of sessions.
    Sessions,
    /// The processes to choose from.
    Picker,
    /// The help.
    Help,
    /// A question that is answered with yes or no.
    Question,
}

impl Context {
    /// All of them, in the order of the key list.
    pub const ALL: [Self; 4] = [Self::Sessions, Self::Picker, Self::Help, Self::Question];

    /// Its heading.
    pub fn title(self) -> &'static str {
        match self {
            Self::Sessions => "Sessions",
            Self::Picker => "Processes",
            Self::Help => "Help",
            Self::Question => "Question",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_action_is_written_with_dashes() {
        let text = serde_json::to_string(&Action::CopyClientRandom).unwrap();
        assert_eq!(text, "\"copy-client-random\"");
        assert_eq!(serde_json::from_str::<Action>(&text).unwrap(), Action::CopyClientRandom);
    }
}
