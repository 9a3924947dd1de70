//! What a user can ask for. Keys become actions in [`crate::keymap`]; the user interface's state takes
//! nothing but actions, so that it can be driven without a terminal.

use serde::{Deserialize, Serialize};

/// Something that the user asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
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
    /// Filter the sessions.
    Filter,
    /// Sort by the next column.
    Sort,
    /// Sort the other way round.
    ReverseSort,
    /// Copy the key line under the cursor, or of the selected session, which may have several to choose from.
    CopyLine,
    /// Copy all key lines of the selected session.
    CopyLines,
    /// Copy the selected session's client random.
    CopyClientRandom,
    /// Turn saving to the key log on or off.
    Save,
    /// Record packets with their secrets, or stop that.
    Record,
    /// Write the key lines of the sessions that are shown to a file.
    Export,
    /// Look at one session.
    Open,
    /// Show the secrets in full, or mask them again.
    Reveal,
    /// Show the images and the last warnings.
    Images,
    /// Search among the processes.
    Search,
    /// Show the processes as a tree, or by their ids.
    Tree,
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
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Context {
    /// The table of sessions.
    Sessions,
    /// One session.
    Detail,
    /// The processes to choose from.
    Picker,
    /// The images, and the last warnings.
    Images,
    /// The key lines of a session, one of which is copied.
    Lines,
    /// A line of text: a filter, a search, a path.
    Prompt,
    /// The help.
    Help,
    /// A question that is answered with yes or no.
    Question,
}

impl Action {
    /// Its name in a configuration: `copy-line`.
    pub fn name(self) -> String {
        name(&self)
    }
}

/// What serde calls a unit variant.
fn name(variant: &impl Serialize) -> String {
    let text = serde_json::to_string(variant).unwrap_or_default();
    text.trim_matches('"').to_owned()
}

impl Context {
    /// Its name in a configuration: `sessions`.
    pub fn name(self) -> String {
        name(&self)
    }

    /// All of them, in the order of the key list.
    pub const ALL: [Self; 8] = [
        Self::Sessions,
        Self::Detail,
        Self::Picker,
        Self::Images,
        Self::Lines,
        Self::Prompt,
        Self::Help,
        Self::Question,
    ];

    /// Its heading.
    pub fn title(self) -> &'static str {
        match self {
            Self::Sessions => "Sessions",
            Self::Detail => "Session",
            Self::Picker => "Processes",
            Self::Images => "Images",
            Self::Lines => "Key lines",
            Self::Prompt => "Text",
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
