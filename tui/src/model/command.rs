//! The command that is run once everything is attached, from its start to its end.

use std::fmt;

/// How far it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CommandState {
    /// Not everything is attached yet.
    Waiting,
    /// Its start was asked for, or it runs.
    Running,
    /// It is over.
    Ended(Ending),
}

/// How a command ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ending {
    /// By itself, with this exit code.
    Exited(u8),
    /// By this signal.
    Killed(u8),
    /// It could not be started.
    NotStarted {
        /// 127 when there is no such program, 126 when it cannot be run, as shells have it.
        code: u8,
        /// Why, for the user.
        reason: String,
    },
}

impl Ending {
    /// The exit code that tells it: of a signal, 128 and its number, as shells have it.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Exited(code) | Self::NotStarted { code, .. } => *code,
            Self::Killed(signal) => signal.saturating_add(128),
        }
    }
}

impl fmt::Display for Ending {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exited(code) => write!(f, "the command has ended with exit code {code}"),
            Self::Killed(signal) => write!(f, "the command was ended by signal {signal}"),
            Self::NotStarted { reason, .. } => f.write_str(reason),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::fixture::{START, at};
    use crate::model::target::{Ancestor, Scan, Selection};
    use crate::model::{Effect, Model, Msg};

    #[test]
    fn exit_codes_are_those_of_shells() {
        let reason = "x: not found".to_owned();
        for (ending, code) in [
            (Ending::Exited(3), 3),
            (Ending::Killed(15), 143),
            (Ending::Killed(200), 255),
            (Ending::NotStarted { code: 127, reason }, 127),
        ] {
            assert_eq!(ending.exit_code(), code, "{ending}");
        }
    }

    #[test]
    fn it_is_started_once_when_all_is_attached() {
        let root = Some(Ancestor { pid: 7, start_ticks: 7 });
        let selection = Selection { root, ..Selection::default() };
        let mut model = Model::new(selection, "keys".into(), 10);
        model.command = Some(CommandState::Waiting);
        let is_start = |effect: &Effect| matches!(effect, Effect::StartCommand);
        let image = crate::model::fixture::image(1, "/lib/libssl.so.3", None, 1);
        let id = image.id;
        let scan = || Scan { images: vec![image.clone()], ..Scan::default() };
        let effects = model.update(START, Msg::Scanned(scan()));
        assert!(!effects.iter().any(is_start), "{effects:?}");
        let effects = model.update(at(1), Msg::Attached { image: id, result: Ok(2) });
        assert!(effects.iter().any(is_start), "{effects:?}");
        assert_eq!(model.command, Some(CommandState::Running));
        let effects = model.update(at(2), Msg::Scanned(scan()));
        assert!(!effects.iter().any(is_start), "{effects:?}");
        model.update(at(3), Msg::CommandEnded(Ending::Exited(3)));
        assert_eq!(model.command, Some(CommandState::Ended(Ending::Exited(3))));
    }

    #[test]
    fn only_what_is_below_the_root_is_chosen() {
        let root = Ancestor { pid: 7, start_ticks: 70 };
        let selection = Selection { root: Some(root), ..Selection::default() };
        assert!(selection.is_open() && !selection.is_empty());
        let below = |ancestors: &[Ancestor]| {
            let mut process = (*crate::model::fixture::process(9, "curl")).clone();
            process.ancestors = ancestors.into();
            selection.chooses(&process)
        };
        let shell = Ancestor { pid: 8, start_ticks: 80 };
        assert!(below(&[root]) && below(&[shell, root]));
        assert!(!below(&[]) && !below(&[shell]));
        // An earlier process of the same id.
        assert!(!below(&[Ancestor { start_ticks: 60, ..root }]));
    }
}
